"""SSH keys that live in tokens: the list of them, and an agent that signs with them."""
