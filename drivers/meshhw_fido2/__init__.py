"""Key-store driver: fido2."""
