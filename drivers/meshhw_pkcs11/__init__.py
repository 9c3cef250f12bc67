"""The key-store driver for PKCS#11 tokens (HSMs, smart cards, soft tokens) through python-pkcs11."""

from meshhw_pkcs11.driver import driver

__all__ = ["driver"]
