"""The proof that one knows a card's management key, by whatever algorithm the card has for it."""

from __future__ import annotations

import hmac
import secrets

from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import Cipher, modes
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from yubikit.core import Tlv
from yubikit.core.smartcard import ApduError
from yubikit.piv import MANAGEMENT_KEY_TYPE

from meshhw.errors import TokenFault
from meshhw_piv import facts, tlv
from meshhw_piv.codes import WRONG_KEY, retries_of
from meshhw_piv.instructions import AUTHENTICATE, MANAGEMENT
from meshhw_piv.session import CardSession

WITNESS, CHALLENGE, RESPONSE, DYNAMIC = 0x80, 0x81, 0x82, 0x7C


class ManagementKey:
    """Runs inside `CardSession.run`."""

    def __init__(self, session: CardSession) -> None:
        self._session = session

    def kind(self) -> MANAGEMENT_KEY_TYPE:
        """Its algorithm: as metadata tell, else the one by which the card gives a witness."""
        told = facts.metadata(self._session, MANAGEMENT).get(facts.ALGORITHM, b"\0")[0]
        for kind in MANAGEMENT_KEY_TYPE:
            if told == kind:
                return kind
        if not self._session.identity.yubikey:
            for kind in MANAGEMENT_KEY_TYPE:
                if self._gives_witness(kind):
                    return kind
        return MANAGEMENT_KEY_TYPE.TDES

    def prove(self, key: bytes) -> bool:
        """Mutual authentication (SP 800-73-4 part 2, appendix A.1); False when the key is another."""
        kind = self.kind()
        if len(key) != kind.key_len:
            return False
        cipher = Cipher(_block_cipher(kind, key), modes.ECB())  # noqa: S305  (one block, as the standard has it)
        witness = self._dialogue(kind, Tlv(WITNESS)).get(WITNESS, b"")
        decryptor = cipher.decryptor()
        proof = decryptor.update(witness) + decryptor.finalize()
        challenge = secrets.token_bytes(kind.challenge_len)
        try:
            answer = self._dialogue(kind, Tlv(WITNESS, proof) + Tlv(CHALLENGE, challenge))
        except ApduError as error:
            if error.sw in WRONG_KEY or retries_of(error.sw) is not None:
                return False
            raise
        encryptor = cipher.encryptor()
        expected = encryptor.update(challenge) + encryptor.finalize()
        if not hmac.compare_digest(expected, answer.get(RESPONSE, b"")):
            raise TokenFault(f"{self._session.identity.label} cannot prove that it knows the management key")
        self._session.managed = True
        return True

    def _gives_witness(self, kind: MANAGEMENT_KEY_TYPE) -> bool:
        try:
            return len(self._dialogue(kind, Tlv(WITNESS)).get(WITNESS, b"")) == kind.challenge_len
        except (ApduError, ValueError):
            return False

    def _dialogue(self, kind: MANAGEMENT_KEY_TYPE, data: bytes) -> dict[int, bytes]:
        answer = self._session.send(AUTHENTICATE, kind, MANAGEMENT, Tlv(DYNAMIC, data))
        return tlv.fields(tlv.unwrap(DYNAMIC, answer))


def _block_cipher(kind: MANAGEMENT_KEY_TYPE, key: bytes) -> AES | TripleDES:
    return TripleDES(key) if kind == MANAGEMENT_KEY_TYPE.TDES else AES(key)
