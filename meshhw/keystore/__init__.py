"""The key store: the interface beneath every Mesh key, names of tokens, and the registry of drivers."""
