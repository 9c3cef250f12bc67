"""Asking to be connected: the device's signed request, and how an administrator reads it (digest section 7).

Both sides show the request's witness, a fingerprint of all that is signed in it; a person compares the two
before anything is granted.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import msgspec
from msgspec.structs import replace

from meshhw import files
from meshhw.algorithms import PublicKey
from meshhw.dare.envelope import Envelope
from meshhw.dare.signing import Signer
from meshhw.errors import Expired, FormatError, NotSupported
from meshhw.keystore.api import OpenOptions, Signs
from meshhw.managers.account.manager import checked_address
from meshhw.managers.host import Host, ProfileRecord, now
from meshhw.managers.keys import OpenKey, opened
from meshhw.schema.assertion import open_assertion, open_profile, profile_udf, sign_assertion
from meshhw.schema.codec import decode
from meshhw.schema.core import Enveloped
from meshhw.schema.keydata import public_key
from meshhw.schema.message import RequestConnection
from meshhw.schema.profile import ProfileDevice
from meshhw.udf import UDF, content_digest
from meshhw.udf.locator import split_strong_name
from meshhw.udf.message import SaltedPin, envelope_id
from meshhw.udf.secret import nonce

LIFETIME = timedelta(hours=24)
ACTION = "Device"
"""What a PIN is for that connects a device (digest section 2)."""
ASKING = 1
"""Signatures of the device's key under a request."""
_LIMIT = 1 << 16


class Pending(msgspec.Struct, frozen=True, kw_only=True):
    """A request of this machine that was not answered yet."""

    version: int = 1
    message_id: str
    device: str
    address: str
    expires: datetime
    account: str = ""
    """The account's fingerprint, where the person gave it: no other account may answer."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request that was read and whose signatures were checked."""

    message: RequestConnection
    device: ProfileDevice
    udf: str
    envelope: Envelope
    profile: Envelope
    """The device's profile as it came."""

    @property
    def witness(self) -> str:
        """What both sides show to be compared."""
        return witness_of(self.envelope)

    @property
    def signature(self) -> PublicKey:
        """The device's own signature key. Raises FormatError, IntegrityError."""
        return public_key(self.device.signature, "Signature")

    @property
    def message_id(self) -> str:
        """The request's identifier."""
        return self.message.message_id or ""


def make_request(
    host: Host, device: ProfileRecord, address: str, options: OpenOptions, pin: UDF | None = None
) -> Envelope:
    """A request of this device, signed by its signature key, and remembered until it is answered.

    With a PIN of the account it carries the proof of knowing it, and never the PIN. A strong name
    (`alice@mm--UDF.domain`) says which account alone may answer.

    Raises UsageError for what is no address, InvalidName for what is no PIN, and what the token raises.
    """
    address, expected = split_strong_name(address.strip().lower())
    expires = now() + LIFETIME
    profile = Envelope.parse(device.envelope)
    message = RequestConnection(
        message_id=nonce().text,
        account_address=checked_address(address),
        authenticated_data=Enveloped(profile.array()),
        client_nonce=secrets.token_bytes(16),
        expires=expires,
    )
    if pin is not None:
        salted = SaltedPin.of(pin, ACTION)
        account, client_nonce = message.account_address or "", message.client_nonce or b""
        message = replace(
            message,
            pin_id=salted.pin_id(account),
            pin_witness=salted.witness(account, client_nonce, payload_digest(profile)),
        )
    name = message.message_id or ""
    with opened(device.key("signature").uri, host.home, options) as found:
        envelope = sign_assertion(message, _signer(found), envelope_id(name))
    pending = Pending(
        message_id=name,
        device=device.udf,
        address=message.account_address or "",
        expires=expires,
        account=expected.text if expected else "",
    )
    directory = files.private_directory(host.home / "requests")
    files.replace(directory / f"{name}.json", msgspec.json.encode(pending) + b"\n")
    return envelope


def read_request(octets: bytes) -> Request:
    """A request in a file: the device's profile signs itself, and its signature key signs the request.

    Raises FormatError, SignatureInvalid, and Expired.
    """
    envelope = Envelope.parse(octets)
    claimed = decode(envelope.body, RequestConnection)
    if claimed.authenticated_data is None or not claimed.message_id:
        raise FormatError("the request lacks the device's profile or its own identifier")
    profile = Envelope.from_array(claimed.authenticated_data.array)
    device = open_profile(profile, ProfileDevice).value
    signature = public_key(device.signature, "device's Signature")
    message = open_assertion(envelope, RequestConnection, [signature]).value
    if message.expires is None or message.expires < now():
        raise Expired("the request has expired", hint="make a new one: `meshhw device request`")
    return Request(message, device, profile_udf(device), envelope, profile)


def pending_requests(home: Path) -> list[tuple[Path, Pending]]:
    """What this machine has asked and not been answered. Raises FormatError."""
    found = []
    for path in sorted((home / "requests").glob("*.json")):
        data = files.read_private(path, _LIMIT)
        try:
            found.append((path, msgspec.json.decode(data or b"", type=Pending)))
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise FormatError(f"{path} is damaged: {error}", hint="remove it, and ask again") from error
    return found


def payload_digest(envelope: Envelope) -> bytes:
    """What a PIN's witness says of the device's profile: the digest of its stored body."""
    return hashlib.sha512(envelope.body).digest()


def witness_of(envelope: Envelope) -> str:
    """The fingerprint of what a request signs."""
    return content_digest(envelope.body, "application/mmm/object")


def _signer(found: OpenKey) -> Signer:
    if not isinstance(found.key, Signs):
        raise NotSupported("the device's signature key does not sign")
    return found.key
