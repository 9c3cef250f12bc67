"""Key-store driver: software."""
