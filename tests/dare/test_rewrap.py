"""Re-wrapping: more readers, the same body, and signatures that end where they no longer hold."""

from __future__ import annotations

import io

import pytest

from meshhw.algorithms import Algorithm, PrivateKey
from meshhw.dare.envelope import Envelope
from meshhw.dare.exchange import KeyRing, RecipientKey
from meshhw.dare.findings import Finding
from meshhw.dare.header import ContentMeta
from meshhw.dare.local import LocalKey
from meshhw.dare.prepare import Outline
from meshhw.dare.read import open_envelope
from meshhw.dare.rewrap import rewrap_stream
from meshhw.dare.write import seal
from meshhw.errors import FormatError, KeyNotFound, SignatureInvalid, UsageError

ALICE = LocalKey(PrivateKey(Algorithm.X448, bytes(range(56))))
BOB = LocalKey(PrivateKey(Algorithm.P256, bytes(range(1, 33))))
AUTHOR = LocalKey(PrivateKey(Algorithm.ED448, bytes(range(57))))
PORTER = LocalKey(PrivateKey(Algorithm.ED25519, bytes(range(32))))
TEXT = b"for Alice, and now for Bob"


def sealed() -> Envelope:
    outline = Outline(
        readers=[RecipientKey(ALICE.public)],
        signers=[AUTHOR],
        content=ContentMeta(filename="letter"),
        annotations=[b"note"],
    )
    return seal(TEXT, outline)


def rewrapped(envelope: Envelope, signers: list[LocalKey]) -> Envelope:
    out = io.BytesIO()
    checks = rewrap_stream(
        io.BytesIO(envelope.octets()), out, KeyRing([ALICE]), [RecipientKey(BOB.public)], signers=signers
    )
    assert [check.public for check in checks] == [AUTHOR.public]
    return Envelope.parse(out.getvalue())


@pytest.mark.parametrize("signers", [[], [PORTER]])
def test_both_can_read_and_the_body_is_the_same(signers: list[LocalKey]) -> None:
    before = sealed()
    after = rewrapped(before, signers)
    assert after.body == before.body
    for key in (ALICE, BOB):
        opened = open_envelope(after, KeyRing([key]))
        assert opened.payload == TEXT
        assert opened.content.filename == "letter"
        assert opened.annotations == (b"note",)
        assert opened.signers == tuple(signer.public for signer in signers)
        assert (Finding.UNSIGNED in opened.findings) == (not signers)


def test_the_old_signature_holds_no_longer() -> None:
    before = sealed()
    after = rewrapped(before, [])
    with pytest.raises((SignatureInvalid, FormatError)):
        open_envelope(Envelope(after.members, after.body, before.trailer_members), KeyRing([BOB]))


def test_what_is_refused() -> None:
    envelope = sealed()
    changed = Envelope(envelope.members, envelope.body[:-1] + b"\0", envelope.trailer_members)
    source = io.BytesIO(changed.octets())
    with pytest.raises(SignatureInvalid):
        rewrap_stream(source, io.BytesIO(), KeyRing([ALICE]), [RecipientKey(BOB.public)])
    with pytest.raises(KeyNotFound):
        rewrap_stream(io.BytesIO(envelope.octets()), io.BytesIO(), KeyRing([BOB]), [])
    many = [RecipientKey(BOB.public)] * 64
    with pytest.raises(UsageError):
        rewrap_stream(io.BytesIO(envelope.octets()), io.BytesIO(), KeyRing([ALICE]), many)
    plain = seal(TEXT, Outline(signers=[AUTHOR]))
    with pytest.raises(FormatError):
        rewrap_stream(io.BytesIO(plain.octets()), io.BytesIO(), KeyRing([ALICE]), [])
