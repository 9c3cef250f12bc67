"""FROST against RFC 9591's figures, ordinary verifiers, wrong signers, and the draft's own signatures."""

from __future__ import annotations

import json
import shutil
import subprocess
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from meshhw.curves.eddsa import edwards_curve
from meshhw.curves.multiply import base_multiple
from meshhw.curves.scalar import field_of
from meshhw.errors import FormatError, NotSupported, ShareError, SignatureInvalid, UsageError
from meshhw.threshold.ciphersuite import SUITES, Ciphersuite, Ed25519Sha512, suite_of
from meshhw.threshold.draft_signature import Form, verify_draft
from meshhw.threshold.frost import (
    Nonces,
    Session,
    aggregate,
    commit,
    decode_commitment,
    encode_commitment,
    make_nonces,
    sign_share,
    verify,
)
from meshhw.threshold.shares import Dealing, deal

FOLDER = Path(__file__).parents[1] / "vectors"
VECTORS = json.loads((FOLDER / "frost_rfc9591.json").read_text())
DRAFT = json.loads((FOLDER / "crypto_threshold_sign.json").read_text())
GROUPS = {"ed25519": "Ed25519", "ed448": "Ed448", "P-256": "P-256"}
MESSAGE = b"two of three"
suites = pytest.mark.parametrize("suite", SUITES.values(), ids=lambda suite: str(suite.name))


class Quorum:
    """Signers of one session in this process."""

    def __init__(self, suite: Ciphersuite, dealing: Dealing, signers: list[int], message: bytes) -> None:
        self.scalars = {share.index: share.scalar for share in dealing.shares}
        self.points = {index: dealing.commitments.share_point(index) for index in signers}
        self.nonces = {index: make_nonces(suite, b"nonce key %d" % index) for index in signers}
        commitments = tuple(commit(suite, index, self.nonces[index]) for index in signers)
        self.session = Session(suite, dealing.commitments.public, message, commitments)

    def answers(self) -> dict[int, int]:
        return {
            index: sign_share(self.session, index, self.scalars[index], nonces)
            for index, nonces in self.nonces.items()
        }


def fresh(suite: Ciphersuite, threshold: int, count: int) -> Dealing:
    return deal(suite.curve, field_of(suite.curve).random(), threshold, range(1, count + 1))


@pytest.mark.parametrize("vector", VECTORS, ids=lambda v: str(v["id"]))
def test_figures_of_rfc_9591(vector: dict[str, Any]) -> None:
    suite = suite_of(GROUPS[vector["config"]["group"]])
    inputs = vector["inputs"]
    shares = {
        entry["identifier"]: suite.decode_scalar(bytes.fromhex(entry["participant_share"]))
        for entry in inputs["participant_shares"]
    }
    public = suite.curve.decode(bytes.fromhex(inputs["group_public_key"]))
    rounds = vector["round_one_outputs"]["outputs"]
    nonces = {}
    for entry in rounds:
        own = suite.encode_scalar(shares[entry["identifier"]])
        made = [
            suite.nonce(bytes.fromhex(entry[f"{kind}_nonce_randomness"]) + own)
            for kind in ("hiding", "binding")
        ]
        assert [suite.encode_scalar(n).hex() for n in made] == [entry["hiding_nonce"], entry["binding_nonce"]]
        nonces[entry["identifier"]] = Nonces(*made)
    commitments = tuple(commit(suite, index, pair) for index, pair in nonces.items())
    for entry, commitment in zip(rounds, commitments, strict=True):
        assert suite.encode_point(commitment.hiding).hex() == entry["hiding_nonce_commitment"]
        assert suite.encode_point(commitment.binding).hex() == entry["binding_nonce_commitment"]
    session = Session(suite, public, bytes.fromhex(inputs["message"]), commitments)
    factors = session.binding_factors()
    for entry in rounds:
        assert suite.encode_scalar(factors[entry["identifier"]]).hex() == entry["binding_factor"]
    answers = {index: sign_share(session, index, shares[index], pair) for index, pair in nonces.items()}
    for entry in vector["round_two_outputs"]["outputs"]:
        assert suite.encode_scalar(answers[entry["identifier"]]).hex() == entry["sig_share"]
    points = {index: base_multiple(suite.curve, scalar) for index, scalar in shares.items()}
    assert aggregate(session, answers, points).hex() == vector["final_output"]["sig"]


@suites
@given(st.integers(1, 4).flatmap(lambda t: st.tuples(st.just(t), st.integers(t, 7))), st.binary(max_size=40))
@settings(max_examples=4)
def test_every_quorum_signs(suite: Ciphersuite, numbers: tuple[int, int], message: bytes) -> None:
    threshold, count = numbers
    dealing = fresh(suite, threshold, count)
    for signers in list(combinations(range(1, count + 1), threshold))[:4]:
        quorum = Quorum(suite, dealing, list(signers), message)
        signature = aggregate(quorum.session, quorum.answers(), quorum.points)
        verify(suite, dealing.commitments.public, message, signature)
        with pytest.raises(SignatureInvalid):
            verify(suite, dealing.commitments.public, message + b"!", signature)


