"""Octet-string secrets in shares: published figures, faults that can be named, and those that cannot."""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshhw.algorithms import Algorithm
from meshhw.errors import InvalidName, ShareError, UsageError
from meshhw.privkeys import public_key_of
from meshhw.threshold.recovery import is_named, recover, secret_octets, secret_udf
from meshhw.threshold.secret import SecretShare, prime_for, split
from meshhw.udf.key import fingerprint
from meshhw.udf.locator import content_id
from meshhw.udf.secret import symmetric_key, symmetric_key_id
from meshhw.udf.seed import Seed, Specifier

FOLDER = Path(__file__).parents[1] / "vectors"
SHARED: list[dict[str, Any]] = json.loads((FOLDER / "crypto_shamir_secret.json").read_text())
ESCROW: dict[str, Any] = json.loads((FOLDER / "schema_account_seed_alice.json").read_text())


def texts(vector: dict[str, Any]) -> list[str]:
    return [share if isinstance(share, str) else share["udf"] for share in vector["shares"]]


def parsed(vector: dict[str, Any]) -> list[SecretShare]:
    return [SecretShare.parse(text) for text in texts(vector)]


@pytest.mark.parametrize("vector", SHARED, ids=lambda v: str(v["source"]))
def test_every_quorum_of_the_published_shares(vector: dict[str, Any]) -> None:
    shares = parsed(vector)
    for chosen in combinations(shares, shares[0].threshold):
        recovered = recover(chosen)
        assert recovered.secret.hex() == vector["secret"]
        assert recovered.verified_by == ""
    assert recover(shares).verified_by == "agreement of all shares"


@pytest.mark.parametrize("vector", [v for v in SHARED if "prime" in v], ids=lambda v: str(v["source"]))
def test_published_polynomials(vector: dict[str, Any]) -> None:
    assert prime_for(16) == int(vector["prime"])
    for share, text in zip(vector["shares"], texts(vector), strict=True):
        made = SecretShare(3, share["x"], int(share["y"]).to_bytes(16, "big"))
        assert made.text == text


def test_published_escrow_of_an_account() -> None:
    shares = [SecretShare.parse(text) for text in ESCROW["shares"]]
    for pair in combinations(shares, 2):
        recovered = recover(pair)
        assert recovered.secret.hex() == ESCROW["recovered"]
        assert recovered.text == ESCROW["seed_udf"]
        assert recovered.verified_by == "the form of a derivation seed"


def test_expected_profile_of_an_escrowed_seed() -> None:
    shares = [SecretShare.parse(text) for text in ESCROW["shares"]]
    profile = next(key["udf"] for key in ESCROW["keys"] if key["field"] == "ProfileSignature")
    assert recover(shares[:2], expect=profile).verified_by == f"the expected {profile}"
    other = fingerprint(public_key_of(Seed.generate(Specifier.PROFILE_ACCOUNT).derive(Algorithm.ED448)))
    with pytest.raises(ShareError, match="expected secret"):
        recover(shares, expect=other)


@given(
    secret=st.binary(min_size=1, max_size=64),
    numbers=st.integers(2, 6).flatmap(lambda t: st.tuples(st.just(t), st.integers(t, 7))),
)
@settings(max_examples=25, deadline=None)
def test_any_quorum_recovers(secret: bytes, numbers: tuple[int, int]) -> None:
    threshold, count = numbers
    shares = [SecretShare.parse(share.text) for share in split(secret, threshold, count)]
    assert recover(shares[-threshold:]).secret == secret
    assert recover(shares).secret == secret


def test_all_moduli_are_the_next_primes() -> None:
    for octets in range(1, 65):
        prime, low = prime_for(octets), 1 << 8 * octets
        assert pow(2, prime - 1, prime) == pow(3, prime - 1, prime) == 1
        between = range(low + 1, prime, 2)
        assert all(any(n % d == 0 for d in (3, 5, 7, 11, 13)) or pow(3, n - 1, n) != 1 for n in between)


def test_one_octet_secrets_need_the_redraw() -> None:
    for value in range(256):
        shares = split(bytes([value]), 2, 15)
        assert recover(shares[5:7]).secret == bytes([value])


@pytest.mark.parametrize(("threshold", "count"), [(1, 3), (0, 0), (4, 3), (2, 16), (16, 16)])
def test_impossible_numbers(threshold: int, count: int) -> None:
    with pytest.raises(UsageError):
        split(b"secret", threshold, count)


