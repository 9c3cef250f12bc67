"""TPM 2.0 key files: `TSS2 PRIVATE KEY` PEM, as OpenSSL's TPM providers and other tools read and write them.

    TPMKey ::= SEQUENCE { type OBJECT IDENTIFIER, emptyAuth [0] BOOLEAN OPTIONAL,
        policy [1] SEQUENCE OF TPMPolicy OPTIONAL, secret [2] OCTET STRING OPTIONAL,
        authPolicy [3] OPTIONAL, description [4] UTF8String OPTIONAL, rsaParent [5] BOOLEAN OPTIONAL,
        parent INTEGER, pubkey OCTET STRING, privkey OCTET STRING }

Optional fields are written only where they are needed, since older tools know the first two alone; a label
stands before the PEM as explanatory text (RFC 7468 section 2).
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass, field

from meshhw.errors import FormatError, NotSupported
from meshhw.keystore.tpm_public import PublicArea, parse_sized_public
from meshhw_tpm import der
from meshhw_tpm.der import Elements

MAX_OCTETS = 16384
MAX_STEPS = 8
RH_OWNER = 0x40000001
LOADABLE = bytes.fromhex("6781050a0103")  # 2.23.133.10.1.3
IMPORTABLE = bytes.fromhex("6781050a0104")
SEALED = bytes.fromhex("6781050a0105")
_BEGIN, _END = "-----BEGIN TSS2 PRIVATE KEY-----", "-----END TSS2 PRIVATE KEY-----"
_LABEL = re.compile(r"^Label: (.*)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class PolicyStep:
    """One policy command: its code and its parameters as the TPM takes them, handles left out."""

    command: int
    parameters: bytes = b""


@dataclass(frozen=True, slots=True)
class KeyFile:
    """An object that a TPM wrapped for itself; `public` and `private` are TPM2B, with their sizes."""

    public: bytes = field(repr=False)
    private: bytes = field(repr=False)
    empty_auth: bool = True
    parent: int = RH_OWNER
    policy: tuple[PolicyStep, ...] = ()
    label: str = ""
    kind: bytes = LOADABLE

    @property
    def area(self) -> PublicArea:
        """The public area. Raises FormatError."""
        return parse_sized_public(self.public)


def to_der(key: KeyFile) -> bytes:
    """The TPMKey in DER."""
    body = der.encode(der.OBJECT_ID, key.kind)
    body += der.explicit(0, der.encode(der.BOOLEAN, b"\xff" if key.empty_auth else b"\0"))
    if key.policy:
        steps = b"".join(_step(step) for step in key.policy)
        body += der.explicit(1, der.encode(der.SEQUENCE, steps))
    body += der.integer(key.parent)
    body += der.encode(der.OCTETS, key.public) + der.encode(der.OCTETS, key.private)
    return der.encode(der.SEQUENCE, body)


def from_der(octets: bytes, label: str = "") -> KeyFile:
    """Read a TPMKey. Raises FormatError, NotSupported for a kind or an option that is not known here."""
    if len(octets) > MAX_OCTETS:
        raise FormatError(f"a TPM key file has at most {MAX_OCTETS} octets")
    outer = Elements(octets)
    fields = Elements(outer.take(der.SEQUENCE))
    outer.end()
    kind = fields.take(der.OBJECT_ID)
    if kind not in (LOADABLE, SEALED):
        raise NotSupported("this TPM key file must be imported by the tool that made it")
    empty_auth = _flag(fields.take_explicit(0))
    policy = _policy(fields.take_explicit(1))
    if fields.take_explicit(2) is not None or fields.take_explicit(3) is not None:
        raise NotSupported("a TPM key file with an import secret or an authorised policy cannot be used here")
    described = fields.take_explicit(4)
    if _flag(fields.take_explicit(5)):
        raise NotSupported("a TPM key file below an RSA parent cannot be used here")
    parent = fields.take_integer()
    public, private = fields.take(der.OCTETS), fields.take(der.OCTETS)
    fields.end()
    found = KeyFile(public, private, empty_auth, parent, policy, label or _text(described), kind)
    parse_sized_public(public)
    return found


def to_pem(key: KeyFile) -> bytes:
    """The PEM file, with the label before it."""
    body = base64.b64encode(to_der(key)).decode()
    lines = [body[start : start + 64] for start in range(0, len(body), 64)]
    printable = "".join(character if character.isprintable() else "?" for character in key.label)
    text = ([f"Label: {printable}"] if printable else []) + [_BEGIN, *lines, _END]
    return "\n".join(text).encode() + b"\n"


def from_pem(octets: bytes) -> KeyFile:
    """Read a PEM file. Raises FormatError, NotSupported."""
    if len(octets) > 2 * MAX_OCTETS:
        raise FormatError("the file is too large for a TPM key")
    try:
        text = octets.decode()
    except UnicodeDecodeError as error:
        raise FormatError("a PEM file is text, and this one is not") from error
    before, begin, rest = text.partition(_BEGIN)
    body, end, _ = rest.partition(_END)
    if not begin or not end:
        raise FormatError("the file holds no TSS2 PRIVATE KEY")
    try:
        content = base64.b64decode("".join(body.split()), validate=True)
    except binascii.Error as error:
        raise FormatError("the PEM's base 64 is broken") from error
    label = _LABEL.search(before)
    return from_der(content, label.group(1).strip() if label else "")


def _step(step: PolicyStep) -> bytes:
    code = der.explicit(0, der.integer(step.command))
    return der.encode(der.SEQUENCE, code + der.explicit(1, der.encode(der.OCTETS, step.parameters)))


def _policy(element: bytes | None) -> tuple[PolicyStep, ...]:
    if element is None:
        return ()
    outer = Elements(element)
    steps = Elements(outer.take(der.SEQUENCE))
    outer.end()
    found: list[PolicyStep] = []
    while steps.more():
        if len(found) == MAX_STEPS:
            raise FormatError(f"a key's policy has at most {MAX_STEPS} steps")
        found.append(_read_step(Elements(steps.take(der.SEQUENCE))))
    return tuple(found)


def _read_step(step: Elements) -> PolicyStep:
    code, parameters = step.take_explicit(0), step.take_explicit(1)
    step.end()
    if code is None or parameters is None:
        raise FormatError("a policy step lacks its command or its parameters")
    return PolicyStep(Elements(code).take_integer(), Elements(parameters).take(der.OCTETS))


def _flag(element: bytes | None) -> bool:
    return element is not None and Elements(element).take(der.BOOLEAN) not in (b"", b"\0")


def _text(element: bytes | None) -> str:
    if element is None:
        return ""
    try:
        return Elements(element).take(der.UTF8).decode()
    except UnicodeDecodeError as error:
        raise FormatError("a description is not UTF-8") from error
