"""A virtual FIDO2 authenticator (CTAP 2.1) on a contactless card."""
