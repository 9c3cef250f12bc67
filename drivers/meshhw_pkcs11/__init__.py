"""Key-store driver: pkcs11."""
