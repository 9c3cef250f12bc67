"""The SubjectPublicKeyInfo of NIST keys equals the library's."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from meshhw.pubkeys import from_cryptography
from meshhw.udf.key import key_info


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1()], ids=lambda curve: curve.name)
def test_nist_keys_are_written_as_rfc_5480_says(curve: ec.EllipticCurve) -> None:
    key = ec.generate_private_key(curve).public_key()
    assert key_info(from_cryptography(key)) == key.public_bytes(
        Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    )
