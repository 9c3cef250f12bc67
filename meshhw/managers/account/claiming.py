"""Claiming a preconfigured device: what its claimant writes, and how the device takes it.

The claim's authenticator is over the claimant's strong name, so that it binds the account's fingerprint too:
whoever copies a claim without knowing the code cannot make it another account's.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec

from meshhw import files
from meshhw.dare.envelope import Envelope
from meshhw.dare.output import replacing
from meshhw.errors import IntegrityError, KeyNotFound
from meshhw.keystore.api import OpenOptions
from meshhw.managers.account.authority import Authority
from meshhw.managers.account.complete import complete
from meshhw.managers.account.connect import Connector
from meshhw.managers.account.membership import Membership
from meshhw.managers.account.preconfigured import (
    Published,
    Waiting,
    answer_file,
    claim_file,
    claim_of,
    read_limited,
    require_claim,
    waiting,
)
from meshhw.managers.account.request import LIFETIME, Pending, Request
from meshhw.managers.account.rights import Rights
from meshhw.managers.host import Host, now
from meshhw.schema.assertion import sign_assertion
from meshhw.schema.codec import decode
from meshhw.schema.core import Enveloped
from meshhw.schema.message import MessageClaim, RequestConnection
from meshhw.udf import UDF, Kind
from meshhw.udf.locator import split_strong_name, strong_name
from meshhw.udf.message import envelope_id, response_id

_NONCE_OCTETS = 16


def request_of(found: Authority, device: Published) -> Request:
    """A preconfigured device as if it had asked this account; one account claims it once."""
    binding = hashlib.sha512(f"{device.publication_id} {found.udf}".encode()).digest()
    message = RequestConnection(
        message_id=UDF.make(Kind.NONCE, binding[:_NONCE_OCTETS]).text,
        account_address=found.address,
        authenticated_data=Enveloped(device.envelope.array()),
        expires=now() + LIFETIME,
    )
    return Request(message, device.device, device.udf, device.envelope, device.envelope)


def claim(
    found: Authority,
    device: Published,
    uri: str,
    rights: Rights,
    directory: Path,
    *,
    name: str | None = None,
) -> None:
    """Connect the device and put claim and answer into the directory. Raises as `Connector.connect`."""
    request = request_of(found, device)

    def deliver(answer: Envelope, _: tuple[str, ...]) -> None:
        value = claim_of(uri, strong_name(found.address, found.udf), request.message_id)
        with found.administrator() as signer:
            signed = sign_assertion(value, signer, envelope_id(request.message_id))
        for path, envelope in (
            (answer_file(directory, device.publication_id), answer),
            (claim_file(directory, device.publication_id), signed),
        ):
            with replacing(path) as target:
                target.write(envelope.octets())

    Connector(found.host, found, found.options).connect(request, rights, name=name, deliver=deliver)


def take_claim(host: Host, directory: Path, options: OpenOptions) -> Membership:
    """On the device: check the claim that lies there, and install the answer beside it.

    Raises KeyNotFound when nothing waits or nothing was claimed, WitnessMismatch for a claim whose sender
    does not know the code, IntegrityError for an answer of another account.
    """
    devices = waiting(host, options)
    if not devices:
        raise KeyNotFound(
            "no device of this machine waits to be claimed", hint="`meshhw device preconfigure` prepares one"
        )
    claimed = [item for item in devices if claim_file(directory, item.publication_id).exists()]
    if not claimed:
        raise KeyNotFound("nobody has claimed the device yet", hint="look again later")
    return _taken(host, claimed[0], directory, options)


def _taken(host: Host, item: Waiting, directory: Path, options: OpenOptions) -> Membership:
    envelope = Envelope.parse(read_limited(claim_file(directory, item.publication_id)))
    value = decode(envelope.body, MessageClaim)
    require_claim(item, value)
    address, account = split_strong_name(value.sender or "")
    if account is None or not value.message_id:
        raise IntegrityError("the claim does not say which account it is of")
    pending = Pending(
        message_id=value.message_id,
        device=item.device,
        address=address,
        expires=now() + LIFETIME,
        account=account.text,
    )
    path = files.private_directory(host.home / "requests") / f"{response_id(value.message_id)}.json"
    files.replace(path, msgspec.json.encode(pending) + b"\n")
    try:
        found = complete(host, read_limited(answer_file(directory, item.publication_id)), options)
    finally:
        path.unlink(missing_ok=True)
    item.path.unlink(missing_ok=True)
    return found