@pytest.mark.parametrize("name", ["Ed25519", "Ed448"])
def test_ordinary_verifiers_take_the_signature(name: str, tmp_path: Path) -> None:
    suite = suite_of(name)
    dealing = fresh(suite, 2, 3)
    quorum = Quorum(suite, dealing, [1, 3], MESSAGE)
    signature = aggregate(quorum.session, quorum.answers(), quorum.points)
    kind = Ed25519PublicKey if name == "Ed25519" else Ed448PublicKey
    public = kind.from_public_bytes(dealing.commitments.public.encode())
    public.verify(signature, MESSAGE)
    (tmp_path / "public.pem").write_bytes(
        public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    (tmp_path / "message").write_bytes(MESSAGE)
    (tmp_path / "signature").write_bytes(signature)
    openssl = shutil.which("openssl")
    if openssl is None:
        return  # the library above has verified it; the openssl program is the second opinion
    command = [openssl, "pkeyutl", "-verify", "-pubin", "-inkey", "public.pem", "-rawin", "-in", "message"]
    command += ["-sigfile", "signature"]
    checked = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "Verified Successfully" in checked.stdout, checked.stderr


@suites
def test_a_bad_signer_is_named(suite: Ciphersuite) -> None:
    quorum = Quorum(suite, fresh(suite, 3, 5), [1, 2, 5], MESSAGE)
    answers = quorum.answers()
    answers[2] = (answers[2] + 1) % suite.curve.order
    with pytest.raises(ShareError, match="signer 2") as caught:
        aggregate(quorum.session, answers, quorum.points)
    assert caught.value.holder == "2"
    del answers[5]
    with pytest.raises(ShareError, match="signer 5 has not answered"):
        aggregate(quorum.session, answers, quorum.points)


@suites
def test_a_signer_looks_for_its_own_entry(suite: Ciphersuite) -> None:
    quorum = Quorum(suite, fresh(suite, 2, 3), [1, 2], MESSAGE)
    other = Quorum(suite, fresh(suite, 2, 3), [1, 2], MESSAGE)
    with pytest.raises(ShareError, match="another commitment"):
        sign_share(quorum.session, 1, quorum.scalars[1], other.nonces[1])
    with pytest.raises(ShareError, match="not on the list"):
        sign_share(quorum.session, 3, 5, other.nonces[1])


@suites
def test_lists_must_be_in_order_and_sound(suite: Ciphersuite) -> None:
    quorum = Quorum(suite, fresh(suite, 2, 3), [1, 2], MESSAGE)
    session = quorum.session
    first, second = session.commitments
    for bad in ((), (second, first), (first, first)):
        with pytest.raises(UsageError):
            Session(suite, session.public, MESSAGE, bad)
    zero = type(first)(1, suite.curve.identity, first.binding)
    with pytest.raises(ShareError, match="signer 1"):
        Session(suite, session.public, MESSAGE, (zero, second))


@suites
def test_commitments_round_trip(suite: Ciphersuite) -> None:
    commitment = commit(suite, 7, make_nonces(suite, b"key"))
    octets = encode_commitment(suite, commitment)
    assert decode_commitment(suite, octets) == commitment
    for bad in (octets[:-1], octets[:40], b"", b"\xff" * len(octets)):
        with pytest.raises((FormatError, ShareError)):
            decode_commitment(suite, bad)


class Listening(Ed25519Sha512):
    """The suite, which notes what nonces are made of."""

    def __init__(self) -> None:
        self.asked: list[bytes] = []

    def nonce(self, message: bytes) -> int:
        self.asked.append(message)
        return super().nonce(message)


def test_nonces_are_made_of_random_octets_and_the_holders_key() -> None:
    suite = Listening()
    for _ in range(2):
        make_nonces(suite, b"the key of this holder")
    assert [asked[32:] for asked in suite.asked] == [b"the key of this holder"] * 4
    assert len({asked[:32] for asked in suite.asked}) == 4


def test_nonces_are_fresh_and_not_shown() -> None:
    suite = suite_of("Ed25519")
    assert make_nonces(suite, b"key") != make_nonces(suite, b"key")
    assert repr(Nonces(1234567, 7654321)) == "Nonces()"
    with pytest.raises(NotSupported):
        suite_of("P-384")


SIGNED = {
    "direct-Ed25519-corrected": Form.RFC8032,
    "shamir-Ed448-corrected": Form.RFC8032,
}


@pytest.mark.parametrize("vector", [v for v in DRAFT if v["id"] in SIGNED], ids=lambda v: str(v["id"]))
def test_corrected_signatures_of_the_draft(vector: dict[str, Any]) -> None:
    curve = edwards_curve("Ed448" if "Ed448" in vector["id"] else "Ed25519")
    public, message = bytes.fromhex(vector["public"]), vector["message"].encode()
    signature = bytes.fromhex(vector["signature"])
    assert verify_draft(curve, public, message, signature) is SIGNED[vector["id"]]
    with pytest.raises(SignatureInvalid):
        verify_draft(curve, public, message + b".", signature)


@pytest.mark.parametrize("name", ["Ed25519", "Ed448"])
def test_printed_direct_signatures_of_the_draft(name: str) -> None:
    vector = next(v for v in DRAFT if v["id"] == f"direct-{name}")
    curve = edwards_curve(name)
    public = bytes.fromhex(vector["aggregate"]["Encoded Public"])
    signature = bytes.fromhex(vector["R"]) + int(vector["S"]).to_bytes(curve.encoded_size, "little")
    form = verify_draft(curve, public, vector["message"].encode(), signature)
    assert form is (Form.RFC8032 if vector["rfc8032_verify"] else Form.EMPTY_CONTEXT)
    with pytest.raises(SignatureInvalid):
        verify_draft(curve, public, b"other", signature)
    with pytest.raises(SignatureInvalid):
        verify_draft(curve, public, vector["message"].encode(), signature[:-1])
