"""Threshold keys from provisioning to deletion: shares in tokens, a signed public descriptor, and their use.

| module | what |
|---|---|
| `provision`, `deal` | making a key: the dealing process imports share by share and forgets |
| `store`, `descriptor` | what this machine keeps of a key, and the signed descriptor |
| `use`, `tokens` | decryption by the holders that are here |
| `signer` | a quorum as one signer, opened by its name |
| `signing`, `cosigners`, `cosigning` | threshold signatures, each share in a process of its own |
| `asking`, `answering` | requests to holders on other machines, and their answers |
| `renew`, `renewing`, `lockstep` | refreshing shares and replacing a lost one |
| `succession`, `rewrapping` | a new key in the place of one that cannot be renewed, and its envelopes |
| `authority`, `devices` | who may sign the next descriptor |
| `demand` | what a person will be asked, counted beforehand |
| `worker`, `process`, `channel`, `hardening` | the short-lived processes in which scalars appear |
"""
