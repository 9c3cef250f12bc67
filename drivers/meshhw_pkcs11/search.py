"""Object searches that fail cleanly.

python-pkcs11 ends a search once more when its iterator is collected, and what fails then cannot be caught: it
would be printed, and the session's lock would stay held until that moment.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from pkcs11._pkcs11 import SearchIter  # type: ignore[attr-defined]  # the extension's stub leaves it out
from pkcs11.exceptions import PKCS11Error

if TYPE_CHECKING:
    import pkcs11

BATCH = 32


class _Search(SearchIter):  # type: ignore[misc]  # as above: of unknown type
    """A search whose end never fails: the token's next call says what is wrong with it."""

    def _finalize(self, silent: bool = False) -> None:
        with suppress(PKCS11Error):
            super()._finalize(silent=silent)


def objects(session: pkcs11.Session, template: dict[Any, Any]) -> list[Any]:
    """All objects that fit a template. Raises what python-pkcs11 raises."""
    search = _Search(session, template, BATCH)
    try:
        with search:
            return [found for batch in search for found in batch]
    except PKCS11Error:
        search._finalize()
        raise
