"""Finding and opening TPMs (see `meshhw.keystore.api.Driver`)."""

from __future__ import annotations

from collections.abc import Sequence

from meshhw.errors import (
    Ambiguous,
    InvalidURI,
    MeshError,
    PinIncorrect,
    TokenMismatch,
    TokenNotFound,
    TokenRemoved,
)
from meshhw.keystore.api import API, OpenOptions, TokenInfo
from meshhw.keystore.deadline import gather
from meshhw.keystore.interaction import PinKind, PinRequest
from meshhw.keystore.uri import TokenURI
from meshhw_tpm import admin, discovery, errors
from meshhw_tpm.connection import Connection
from meshhw_tpm.context import Context
from meshhw_tpm.identity import identity
from meshhw_tpm.policy import Pcrs
from meshhw_tpm.store import Store
from meshhw_tpm.token import Settings, TpmToken
from meshhw_tpm.tss import tss

_LOOK_SECONDS = 5.0
_MANUFACTURER, _VENDOR, _FIRMWARE = 0x105, 0x106, 0x10B
_HINT = "see `meshhw doctor`; name the TPM with tpm2:tcti=device:/dev/tpmrm0"


class TpmDriver:
    """The driver of `tpm2:` URIs."""

    @property
    def api(self) -> int:
        """The interface it was written for."""
        return API

    @property
    def name(self) -> str:
        """Its URI scheme."""
        return "tpm2"

    def tokens(self) -> Sequence[TokenInfo]:
        """The TPMs that answer within five seconds. Raises DriverUnavailable."""
        tss()
        looks = gather(discovery.candidates(), _look, _LOOK_SECONDS)
        return [found for _, found in looks if isinstance(found, TokenInfo)]

    def open(self, uri: TokenURI, options: OpenOptions) -> TpmToken:
        """Open one TPM. Raises TokenNotFound, TokenMismatch, Ambiguous, DriverUnavailable."""
        tss()
        settings = _settings(uri)
        found = [self._try(uri, tcti, options, settings) for tcti in discovery.addresses(uri)]
        opened = [token for token in found if isinstance(token, TpmToken)]
        if len(opened) == 1:
            return opened[0]
        for token in opened:
            token.close()
        if opened:
            names = tuple(str(token.info().uri) for token in opened)
            raise Ambiguous(f"{uri} fits {len(names)} TPMs", candidates=names)
        raise _best(found) or TokenNotFound("no TPM was found", hint=_HINT)

    def _try(
        self, uri: TokenURI, tcti: str, options: OpenOptions, settings: Settings
    ) -> TpmToken | MeshError:
        expected = identity(uri)
        connection = Connection(tcti, expected, sessions=settings.sessions, deadline=options.deadline)
        try:
            store = Store(_identify(connection, uri, options))
            if settings.keep_primary:
                connection.run(Context.keep_primary)
            info = connection.run(lambda context: _describe(context, tcti, uri))
            connection.lock_directory = store.root
            admin.finish_change(store.directory)
        except MeshError as error:
            connection.close()
            return error
        return TpmToken(info, connection, store, options, settings)


def _identify(connection: Connection, uri: TokenURI, options: OpenOptions) -> bytes:
    """The TPM's name. Asks for the owner's password where the TPM has one and no shared primary."""
    try:
        return connection.identify()
    except PinIncorrect as refused:
        if refused.code is None or errors.tpm_code(refused.code.value) != errors.BAD_AUTH:
            raise
    request = PinRequest(PinKind.MANAGEMENT, uri, "the TPM owner's password")
    connection.owner_auth = options.interaction.pin(request).encode()
    return connection.identify()


def _look(tcti: str) -> TokenInfo:
    connection = Connection(tcti, None, sessions=False, deadline=None)
    try:
        return connection.run(lambda context: _describe(context, tcti, TokenURI.make("tpm2", tcti=tcti)))
    finally:
        connection.close()


def _describe(context: Context, tcti: str, uri: TokenURI) -> TokenInfo:
    """What the TPM tells of itself; its URI keeps the query of the one it was opened by."""
    properties = context.properties(_MANUFACTURER, 8)
    vendor = _text(properties.get(_MANUFACTURER, 0))
    model = "".join(_text(properties.get(_VENDOR + index, 0)) for index in range(4)).strip()
    high, low = properties.get(_FIRMWARE, 0), properties.get(_FIRMWARE + 1, 0)
    given = tcti if uri.get("tcti") else None
    named = TokenURI.make("tpm2", dict(uri.query), name=context.primary_name.hex(), tcti=given)
    return TokenInfo(
        uri=named,
        driver="tpm2",
        kind="tpm",
        vendor=vendor,
        model=model,
        serial=context.primary_name.hex()[4:20],
        firmware=f"{high >> 16}.{high & 0xFFFF}.{low >> 16}.{low & 0xFFFF}",
        label=f"TPM {vendor} {model}".strip(),
        reader=tcti,
    )


def _text(word: int) -> str:
    return word.to_bytes(4, "big").rstrip(b"\0").decode("ascii", "replace").rstrip()


def _settings(uri: TokenURI) -> Settings:
    sessions, pcrs, primary = uri.get("sessions"), uri.get("pcrs"), uri.get("primary")
    if sessions not in (None, "on", "off"):
        raise InvalidURI(f"sessions={sessions} in the URI", hint="write sessions=on or sessions=off")
    if primary not in (None, "persistent"):
        raise InvalidURI(f"primary={primary} in the URI", hint="write primary=persistent or leave it out")
    return Settings(sessions != "off", primary is not None, Pcrs.parse(pcrs) if pcrs else None)


def _best(tried: Sequence[TpmToken | MeshError]) -> MeshError | None:
    """The error that says most: a TPM that is another one, then whatever came first."""
    found = [error for error in tried if isinstance(error, MeshError)]
    for error in found:
        if isinstance(error, TokenMismatch):
            return error
    if found and isinstance(found[0], TokenRemoved):
        return TokenNotFound(f"no TPM answers: {found[0].message}", hint=_HINT)
    return found[0] if found else None
