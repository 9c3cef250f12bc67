"""Data at rest: keys and envelopes as the Mesh writes them, sequences of envelopes, catalogs and archives.

| module | what |
|---|---|
| `keys`, `keyfile`, `local` | public and private keys in JSON and PEM |
| `prepare`, `write` | `Outline`, `seal`, `write_stream`: writing envelopes |
| `read`, `findings` | `open_envelope`, `read_stream`, and what they accepted |
| `envelope`, `stream`, `header` | the envelope itself, its files and its members |
"""
