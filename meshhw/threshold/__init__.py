"""Secrets and keys in shares: t of n holders together can use them, fewer learn nothing.

| module | what |
|---|---|
| `secret`, `recovery` | octet strings in shares that are written down or stored (mesh-udf, section 4.5) |
| `shares` | scalars in shares, with public commitments |
| `agreement`, `followup`, `holders`, `decrypt` | key agreement by holders whose tokens return only x |
| `frost`, `ciphersuite` | threshold signatures (RFC 9591) |
| `draft_signature` | reading and verifying the Mesh draft's one-nonce signatures |
| `renewal` | new shares of the same key |
"""
