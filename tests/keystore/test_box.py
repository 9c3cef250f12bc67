"""The vectors of docs/formats.md, section Boxes, and the box built once more from that page alone."""

from __future__ import annotations

import hashlib
import hmac
import json
from pathlib import Path

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from meshhw_software import kdf
from meshhw_software.kdf import Cost

from meshhw.keystore import box

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "box.json").read_text())


def hkdf(key: bytes, salt: bytes, info: bytes) -> bytes:
    return hmac.digest(hmac.digest(salt, key, "sha512"), info + b"\1", "sha512")


def built(key: bytes, header: bytes, body: bytes, salt: bytes) -> bytes:
    okm = hkdf(key, salt, b"meshhw/box/1")
    bound = b"meshhw-box/1\n" + header + b"\n"
    boxed = bound + salt + okm[32:] + AESGCM(okm[:32]).encrypt(bytes(12), body, bound)
    return boxed + hashlib.sha256(boxed).digest()


def test_the_box_is_what_the_page_says() -> None:
    given = VECTORS["box"]
    octets, key, body = (bytes.fromhex(given[name]) for name in ("octets", "key", "body"))
    parsed = box.parse(octets, "the vector")
    assert parsed.header == given["header"].encode()
    assert parsed.open(key) == body
    assert built(key, parsed.header, body, parsed.salt) == octets
    made = box.pack(key, b"{}", b"body")
    assert built(key, b"{}", b"body", box.parse(made, "it").salt) == made


def test_the_passphrase_gives_the_key_that_the_page_says() -> None:
    given = VECTORS["argon2id"]
    cost = Cost(given["memory_kib"], given["iterations"], given["lanes"])
    assert kdf.derive(given["passphrase"], bytes.fromhex(given["salt"]), cost).hex() == given["key"]
    decomposed = given["passphrase"].replace("\u00e9", "e\u0301")
    assert kdf.derive(decomposed, bytes.fromhex(given["salt"]), cost).hex() == given["key"]
