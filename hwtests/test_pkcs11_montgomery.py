"""Montgomery keys as the standard has them (CKK_EC_MONTGOMERY); the fault module makes SoftHSM do so."""

from __future__ import annotations

from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import x448, x25519
from pkcs11 import Attribute

from meshhw.algorithms import Algorithm, Operation, PrivateKey, PublicKey
from meshhw.keystore.api import KeySpec
from meshhw.lab.pkcs11_token import Pkcs11Token
from meshhw.lab.shim import State, Trouble
from meshhw.pubkeys import from_cryptography, to_cryptography

OTHERS = {Algorithm.X25519: x25519.X25519PrivateKey, Algorithm.X448: x448.X448PrivateKey}


@pytest.fixture
def token(troubled_softhsm: tuple[Pkcs11Token, Trouble]) -> Any:
    troubled_softhsm[1].be(State.MONTGOMERY)
    return troubled_softhsm[0].open()


def kept_as(token: Any, key: Any) -> set[int]:
    """The key types of its objects, as the module tells them."""

    def work(session: Any) -> set[int]:
        found = session.get_objects({Attribute.ID: key.uri.attributes["id"]})
        return {int(one[Attribute.KEY_TYPE]) for one in list(found)}

    types: set[int] = token.session.run(work)
    return types


@pytest.mark.parametrize("algorithm", list(OTHERS))
def test_generated_found_and_used(token: Any, algorithm: Algorithm) -> None:
    assert token.capabilities().can(algorithm, Operation.GENERATE, Operation.AGREE, Operation.IMPORT)
    key = token.generate(KeySpec(algorithm, "x"))
    assert kept_as(token, key) == {0x41}
    (again,) = token.keys()
    assert again.public == key.public
    other = OTHERS[algorithm].generate()
    theirs: PublicKey = from_cryptography(other.public_key())
    ours: Any = to_cryptography(key.public)
    assert again.agree(theirs) == other.exchange(ours)
    token.delete(key.uri)
    assert token.keys() == []
    token.close()


@pytest.mark.parametrize("algorithm", list(OTHERS))
def test_imported(token: Any, algorithm: Algorithm) -> None:
    private = OTHERS[algorithm].generate()
    key = token.import_key(PrivateKey(algorithm, private.private_bytes_raw()), KeySpec(algorithm))
    assert kept_as(token, key) == {0x41}
    assert key.public == from_cryptography(private.public_key())
    token.close()


def test_edwards_keys_beside_them_stay_edwards_keys(token: Any) -> None:
    key = token.generate(KeySpec(Algorithm.ED25519))
    assert kept_as(token, key) == {0x40}
    assert len(key.sign(b"message")) == 64
    token.close()
