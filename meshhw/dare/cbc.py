"""The body of 2022: AES-256-CBC with PKCS #7 padding and no MAC. Read always, written with `compat` alone.

Whoever decrypts must have checked a signature first, or tell that nothing protects the text; a padding fault
is told like any other.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import BinaryIO

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.padding import PKCS7

from meshhw.errors import DecryptionFailed

BLOCK = 16
_READ = 1 << 20


def stored_length(plain: int) -> int:
    """Octets of the body of a plaintext of this length; padding is always added."""
    return BLOCK * (1 + plain // BLOCK)


def encrypt_stream(key: bytes, iv: bytes, source: BinaryIO) -> Iterator[bytes]:
    """The stored body of everything that `source` gives."""
    encryptor = Cipher(algorithms.AES256(key), modes.CBC(iv)).encryptor()
    padder = PKCS7(8 * BLOCK).padder()
    while piece := source.read(_READ):
        yield encryptor.update(padder.update(piece))
    yield encryptor.update(padder.finalize()) + encryptor.finalize()


def decrypt_stream(
    key: bytes, iv: bytes, pieces: Iterable[bytes | bytearray | memoryview]
) -> Iterator[bytes]:
    """The plaintext. Raises DecryptionFailed, one error for every fault."""
    decryptor = Cipher(algorithms.AES256(key), modes.CBC(iv)).decryptor()
    unpadder = PKCS7(8 * BLOCK).unpadder()
    for piece in pieces:
        yield unpadder.update(decryptor.update(piece))
    try:
        yield unpadder.update(decryptor.finalize()) + unpadder.finalize()
    except ValueError as error:
        raise DecryptionFailed("the body does not decrypt") from error
