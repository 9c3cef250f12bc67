"""The statement that gives a profile one more root key (docs/formats.md, Further roots)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshhw.schema.profile import Assertion

if TYPE_CHECKING:
    from meshhw.schema.key import KeyData


class FurtherRoot(Assertion):
    """Extension: a key that signs the profile as its ProfileSignature does; a root before it and the key
    itself have signed this."""

    account_udf: str | None = None
    root_signature: KeyData | None = None
