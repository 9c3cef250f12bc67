"""A virtual PIV card (NIST SP 800-73-4) with the extensions of the YubiKey."""
