"""Files of ours read once more, from docs/formats.md alone: whole envelopes, sequences from both ends,
archives, catalogs, spools and the sealed use log. It shares no code with what wrote them.

Whatever does not fit ends in an AssertionError, a ValueError or an exception of `cryptography`.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.keywrap import aes_key_unwrap

from tests.dare import independent as known
from tests.dare import independent_tree as tree

ORDERS = {
    "P-256": 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551,
    "P-384": int("F" * 48 + "C7634D81F4372DDF581A0DB248B0A77AECEC196ACCC52973", 16),
}
HEAD, INDEX, EPOCH = (f"application/mmm/sequence-{name}" for name in ("head", "index", "epoch"))


@dataclass(frozen=True)
class Key:
    """A private key of a reader."""

    crv: str
    private: bytes


@dataclass(frozen=True)
class Envelope:
    """The three parts of a file."""

    header: dict[str, Any]
    body: bytes
    trailer: dict[str, Any]


@dataclass(frozen=True)
class Frame:
    """One frame: where it begins, its records, its content metadata, and what it holds."""

    position: int
    header: dict[str, Any]
    body: bytes
    trailer: dict[str, Any]
    content: dict[str, Any] = field(default_factory=dict)
    payload: bytes = b""


def strict(octets: bytes) -> Any:
    """JSON in the one spelling."""
    value = json.loads(octets)
    assert known.canonical(value) == octets
    return value


def covered(header: dict[str, Any]) -> bytes:
    """canonical(header)."""
    kept = {name: value for name, value in header.items() if name not in known.NOT_COVERED}
    if "SequenceInfo" in kept:
        info = kept["SequenceInfo"]
        kept["SequenceInfo"] = {n: v for n, v in info.items() if n not in ("TreePosition", "IndexPosition")}
    return known.canonical(kept)


def binary_at(octets: bytes, at: int) -> tuple[bytes, int]:
    """A JSON-B binary, whole or in chunks, and where it ends."""
    found = b""
    while True:
        tag = octets[at]
        assert 0x88 <= tag <= 0x8F, hex(tag)
        width = 1 << (tag & 3)
        length = int.from_bytes(octets[at + 1 : at + 1 + width], "big")
        at += 1 + width
        found += octets[at : at + length]
        at += length
        assert at <= len(octets)
        if tag < 0x8C:
            return found, at


def parse(octets: bytes) -> Envelope:
    """The binary file form."""
    assert octets[:1] == b"["
    text = octets.decode("latin-1")  # JSON ends where it ends, whatever follows
    _, end = json.JSONDecoder().raw_decode(text, 1)
    header = strict(octets[1:end])
    assert octets[end : end + 1] == b","
    body, end = binary_at(octets, end + 1)
    rest = octets[end:]
    assert rest[-1:] == b"]"
    return Envelope(header, body, strict(rest[1:-1]) if rest[:1] == b"," else {})


def check(public: dict[str, Any], message: bytes, signature: bytes) -> None:
    """One signature: pure EdDSA, or ECDSA as r || s with s low."""
    key = public["PublicKeyECDH"]
    crv, octets = key["crv"], known.unb64(key["Public"])
    if crv == "Ed25519":
        ed25519.Ed25519PublicKey.from_public_bytes(octets).verify(signature, message)
    elif crv == "Ed448":
        ed448.Ed448PublicKey.from_public_bytes(octets).verify(signature, message)
    else:
        half = len(octets) // 2
        assert len(signature) == 2 * half
        r, s = (int.from_bytes(part, "big") for part in (signature[:half], signature[half:]))
        assert s <= ORDERS[crv] // 2
        point = ec.EllipticCurvePublicKey.from_encoded_point(known.NIST[crv], octets)
        digest = hashes.SHA256() if crv == "P-256" else hashes.SHA384()
        point.verify(encode_dss_signature(r, s), message, ec.ECDSA(digest))


def signers(envelope: Envelope, body: bytes | None = None) -> list[str]:
    """The names of those who signed, each as its key has it; `body` is the file of a detached signature."""
    assert envelope.header.get("Detached", False) == (body is not None)
    assert body is None or envelope.body == b""
    digest = hashlib.sha512(envelope.body if body is None else body).digest()
    entries = envelope.trailer.get("signatures", [])
    assert not entries or known.unb64(envelope.trailer["PayloadDigest"]) == digest
    header = hashlib.sha512(covered(envelope.header)).digest()
    for entry in entries:
        key = entry["key"]["PublicKeyECDH"]
        octets = known.unb64(key["Public"])
        assert entry["alg"] == "S512H"
        assert entry["kid"] == known.fingerprint(key["crv"], octets)
        message = b"meshhw/sign/1" + hashlib.sha512(octets + header + digest).digest()
        check(entry["key"], message, known.unb64(entry["signature"]))
    names = [entry["kid"] for entry in entries]
    assert sorted(names) == sorted(set(envelope.header.get("signers", [])))
    return names


def seed_of(header: dict[str, Any], key: Key) -> bytes:
    """The seed of a key exchange."""
    public = known.public_octets(key.crv, key.private)
    other = [public[:-1] + b"\x80"] if key.crv == "X448" else []
    names = {known.fingerprint(key.crv, octets) for octets in (public, *other)}
    entry = next(found for found in header["recipients"] if found["kid"] in names)
    epk = known.unb64(entry["epk"]["PublicKeyECDH"]["Public"])
    agreed = known.agree(key.crv, key.private, epk)
    seed = aes_key_unwrap(known.kek(key.crv, agreed, epk, public), known.unb64(entry["wmk"]))
    assert header["kid"] == known.seed_name(seed)
    return seed


def opened(header: dict[str, Any], body: bytes, seed: bytes) -> tuple[dict[str, Any], list[bytes], bytes]:
    """Content metadata, annotations and payload, the header's MAC checked first."""
    salt = known.unb64(header["Salt"])
    mac = hmac.digest(known.derive(seed, salt, b"meshhw/header/1", 64), covered(header), "sha512")[:32]
    assert hmac.compare_digest(known.unb64(header["hmac"]), mac)
    hidden = ([header["cloaked"]] if "cloaked" in header else []) + header.get("annotations", [])
    texts, seen = [], set()
    for octets in map(known.unb64, hidden):
        prefix, at = binary_at(octets, 0)
        sealed, end = binary_at(octets, at)
        assert end == len(octets)
        assert prefix not in seen
        seen.add(prefix)
        key = known.derive(seed, prefix + salt, b"meshhw/eds/1", 32)
        texts.append(AESGCM(key).decrypt(bytes(12), sealed, None))
    content = json.loads(texts.pop(0)) if "cloaked" in header else {}
    key = known.derive(seed, salt, b"meshhw/body/1", 32)
    pieces = [body[at : at + 65552] for at in range(0, len(body), 65552)]
    plain = [
        AESGCM(key).decrypt(n.to_bytes(11, "big") + bytes([n == len(pieces) - 1]), piece, None)
        for n, piece in enumerate(pieces)
    ]
    assert len(plain) == 1 or plain[-1]
    return content, texts, b"".join(plain)


