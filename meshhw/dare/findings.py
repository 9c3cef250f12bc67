"""What a reader accepted that this project would not have written, told to the caller by type."""

from __future__ import annotations

from enum import StrEnum


class Finding(StrEnum):
    """One thing to know of an envelope that was read. The value is what a person is told."""

    UNSIGNED = "nobody signed it: anyone who knows a reader's public key may have written it"
    PLAINTEXT_UNSIGNED = "it is neither encrypted nor signed: anyone may have written or changed it"
    HEADER_UNPROTECTED = "its header (names, types, dates) is protected by nothing"
    BODY_WITHOUT_MAC = "its body is AES-CBC without a MAC (the form of 2022)"
    SIGNER_UNKNOWN = "a signature could not be checked: the signer's public key is not at hand"
    SIGNATURE_COVERS_BODY_ONLY = "its signature covers the body alone (the form of 2022)"
    ED25519_EMPTY_CONTEXT = "a signature is Ed25519ctx with an empty context, as the reference wrote it"
    KEK_INFO_MASTER = "its key was wrapped under the info text `master` of the early drafts"
    EDWARDS_AGREEMENT = (
        "its key was agreed on a signature key (Ed25519 or Ed448), as the drafts' examples did"
    )
    WITNESS_WRONG = "the signature's witness does not fit: the signer may not have known the plaintext"
    OLDER_FINGERPRINT = "a key is named by the kind of fingerprint that was used until 2020"
    OLDER_NAMES = "its header uses the member names of older drafts"
    HEADER_NOT_CHECKED = "it was not decrypted, so its header's MAC was not checked"
