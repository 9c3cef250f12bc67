"""Which private keys open an envelope: found by its recipients' names, opened only when it is their turn."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from meshhw.algorithms import Family
from meshhw.dare.envelope import Envelope
from meshhw.dare.exchange import HasPublic
from meshhw.dare.naming import era_of, same_kid
from meshhw.dare.signing import Signer
from meshhw.errors import KeyNotFound, NotSupported, TokenError
from meshhw.keystore.api import Key, OpenOptions, Signs
from meshhw.managers import named
from meshhw.managers.host import Host, KeyHandle, ProfileRecord
from meshhw.managers.keys import KnownKeys, opened
from meshhw.udf import UDF

SIGNATURE_ROLE = "signature"


class Keys:
    """A home's keys and those given by hand: a KeyFinder, and signers. Tokens stay open until the end."""

    def __init__(self, home: Path, options: OpenOptions, given: Sequence[HasPublic] = ()) -> None:
        self._home = home
        self._options = options
        self._given = given
        self._open: dict[str, Key] = {}
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def keys(self, kid: str) -> Iterator[HasPublic]:
        """The keys that a recipient's name may be of: given ones, this home's, and shared ones. A token that
        fails is passed over while another holds the same key; its error is raised when none does."""
        yield from (key for key in self._given if era_of(key.public, kid))
        failure: TokenError | None = None
        for uri in dict.fromkeys(self._uris(kid)):
            try:
                yield self.key(uri)
            except TokenError as error:
                failure = failure or error
        for module in named.all_modules():
            yield from module.keys(kid, self._home, self._options)
        if failure:
            raise failure

    def symmetric_keys(self, kid: str) -> Iterable[UDF]:
        """None: a home keeps no symmetric keys."""
        return ()

    def key(self, name: str) -> Key:
        """The key of a URI, UDF or label, opened. Raises KeyNotFound and the like."""
        if name not in self._open:
            self._open[name] = self._stack.enter_context(opened(name, self._home, self._options)).key
        return self._open[name]

    def signer(self, name: str) -> Signer:
        """The key that signs for this name: a profile's signature key, or the key that is called so.

        Raises KeyNotFound, NotSupported for a key that does not sign.
        """
        if prefixed := named.split(name):
            module, rest = prefixed
            return module.signer(rest, self._home, self._options)
        with suppress(KeyNotFound):
            record = Host(self._home).profile(name)
            handle = record.key(SIGNATURE_ROLE)
            if _was_replaced(record, handle):
                return self.signer(f"account:{record.udf}")
            name = handle.uri
        key = self.key(name)
        if not isinstance(key, Signs):
            raise NotSupported(f"the {key.algorithm} key {name} does not sign")
        if key.algorithm.family is Family.RSA:
            raise NotSupported(
                f"a key of {key.algorithm} signs no envelopes",
                hint="keys that do are of Ed448, Ed25519, P-256 and P-384",
            )
        return key

    def _uris(self, kid: str) -> Iterator[str]:
        for record in Host(self._home).profiles():
            yield from (h.uri for h in record.keys if not h.sealed and era_of(h.public_key, kid))
        for known in KnownKeys(self._home).all():
            if any(same_kid(kid, name) for name in known.names):
                yield known.uri


@contextmanager
def signing(handle: KeyHandle, home: Path, options: OpenOptions) -> Iterator[Signer]:
    """The key of a handle as a signer, in its token or as a quorum, open until the end.

    Raises NotSupported for a key that does not sign, and what opening it raises.
    """
    with Keys(home, options) as keys:
        yield keys.signer(handle.uri)


def _was_replaced(record: ProfileRecord, handle: KeyHandle) -> bool:
    """Whether an account's signature key was changed since its token got this one."""
    if record.kind != "ProfileUser":
        return False
    from meshhw.schema.assertion import open_profile  # slow, and a key file needs none
    from meshhw.schema.profile import ProfileUser

    current = open_profile(Envelope.parse(record.envelope), ProfileUser).value.common_signature
    return current is not None and current.udf != handle.udf
