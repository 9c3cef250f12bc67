"""Attestations of other makers' cards, which their chain alone proves: what else a maker's root has signed is
none.
"""

from __future__ import annotations

import base64
import datetime
import json
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from meshhw.errors import SignatureInvalid
from meshhw.keystore.attestation import Attestation, verify
from meshhw.pubkeys import from_cryptography

Key = ec.EllipticCurvePrivateKey
YUBICO = json.loads((Path(__file__).parents[1] / "vectors" / "piv_attestation.json").read_text())
START = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
ROOT_KEY, BATCH_KEY, CARD_KEY, SLOT_KEY = (ec.generate_private_key(ec.SECP256R1()) for _ in range(4))
AUTHORITY = x509.BasicConstraints(ca=True, path_length=None)


def certificate(subject: str, key: Key, issuer: str, by: Key, *extensions: x509.ExtensionType) -> bytes:
    names = [x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)]) for text in (subject, issuer)]
    builder = x509.CertificateBuilder(
        names[1], names[0], key.public_key(), 7, START, START + datetime.timedelta(36500)
    )
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(by, hashes.SHA256()).public_bytes(Encoding.DER)


ROOT = certificate("root", ROOT_KEY, "root", ROOT_KEY, AUTHORITY)
BATCH = certificate("batch", BATCH_KEY, "root", ROOT_KEY, AUTHORITY)
CARD = certificate("card", CARD_KEY, "batch", BATCH_KEY, AUTHORITY)
SLOT = certificate("slot 9a", SLOT_KEY, "card", CARD_KEY)


def slot(*extensions: x509.ExtensionType) -> bytes:
    return certificate("slot 9a", SLOT_KEY, "card", CARD_KEY, *extensions)


def unknown(oid: str) -> x509.UnrecognizedExtension:
    return x509.UnrecognizedExtension(x509.ObjectIdentifier(oid), b"\4\2\1\1")


@pytest.mark.parametrize(
    ("chain", "root", "issuer"),
    [((CARD, BATCH), ROOT, "root"), ((CARD,), BATCH, "batch"), ((CARD,), CARD, "card")],
)
def test_a_chain_proves_that_the_key_was_made_inside_and_no_more(
    chain: tuple[bytes, ...], root: bytes, issuer: str
) -> None:
    facts = verify(Attestation("piv", SLOT, chain), [root])
    assert (facts.public, facts.issuer) == (from_cryptography(SLOT_KEY.public_key()), issuer)
    assert facts.generated_inside is True
    assert (facts.pin_policy, facts.touch_policy, facts.serial, facts.firmware) == (None,) * 4


PERSON = certificate("a person", SLOT_KEY, "batch", BATCH_KEY)
SERVER = slot(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]))
NAMED = slot(x509.SubjectAlternativeName([x509.DNSName("example.com")]))


@pytest.mark.parametrize(
    ("statement", "chain"),
    [
        pytest.param(SLOT, (), id="no certificate of the card"),
        pytest.param(SLOT, (BATCH,), id="a link is missing"),
        pytest.param(SLOT, (CARD,), id="no way to the root"),
        pytest.param(CARD, (BATCH,), id="the card's own certificate"),
        pytest.param(slot(AUTHORITY), (CARD, BATCH), id="an authority"),
        pytest.param(SERVER, (CARD, BATCH), id="of a server"),
        pytest.param(NAMED, (CARD, BATCH), id="of a name"),
        pytest.param(slot(unknown("1.3.6.1.4.1.41482.3.8")), (CARD, BATCH), id="in Yubico's format"),
        pytest.param(slot(unknown("1.3.6.1.4.1.45724.1.1.4")), (CARD, BATCH), id="of FIDO"),
        pytest.param(
            certificate("slot 9a", SLOT_KEY, "a person", SLOT_KEY), (PERSON, BATCH), id="by no authority"
        ),
        pytest.param(b"", (CARD, BATCH), id="nothing"),
    ],
)
def test_what_else_leads_to_the_root_or_does_not_is_no_attestation(
    statement: bytes, chain: tuple[bytes, ...]
) -> None:
    with pytest.raises(SignatureInvalid):
        verify(Attestation("piv", statement, chain), [ROOT])


def test_a_yubikeys_statement_is_none_of_this_format() -> None:
    statement, card = (base64.b64decode(YUBICO[name]) for name in ("statement", "root"))
    chain = tuple(base64.b64decode(one) for one in YUBICO["chain"])
    with pytest.raises(SignatureInvalid, match="not an attestation"):
        verify(Attestation("piv", statement, chain), [card])


def test_without_the_extensions_it_is_no_yubikeys() -> None:
    with pytest.raises(SignatureInvalid, match="not an attestation"):
        verify(Attestation("yubikey-piv", SLOT, (CARD, BATCH)), [ROOT])
