"""The digest of long envelopes: SHA-256 where the signers' keys have 128 bits, else SHA-512."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence

import pytest

from meshhw.algorithms import Algorithm, PrivateKey
from meshhw.dare.digests import LONG, digest_for
from meshhw.dare.exchange import KeyRing, RecipientKey
from meshhw.dare.local import LocalKey
from meshhw.dare.prepare import Outline
from meshhw.dare.read import read_stream
from meshhw.dare.stream import EnvelopeStream
from meshhw.dare.write import write_stream
from meshhw.errors import SignatureInvalid
from meshhw.jsonbcd import Value, decode_base64url

READER = LocalKey(PrivateKey(Algorithm.X25519, b"reader".ljust(32)))
LENGTHS = {Algorithm.ED25519: 32, Algorithm.P256: 32, Algorithm.ED448: 57, Algorithm.P384: 48}
SIGNERS = {name: LocalKey(PrivateKey(name, b"signer".ljust(length))) for name, length in LENGTHS.items()}
TEXT = memoryview(bytes(range(256)) * (LONG // 256 + 1))


def written(length: int, signers: Sequence[Algorithm], *, told: bool = True, compat: bool = False) -> bytes:
    out = io.BytesIO()
    outline = Outline([RecipientKey(READER.public)], [SIGNERS[name] for name in signers], compat=compat)
    write_stream(io.BytesIO(TEXT[:length]), out, outline, length=length if told else None)
    return out.getvalue()


def parts(octets: bytes) -> tuple[Value, bytes, Value]:
    """`dig`, the stored body, and the digest that is told of it."""
    stream = EnvelopeStream(io.BytesIO(octets))
    body = b"".join(bytes(piece) for piece in stream.body())
    trailer = stream.end() or {}
    return stream.members.get("dig"), body, trailer.get("PayloadDigest")


def test_a_long_envelope_has_the_quick_digest_and_all_else_sha_512() -> None:
    for length, told, signers, dig in (
        (LONG, True, [Algorithm.ED25519], "S256"),
        (LONG, True, [Algorithm.P256, Algorithm.ED25519], "S256"),
        (LONG - 1, True, [Algorithm.ED25519], "S512"),
        (LONG, False, [Algorithm.ED25519], "S512"),
        (LONG, True, [Algorithm.ED25519, Algorithm.ED448], "S512"),
        (LONG, True, [Algorithm.P384], "S512"),
    ):
        octets = written(length, signers, told=told)
        said, body, digest = parts(octets)
        assert said == dig
        expected = {"S256": hashlib.sha256, "S512": hashlib.sha512}[dig](body).digest()
        assert isinstance(digest, str)
        assert decode_base64url(digest) == expected
        out = io.BytesIO()
        opened = read_stream(io.BytesIO(octets), out.write, KeyRing([READER]))
        assert opened.signers == tuple(SIGNERS[name].public for name in signers)
        assert out.getbuffer() == TEXT[:length]


def test_the_form_of_2022_keeps_its_digest() -> None:
    assert parts(written(LONG, [Algorithm.ED25519], compat=True))[0] == "S512"


def test_no_envelope_without_signers_names_a_digest() -> None:
    assert parts(written(LONG, []))[0] is None
    assert digest_for(None, []) == "S512"


@pytest.mark.parametrize("place", [300_000, -1])
def test_an_octet_that_was_changed_is_found_without_the_key(place: int) -> None:
    octets = bytearray(written(LONG, [Algorithm.ED25519]))
    at = octets.index(b'"PayloadDigest"') - 40 if place < 0 else place
    octets[at] ^= 1
    with pytest.raises(SignatureInvalid):
        read_stream(io.BytesIO(octets), None)


def test_the_name_of_the_digest_is_signed() -> None:
    octets = written(LONG, [Algorithm.ED25519])
    with pytest.raises(SignatureInvalid):
        read_stream(io.BytesIO(octets.replace(b'"dig":"S256"', b'"dig":"S512"')), None)
