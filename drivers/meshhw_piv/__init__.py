"""Key-store driver: piv."""
