"""UDFs in URIs and domain names: names, locators, encrypted locators (EARL), connection URIs and strong
internet names.

An EARL is a bearer secret: whoever reads it can fetch and decrypt. It is made for its recipient and never
logged.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from meshhw.errors import InvalidName
from meshhw.udf.digest import content_digest
from meshhw.udf.form import UDF, Kind

CONTENT_ID_BITS = 280
_SIN_PREFIX = "mm--"
_SIN_LABEL_LIMIT = 63
_LABEL = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
_MAX_DOMAIN = 253
_CONTENT_TYPE = "UDFEncryption"
_OLD_CONTENT_TYPE = "application/udf-encryption"


@dataclass(frozen=True, slots=True)
class Locator:
    """A `udf:` URI: `domain` is empty in the name form."""

    udf: UDF
    domain: str = ""
    query: str = ""
    fragment: str = ""

    @classmethod
    def parse(cls, uri: str) -> Locator:
        """Read `udf:UDF` or `udf://domain/UDF`. Raises InvalidName for user names, ports and addresses in
        digits.
        """
        try:
            parts = urlsplit(uri)
        except ValueError as error:
            raise InvalidName("this is not a udf: URI") from error
        if parts.scheme != "udf":
            raise InvalidName("this is not a udf: URI", hint="udf:UDF or udf://domain/UDF")
        if not parts.netloc:
            return cls(UDF.parse(parts.path), "", parts.query, parts.fragment)
        udf = UDF.parse(parts.path.removeprefix("/"))
        return cls(udf, check_domain(parts.netloc), parts.query, parts.fragment)

    def __str__(self) -> str:
        place = f"//{self.domain}/" if self.domain else ""
        query = f"?{self.query}" if self.query else ""
        return f"udf:{place}{self.udf}{query}" + (f"#{self.fragment}" if self.fragment else "")


def earl(domain: str, key: UDF) -> Locator:
    """The encrypted locator of a symmetric key (type E) at a domain. Raises InvalidName."""
    if key.kind not in (Kind.SYMMETRIC, Kind.SYMMETRIC_SIGNED):
        raise InvalidName("an EARL is made of a symmetric key (type E)")
    return Locator(key, check_domain(domain))


def content_id(source: UDF | str, *, old_era: bool = False) -> str:
    """The public name under which a server keeps what an EARL's key decrypts (280 bits).

    It is the digest of the key's presentation exactly as written, so a text is hashed as it stands.
    """
    text = source.text if isinstance(source, UDF) else source
    content_type = _OLD_CONTENT_TYPE if old_era else _CONTENT_TYPE
    return content_digest(text.encode("ascii"), content_type, bits=CONTENT_ID_BITS)


def connection_uri(account: str, secret: UDF) -> str:
    """`mcu://user@domain/SECRET`: how a device is told the PIN (type A) or publication key (type E) to
    connect with.

    Raises InvalidName.
    """
    if secret.kind not in (Kind.AUTHENTICATOR, Kind.SYMMETRIC):
        raise InvalidName("a connection URI holds a PIN (type A) or a key (type E)")
    user, domain = split_address(account)
    return f"mcu://{user}@{domain}/{secret}"


def parse_connection_uri(uri: str) -> tuple[str, UDF]:
    """The account address and the secret of an `mcu:` URI. Raises InvalidName."""
    scheme, _, rest = uri.partition("://")
    address, slash, secret = rest.partition("/")
    if scheme.lower() != "mcu" or not slash:
        raise InvalidName("this is not a connection URI", hint="mcu://user@domain/PIN")
    user, domain = split_address(address)
    return f"{user}@{domain}", UDF.parse(secret)


def locate(text: str) -> tuple[UDF, str]:
    """The UDF in any of the forms in which people meet one, and the domain or address that stands with it:
    the UDF alone, a `udf:` or `mcu:` URI, or a strong internet name. Raises InvalidName.
    """
    if text.startswith("udf:"):
        found = Locator.parse(text)
        return found.udf, found.domain
    if text.lower().startswith("mcu:"):
        address, secret = parse_connection_uri(text)
        return secret, address
    if "@" not in text:
        return UDF.parse(text), ""
    address, udf = split_strong_name(text)
    if udf is None:
        raise InvalidName("no fingerprint is in this address", hint="user@mm--FINGERPRINT.domain")
    return udf, address


def strong_name(address: str, udf: str) -> str:
    """`user@mm--udf.domain`: an address that carries the fingerprint of what must answer to it. Raises
    InvalidName.
    """
    name = UDF.parse(udf)
    if not name.kind.is_digest:
        raise InvalidName("only a fingerprint (type M or K) strengthens a name")
    label = _SIN_PREFIX + name.text.lower()
    if len(label) > _SIN_LABEL_LIMIT:
        raise InvalidName("the fingerprint is too long for a domain label", hint="use at most 240 bits")
    user, domain = split_address(address)
    return f"{user}@{label}.{domain}"


def split_strong_name(address: str) -> tuple[str, UDF | None]:
    """The plain address and the fingerprint of a strong internet name, None if it has none. Raises
    InvalidName.
    """
    user, at, domain = address.rpartition("@")
    labels = domain.split(".")
    strong = [label for label in labels if label.lower().startswith(_SIN_PREFIX)]
    if len(strong) > 1:
        raise InvalidName("an address has at most one fingerprint")
    plain = ".".join(label for label in labels if label not in strong)
    udf = UDF.parse(strong[0][len(_SIN_PREFIX) :]) if strong else None
    return user + at + check_domain(plain), udf


def split_address(address: str) -> tuple[str, str]:
    """The user and the domain of an account address, the domain in lower case. Raises InvalidName."""
    user, at, domain = address.partition("@")
    if not at or not user or len(user) > 64 or not user.isprintable() or set(user) & set(" /?#@:"):
        raise InvalidName(f"{address!r} is not an account address", hint="user@domain")
    return user, check_domain(domain)


def check_domain(domain: str) -> str:
    """The domain in lower case. Raises InvalidName for an address in digits, a port, or a malformed label."""
    labels = domain.split(".")
    if len(domain) > _MAX_DOMAIN or not all(_LABEL.fullmatch(label) for label in labels):
        raise InvalidName(f"{domain!r} is not a domain name")
    if labels[-1].isdigit():
        raise InvalidName(f"{domain!r} is an address, not a domain name")
    return domain.lower()
