"""The Mesh's curves: points, their encodings and checks, and arithmetic that leaves secrets to libraries.

Points are added in Python (`point`, `edwards`, `montgomery`, `weierstrass`) and multiplied by libsodium and
pycryptodome (`multiply`). `scalar` holds the arithmetic modulo a group's order, `eddsa` signs with expanded
keys, `check` refuses points that would leak or cancel a secret.
"""
