"""`meshhw udf`: names of data and keys, and secrets in shares."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from meshhw.cli.common import context, verbs
from meshhw.cli.secrets import read_secret, read_secrets

app = verbs("Fingerprints, nonces, secrets and their shares (UDF).")


class SeedOf(StrEnum):
    """The profiles that a seed can be for."""

    DEVICE = "device"
    ACCOUNT = "account"
    SERVICE = "service"


_Bits = Annotated[int, typer.Option(help="Precision in bits, the type octet counted (at most 440).")]
_BITS = 140


@app.command("digest")
def digest(
    file: Annotated[str, typer.Argument(metavar="FILE", help="The content; - is stdin.")],
    content_type: Annotated[str, typer.Option("--type", help="Its IANA content type.")] = "",
    bits: _Bits = _BITS,
    sha3: Annotated[bool, typer.Option("--sha3", help="SHA-3-512 in place of SHA-2-512.")] = False,
    key: Annotated[str | None, typer.Option(help="Make an authenticator under this UDF; -, @FILE.")] = None,
) -> None:
    """The fingerprint of a file's content, or its authenticator under a key."""
    from meshhw.cli.inputs import read_octets
    from meshhw.udf.digest import authenticator, content_digest
    from meshhw.udf.form import Kind

    data = read_octets(file)
    if key is not None:
        name = authenticator(data, content_type, read_secret(key, "key"), bits=bits)
    else:
        kind = Kind.DIGEST_SHA3 if sha3 else Kind.DIGEST_SHA2
        name = content_digest(data, content_type, kind=kind, bits=bits)
    context().output.show({"udf": name}, name)


@app.command("key")
def key_fingerprint(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A public or private key file.")],
    bits: _Bits = _BITS,
    old: Annotated[bool, typer.Option("--old", help="As keys were named until July 2020.")] = False,
) -> None:
    """The fingerprint of the key in a file (PEM, or the Mesh's JSON)."""
    from meshhw.cli.inputs import public_key_in
    from meshhw.udf.key import Era, fingerprint

    public = public_key_in(file)
    name = fingerprint(public, era=Era.X509_KEYINFO if old else Era.CURRENT, bits=bits)
    context().output.show({"udf": name, "algorithm": public.algorithm}, name)


@app.command("nonce")
def nonce() -> None:
    """A fresh random nonce."""
    from meshhw.udf.secret import nonce as fresh

    name = fresh().text
    context().output.show({"udf": name}, name)


@app.command("secret")
def secret(
    seed_of: Annotated[
        SeedOf | None, typer.Option("--seed-of", help="A seed, from which such a profile's keys derive.")
    ] = None,
) -> None:
    """A fresh random symmetric key, or a seed of keys. Keep it secret."""
    from meshhw.udf.secret import symmetric_key
    from meshhw.udf.seed import Seed, Specifier

    if seed_of is None:
        name = symmetric_key().text
    else:
        name = Seed.generate(Specifier[f"PROFILE_{seed_of.name}"]).text
    context().output.show({"udf": name}, name)


@app.command("split")
def split(
    secret: Annotated[str, typer.Argument(metavar="SECRET", help="A key or seed UDF; -, @FILE, or typed.")],
    threshold: Annotated[int, typer.Option("-t", "--threshold", help="How many shares give it again.")],
    count: Annotated[int, typer.Option("-n", "--shares", help="How many shares are made (at most 15).")],
) -> None:
    """Split a secret into shares, of which any T give it again and fewer tell nothing."""
    from meshhw.threshold.recovery import secret_octets
    from meshhw.threshold.secret import split as deal

    shares = [share.text for share in deal(secret_octets(read_secret(secret)), threshold, count)]
    context().output.show({"threshold": threshold, "shares": shares}, "\n".join(shares))


@app.command("recover")
def recover(
    shares: Annotated[list[str], typer.Argument(metavar="SHARE...", help="The shares; -, @FILE, or typed.")],
    expect: Annotated[
        str | None, typer.Option(metavar="UDF", help="A name that the secret must have.")
    ] = None,
) -> None:
    """Put a secret together from its shares."""
    from meshhw.threshold.recovery import recover as combine
    from meshhw.threshold.secret import SecretShare

    cli = context()
    found = combine([SecretShare.parse(text) for text in read_secrets(shares, "share")], expect)
    if found.wrong:
        cli.output.note(f"share {', '.join(map(str, found.wrong))} does not belong to the secret")
    if not found.verified_by:
        cli.output.note("nothing confirms this secret; one more share, or --expect UDF, would")
    value = {"udf": found.text, "verified_by": found.verified_by, "wrong": list(found.wrong)}
    cli.output.show(value, found.text)


@app.command("earl")
def earl(
    domain: Annotated[
        str, typer.Argument(metavar="DOMAIN", help="Where the content is found, such as example.com.")
    ],
    key: Annotated[
        str | None, typer.Option(help="The symmetric key; -, @FILE. Default: a fresh one.")
    ] = None,
) -> None:
    """An encrypted locator: a link that finds content at a domain and decrypts it. Keep it secret."""
    from meshhw.udf.form import UDF
    from meshhw.udf.locator import content_id
    from meshhw.udf.locator import earl as locate
    from meshhw.udf.secret import symmetric_key

    secret = symmetric_key() if key is None else UDF.parse(read_secret(key, "key"))
    locator = str(locate(domain, secret))
    value = {"earl": locator, "key": secret.text, "content_id": content_id(secret)}
    context().output.show(value, locator)


@app.command("sin")
def sin(
    address: Annotated[str, typer.Argument(metavar="ADDRESS", help="user@domain")],
    udf: Annotated[str, typer.Argument(metavar="UDF", help="The fingerprint that the address shall carry.")],
) -> None:
    """A strong internet name: an address that carries the fingerprint of what must answer to it."""
    from meshhw.udf.locator import strong_name

    name = strong_name(address, udf)
    context().output.show({"sin": name}, name)


@app.command("parse")
def parse(
    udf: Annotated[
        str,
        typer.Argument(
            metavar="UDF",
            help="The UDF, a udf: or mcu: URI, or a strong internet name; -, @FILE when it is a secret.",
        ),
    ],
) -> None:
    """What a UDF is: its kind, its canonical form, its precision, and where it is found if that is told."""
    from meshhw.udf.locator import locate

    found, place = locate(read_secret(udf, "UDF") if udf == "-" or udf.startswith("@") else udf.strip())
    value = {
        "udf": found.text,
        "kind": found.kind.name.lower().replace("_", "-"),
        "secret": found.kind.is_secret,
        "bits": 5 * len(found.text.replace("-", "")),
        "compression": found.compression if found.kind.is_digest else None,
        "at": place or None,
    }
    rows = [f"{name}: {told}" for name, told in value.items() if told is not None]
    context().output.show(value, "\n".join(rows))