def frames(octets: bytes) -> list[Frame]:
    """The frames of a sequence, found from its end, and checked from its beginning."""
    found: list[Frame] = []
    end = len(octets)
    while end:
        width = 1 + (1 << (octets[end - 1] & 3))
        assert 0xF4 <= octets[end - 1] <= 0xF7
        length = int.from_bytes(octets[end - width : end - 1][::-1], "big")
        start = end - 2 * width - length
        assert octets[start : start + width] == octets[end - width : end][::-1]
        records, at = [], start + width
        while at < end - width:
            assert 0xF0 <= octets[at] <= 0xF3
            wide = 1 + (1 << (octets[at] & 3))
            size = int.from_bytes(octets[at + 1 : at + wide], "big")
            records.append(octets[at + wide : at + wide + size])
            at += wide + size
        assert at == end - width
        header, body, trailer = records
        found.append(Frame(start, strict(header), body, strict(trailer)))
        end = start
    found.reverse()
    check_tree(found)
    return found


def check_tree(found: list[Frame]) -> None:
    """Index, pointers and digests of a Merkle sequence."""
    first = found[0].header
    assert first["tree"] == "meshhw/tree/2"
    assert len(known.unb64(first["SequenceId"])) == 16
    assert first["SequenceInfo"]["ContainerType"] == "Merkle"
    digest = {"S512": hashlib.sha512, "S256": hashlib.sha256}[first["dig"]]
    leaves: list[bytes] = []
    for n, frame in enumerate(found):
        info = frame.header["SequenceInfo"]
        assert (info["Index"], frame.header["dig"]) == (n, first["dig"])
        assert info.get("TreePosition") == (found[tree.previous(n)].position if n else None)
        payload = digest(frame.body).digest()
        leaves.append(tree.leaf(frame.header, payload))
        complete = (n + 1) & -(n + 1)
        assert frame.trailer == {
            "PayloadDigest": known.b64(payload),
            "TreeDigest": known.b64(tree.root(leaves)),
            "TreeNode": known.b64(tree.root(leaves[-complete:])),
        }


def read_sequence(octets: bytes, *keys: Key) -> list[Frame]:
    """The frames with what they hold; a session's seed is unwrapped in the frame that has its recipients."""
    read, seeds = [], dict[int, bytes]()
    for n, frame in enumerate(frames(octets)):
        header = frame.header
        if "enc" not in header:
            content = json.loads(known.unb64(header.get("ContentMetaData", "e30")))
            read.append(Frame(frame.position, header, frame.body, frame.trailer, content, frame.body))
            continue
        assert header["enc"] == "A256GCM-S"
        if "recipients" in header:
            seeds[n] = next(seed for key in keys if (seed := _tried(header, key)))
        seed = seeds[header["SequenceInfo"].get("ExchangePosition", n)]
        content, _, payload = opened(header, frame.body, seed)
        read.append(Frame(frame.position, header, frame.body, frame.trailer, content, payload))
    return read


def _tried(header: dict[str, Any], key: Key) -> bytes | None:
    try:
        return seed_of(header, key)
    except StopIteration:
        return None


