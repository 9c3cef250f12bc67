"""Signing with a TPM through `Key.sign` against the vendor library's own calls, and what encryption costs."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing

from tpm2_pytss import (
    ESAPI,
    TPM2_ALG,
    TPM2_RH,
    TPM2_ST,
    TPM2B_PUBLIC,
    TPM2B_SENSITIVE_CREATE,
    TPMS_SCHEME_HASH,
    TPMT_SIG_SCHEME,
    TPMT_TK_HASHCHECK,
    TPMU_SIG_SCHEME,
)

from benchmarks.harness import Figure
from meshhw.algorithms import Algorithm
from meshhw.conformance.independent import Partner
from meshhw.keystore.api import Agrees, Generates, Key, KeySpec, OpenOptions, Seals, Signs, Token
from meshhw.keystore.home import VARIABLE
from meshhw.keystore.registry import open_token
from meshhw.keystore.uri import TokenURI
from meshhw.lab.swtpm import SoftwareTpm

MESSAGE = b"0123456789abcdef" * 2
DIGEST = hashlib.sha256(MESSAGE).digest()
HASH = TPMS_SCHEME_HASH(hashAlg=TPM2_ALG.SHA256)
SCHEME = TPMT_SIG_SCHEME(scheme=TPM2_ALG.ECDSA, details=TPMU_SIG_SCHEME(ecdsa=HASH))
TICKET = TPMT_TK_HASHCHECK(tag=TPM2_ST.HASHCHECK, hierarchy=TPM2_RH.NULL)
RAW = "ESAPI by tpm2-pytss"


def figures() -> Iterator[Figure]:
    """Loaded and persistent keys; agreement and unsealing with and without encrypted sessions."""
    with tempfile.TemporaryDirectory() as home, SoftwareTpm() as tpm:
        os.environ[VARIABLE] = home
        with closing(_open(tpm, "on")) as token, ESAPI(tpm.direct) as esapi:
            yield from _loaded(token, esapi)
            yield _persistent(token, esapi)
        with closing(_open(tpm, "on")) as closed, closing(_open(tpm, "off")) as plain:
            yield from _encrypted(closed, plain)


def _loaded(token: Token, esapi: ESAPI) -> Iterator[Figure]:
    ours = _sign(_generate(token))
    parent, *_ = esapi.create_primary(TPM2B_SENSITIVE_CREATE(), "ecc256:aes128cfb")
    template = TPM2B_PUBLIC.parse("ecc256", nameAlg=TPM2_ALG.SHA256)
    private, public, *_ = esapi.create(parent, TPM2B_SENSITIVE_CREATE(), template)

    def theirs() -> bytes:
        handle = esapi.load(parent, private, public)
        try:
            return _raw_sign(esapi, handle)
        finally:
            esapi.flush_context(handle)

    yield Figure("warm P-256 sign, `Key.sign`", ours, theirs, f"Load, Sign, Flush: {RAW}", 1.2, 41, 10)
    esapi.flush_context(parent)


def _persistent(token: Token, esapi: ESAPI) -> Figure:
    key = _generate(token, place="persistent")
    handle = esapi.tr_from_tpmpublic(int(key.uri.attributes["handle"], 16))
    ours = _sign(key)

    return Figure(
        "the same with a persistent key", ours, lambda: _raw_sign(esapi, handle), f"Sign: {RAW}", None, 41, 10
    )


def _encrypted(closed: Token, plain: Token) -> Iterator[Figure]:
    """Two tokens of one TPM, whose URIs differ in the switch."""
    peer = Partner.new(Algorithm.P256).public
    on, off = _generate(closed), _generate(plain)
    assert isinstance(on, Agrees)
    assert isinstance(off, Agrees)
    without = "`sessions=off`"
    yield Figure("warm P-256 agree", lambda: on.agree(peer), lambda: off.agree(peer), without, None, 21, 5)
    assert isinstance(closed, Seals)
    assert isinstance(plain, Seals)
    blob = closed.seal(MESSAGE, b"bench")
    yield Figure(
        "unseal 32 octets",
        lambda: closed.unseal(blob, b"bench"),
        lambda: plain.unseal(blob, b"bench"),
        without,
        None,
        21,
        5,
    )


def _raw_sign(esapi: ESAPI, handle: object) -> bytes:
    made = esapi.sign(handle, DIGEST, SCHEME, TICKET)
    pair = made.signature.ecdsa
    return bytes(pair.signatureR) + bytes(pair.signatureS)


def _open(tpm: SoftwareTpm, sessions: str) -> Token:
    return open_token(TokenURI.make("tpm2", {"sessions": sessions}, tcti=tpm.direct), OpenOptions())


def _generate(token: Token, place: str | None = None) -> Key:
    assert isinstance(token, Generates)
    return token.generate(KeySpec(Algorithm.P256, "bench", place=place))


def _sign(key: Key) -> Callable[[], object]:
    assert isinstance(key, Signs)
    return lambda: key.sign(MESSAGE)
