"""Threshold signatures: each signer in a process of its own; wrong ones are named and left out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

from meshhw.algorithms import Algorithm, Operation, PublicKey
from meshhw.errors import (
    Cancelled,
    DecryptionFailed,
    MeshError,
    ShareError,
    TokenError,
    TokenNotFound,
    UsageError,
)
from meshhw.keystore.api import Needs, OpenOptions
from meshhw.keystore.log import recorded
from meshhw.keystore.uri import KeyURI
from meshhw.managers.threshold.demand import Demand, unseal_needs
from meshhw.managers.threshold.descriptor import Loaded, group_point, share_point
from meshhw.managers.threshold.store import KeyStore
from meshhw.managers.threshold.tokens import OpenTokens, absentee
from meshhw.managers.threshold.use import Say, silent
from meshhw.managers.threshold.worker import Worker
from meshhw.schema.threshold import ThresholdHolder
from meshhw.threshold.ciphersuite import suite_of
from meshhw.threshold.frost import Session, aggregate, decode_commitment

MAX_MESSAGE = 64 << 20
"""Octets; every signer gets the whole message."""


class ThresholdSigner:
    """A threshold signing key as envelopes and profiles use one (`Signs`)."""

    def __init__(self, loaded: Loaded, store: KeyStore, options: OpenOptions, say: Say = silent) -> None:
        self._loaded = loaded
        self._key = loaded.key("signing")
        self._store = store
        self._options = options
        self._say = say
        self._needs: dict[int, Needs] = {}
        self._given: set[str] = set()

    @property
    def public(self) -> PublicKey:
        """The group's public key."""
        return PublicKey(Algorithm(self._key.algorithm), self._key.public)

    @property
    def udf(self) -> str:
        """The fingerprint of the group's public key."""
        return self._key.udf

    def require(self) -> None:
        """Raise TokenNotFound, naming who is missing, unless enough holders are here. Asks for no PIN."""
        self._present()

    def sign(self, message: bytes) -> bytes:
        """An RFC 8032 signature by a quorum of the holders that are here, verified.

        A holder that fails is told of and left out, and the others start afresh with new nonces. Raises
        TokenNotFound when too few are here or left.
        """
        if len(message) > MAX_MESSAGE:
            raise UsageError(f"a quorum signs at most {MAX_MESSAGE} octets", hint="sign a digest of it")
        present = self._present()
        while True:
            quorum = sorted(present[: self._key.threshold], key=lambda holder: holder.index)
            self._announce(quorum)
            try:
                return self._try(quorum, message)
            except Cancelled:
                raise
            except ShareError as error:
                present = self._without(present, error)

    def _answer(self, holder: ThresholdHolder, worker: Worker) -> bytes:
        """A signer's answer. A sealed share is no key of its token, so the use log is told here, by the
        token's name.
        """
        with recorded(self._options.recorder, KeyURI.parse(holder.token), Operation.SIGN):
            answer: bytes = _named(holder.index, worker.result)
            return answer

    def _announce(self, quorum: Sequence[ThresholdHolder]) -> None:
        """A PIN that was given for one signature is not asked for the next."""
        demand = Demand(given=self._given)
        with OpenTokens(self._options) as tokens:
            for holder in quorum:
                demand.add(tokens, holder.token, self._needs[holder.index])
        self._say(
            demand.text(f"{self._loaded.value.name} asks {len(quorum)} of {len(self._key.holders)} to sign")
        )
        self._given |= demand.pins

    def _sealed(self, holder: ThresholdHolder) -> bytes:
        return self._store.load(f"signing-{self._key.generation}-{holder.index}")

    def _present(self) -> list[ThresholdHolder]:
        """The holders whose tokens are here. Asks no PIN. Raises TokenNotFound."""
        present, missing = [], []
        with OpenTokens(self._options) as tokens:
            for holder in self._key.holders:
                why = self._why_not(tokens, holder)
                if why is None:
                    present.append(holder)
                else:
                    missing.append(absentee(holder.index, holder.token, why))
        if len(present) < self._key.threshold:
            raise TokenNotFound(
                f"{self._loaded.value.name} needs {self._key.threshold} signers and {len(present)} are here; "
                f"missing: {', '.join(missing)}",
                hint="insert one of these tokens",
            )
        return present

    def _why_not(self, tokens: OpenTokens, holder: ThresholdHolder) -> str | None:
        """Why a holder cannot help, as far as that shows without a PIN; None when it may."""
        if not tokens.present(holder.token):
            return tokens.why_absent(holder.token)
        try:
            self._needs[holder.index] = unseal_needs(tokens, holder.token, self._sealed(holder))
        except DecryptionFailed:
            return "which cannot open its share"
        except TokenError:
            return ""  # it went this very moment
        return None

    def _without(self, present: list[ThresholdHolder], error: ShareError) -> list[ThresholdHolder]:
        left = [holder for holder in present if str(holder.index) != error.holder]
        if len(left) == len(present) or len(left) < self._key.threshold:
            raise error
        self._say(f"holder {error.holder} of {self._loaded.value.name} failed: {error.message}")
        return left

    def _try(self, quorum: Sequence[ThresholdHolder], message: bytes) -> bytes:
        suite = suite_of(self._key.algorithm)
        with ExitStack() as running:
            workers = {
                holder.index: running.enter_context(Worker("sign", self._order(holder), self._options))
                for holder in quorum
            }
            commitments = [_named(index, worker.told) for index, worker in workers.items()]
            answers = {}
            for holder in quorum:
                worker = workers[holder.index]
                worker.answer({"message": message, "commitments": commitments})
                answers[holder.index] = suite.decode_scalar(self._answer(holder, worker))
        listed = tuple(decode_commitment(suite, octets) for octets in commitments)
        session = Session(suite, group_point(self._key), message, listed)
        return aggregate(session, answers, {index: share_point(self._key, index) for index in answers})

    def _order(self, holder: ThresholdHolder) -> dict[str, object]:
        return {
            "algorithm": self._key.algorithm,
            "public": self._key.public,
            "identifier": self._loaded.value.identifier,
            "index": holder.index,
            "generation": self._key.generation,
            "share": holder.share,
            "token": holder.token,
            "sealed": self._sealed(holder),
            "nonce_key": self._store.nonce_key(holder.index),
        }


def _named(index: int, step: Callable[[], Any]) -> Any:
    """One step of a signer; what its token raises is that holder's fault."""
    try:
        return step()
    except (Cancelled, ShareError):
        raise
    except MeshError as error:
        fault = ShareError(f"holder {index}: {error.message}", holder=str(index), hint=error.hint)
        raise fault from error
