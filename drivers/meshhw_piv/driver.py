"""Finding and opening PIV cards in readers of any name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from meshhw.errors import Ambiguous, DriverUnavailable, MeshError, OperationTimeout, TokenBusy, TokenNotFound
from meshhw.keystore.api import API, OpenOptions, Token, TokenEvent, TokenInfo
from meshhw.keystore.uri import TokenURI

if TYPE_CHECKING:
    from meshhw_piv.discovery import Survey

DISCOVERY_SECONDS = 5.0


class PivDriver:
    """`meshhw.keystore.api.Driver` and `Watches` for PIV cards."""

    api = API
    name = "yubikey"

    def tokens(self) -> Sequence[TokenInfo]:
        """The PIV cards in the readers; those that others hold or that do not answer are left out."""
        _need_library()
        from meshhw_piv.discovery import describe, survey

        return [describe(identity) for identity in survey(DISCOVERY_SECONDS).cards]

    def open(self, uri: TokenURI, options: OpenOptions) -> Token:
        """Open the one card that fits. Raises TokenNotFound, Ambiguous, TokenBusy, DriverUnavailable."""
        _need_library()
        from meshhw_piv.discovery import survey
        from meshhw_piv.session import CardSession
        from meshhw_piv.token import PivToken
        from meshhw_piv.yubikey import AttestingToken, YubiKeyToken

        found = survey(min(options.deadline or DISCOVERY_SECONDS, DISCOVERY_SECONDS), uri)
        if len(found.fitting) != 1:
            error = _why_not_one(uri, found)
            found.close()
            raise error
        session = CardSession(*found.fitting[0], options)
        session.end()
        if session.identity.yubikey:
            return YubiKeyToken(session)
        # Who says to be one, or tells a serial number as only they do, may know its other instructions.
        claims = session.identity.imitates or session.identity.serial
        return AttestingToken(session) if claims else PivToken(session)

    def events(self, timeout: float) -> Iterator[TokenEvent]:
        """Cards that come and go within `timeout` seconds."""
        _need_library()
        from meshhw_piv.watch import watch

        return watch(timeout)


def _need_library() -> None:
    try:
        import meshhw_piv.pcsc  # noqa: F401  (whether it can be imported is the question)
    except ImportError as error:
        raise DriverUnavailable(
            f"smart cards need pyscard and yubikey-manager: {error}",
            hint="sudo apt-get install build-essential python3-dev swig libpcsclite-dev"
            " && pip install 'meshhw[piv]'",
        ) from error


def _why_not_one(uri: TokenURI, found: Survey) -> MeshError:
    from meshhw.keystore.holders import holder

    if found.fitting:
        names = tuple(str(identity.uri) for identity, _ in found.fitting)
        return Ambiguous(
            f"{uri} fits {len(names)} cards", candidates=names, hint="name one of " + "  ".join(names)
        )
    if found.busy:
        who = holder()
        return TokenBusy(f"the card in {found.busy[0]} is held by {who or 'another program'}", holder=who)
    if found.crowded:
        who = holder()
        return TokenBusy(
            f"the PC/SC service has no connection with {found.crowded[0]} left; "
            f"{who or 'other programs'} took them",
            holder=who,
        )
    if found.silent:
        return OperationTimeout(f"the card in {found.silent[0]} does not answer")
    return TokenNotFound(f"no reader holds {uri}")
