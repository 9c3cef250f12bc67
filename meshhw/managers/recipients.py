"""Who a RECIPIENT is: a file with a public key or a profile, a name known here, or `threshold:NAME`.

Names known here are those of this home's profiles, accounts and keys, and of the contacts, devices and groups
in its accounts' catalogs, which are opened only when nothing else is called so.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from meshhw import files
from meshhw.algorithms import PublicKey
from meshhw.dare.envelope import Envelope
from meshhw.dare.exchange import RecipientKey
from meshhw.dare.keyfile import is_private, read_public
from meshhw.errors import FormatError, KeyNotFound, NotSupported, UsageError
from meshhw.keystore.api import OpenOptions
from meshhw.managers import named
from meshhw.managers.host import Host
from meshhw.managers.keys import opened

_MAX_FILE = 1 << 20
_ENCRYPTION_MEMBERS = ("CommonEncryption", "AccountEncryption", "Encryption", "ServiceEncryption")
ENCRYPTION_ROLE = "encryption"


def recipient(name: str, home: Path, options: OpenOptions) -> RecipientKey:
    """The key that is encrypted to for this name; a token is opened only for a key that no file tells.

    Raises KeyNotFound, FormatError, SignatureInvalid for a profile that is not signed by itself, Ambiguous,
    OSError for a file that cannot be read.
    """
    if prefixed := named.split(name):
        module, rest = prefixed
        return module.recipient(rest, home)
    if files.is_named(name):
        return _in_file(Path(name))
    return _known(name, home, options)


def _in_file(path: Path) -> RecipientKey:
    if path.stat().st_size > _MAX_FILE:
        raise UsageError(f"{path} is too large for a key or a profile")
    octets = path.read_bytes()
    if octets.lstrip().startswith((b"[", b'{"DareEnvelope"')):
        return _of_profile(octets)
    try:
        return RecipientKey(_agreeing(path, read_public(octets)))
    except FormatError as error:
        if is_private(octets):
            hint = "give the public key: `openssl pkey -pubout` makes it of a private one in PEM"
            raise FormatError(f"{path} holds a private key", hint=hint) from error
        raise FormatError(
            f"{path} holds neither a public key nor a profile: {error.message}", hint=error.hint
        ) from error


def _agreeing(path: Path, public: PublicKey) -> PublicKey:
    if not public.algorithm.agrees:
        raise NotSupported(
            f"nothing is encrypted to a key of {public.algorithm}, which {path} holds",
            hint="keys that can agree are of X448, X25519, P-256 and P-384",
        )
    return public


def _of_profile(octets: bytes) -> RecipientKey:
    from meshhw.schema.assertion import open_profile  # slow, and a public key needs none
    from meshhw.schema.keydata import keys_of
    from meshhw.schema.profile import Profile

    keys = keys_of(open_profile(Envelope.parse(octets), Profile).value)
    for member in _ENCRYPTION_MEMBERS:
        if member in keys:
            return RecipientKey(keys[member])
    raise FormatError("the profile has no encryption key")


def _known(name: str, home: Path, options: OpenOptions) -> RecipientKey:
    from meshhw.managers.account.named import recipient as account_recipient

    host = Host(home)
    with suppress(KeyNotFound):
        return RecipientKey(host.profile(name).key(ENCRYPTION_ROLE).public_key)
    with suppress(KeyNotFound):
        return RecipientKey(host.key(name)[1].public_key)
    with suppress(KeyNotFound):
        return account_recipient(name, home)
    with suppress(KeyNotFound):
        return _named(name, host, options)
    try:
        with opened(name, home, options) as found:
            return RecipientKey(found.key.public)
    except KeyNotFound as error:
        raise KeyNotFound(
            f"no recipient is called {name!r}",
            hint="give a file with a public key or a profile, a contact, or a device or key of this home",
        ) from error


def _named(name: str, host: Host, options: OpenOptions) -> RecipientKey:
    """What the account's catalogs call so. Raises KeyNotFound, NotSupported for a contact without a key."""
    from meshhw.managers.account.names import find_anywhere, unknown_key

    found = find_anywhere(host, name, options)
    if found.encryption is None:
        raise unknown_key(found, "encryption")
    return RecipientKey(found.encryption)