def head_in(frame: Frame) -> tuple[dict[str, Any], list[str]]:
    """A signed head that a frame holds, and who signed it."""
    assert frame.content["cty"] == HEAD
    envelope = parse(frame.payload)
    return json.loads(envelope.body)["SequenceHead"], signers(envelope)


def is_head_before(found: list[Frame], index: int) -> bool:
    """Whether frame `index` holds the head of what stands before it."""
    said, before = head_in(found[index])[0], found[index - 1]
    told = (said["SequenceId"], said["Index"], said["TreeDigest"])
    return told == (found[0].header["SequenceId"], index - 1, before.trailer["TreeDigest"])


def archive(found: list[Frame]) -> dict[str, tuple[dict[str, Any], bytes]]:
    """The newest entry of every name with its octets; the last index frame must say the same."""
    assert found[0].content["cty"] == "application/mmm-archive"
    entries: dict[str, tuple[dict[str, Any], bytes]] = {}
    places: dict[str, int] = {}
    for n, frame in enumerate(found):
        name = frame.content.get("Filename")
        if name and frame.content["Event"] == "Delete":
            del entries[name], places[name]
        elif name:
            assert frame.content["Event"] == ("Update" if name in entries else "New")
            entries[name], places[name] = (frame.content, frame.payload), n
    index = next(frame for frame in reversed(found) if frame.content.get("cty") == INDEX)
    listed = json.loads(index.payload)["SequenceIndex"]
    assert listed["Full"]
    said = {item["UniqueId"]: (item.get("Index", 0), item.get("Size", 0)) for item in listed["Positions"]}
    sizes = {
        name: (0 if content["cty"] == "inode/symlink" else len(octets))
        for name, (content, octets) in entries.items()
    }
    assert said == {name: (place, sizes[name]) for name, place in places.items()}
    return entries


def catalog(found: list[Frame]) -> dict[str, bytes]:
    """The live entries by their key."""
    assert found[0].content["cty"] == "application/mmm-catalog"
    state: dict[str, bytes] = {}
    places: dict[str, tuple[int, int]] = {}
    for n, frame in enumerate(found):
        key = frame.content.get("UniqueId")
        if key is None:
            continue
        if frame.content["Event"] != "New" and key in places:
            assert (frame.content["First"], frame.content["Previous"]) == places[key]
        places[key] = (places[key][0] if key in places else n, n)
        if frame.content["Event"] == "Delete":
            assert not frame.payload
            state.pop(key, None)
        else:
            state[key] = frame.payload
    return state


def envelope_id(message_id: str) -> str:
    """The EnvelopeId of a message."""
    text = message_id.replace("-", "")
    octets = base64.b32decode(text + "=" * (-len(text) % 8))[1:17]
    inner = hashlib.sha512(octets).digest()
    named = hashlib.sha512(b"application/mmm/envelopeid:" + inner).digest()
    found = base64.b32encode(b"\x60" + named).decode()[:28]
    return "-".join(found[at : at + 4] for at in range(0, 28, 4))


def links(found: list[Frame]) -> list[tuple[dict[str, Any], list[str]]]:
    """The heads of the stores that a compacted one continues, and who signed them."""
    heads = []
    for frame in found[1:]:
        if frame.content.get("cty") != HEAD:
            break
        said, names = head_in(frame)
        assert said["SequenceId"] != found[0].header["SequenceId"]
        assert "enc" not in frame.header
        heads.append((said, names))
    return heads


def spool(found: list[Frame]) -> dict[str, tuple[bytes | None, str]]:
    """The messages with their state: the newest completion counts, and without one a message is open. One
    that was closed may be gone."""
    assert found[0].content["cty"] == "application/mmm-spool"
    messages: dict[str, bytes] = {}
    states: dict[str, str] = {}
    for frame in found[1 + len(links(found)) :]:
        name, kind = frame.content["UniqueId"], frame.content["MessageType"]
        assert frame.header["EnvelopeId"] == envelope_id(name)
        if kind == "MessageComplete":
            for item in json.loads(frame.payload)["MessageComplete"]["References"]:
                states[item["MessageId"]] = item["Relationship"]
        elif frame.content["cty"] == "application/mmm/envelope":
            messages[name] = parse(frame.payload).body
        else:
            assert frame.content["cty"] == "application/mmm/object"
            messages[name] = frame.payload
    assert all(state == "Closed" for name, state in states.items() if name not in messages)
    return {name: (messages.get(name), states.get(name, "Open")) for name in {**messages, **states}}


def use_log(found: list[Frame]) -> list[dict[str, Any]]:
    """The sealed entries, each chain of lines checked."""
    assert found[0].content["cty"] == "application/mmm-uselog"
    entries, before = [], ""
    for n, frame in enumerate(found[1:], 1):
        if frame.content["cty"] == HEAD:
            assert is_head_before(found, n)
            continue
        assert frame.payload.endswith(b"}\n")
        entry = json.loads(frame.payload)
        begins = entry["index"] == 0
        assert entry["previous"] == ("0" * 64 if begins else before)
        before = hashlib.sha256(frame.payload).hexdigest()
        entries.append(entry)
    return entries