@pytest.mark.parametrize("length", [0, 65])
def test_impossible_lengths(length: int) -> None:
    with pytest.raises(UsageError):
        split(bytes(length), 2, 3)


def test_too_few_and_repeated_shares() -> None:
    shares = split(b"sixteen octets!!", 3, 5)
    with pytest.raises(ShareError, match="3 shares are needed and 2 are here"):
        recover([shares[0], shares[1], shares[1]])
    with pytest.raises(ShareError, match="no share"):
        recover([])
    assert recover([shares[0], shares[0], shares[1], shares[2]]).secret == b"sixteen octets!!"


def test_a_share_that_needs_none_gives_nothing() -> None:
    with pytest.raises(ShareError, match="says that none is needed"):
        recover([SecretShare.parse("SAAA-AAAA")])


def test_shares_of_different_sets() -> None:
    shares, other = split(b"sixteen octets!!", 3, 5), split(b"sixteen octets!!", 3, 5)
    with pytest.raises(ShareError, match="index 1"):
        recover([*shares[:3], other[0]])
    with pytest.raises(ShareError, match="needs 2 shares"):
        recover([*shares[:3], split(b"sixteen octets!!", 2, 5)[4]])
    with pytest.raises(ShareError, match="different length"):
        recover([*shares[:3], split(b"short", 3, 5)[4]])


def changed(share: SecretShare) -> SecretShare:
    return SecretShare(share.threshold, share.index, bytes([share.value[0] ^ 1]) + share.value[1:])


def test_a_changed_share_among_enough_others_is_named() -> None:
    shares = split(b"sixteen octets!!", 3, 5)
    recovered = recover([changed(shares[0]), *shares[1:]])
    assert (recovered.secret, recovered.wrong) == (b"sixteen octets!!", (1,))


def test_a_changed_share_with_one_to_spare_is_noticed() -> None:
    shares = split(b"sixteen octets!!", 3, 5)
    with pytest.raises(ShareError, match="do not belong together"):
        recover([changed(shares[0]), *shares[1:4]])


def test_an_expected_name_finds_the_changed_share() -> None:
    key = symmetric_key()
    shares = split(secret_octets(key.text), 3, 5)
    mixed = [changed(shares[0]), *shares[1:4]]
    for name in (content_id(key), symmetric_key_id(key), key.text):
        recovered = recover(mixed, expect=name)
        assert (recovered.text, recovered.wrong) == (key.text, (1,))


def test_the_form_of_a_seed_finds_the_changed_share() -> None:
    seed = Seed.generate(Specifier.PROFILE_ACCOUNT)
    shares = split(secret_octets(seed.text), 2, 3)
    recovered = recover([changed(shares[0]), *shares[1:]])
    assert (recovered.text, recovered.wrong) == (seed.text, (1,))


def test_a_seed_for_no_known_use_confirms_nothing() -> None:
    """One secret in 256 would begin like a seed if any specifier would do."""
    octets = secret_octets(Seed.generate(Specifier.PROFILE_ACCOUNT).text)
    unknown = octets[:1] + b"\x7f\xff" + octets[3:]
    assert recover(split(octets, 2, 2)).verified_by == "the form of a derivation seed"
    assert recover(split(unknown, 2, 2)).verified_by == ""


def test_names_of_secrets() -> None:
    seed, key = Seed.generate(Specifier.PROFILE_DEVICE), symmetric_key()
    profile = fingerprint(public_key_of(seed.derive(Algorithm.ED25519, "BaseDeviceProfile")))
    assert is_named(secret_octets(seed.text), profile)
    assert not is_named(secret_octets(key.text), profile)
    assert secret_udf(b"\0\0" + secret_octets(seed.text)).text == seed.text
    with pytest.raises(InvalidName):
        is_named(key.data, "not a name!")
    with pytest.raises(InvalidName):
        secret_octets("NDD7-6CMX-H2FW-ISAL-K4VB-DQ3E-PEDM")


@pytest.mark.parametrize("text", ["NDD7-6CMX-H2FW-ISAL-K4VB-DQ3E-PEDM", "SAYC", "S" + "A" * 110])
def test_what_is_not_a_share(text: str) -> None:
    with pytest.raises(ShareError):
        SecretShare.parse(text)


def test_shares_and_secrets_are_not_shown() -> None:
    share = split(b"sixteen octets!!", 2, 2)[0]
    assert share.value.hex() not in repr(share)
    assert "sixteen" not in repr(recover(split(b"sixteen octets!!", 2, 2)))
