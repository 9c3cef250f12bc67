"""Devices that are handed over with a QR code: published under its key, claimed by whoever scans it.

The code is a connection URI with a symmetric key. Under that key the device's profile lies encrypted in a
directory, named by the key's public name. Who knows the key can read it there and claim the device: the claim
proves to the device that its sender has seen the code (digest sections 2 and 7). The private keys never left
the device's tokens, so that nothing of them is published (rule R10).
"""

from __future__ import annotations

import hmac
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import msgspec

from meshhw import files
from meshhw.dare.envelope import Envelope
from meshhw.dare.exchange import KeyRing
from meshhw.dare.header import ContentMeta
from meshhw.dare.output import replacing
from meshhw.dare.prepare import Outline
from meshhw.dare.read import open_envelope
from meshhw.dare.write import seal
from meshhw.errors import FormatError, InvalidName, KeyNotFound, UsageError, WitnessMismatch
from meshhw.keystore import registry
from meshhw.keystore.api import OpenOptions, Seals
from meshhw.managers.account.sealedfile import sealed, unsealed
from meshhw.managers.host import Host, ProfileRecord
from meshhw.managers.profilemaking import VAULT
from meshhw.schema.assertion import CONTENT_TYPE, open_profile, profile_udf
from meshhw.schema.codec import decode, encode
from meshhw.schema.core import Enveloped
from meshhw.schema.message import DevicePreconfigurationPublic, MessageClaim
from meshhw.schema.profile import ProfileDevice
from meshhw.udf import UDF, Kind
from meshhw.udf.locator import connection_uri, parse_connection_uri
from meshhw.udf.message import claim_authenticators
from meshhw.udf.secret import symmetric_key, symmetric_key_id

_LIMIT = 1 << 18


class Code(msgspec.Struct, frozen=True, kw_only=True):
    """What a preconfigured device remembers, sealed: the code by which it may be claimed."""

    version: int = 1
    device: str
    uri: str


@dataclass(frozen=True, slots=True)
class Published:
    """A preconfigured device as its publication shows it to who knows the key."""

    publication_id: str
    device: ProfileDevice
    envelope: Envelope
    """The device's profile as it came."""

    @property
    def udf(self) -> str:
        """The device."""
        return profile_udf(self.device)


@dataclass(frozen=True, slots=True)
class Waiting:
    """A device of this machine that waits to be claimed."""

    publication_id: str
    path: Path
    device: str
    key: UDF


def preconfigure(host: Host, record: ProfileRecord, maker: str, directory: Path, options: OpenOptions) -> str:
    """Publish a device in a directory; the connection URI for its QR code, a secret that is kept sealed here.

    Raises InvalidName for what is no address, and what the token raises.
    """
    key = symmetric_key()
    uri = connection_uri(maker, key)
    name = symmetric_key_id(key)
    profile: Enveloped[ProfileDevice] = Enveloped(Envelope.parse(record.envelope).array())
    public = DevicePreconfigurationPublic(enveloped_profile_device=profile)
    content = ContentMeta(message_type=type(public).__name__, content_type=CONTENT_TYPE)
    letter = seal(encode(public), Outline(readers=[key], content=content))
    path = _keep(host, record, name, Code(device=record.udf, uri=uri), options)
    try:
        with replacing(publication(directory, name)) as target:
            target.write(letter.octets())
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return uri


def published(uri: str, directory: Path) -> Published:
    """What the scanned code opens.

    Raises InvalidName, KeyNotFound when it is not published there, FormatError, DecryptionFailed,
    SignatureInvalid.
    """
    key = _earl_key(uri)
    name = symmetric_key_id(key)
    opened = open_envelope(Envelope.parse(read_limited(publication(directory, name))), KeyRing((), [key]))
    public = decode(opened.payload, DevicePreconfigurationPublic)
    if public.enveloped_profile_device is None:
        raise FormatError("the publication holds no device's profile")
    envelope = Envelope.from_array(public.enveloped_profile_device.array)
    return Published(name, open_profile(envelope, ProfileDevice).value, envelope)


def claim_of(uri: str, sender: str, message_id: str) -> MessageClaim:
    """The claim of an account on the device of that code. Raises InvalidName."""
    maker, _ = parse_connection_uri(uri)
    key = _earl_key(uri)
    service, device = claim_authenticators(key, sender)
    return MessageClaim(
        message_id=message_id,
        sender=sender,
        recipient=maker,
        publication_id=symmetric_key_id(key),
        service_authenticate=service,
        device_authenticate=device,
    )


def waiting(host: Host, options: OpenOptions) -> list[Waiting]:
    """The devices of this machine that wait to be claimed. Raises what their tokens raise."""
    found = []
    for path in sorted((host.home / "preconfigured").glob("*.sealed")):
        code = msgspec.json.decode(unsealed(path, _purpose(path.stem), options) or b"", type=Code)
        found.append(Waiting(path.stem, path, code.device, _earl_key(code.uri)))
    return found


def require_claim(item: Waiting, claim: MessageClaim) -> None:
    """Raise WitnessMismatch unless the claim's sender knows the device's code."""
    _, expected = claim_authenticators(item.key, claim.sender or "")
    told = claim.device_authenticate or ""
    if claim.publication_id != item.publication_id or not hmac.compare_digest(
        expected.encode(), told.encode()
    ):
        raise WitnessMismatch("the claim does not prove that its sender knows the device's code")


def publication(directory: Path, name: str) -> Path:
    """Where a device is published."""
    return directory / f"{name}.dare"


def claim_file(directory: Path, name: str) -> Path:
    """Where a claim on it lies."""
    return directory / f"{name}.claim.dare"


def answer_file(directory: Path, name: str) -> Path:
    """Where the claimant's answer for the device lies."""
    return directory / f"{name}.answer.dare"


def read_limited(path: Path) -> bytes:
    """A file that another machine put there. Raises KeyNotFound when it is not there, FormatError."""
    try:
        with path.open("rb") as source:
            data = source.read(_LIMIT + 1)
    except FileNotFoundError as error:
        raise KeyNotFound(f"there is no {path}", hint="is it the right directory?") from error
    if len(data) > _LIMIT:
        raise FormatError(f"{path} is larger than {_LIMIT} octets")
    return data


def _earl_key(uri: str) -> UDF:
    _, key = parse_connection_uri(uri)
    if key.kind is Kind.AUTHENTICATOR:
        raise UsageError("this code holds a PIN: it is for `meshhw device request`")
    if key.kind is not Kind.SYMMETRIC:
        raise InvalidName("this code holds no device's key (type E)")
    return key


def _keep(host: Host, record: ProfileRecord, name: str, code: Code, options: OpenOptions) -> Path:
    """Seal the code to the token of the device's encryption key, or to the vault where that seals nothing;
    where it is kept."""
    path = files.private_directory(host.home / "preconfigured") / f"{name}.sealed"
    private = msgspec.json.encode(code)
    with closing(registry.open_token(record.key("encryption").key_uri.token, options)) as token:
        if isinstance(token, Seals):
            files.replace(path, sealed(token, private, _purpose(name)))
            return path
    with closing(registry.open_token(VAULT, options)) as vault:
        files.replace(path, sealed(vault, private, _purpose(name)))
    return path


def _purpose(name: str) -> str:
    return f"meshhw/preconfigured/1 {name}"
