"""Our form once more, from docs/formats.md alone: hashlib, json and `cryptography`, none of our code.

It writes (with fixed seeds and ephemeral keys) and reads. `python tests/dare/independent.py` prints the
vectors that tests/vectors/dare_secure.json holds.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, x448, x25519
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.keywrap import aes_key_unwrap, aes_key_wrap

NOT_COVERED = {"hmac", "signatures", "SignedData", "PayloadDigest", "ChainDigest", "TreeDigest", "Received"}
OIDS = {"X25519": 0x6E, "X448": 0x6F, "Ed25519": 0x70, "Ed448": 0x71}
EXCHANGES = {"X25519": x25519.X25519PrivateKey, "X448": x448.X448PrivateKey}
SIGNATURES = {"Ed25519": ed25519.Ed25519PrivateKey, "Ed448": ed448.Ed448PrivateKey}
NIST = {"P-256": ec.SECP256R1(), "P-384": ec.SECP384R1()}


def b64(octets: bytes) -> str:
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()


def unb64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def canonical(value: Any) -> bytes:
    """Enough for names and strings of the vectors: ASCII names, sorted."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()


def derive(secret: bytes, salt: bytes | None, info: bytes, length: int) -> bytes:
    return HKDF(hashes.SHA512(), length, salt=salt, info=info).derive(secret)


def binary(octets: bytes, family: int = 0x88) -> bytes:
    for selector, limit in enumerate((1 << 8, 1 << 16, 1 << 32)):
        if len(octets) < limit:
            return bytes([family + selector]) + len(octets).to_bytes(1 << selector, "big") + octets
    raise ValueError(len(octets))


def udf(spki: bytes) -> str:
    digest = hashlib.sha512(b"PKIXKey:" + hashlib.sha512(spki).digest()).digest()
    text = base64.b32encode(b"\x60" + digest).decode()[:28]
    return "-".join(text[i : i + 4] for i in range(0, 28, 4))


def seed_name(seed: bytes) -> str:
    text = base64.b32encode(b"\x20\x60" + hashlib.sha512(b"UDFEncryption:" + seed).digest()).decode()[:28]
    return "-".join(text[i : i + 4] for i in range(0, 28, 4))


