"""Private keys derived from seeds: published profiles, the drafts' printed examples, activations."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from meshhw.algorithms import Algorithm, PrivateKey, SecretForm
from meshhw.curves.named import curve_named
from meshhw.errors import FormatError, InvalidName, NotSupported
from meshhw.privkeys import public_key_of, public_point_of, scalar_of
from meshhw.udf.key import fingerprint
from meshhw.udf.seed import Formula, Seed, Specifier

FOLDER = Path(__file__).parents[1] / "vectors"


def load(name: str) -> Any:
    return json.loads((FOLDER / f"{name}.json").read_text())


def unbase64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


DERIVED = load("crypto_udf_derive")
PROFILES = [
    (profile["seed_udf"], key)
    for profile in (load("schema_device_seed_preconfigured"), load("schema_account_seed_alice"))
    for key in profile["keys"]
]


def ids(entry: dict[str, Any]) -> str:
    return str(entry["id"])


@pytest.mark.parametrize("vector", [v for v in DERIVED if "okm_published" in v], ids=ids)
def test_printed_examples_use_the_old_formula(vector: dict[str, Any]) -> None:
    seed, algorithm = Seed.parse(vector["udf"]), Algorithm.parse(vector["crv"])
    assert seed.data.hex() == vector["ikm"]
    assert seed.derive(algorithm, formula=Formula.SALT_IS_TARGET).octets.hex() == vector["okm_published"]
    assert seed.derive(algorithm).octets.hex() == vector["okm_formula_B"]


@pytest.mark.parametrize("name", ["P-256", "P-384"])
def test_printed_nist_examples(name: str) -> None:
    vector = next(v for v in DERIVED if v["id"] == "draft-" + name.replace("-", ""))
    private = Seed.parse(vector["udf"]).derive(Algorithm(name), formula=Formula.SALT_IS_TARGET)
    assert int.from_bytes(private.octets, "big") == int(vector["d_published"])


@pytest.mark.parametrize("vector", [v for v in DERIVED if "scalar" in v and "seed" in v], ids=ids)
def test_keys_of_the_reference(vector: dict[str, Any]) -> None:
    private = Seed.parse(vector["udf"]).derive(Algorithm.parse(vector["crv"]))
    public = public_key_of(private)
    assert private.octets.hex() == vector["seed"]
    assert scalar_of(private) == int(vector["scalar"]) % curve_named(vector["crv"]).order
    assert (public.octets.hex(), fingerprint(public)) == (vector["public"], vector["key_udf"])


@pytest.mark.parametrize("vector", [v for v in DERIVED if "base_udf" in v], ids=ids)
def test_activated_keys_of_the_reference(vector: dict[str, Any]) -> None:
    algorithm = Algorithm.parse(vector["crv"])
    parts = [
        Seed.parse(vector[f"{part}_udf"]).derive(algorithm, vector[f"{part}_name"])
        for part in ("base", "activation")
    ]
    combined = sum(map(scalar_of, parts)) % curve_named(algorithm).order
    assert combined == int(vector["combined_scalar"])
    point = public_point_of(parts[0]) + public_point_of(parts[1])
    assert point.encode().hex() == vector["combined_public"]
    length = 57 if algorithm is Algorithm.ED448 else 56
    composed = PrivateKey(algorithm, combined.to_bytes(length, "little"), SecretForm.SCALAR)
    assert fingerprint(public_key_of(composed)) == vector["key_udf"]


@pytest.mark.parametrize(
    ("seed", "vector"), PROFILES, ids=lambda v: v["key_name"] if isinstance(v, dict) else ""
)
def test_published_profiles(seed: str, vector: dict[str, Any]) -> None:
    private = Seed.parse(seed).derive(Algorithm.parse(vector["crv"]), vector["key_name"])
    public = public_key_of(private)
    assert private.octets == unbase64(vector["derived_secret"])
    assert public.octets == unbase64(vector["public"])
    assert fingerprint(public) == vector["udf"]


@pytest.mark.parametrize("vector", load("schema_activation_alice2")["keys"], ids=lambda v: str(v["use"]))
def test_published_activation(vector: dict[str, Any]) -> None:
    algorithm = Algorithm.parse(vector["crv"])
    seed = Seed.parse(load("schema_activation_alice2")["activation_seed"])
    activation = seed.derive(algorithm, vector["activation_key_name"])
    assert public_key_of(activation).octets == unbase64(vector["activation_public"])
    base = curve_named(algorithm).decode(unbase64(vector["base_public"]))
    assert (base + public_point_of(activation)).encode() == unbase64(vector["combined_public"])


@pytest.mark.parametrize("vector", load("crypto_jose_private"), ids=ids)
def test_published_private_keys(vector: dict[str, Any]) -> None:
    private = PrivateKey(Algorithm.parse(vector["priv_crv"]), bytes.fromhex(vector["private_hex"]))
    public = public_key_of(private)
    assert public.octets.hex() == vector["public_hex"]
    assert fingerprint(public) == vector["udf"]


@pytest.mark.parametrize("vector", load("crypto_jose_direct_scalar"), ids=ids)
def test_raw_scalars_are_not_clamped(vector: dict[str, Any]) -> None:
    private = PrivateKey(Algorithm.X448, bytes.fromhex(vector["private_hex"]), SecretForm.SCALAR)
    assert scalar_of(private) == int(vector["scalar"])
    public = public_key_of(private)
    assert public.octets.hex() == vector["public_extended_if_raw_scalar"]
    assert fingerprint(public) == vector["key_udf_if_raw"]


@pytest.mark.parametrize("algorithm", ["X25519", "X448", "Ed25519", "Ed448", "P-256", "P-384"])
def test_fresh_seeds_give_keys_of_every_curve(algorithm: str) -> None:
    seed = Seed.generate(Specifier.PROFILE_DEVICE)
    assert seed.text.startswith("ZAAQ")
    assert Seed.parse(seed.text) == seed
    first, second = (
        seed.derive(Algorithm(algorithm), name) for name in ("BaseDeviceSign", "BaseDeviceEncrypt")
    )
    assert public_key_of(first) != public_key_of(second)
    assert seed.octets.hex() not in repr(seed)


def test_misuse() -> None:
    seed = Seed.generate(Specifier.ANY)
    with pytest.raises(NotSupported):
        seed.derive(Algorithm.RSA2048)
    with pytest.raises(InvalidName):
        Seed.parse("NDD7-6CMX-H2FW-ISAL-K4VB-DQ3E-PEDM")
    with pytest.raises(FormatError):
        public_key_of(PrivateKey(Algorithm.P256, bytes(32)))
    with pytest.raises(FormatError):
        public_key_of(PrivateKey(Algorithm.X25519, bytes(31)))
    with pytest.raises(NotSupported):
        public_key_of(PrivateKey(Algorithm.RSA2048, b""))
