"""pytest fixtures for emulated tokens (entry point `pytest11`): any project can test against them.

Each gives an object with `uri`, `env` (what another process needs to see the token) and `open()`. Tokens are
shared by a session's tests where making one is slow; a test that harms its token asks for a factory.
"""

from __future__ import annotations

from meshhw.lab.fixtures_any import any_token
from meshhw.lab.fixtures_ctap import ctap_card, insert_ctap_card
from meshhw.lab.fixtures_hid import hid_authenticator, plug_hid
from meshhw.lab.fixtures_piv import insert_card, pcsc_lab, piv_card
from meshhw.lab.fixtures_pkcs11 import (
    new_softhsm,
    new_troubled_softhsm,
    nss_fips_token,
    nss_token,
    opencryptoki_token,
    pkcs11_token,
    softhsm_directory,
    softhsm_shim,
    softhsm_token,
    troubled_nss,
    troubled_nss_fips,
    troubled_softhsm,
    troubled_token,
)
from meshhw.lab.fixtures_tpm import new_swtpm, swtpm_token, tpm2_pkcs11_token, tpm_home

__all__ = [
    "any_token",
    "ctap_card",
    "hid_authenticator",
    "insert_card",
    "insert_ctap_card",
    "new_softhsm",
    "new_swtpm",
    "new_troubled_softhsm",
    "nss_fips_token",
    "nss_token",
    "opencryptoki_token",
    "pcsc_lab",
    "piv_card",
    "pkcs11_token",
    "plug_hid",
    "softhsm_directory",
    "softhsm_shim",
    "softhsm_token",
    "swtpm_token",
    "tpm2_pkcs11_token",
    "tpm_home",
    "troubled_nss",
    "troubled_nss_fips",
    "troubled_softhsm",
    "troubled_token",
]
