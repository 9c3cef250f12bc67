"""Attestation by the lab's own authority, in the YubiKey's format of certificates and extensions."""

from __future__ import annotations

import datetime
import secrets

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from meshhw.lab.piv import apdu
from meshhw.lab.piv.apdu import CardError, Command
from meshhw.lab.piv.context import Context
from meshhw.lab.piv.keys import GENERATED, PIN_NEVER, TOUCH_NEVER, SlotKey
from meshhw.lab.piv.personality import P256
from meshhw.lab.piv.state import ATTESTATION_OBJECT, ATTESTATION_SLOT, Lasting
from meshhw.lab.piv.tlv import fields, tlv

ARC = "1.3.6.1.4.1.41482.3"
FIRMWARE, SERIAL, POLICY, FORM_FACTOR = (x509.ObjectIdentifier(f"{ARC}.{n}") for n in (3, 7, 8, 9))
USB_A_KEYCHAIN = 1
START = datetime.datetime(2016, 3, 14, tzinfo=datetime.UTC)
END = datetime.datetime(2052, 4, 17, tzinfo=datetime.UTC)


class Authority:
    """The root that certifies the attestation keys of the lab's cards; new for each lab."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        name = _name("Lab PIV Root CA")
        self._name = name
        self._certificate = _certificate(name, name, self._key.public_key(), authority=True).sign(
            self._key, hashes.SHA256()
        )

    @property
    def root(self) -> bytes:
        """The root certificate, DER."""
        return self._certificate.public_bytes(Encoding.DER)

    @property
    def root_pem(self) -> bytes:
        """The root certificate as a file for other programs, PEM."""
        return self._certificate.public_bytes(Encoding.PEM)

    def equip(self, lasting: Lasting) -> None:
        """Give a card its attestation key (slot F9) and certificate, as its maker would."""
        key = ec.generate_private_key(ec.SECP256R1())
        unsigned = _certificate(_name("Lab PIV Attestation"), self._name, key.public_key(), authority=True)
        der = unsigned.sign(self._key, hashes.SHA256()).public_bytes(Encoding.DER)
        lasting.keys[ATTESTATION_SLOT] = SlotKey(P256, key, GENERATED, PIN_NEVER, TOUCH_NEVER)
        lasting.objects[ATTESTATION_OBJECT] = tlv(0x70, der) + tlv(0x71, b"\0") + tlv(0xFE)


def attest(context: Context, command: Command) -> bytes:
    """The YubiKey's ATTEST: a certificate over a key that was made in the card."""
    lasting = context.lasting
    key = lasting.keys.get(command.p1)
    signer = lasting.keys.get(ATTESTATION_SLOT)
    if key is None:
        raise CardError(lasting.personality.missing_reference)
    if (
        signer is None
        or key.origin != GENERATED
        or not isinstance(signer.private, ec.EllipticCurvePrivateKey)
    ):
        raise CardError(apdu.WRONG_DATA)
    issuer = x509.load_der_x509_certificate(fields(lasting.objects[ATTESTATION_OBJECT])[0x70]).subject
    maker = "Card" if lasting.personality.ways.attests_bare else "YubiKey"
    subject = _name(f"{maker} PIV Attestation {command.p1:02x}")
    builder = _certificate(subject, issuer, key.private.public_key(), authority=False)
    for identifier, value in _statements(lasting, key):
        builder = builder.add_extension(x509.UnrecognizedExtension(identifier, value), critical=False)
    return builder.sign(signer.private, hashes.SHA256()).public_bytes(Encoding.DER)


def _statements(lasting: Lasting, key: SlotKey) -> list[tuple[x509.ObjectIdentifier, bytes]]:
    if lasting.personality.ways.attests_bare:
        return []
    serial = lasting.serial.to_bytes(lasting.serial.bit_length() // 8 + 1, "big")  # DER INTEGER is signed
    return [
        (FIRMWARE, bytes(lasting.personality.version or ())),
        (SERIAL, tlv(0x02, serial)),
        (POLICY, bytes([key.pin_policy, key.touch_policy])),
        (FORM_FACTOR, bytes([USB_A_KEYCHAIN])),
    ]


def _certificate(
    subject: x509.Name, issuer: x509.Name, public: CertificatePublicKeyTypes, *, authority: bool
) -> x509.CertificateBuilder:
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(secrets.randbits(120) | 1)
        .not_valid_before(START)
        .not_valid_after(END)
    )
    if authority:
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    return builder


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])
