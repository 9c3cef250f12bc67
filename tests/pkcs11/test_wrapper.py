"""python-pkcs11 without asn1crypto, until somebody wants an encoding of it."""

from __future__ import annotations

import subprocess
import sys

import pytest

USE = """
import sys
from meshhw_pkcs11 import wrapper
import pkcs11
from pkcs11.util import ec
assert "asn1crypto" not in sys.modules, "loaded too early"
try:
    ec.nothing_of_this_name
except AttributeError as error:
    assert "nothing_of_this_name" in str(error)
assert "asn1crypto" in sys.modules
assert ec.encode_named_curve_parameters("secp256r1").hex() == "06082a8648ce3d030107"
from pkcs11.util.rsa import decode_rsa_public_key
assert decode_rsa_public_key.__module__ == "pkcs11.util.rsa"
"""
THREADS = """
from concurrent.futures import ThreadPoolExecutor
from meshhw_pkcs11 import wrapper
from pkcs11.util import x509
with ThreadPoolExecutor(8) as pool:
    assert len(set(pool.map(lambda _: x509.decode_x509_certificate, range(8)))) == 1
"""


@pytest.mark.parametrize("script", [USE, THREADS])
def test_encodings_load_when_they_are_asked_for(script: str) -> None:
    subprocess.run([sys.executable, "-c", script], check=True)
