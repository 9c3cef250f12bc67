"""Uniform Data Fingerprints: the Mesh's names for data, keys, secrets and their shares.

| module | what |
|---|---|
| `form` | types, Base32 presentation, parsing, comparison |
| `digest` | content digests and authenticators |
| `key` | fingerprints of public keys, both eras |
| `seed` | derivation seeds and the keys that they give |
| `secret` | nonces and symmetric keys |
| `locator` | `udf:` names and locators, EARLs, strong internet names |
| `message` | identifiers and witnesses of Mesh messages and PINs |
"""

from meshhw.udf.digest import content_digest
from meshhw.udf.form import UDF, Kind, same_name
from meshhw.udf.key import Era, fingerprint
from meshhw.udf.seed import Seed, Specifier

__all__ = ["UDF", "Era", "Kind", "Seed", "Specifier", "content_digest", "fingerprint", "same_name"]
