"""The Mesh's objects under their names of 2022: profiles, connections, activations, entries, messages.

Importing the package registers every class, so that any tagged object can be read.
"""

from meshhw.schema import (
    activation,
    capability,
    connection,
    contact,
    entry,
    key,
    machine,
    message,
    profile,
    protocol,
    roots,
    succession,
    sync,
    threshold,
)
from meshhw.schema.codec import (
    decode,
    encode,
    encode_binary,
    from_members,
    from_tagged,
    to_members,
    to_tagged,
)
from meshhw.schema.core import CLASSES, Enveloped, MeshObject, Tagged

__all__ = [
    "CLASSES",
    "Enveloped",
    "MeshObject",
    "Tagged",
    "activation",
    "capability",
    "connection",
    "contact",
    "decode",
    "encode",
    "encode_binary",
    "entry",
    "from_members",
    "from_tagged",
    "key",
    "machine",
    "message",
    "profile",
    "protocol",
    "roots",
    "succession",
    "sync",
    "threshold",
    "to_members",
    "to_tagged",
]
