"""Threshold decryption against its slowest holder, its arithmetic against a bound, and FROST's arithmetic."""

from __future__ import annotations

import secrets
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path

from cryptography.hazmat.primitives.hashes import SHA512
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.keywrap import aes_key_wrap

from benchmarks.harness import Figure
from meshhw.algorithms import Algorithm, Operation, PrivateKey, PublicKey
from meshhw.curves.multiply import base_multiple, multiply
from meshhw.curves.named import curve_named
from meshhw.curves.point import Curve, Point
from meshhw.curves.scalar import field_of, token_scalar
from meshhw.keystore.api import Imports, KeySpec
from meshhw.lab import shim
from meshhw.lab.softhsm import SoftHSM
from meshhw.threshold.agreement import Partial, partial_from_x
from meshhw.threshold.ciphersuite import suite_of
from meshhw.threshold.decrypt import ThresholdAgreement
from meshhw.threshold.frost import Session, aggregate, commit, make_nonces, sign_share
from meshhw.threshold.holders import Holder, KeyHolder, as_peer
from meshhw.threshold.shares import Share, deal

INFO = b"bench"
HOLDERS = 3
DELAY = 0.05
RUST = {"Ed25519": 2 * 0.08 + 2 * 0.12 + 0.22, "Ed448": 2 * 0.51 + 2 * 0.75 + 1.39}
"""Milliseconds of a 2-of-3 signature (both rounds of both signers, and the aggregation) that the Zcash
Foundation publishes for its FROST crates (their performance.md), on a machine of theirs."""


def figures() -> Iterator[Figure]:
    """Three holders of 50 ms, three holders' arithmetic, and two signers'."""
    with ExitStack() as lab:
        yield _parallel(lab)
    for name in ("X25519", "X448", "P-256"):
        yield _arithmetic(curve_named(name))
    for name in ("Ed25519", "Ed448"):
        yield _frost(name)


def _parallel(lab: ExitStack) -> Figure:
    directory = Path(lab.enter_context(tempfile.TemporaryDirectory()))
    softhsm = lab.enter_context(SoftHSM())
    module = shim.place(softhsm.module_path, directory, "bench-shim")
    control = shim.Control(shim.control_of(module))
    curve = curve_named("X25519")
    dealing = deal(curve, field_of(curve).random(), HOLDERS, range(1, HOLDERS + 1))
    holders: list[Holder] = []
    for share in dealing.shares:
        emulated = replace(softhsm.add(f"holder-{share.index}"), module_path=str(module))
        token = lab.enter_context(closing(emulated.open()))
        assert isinstance(token, Imports)
        private = PrivateKey(Algorithm.X25519, token_scalar(curve, share.scalar))
        key = token.import_key(private, KeySpec(Algorithm.X25519, uses=frozenset({Operation.AGREE})))
        holders.append(KeyHolder(share.index, key, dealing.commitments.share_point(share.index)))
        control.trouble(emulated.label).delay(DELAY, "C_DeriveKey")
    peer, wrapped = _wrapped(curve, dealing.commitments.public)
    whole = ThresholdAgreement(curve, HOLDERS, holders)
    point = curve.decode(peer.octets)
    return Figure(
        "decrypt by 3 holders of 50 ms",
        lambda: whole.unwrap(peer, INFO, wrapped),
        lambda: holders[0].partial(point),
        "one holder's agreement",
        1.15,
        rounds=21,
    )


class _Answered:
    """A holder that has its answer at hand: what is left is the arithmetic."""

    def __init__(self, share: Share, point: Point) -> None:
        self.index = share.index
        self.share = base_multiple(point.curve, share.scalar)
        self._octets = multiply(point, share.scalar).x_octets()

    def partial(self, point: Point) -> Partial:
        """The answer, read and checked."""
        return partial_from_x(point.curve, self.index, self._octets)


def _arithmetic(curve: Curve) -> Figure:
    dealing = deal(curve, field_of(curve).random(), HOLDERS, range(1, HOLDERS + 1))
    peer, wrapped = _wrapped(curve, dealing.commitments.public)
    point = curve.decode(peer.octets)
    whole = ThresholdAgreement(curve, HOLDERS, [_Answered(share, point) for share in dealing.shares])
    return Figure(
        f"combine 3 answers of {curve.name}",
        lambda: whole.unwrap(peer, INFO, wrapped),
        lambda: time.sleep(0.005),
        "5 ms",
        1.0,
        rounds=41,
    )


def _frost(name: str) -> Figure:
    suite = suite_of(name)
    dealing = deal(suite.curve, field_of(suite.curve).random(), 2, [1, 2, 3])
    pair = dealing.shares[:2]
    points = {share.index: dealing.commitments.share_point(share.index) for share in pair}

    def sign() -> bytes:
        nonces = {share.index: make_nonces(suite, b"bench") for share in pair}
        commitments = tuple(commit(suite, index, own) for index, own in nonces.items())
        session = Session(suite, dealing.commitments.public, b"message", commitments)
        answers = {s.index: sign_share(session, s.index, s.scalar, nonces[s.index]) for s in pair}
        return aggregate(session, answers, points)

    return Figure(f"FROST 2-of-3 {name}, arithmetic", sign, _lasting(RUST[name]), "published figures in Rust")


def _lasting(milliseconds: float) -> Callable[[], None]:
    """Something that takes a published time, for want of the machine on which it was measured."""

    def spin() -> None:
        end = time.perf_counter() + milliseconds / 1000
        while time.perf_counter() < end:
            pass

    return spin


def _wrapped(curve: Curve, public: Point) -> tuple[PublicKey, bytes]:
    ephemeral = field_of(curve).random()
    shared = multiply(public, ephemeral).x_octets()
    wrapping = HKDF(SHA512(), 32, salt=None, info=INFO).derive(shared)
    return as_peer(base_multiple(curve, ephemeral)), aes_key_wrap(wrapping, secrets.token_bytes(32))
