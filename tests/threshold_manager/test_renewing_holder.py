"""What one holder's process insists on in a renewal, whatever it is told by the others."""

from __future__ import annotations

import pytest
from nacl.public import Box, PrivateKey, PublicKey

from meshhw.algorithms import Suite
from meshhw.curves.named import curve_named
from meshhw.curves.point import Curve
from meshhw.errors import ShareError
from meshhw.keystore.api import OpenOptions
from meshhw.managers.host import Host
from meshhw.managers.threshold.copies import decrypt_copy
from meshhw.managers.threshold.provision import Request, provision
from meshhw.managers.threshold.purpose import Place, Purpose, scalar_octets
from meshhw.managers.threshold.remembering import remembering
from meshhw.managers.threshold.store import Store
from meshhw.managers.threshold.tokens import OpenTokens
from meshhw.managers.threshold.use import ThresholdPrivateKey
from meshhw.managers.threshold.worker import Worker
from meshhw.threshold.renewal import deal_zero
from meshhw.threshold.shares import Dealing, deal
from tests.threshold_manager.conftest import NewVault

CURVE = curve_named("X25519")


def zero(curve: Curve) -> Dealing:
    """What a holder deals that is honest, but for the value that comes with it."""
    return deal_zero(curve, 2, [1, 2, 3])


@pytest.mark.parametrize(
    ("dealing", "wrong_by", "why"),
    [
        (deal(CURVE, 5, 2, [1, 2, 3]), 0, "would change the key"),
        (deal_zero(CURVE, 3, [1, 2, 3]), 0, "would change the key"),
        (zero(CURVE), 1, "share 1 does not lie on the committed polynomial"),
    ],
    ids=["not-zero", "of-higher-degree", "not-on-it"],
)
def test_a_holder_takes_no_value_that_does_not_fit_a_zero_polynomial(
    host: Host, options: OpenOptions, new_vault: NewVault, dealing: Dealing, wrong_by: int, why: str
) -> None:
    """The test is holder 2, who sends this to holder 1."""
    vaults, options = [new_vault(name) for name in ("one", "two", "three")], remembering(options)
    store = Store(host.home).at("team")
    request = Request(2, vaults, Suite.S25519, signs=False, renewable=True)
    loaded = provision(store, host, options, request)
    key, secret = loaded.key("decryption"), PrivateKey.generate()
    with OpenTokens(options) as tokens:
        sealed = decrypt_copy(ThresholdPrivateKey(loaded, tokens), store.load("copy-1-1.dare"))
    order = {
        "identifier": loaded.value.identifier,
        "algorithm": key.algorithm,
        "commitments": key.commitments,
        "generation": 1,
        "index": 1,
        "token": str(vaults[0]),
        "label": "renewed",
        "sealed": sealed,
        "signing": False,
        "quorum": (),
        "replaced": 0,
        "holders": (1, 2),
    }
    with Worker("renew", order, options) as holder:
        theirs = holder.told()["box"]
        holder.answer({1: theirs, 2: bytes(secret.public_key)})
        own = holder.told()
        value = scalar_octets(CURVE, dealing.shares[0].scalar + wrong_by)
        points = [b"" if point.is_identity else point.encode() for point in dealing.commitments.points]
        mine = {"commitments": points, "value": bytes(Box(secret, PublicKey(theirs)).encrypt(value))}
        holder.answer({1: {"commitments": own["commitments"], "value": own["values"][1]}, 2: mine})
        with pytest.raises(ShareError, match=why):
            holder.told()


def test_a_sealed_share_is_bound_to_all_that_names_it() -> None:
    group, share = CURVE.base, CURVE.base + CURVE.base
    here = Place(1, 1, share)
    bound = [
        Purpose.RENEWAL.octets(b"key", group, here),
        Purpose.SIGNING.octets(b"key", group, here),
        Purpose.RENEWAL.octets(b"yek", group, here),
        Purpose.RENEWAL.octets(b"key", share, here),
        Purpose.RENEWAL.octets(b"key", group, Place(2, 1, share)),
        Purpose.RENEWAL.octets(b"key", group, Place(1, 2, share)),
        Purpose.RENEWAL.octets(b"key", group, Place(1, 1, group)),
    ]
    assert len(set(bound)) == len(bound)
