"""The keys of an account: their roles, the names under which they derive from its seed, and its stores."""

from __future__ import annotations

from meshhw.algorithms import Operation
from meshhw.keystore.placement import Role
from meshhw.managers.profilemaking import ROOT

ADMINISTRATOR = "administrator-signature"
ADMINISTRATOR_ENCRYPTION = "administrator-encryption"
"""What is for the machine of the account alone is encrypted to it; the profile does not name it."""
ENCRYPTION = "encryption"
ESCROW = "escrow"
ROLES = (
    Role(ROOT, Operation.SIGN),
    Role(ADMINISTRATOR, Operation.SIGN),
    Role(ENCRYPTION, Operation.AGREE),
    Role("authentication", Operation.AGREE),
    Role("signature", Operation.SIGN),
    Role(ESCROW, Operation.AGREE),
    Role(ADMINISTRATOR_ENCRYPTION, Operation.AGREE),
)
SEED_NAMES = {
    ROOT: "CompleteAccountProfile",
    ADMINISTRATOR: "CompleteAccountAdminSign",
    ENCRYPTION: "CompleteAccountEncrypt",
    "authentication": "CompleteAccountAuthenticate",
    "signature": "CompleteAccountSign",
    ESCROW: "CompleteAccountEscrow",
    ADMINISTRATOR_ENCRYPTION: "CompleteAccountAdminEncrypt",
}
"""Schema digest section 3."""
STORES = tuple(
    f"MMM_{name}"
    for name in (
        "Access",
        "Application",
        "Bookmark",
        "Contact",
        "Credential",
        "Device",
        "Network",
        "Publication",
        "Task",
        "Inbound",
        "Outbound",
        "Local",
        "Archive",
    )
)
"""Nine catalogs and four spools; the name is part of the key's derivation."""


def store_key_name(store: str) -> str:
    """The name under which a store's key derives from the account's seed."""
    return f"CompleteAccountEncrypt{store}"
