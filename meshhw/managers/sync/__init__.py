"""An account's stores on several devices, kept alike through a directory that nobody trusts."""