def fingerprint(crv: str, octets: bytes) -> str:
    if crv in NIST:
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

        point = ec.EllipticCurvePublicKey.from_encoded_point(NIST[crv], octets)
        return udf(point.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
    inner = b"\x04" + bytes([len(octets)]) + octets
    key = b"\x03" + bytes([len(inner) + 1]) + b"\0" + inner
    head = bytes.fromhex("30070603 2b65") + bytes([OIDS[crv]]) + b"\x05\x00"
    return udf(b"\x30" + bytes([len(head) + len(key)]) + head + key)


def public_octets(crv: str, private: bytes) -> bytes:
    """As written: X448 with its sign octet, which a plain library leaves at zero."""
    if crv in EXCHANGES:
        return EXCHANGES[crv].from_private_bytes(private).public_key().public_bytes_raw() + (
            b"\0" if crv == "X448" else b""
        )
    if crv in SIGNATURES:
        return SIGNATURES[crv].from_private_bytes(private).public_key().public_bytes_raw()
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    public = ec.derive_private_key(int.from_bytes(private, "big"), NIST[crv]).public_key()
    return public.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def agree(crv: str, private: bytes, peer: bytes) -> bytes:
    if crv == "X25519":
        return x25519.X25519PrivateKey.from_private_bytes(private).exchange(
            x25519.X25519PublicKey.from_public_bytes(peer)
        )
    if crv == "X448":
        return x448.X448PrivateKey.from_private_bytes(private).exchange(
            x448.X448PublicKey.from_public_bytes(peer[:56])
        )
    key = ec.derive_private_key(int.from_bytes(private, "big"), NIST[crv])
    return key.exchange(ec.ECDH(), ec.EllipticCurvePublicKey.from_encoded_point(NIST[crv], peer))


def kek(crv: str, agreed: bytes, epk: bytes, public: bytes) -> bytes:
    if crv == "X448":
        epk, public = epk[:56], public[:56]
    return derive(agreed, None, b"meshhw/kek/1" + epk + public, 32)


def segments(key: bytes, plain: bytes) -> bytes:
    pieces = [plain[i : i + 65536] for i in range(0, len(plain), 65536)] or [b""]
    return b"".join(
        AESGCM(key).encrypt(n.to_bytes(11, "big") + bytes([n == len(pieces) - 1]), piece, None)
        for n, piece in enumerate(pieces)
    )


def wrapped_for(seed: bytes, readers: list[dict[str, str]]) -> list[dict[str, Any]]:
    """The `recipients` of a header."""
    recipients: list[dict[str, Any]] = []
    for reader in readers:
        crv, private, ephemeral = reader["crv"], *(bytes.fromhex(reader[n]) for n in ("private", "ephemeral"))
        public, epk = public_octets(crv, private), public_octets(crv, ephemeral)
        wrapped = aes_key_wrap(kek(crv, agree(crv, ephemeral, public), epk, public), seed)
        recipients.append(
            {
                "kid": fingerprint(crv, public),
                "epk": {"PublicKeyECDH": {"crv": crv, "Public": b64(epk)}},
                "wmk": b64(wrapped),
            }
        )
    return recipients


def write(case: dict[str, Any]) -> bytes:
    """The binary file form of a case: seed, salt, payload, readers, signers, content and annotations."""
    seed, salt, payload = (bytes.fromhex(case[name]) for name in ("seed", "salt", "payload"))
    recipients = wrapped_for(seed, case["readers"])
    if "symmetric" in case:
        key = bytes.fromhex(case["symmetric"])
        wrapped = aes_key_wrap(derive(key, None, b"meshhw/kek/1", 32), seed)
        recipients.append({"kid": seed_name(key), "wmk": b64(wrapped)})
    header: dict[str, Any] = {
        "enc": "A256GCM-S",
        "kid": seed_name(seed),
        "Salt": b64(salt),
        "recipients": recipients,
    }
    texts = ([canonical(case["content"])] if case.get("content") else []) + [
        text.encode() for text in case.get("annotations", [])
    ]
    hidden = [
        b64(
            binary(bytes([n]))
            + binary(
                AESGCM(derive(seed, bytes([n]) + salt, b"meshhw/eds/1", 32)).encrypt(bytes(12), text, None)
            )
        )
        for n, text in enumerate(texts)
    ]
    if case.get("content"):
        header["cloaked"] = hidden.pop(0)
    if hidden:
        header["annotations"] = hidden
    signers = [(s["crv"], bytes.fromhex(s["private"])) for s in case.get("signers", [])]
    if signers:
        header["dig"] = case.get("dig", "S512")
        header["signers"] = [fingerprint(crv, public_octets(crv, private)) for crv, private in signers]
    covered = canonical(header)
    mac_key = derive(seed, salt, b"meshhw/header/1", 64)
    header["hmac"] = b64(hmac.digest(mac_key, covered, "sha512")[:32])
    body = segments(derive(seed, salt, b"meshhw/body/1", 32), payload)
    trailer = b""
    if signers:
        digest = {"S512": hashlib.sha512, "S256": hashlib.sha256}[header["dig"]](body).digest()
        entries = []
        for crv, private in signers:
            public = public_octets(crv, private)
            message = (
                b"meshhw/sign/1" + hashlib.sha512(public + hashlib.sha512(covered).digest() + digest).digest()
            )
            entries.append(
                {
                    "alg": "S512H",
                    "kid": fingerprint(crv, public),
                    "key": {"PublicKeyECDH": {"crv": crv, "Public": b64(public)}},
                    "signature": b64(SIGNATURES[crv].from_private_bytes(private).sign(message)),
                }
            )
        trailer = b"," + canonical({"PayloadDigest": b64(digest), "signatures": entries})
    return b"[" + canonical(header) + b"," + binary(body) + trailer + b"]"


def read(header: dict[str, Any], body: bytes, crv: str, private: bytes) -> bytes:
    """The payload of an envelope that is already split into header and body, for one private key."""
    public = public_octets(crv, private)
    names = {fingerprint(crv, public)} | (
        {fingerprint(crv, public[:-1] + b"\x80")} if crv == "X448" else set()
    )
    entry = next(r for r in header["recipients"] if r["kid"] in names)
    epk = unb64(entry["epk"]["PublicKeyECDH"]["Public"])
    seed = aes_key_unwrap(kek(crv, agree(crv, private, epk), epk, public), unb64(entry["wmk"]))
    salt = unb64(header["Salt"])
    covered = {name: value for name, value in header.items() if name not in NOT_COVERED}
    mac = hmac.digest(derive(seed, salt, b"meshhw/header/1", 64), canonical(covered), "sha512")[:32]
    assert unb64(header["hmac"]) == mac
    key = derive(seed, salt, b"meshhw/body/1", 32)
    pieces = [body[i : i + 65552] for i in range(0, len(body), 65552)]
    return b"".join(
        AESGCM(key).decrypt(n.to_bytes(11, "big") + bytes([n == len(pieces) - 1]), piece, None)
        for n, piece in enumerate(pieces)
    )


def fixed(label: str, length: int) -> str:
    return hashlib.shake_256(label.encode()).hexdigest(length)


def cases() -> list[dict[str, Any]]:
    lengths = {"X25519": 32, "X448": 56, "P-256": 32, "P-384": 48, "Ed25519": 32, "Ed448": 57}

    def reader(crv: str) -> dict[str, str]:
        return {
            "crv": crv,
            "private": fixed(f"{crv} private", lengths[crv]),
            "ephemeral": fixed(f"{crv} ephemeral", lengths[crv]),
        }

    def signer(crv: str) -> dict[str, str]:
        return {"crv": crv, "private": fixed(f"{crv} signer", lengths[crv])}

    def case(name: str, payload: bytes, **more: Any) -> dict[str, Any]:
        return {
            "id": name,
            "seed": fixed(f"{name} seed", 32),
            "salt": fixed(f"{name} salt", 16),
            "payload": payload.hex(),
            "readers": [],
            **more,
        }

    text = b"The CEO told me the product launch is today. Tell no-one!"
    return [
        case("X25519", text, readers=[reader("X25519")]),
        case("X448", text, readers=[reader("X448")]),
        case("P-256", text, readers=[reader("P-256")]),
        case("P-384", text, readers=[reader("P-384")]),
        case("symmetric", text, symmetric=fixed("symmetric key", 16)),
        case("empty", b"", readers=[reader("X25519")]),
        case("one segment", bytes(65536), readers=[reader("X25519")], digest_only=True),
        case("two segments", bytes(65537), readers=[reader("X25519")], digest_only=True),
        case("signed", text, readers=[reader("X448")], signers=[signer("Ed448")]),
        case(
            "signed, as long ones are",
            text,
            readers=[reader("X25519")],
            signers=[signer("Ed25519")],
            dig="S256",
        ),
        case(
            "everything",
            text,
            readers=[reader("X448"), reader("X25519"), reader("P-256")],
            signers=[signer("Ed448"), signer("Ed25519")],
            content={"Filename": "launch.txt", "cty": "text/plain"},
            annotations=["From: Alice@example.com", "To: bob@example.com"],
        ),
    ]


def vectors() -> list[dict[str, Any]]:
    found = []
    for case in cases():
        octets = write(case)
        entry = {"source": "tests/dare/independent.py, from docs/formats.md", "status": "COMPUTED", **case}
        if entry.pop("digest_only", False):
            entry["payload"] = {"zeros": len(case["payload"]) // 2}
            entry["envelope_sha512"] = hashlib.sha512(octets).hexdigest()
        else:
            entry["envelope"] = octets.hex()
        found.append(entry)
    return found


if __name__ == "__main__":
    print(json.dumps(vectors(), indent=1))
