"""Threshold signatures: each signer in a process of its own; wrong ones are named and left out.

A ceremony that signs several times keeps the signers' processes until its end (`held`): each opens its share
once, and signs each message with nonces of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Self

from meshhw.algorithms import Algorithm, Operation, PublicKey
from meshhw.errors import (
    Cancelled,
    DecryptionFailed,
    ShareError,
    TokenError,
    TokenNotFound,
    UsageError,
)
from meshhw.keystore.api import Needs, OpenOptions
from meshhw.keystore.log import recorded
from meshhw.keystore.uri import KeyURI
from meshhw.managers.threshold.cosigners import Cosigners
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
        self._held: Cosigners | None = None

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

    @contextmanager
    def held(self) -> Iterator[Self]:
        """One ceremony: until its end each holder that signs has its share open, in its own process, and its
        token is asked once, however much is signed."""
        if self._held is not None:
            yield self
            return
        try:
            with closing(Cosigners(self._start)) as self._held:
                yield self
        finally:
            self._held = None

    def sign(self, message: bytes) -> bytes:
        """An RFC 8032 signature by a quorum of the holders that are here, verified.

        A holder that fails is told of and left out, and the others start afresh with new nonces. Raises
        TokenNotFound when too few are here or left.
        """
        if len(message) > MAX_MESSAGE:
            raise UsageError(f"a quorum signs at most {MAX_MESSAGE} octets", hint="sign a digest of it")
        if self._held is not None:
            return self._signed(self._held, message)
        with closing(Cosigners(self._start)) as cosigners:
            return self._signed(cosigners, message)

    def _signed(self, cosigners: Cosigners, message: bytes) -> bytes:
        present = self._ready(cosigners)
        while True:
            quorum = sorted(present[: self._key.threshold], key=lambda holder: holder.index)
            self._announce([holder for holder in quorum if holder.index not in cosigners])
            try:
                return self._try(cosigners, quorum, message)
            except Cancelled:
                raise
            except ShareError as error:
                present = self._without(cosigners, present, error)

    def _ready(self, cosigners: Cosigners) -> list[ThresholdHolder]:
        """Those whose shares are open first; where they are enough, no token is looked at."""
        ready = [holder for holder in self._key.holders if holder.index in cosigners]
        if len(ready) >= self._key.threshold:
            return ready
        others = (holder for holder in self._present() if holder not in ready)
        return [*ready, *(holder for holder in others if holder.index not in cosigners.failed)]

    def expected(self) -> Demand:
        """What the holders that are here would be asked in one ceremony. Asks for no PIN. Raises
        TokenNotFound."""
        return self._demand(self._present()[: self._key.threshold])

    def _demand(self, asked: Sequence[ThresholdHolder]) -> Demand:
        demand = Demand(given=self._given)
        with OpenTokens(self._options) as tokens:
            for holder in asked:
                demand.add(tokens, holder.token, self._needs[holder.index])
        return demand

    def _announce(self, asked: Sequence[ThresholdHolder]) -> None:
        """Whose tokens open a share now, if any do. A PIN that was given once is not asked again."""
        if not asked:
            return
        demand = self._demand(asked)
        self._say(
            demand.text(f"{self._loaded.value.name} asks {len(asked)} of {len(self._key.holders)} to sign")
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

    def _without(
        self, cosigners: Cosigners, present: Sequence[ThresholdHolder], error: ShareError
    ) -> list[ThresholdHolder]:
        """Who is left, a spare in the place of the one that failed. Raises the error when too few are."""
        failed = [holder for holder in present if str(holder.index) == error.holder]
        if not failed:
            raise error
        cosigners.leave_out(failed[0].index)
        left = [holder for holder in present if holder not in failed]
        if len(left) < self._key.threshold:
            left = self._spares(cosigners, error)
        self._say(f"holder {error.holder} of {self._loaded.value.name} failed: {error.message}")
        return left

    def _spares(self, cosigners: Cosigners, error: ShareError) -> list[ThresholdHolder]:
        """The same where the tokens of the others were not looked at yet."""
        try:
            left = self._ready(cosigners)
        except TokenNotFound:
            raise error from None
        if len(left) < self._key.threshold:
            raise error
        return left

    def _try(self, cosigners: Cosigners, quorum: Sequence[ThresholdHolder], message: bytes) -> bytes:
        suite = suite_of(self._key.algorithm)
        commitments = cosigners.commitments([holder.index for holder in quorum])
        answers = {}
        for holder in quorum:
            # a sealed share is no key of its token, so the use log is told here, by the token's name
            with recorded(self._options.recorder, KeyURI.parse(holder.token), Operation.SIGN):
                octets = cosigners.answer(holder.index, message, commitments)
            answers[holder.index] = suite.decode_scalar(octets)
        listed = tuple(decode_commitment(suite, octets) for octets in commitments)
        session = Session(suite, group_point(self._key), message, listed)
        return aggregate(session, answers, {index: share_point(self._key, index) for index in answers})

    def _start(self, index: int) -> Worker:
        return Worker("sign", self._order(self._key.holder(index)), self._options)

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
