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

from meshhw.errors import NotSupported, TokenFault
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
        """Its algorithm: as metadata tell, else the one by which the card gives a witness, or a challenge.

        A card that begins a new proof may forget the last one, so none is begun where one holds.
        Raises NotSupported for a card that begins no proof at all: its maker has put no such key into it.
        """
        if self._session.managed and self._session.management_kind is not None:
            return self._session.management_kind
        told = facts.metadata(self._session, MANAGEMENT).get(facts.ALGORITHM, b"")
        for kind in MANAGEMENT_KEY_TYPE:
            if told == bytes([kind]):
                return kind
        if self._session.identity.yubikey:
            return MANAGEMENT_KEY_TYPE.TDES
        for tag in (WITNESS, CHALLENGE):
            for kind in MANAGEMENT_KEY_TYPE:
                if self._begun(kind, tag):
                    return kind
        raise NotSupported(
            f"{self._session.identity.label} has no management key, or asks for it in no known way",
            hint="its maker's program sets one; what is on the card can be used without",
        )

    def prove(self, key: bytes) -> bool:
        """Prove to know it; False when the key is another.

        By mutual authentication, else, for a card that gives no witness, by its challenge alone
        (SP 800-73-4 part 2, appendix A.1).
        """
        kind = self.kind()
        if len(key) != kind.key_len:
            return False
        cipher = Cipher(_block_cipher(kind, key), modes.ECB())  # noqa: S305  (one block, as the standard has it)
        witness = self._begun(kind, WITNESS)
        try:
            if witness:
                self._mutually(kind, cipher, witness)
            else:
                self._one_sidedly(kind, cipher)
        except ApduError as error:
            if error.sw in WRONG_KEY or retries_of(error.sw) is not None:
                return False
            raise
        self._session.managed, self._session.management_kind = True, kind
        return True

    def _mutually(self, kind: MANAGEMENT_KEY_TYPE, cipher: Cipher[modes.ECB], witness: bytes) -> None:
        """Raises TokenFault for a card that does not know the key itself."""
        decryptor = cipher.decryptor()
        proof = decryptor.update(witness) + decryptor.finalize()
        challenge = secrets.token_bytes(kind.challenge_len)
        answer = self._dialogue(kind, Tlv(WITNESS, proof) + Tlv(CHALLENGE, challenge))
        if not hmac.compare_digest(_encrypted(cipher, challenge), answer.get(RESPONSE, b"")):
            raise TokenFault(f"{self._session.identity.label} cannot prove that it knows the management key")

    def _one_sidedly(self, kind: MANAGEMENT_KEY_TYPE, cipher: Cipher[modes.ECB]) -> None:
        challenge = self._dialogue(kind, Tlv(CHALLENGE)).get(CHALLENGE, b"")
        response = Tlv(DYNAMIC, Tlv(RESPONSE, _encrypted(cipher, challenge)))
        self._session.send(AUTHENTICATE, kind, MANAGEMENT, response)  # answered by the status word alone

    def _begun(self, kind: MANAGEMENT_KEY_TYPE, tag: int) -> bytes:
        """The card's witness or challenge, empty where it gives none. Raises ApduError of a YubiKey."""
        try:
            block = self._dialogue(kind, Tlv(tag)).get(tag, b"")
        except (ApduError, ValueError):
            if self._session.identity.yubikey:
                raise
            return b""
        return block if len(block) == kind.challenge_len else b""

    def _dialogue(self, kind: MANAGEMENT_KEY_TYPE, data: bytes) -> dict[int, bytes]:
        answer = self._session.send(AUTHENTICATE, kind, MANAGEMENT, Tlv(DYNAMIC, data))
        return tlv.fields(tlv.unwrap(DYNAMIC, answer))


def _encrypted(cipher: Cipher[modes.ECB], block: bytes) -> bytes:
    encryptor = cipher.encryptor()
    return encryptor.update(block) + encryptor.finalize()


def _block_cipher(kind: MANAGEMENT_KEY_TYPE, key: bytes) -> AES | TripleDES:
    return TripleDES(key) if kind == MANAGEMENT_KEY_TYPE.TDES else AES(key)
