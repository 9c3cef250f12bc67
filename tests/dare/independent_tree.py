"""Sequences, their tree and its proofs once more, from docs/formats.md and RFC 9162 alone: none of our code.

It writes a sequence (with fixed seeds) and checks proofs. `python -m tests.dare.independent_tree` prints the
vectors that tests/vectors/dare_tree.json holds.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tests.dare import independent as envelope

TREE = b"meshhw/tree/2"


def sha(octets: bytes) -> bytes:
    return hashlib.sha512(octets).digest()


def b64(octets: bytes) -> str:
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()


def unb64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def leaf(header: dict[str, Any], payload_digest: bytes) -> bytes:
    """The leaf of a frame: `header` as it stands in the file."""
    covered = {name: value for name, value in header.items() if name not in ("hmac", "Received")}
    info = covered["SequenceInfo"]
    covered["SequenceInfo"] = {n: v for n, v in info.items() if n not in ("TreePosition", "IndexPosition")}
    canonical = json.dumps(covered, sort_keys=True, separators=(",", ":")).encode()
    return sha(TREE + b"\0" + sha(canonical) + payload_digest)


def root(leaves: list[bytes]) -> bytes:
    """MTH of RFC 9162, section 2.1.1, word for word."""
    if len(leaves) == 1:
        return leaves[0]
    k = 1
    while 2 * k < len(leaves):
        k *= 2
    return sha(TREE + b"\1" + root(leaves[:k]) + root(leaves[k:]))


def path(index: int, leaves: list[bytes]) -> list[bytes]:
    """PATH of section 2.1.3.1."""
    if len(leaves) == 1:
        return []
    k = 1
    while 2 * k < len(leaves):
        k *= 2
    if index < k:
        return [*path(index, leaves[:k]), root(leaves[k:])]
    return [*path(index - k, leaves[k:]), root(leaves[:k])]


def consistency(old: int, leaves: list[bytes], *, whole: bool = True) -> list[bytes]:
    """SUBPROOF of section 2.1.4.1, for the first `old` leaves."""
    if old == len(leaves):
        return [] if whole else [root(leaves)]
    k = 1
    while 2 * k < len(leaves):
        k *= 2
    if old <= k:
        return [*consistency(old, leaves[:k], whole=whole), root(leaves[k:])]
    return [*consistency(old - k, leaves[k:], whole=False), root(leaves[:k])]


def covers(proof_file: bytes) -> bool:
    """Whether a `SequenceProof` leads from its frame to its head: the check in a few lines."""
    proof = json.loads(proof_file)["SequenceProof"]
    value = leaf(proof["Header"], unb64(proof["PayloadDigest"]))
    hashes = [unb64(text) for text in proof["Hashes"]]

    def rooted(index: int, size: int) -> bytes:
        if size == 1:
            return value
        k = 1 << (size - 1).bit_length() - 1
        other = hashes.pop()
        if index < k:
            return sha(TREE + b"\1" + rooted(index, k) + other)
        return sha(TREE + b"\1" + other + rooted(index - k, size - k))

    fits = rooted(proof["Index"], proof["HeadIndex"] + 1) == unb64(proof["TreeDigest"])
    named = proof["Header"]["SequenceInfo"]["Index"] == proof["Index"]
    return fits and named and not hashes and proof["Tree"] == TREE.decode()


def previous(n: int) -> int:
    """The frame that TreePosition points to."""
    x, d = n + 1, 1
    while x % 2 == 0:
        x, d = x // 2, d * 2
    return d // 2 - 1 if x == 1 else n - d


def framed(*records: bytes) -> bytes:
    def head(family: int, length: int) -> bytes:
        width = next(w for w in range(4) if length < 1 << (8 << w))
        return bytes([family + width]) + length.to_bytes(1 << width, "big")

    inner = b"".join(head(0xF0, len(record)) + record for record in records)
    return head(0xF4, len(inner)) + inner + head(0xF4, len(inner))[::-1]


def write(case: dict[str, Any]) -> bytes:
    """A Merkle sequence of a case: in clear, or encrypted for one X25519 reader."""
    dig = case.get("dig", "S512")
    digest_of = {"S512": sha, "S256": lambda octets: hashlib.sha256(octets).digest()}[dig]
    positions: list[int] = []
    leaves: list[bytes] = []
    octets = b""
    canonical = envelope.canonical
    for n, payload in enumerate([b"", *map(bytes.fromhex, case["payloads"])]):
        header: dict[str, Any] = {"dig": dig, "SequenceInfo": {"Index": n}}
        body = payload
        if n == 0:
            header |= {"SequenceId": b64(bytes.fromhex(case["sequence_id"])), "tree": TREE.decode()}
            header |= {"policy": {}}
            header["SequenceInfo"] |= {"ContainerType": "Merkle", "DataEncoding": "JSON"}
        else:
            header["SequenceInfo"]["TreePosition"] = positions[previous(n)]
        if n and "seed" in case:
            seed, salt = bytes.fromhex(case["seed"]), sha(b"salt %d" % n)[:16]
            header |= {"enc": "A256GCM-S", "kid": envelope.seed_name(seed), "Salt": b64(salt)}
            if n == 1:
                header["recipients"] = envelope.wrapped_for(seed, [case["reader"]])
            else:
                header["SequenceInfo"]["ExchangePosition"] = 1
            text = canonical({"UniqueId": f"entry {n}", "Event": "New"})
            key = envelope.derive(seed, b"\0" + salt, b"meshhw/eds/1", 32)
            sealed = AESGCM(key).encrypt(bytes(12), text, None)
            header["cloaked"] = b64(envelope.binary(b"\0") + envelope.binary(sealed))
            info = {name: v for name, v in header["SequenceInfo"].items() if name != "TreePosition"}
            covered = canonical(header | {"SequenceInfo": info})
            mac_key = envelope.derive(seed, salt, b"meshhw/header/1", 64)
            header["hmac"] = b64(hmac.digest(mac_key, covered, "sha512")[:32])
            body = envelope.segments(envelope.derive(seed, salt, b"meshhw/body/1", 32), payload)
        leaves.append(leaf(header, digest_of(body)))
        complete = (n + 1) & -(n + 1)
        trailer = {
            "PayloadDigest": b64(digest_of(body)),
            "TreeDigest": b64(root(leaves)),
            "TreeNode": b64(root(leaves[-complete:])),
        }
        positions.append(len(octets))
        octets += framed(canonical(header), body, canonical(trailer))
    return octets


def vectors() -> list[dict[str, Any]]:
    payloads = [b"entry %d" % n for n in range(1, 12)]
    reader = envelope.cases()[0]["readers"][0]
    plain = {"sequence_id": envelope.fixed("plain id", 16), "payloads": [p.hex() for p in payloads]}
    secret = plain | {"sequence_id": envelope.fixed("secret id", 16)}
    secret |= {"seed": envelope.fixed("sequence seed", 32), "reader": reader}
    found: list[dict[str, Any]] = []
    quick = secret | {"sequence_id": envelope.fixed("quick id", 16), "dig": "S256"}
    quick |= {"seed": envelope.fixed("quick seed", 32)}
    for name, case in (("in clear", plain), ("encrypted", secret), ("encrypted, SHA-256", quick)):
        found.append({"id": name, **case, "file": write(case).hex()})
    sizes = (1, 2, 3, 7, 8, 11, 100)
    for size in sizes:
        leaves = [sha(b"leaf %d" % n) for n in range(size)]
        found.append(
            {
                "id": f"tree of {size}",
                "leaves": 'H("leaf N"), N in decimal from 0',
                "size": size,
                "root": root(leaves).hex(),
                "inclusion": {str(n): [h.hex() for h in path(n, leaves)] for n in {0, size // 2, size - 1}},
                "consistency": {
                    str(old): [h.hex() for h in consistency(old, leaves)]
                    for old in sorted({1, size // 2, size - 1, size} - {0})
                },
            }
        )
    source = "tests/dare/independent_tree.py, from docs/formats.md and RFC 9162"
    return [{"source": source, "status": "COMPUTED", **vector} for vector in found]


if __name__ == "__main__":
    print(json.dumps(vectors(), indent=1))
