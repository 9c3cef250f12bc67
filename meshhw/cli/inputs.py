"""What commands read: files and stdin, and the keys in them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from meshhw.errors import UsageError

if TYPE_CHECKING:
    from meshhw.algorithms import PrivateKey, PublicKey

MAX_MESSAGE = 1 << 30
_MAX_KEY_FILE = 1 << 17


def read_octets(name: str | Path, limit: int = MAX_MESSAGE) -> bytes:
    """A file, or stdin for `-`, whole. Raises UsageError when it is larger than `limit`, OSError."""
    if str(name) == "-":
        data = sys.stdin.buffer.read(limit + 1)
    else:
        with Path(name).open("rb") as file:
            data = file.read(limit + 1)
    if len(data) > limit:
        raise UsageError(f"{name} is larger than {limit} octets")
    return data


def public_key_in(file: str | Path) -> PublicKey:
    """The public key in a key file, or of the private key in it. Raises FormatError, InvalidPublicKey."""
    from meshhw.dare.keyfile import is_private, read_public
    from meshhw.errors import FormatError
    from meshhw.privkeys import public_key_of

    data = read_octets(file, _MAX_KEY_FILE)
    try:
        return read_public(data)
    except FormatError:
        if not is_private(data):
            raise
    return public_key_of(_private_key(data, file))


def private_key_in(file: str | Path) -> PrivateKey:
    """The private key in a key file. Raises FormatError; UsageError for a seed, which is many keys."""
    return _private_key(read_octets(file, _MAX_KEY_FILE), file)


def _private_key(data: bytes, file: str | Path) -> PrivateKey:
    from meshhw.dare.keyfile import read_private
    from meshhw.dare.keys import SeedKey

    found = read_private(data)
    if isinstance(found, SeedKey):
        raise UsageError(f"{file} holds a seed, not a key", hint="`meshhw device create --from-seed` uses it")
    return found


def certificate(path: Path) -> bytes:
    """The DER octets of a certificate in a PEM or DER file. Raises FormatError for torn PEM, OSError."""
    import ssl

    from meshhw.errors import FormatError

    octets = read_octets(path, _MAX_KEY_FILE)
    if not octets.lstrip().startswith(b"-----BEGIN"):
        return octets
    try:
        return ssl.PEM_cert_to_DER_cert(octets.decode("ascii").strip())
    except ValueError as error:
        raise FormatError(f"{path} is not a PEM certificate") from error
