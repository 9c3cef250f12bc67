"""Key-store driver: tpm."""
