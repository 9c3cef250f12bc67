"""The account's policy for devices that ask: in the signed profile, so that only the root key changes it and
every administrator's machine has the same.
"""

from __future__ import annotations

from collections.abc import Sequence

from cryptography import x509
from msgspec.structs import replace

from meshhw.errors import FormatError, UsageError
from meshhw.keystore.uri import TokenURI
from meshhw.managers.account.administrators import signed_anew
from meshhw.managers.account.attesting import PIN, TOUCH
from meshhw.managers.account.authority import Authority
from meshhw.managers.account.floor import floor_of, require_own
from meshhw.managers.account.rights import rights_of
from meshhw.schema.profile import ConnectionPolicy

MAX_ROOTS = 16


def policy_of(found: Authority) -> ConnectionPolicy:
    """The policy in the account's profile; one that demands nothing where there is none."""
    return found.profile.connection_policy or ConnectionPolicy()


def set_policy(found: Authority, policy: ConnectionPolicy, root_on: TokenURI | None = None) -> None:
    """Put a policy into the profile, signed by the root. One that is there already changes nothing.

    Raises UsageError for a policy that nobody could satisfy or that the account's own keys do not,
    FormatError for a root that is no certificate.
    """
    checked = _checked(policy)
    require_own(found.suite, floor_of(checked))
    if checked != policy_of(found):
        kept = None if checked == ConnectionPolicy() else checked
        signed_anew(found, replace(found.profile, connection_policy=kept), root_on)


def root_name(root: bytes) -> str:
    """What a root calls itself."""
    return x509.load_der_x509_certificate(root).subject.rfc4514_string()


def _checked(policy: ConnectionPolicy) -> ConnectionPolicy:
    for what, level, scale in (("touch", policy.touch, TOUCH), ("PIN", policy.pin, PIN)):
        if level not in (None, *scale):
            raise UsageError(f"{level!r} is no {what} policy", hint="one of " + ", ".join(scale))
    if policy.roles:
        rights_of(policy.roles)
    if (policy.attested or policy.touch or policy.pin) and not policy.roots:
        raise UsageError(
            "attestations prove nothing without somebody to trust",
            hint="name the token maker's root certificate with --trust",
        )
    _check_roots(policy.roots)
    return policy


def _check_roots(roots: Sequence[bytes]) -> None:
    if len(roots) > MAX_ROOTS:
        raise UsageError(f"an account trusts at most {MAX_ROOTS} roots")
    for root in roots:
        try:
            x509.load_der_x509_certificate(root)
        except ValueError as error:
            raise FormatError("a root to trust is not a certificate") from error
