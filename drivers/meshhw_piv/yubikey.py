"""Cards that also state how their keys came to be: YubiKeys, and what says to be one."""

from __future__ import annotations

from dataclasses import replace

from yubikit.core.smartcard import ApduError

from meshhw.algorithms import Operation
from meshhw.errors import MeshError, NotSupported
from meshhw.keystore import attestation_card, attestation_piv
from meshhw.keystore.api import Protection
from meshhw.keystore.attestation import Attestation
from meshhw.keystore.attestation_piv import policies
from meshhw.keystore.log import recorded
from meshhw.keystore.uri import KeyURI
from meshhw_piv import facts, slots
from meshhw_piv.codes import ABSENT, UNKNOWN, WRONG_DATA
from meshhw_piv.instructions import ATTEST
from meshhw_piv.token import PivToken

_NO_ATTESTATION = ABSENT | UNKNOWN | {WRONG_DATA}


class AttestingToken(PivToken):
    """`Attests` beside what every card does, if the card knows the instruction.

    The statement of a card of another maker proves what its chain does: `attestation_card`.
    """

    def attest(self, key: KeyURI) -> Attestation:
        """The card's certificate over a key that was made in it, and its attestation key's certificate."""
        with recorded(self._session.options.recorder, key, Operation.ATTEST):
            return self._session.run("attest a key", lambda: self._attestation(self._read(key).slot))

    def protection(self, key: KeyURI) -> Protection:
        """What every card says, and whether the card attests the key."""
        said = super().protection(key)
        recorder = self._session.options.recorder
        try:
            attested = self._run("attest a key", lambda: self._attests(self._slot(key)))
        except MeshError as error:
            recorder.record(key, Operation.ATTEST, type(error).__name__)
            raise
        recorder.record(key, Operation.ATTEST, "ok" if attested else NotSupported.__name__)
        return replace(said, answers={**said.answers, "attested": str(attested).lower()})

    def _extensions(self) -> tuple[Operation, ...]:
        """Attestation too, where the card knows the instruction: what says to be a YubiKey may be none."""
        asked = self._run("attest a key", self._can_attest)
        return (*super()._extensions(), *((Operation.ATTEST,) if asked else ()))

    def _can_attest(self) -> bool:
        """Asked of no slot, so that the attestation key signs nothing whose use the log would not show."""
        self._session.settle()
        try:
            self._session.send(ATTEST, slots.NONE, 0)
        except ApduError as error:
            return error.sw not in UNKNOWN
        return True

    def _attests(self, slot: int) -> bool:
        try:
            self._session.send(ATTEST, slot, 0)
        except ApduError as error:
            if error.sw not in _NO_ATTESTATION:
                raise
            return False
        return True

    def _attestation(self, slot: int) -> Attestation:
        try:
            statement = self._session.send(ATTEST, slot, 0)
        except ApduError as error:
            if error.sw not in _NO_ATTESTATION:
                raise
            raise NotSupported(
                f"{self._session.identity.label} does not attest slot {slots.name(slot)}",
                hint="YubiKeys and few other cards attest, and only keys that were made in them",
            ) from error
        signer = facts.certificate(self._session, slots.ATTESTATION)
        form = attestation_card.FORMAT if policies(statement) is None else attestation_piv.FORMAT
        return Attestation(form, statement, (signer,) if signer else ())


class YubiKeyToken(AttestingToken):
    """A YubiKey, which attests what was made in it and nothing else."""

    def protection(self, key: KeyURI) -> Protection:
        """Also that the card says the key was made inside."""
        said = super().protection(key)
        return replace(said, generated_inside=said.answers["attested"] == "true")
