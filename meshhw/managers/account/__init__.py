"""A person's Mesh account: its keys, the devices connected to it, and its way back after a loss."""
