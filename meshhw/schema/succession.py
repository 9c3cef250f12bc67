"""The statement with which one account takes the place of another (docs/formats.md, Succession)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshhw.schema.core import Enveloped
from meshhw.schema.profile import Assertion

if TYPE_CHECKING:
    from meshhw.schema.key import KeyData
    from meshhw.schema.roots import FurtherRoot


class Succession(Assertion):
    """Extension: an account succeeds another; the root keys of both have signed it."""

    account_address: str | None = None
    predecessor_udf: str | None = None
    predecessor_version: int | None = None
    """The version of the earlier account's profile that this follows."""
    predecessor_signature: KeyData | None = None
    predecessor_roots: tuple[Enveloped[FurtherRoot], ...] = ()
    """Where a further root of the earlier account has signed: what gives it that right."""
    successor_udf: str | None = None
    successor_signature: KeyData | None = None
