"""A private key in this process's memory, for `--key FILE` and for reading what the drafts' examples wrote.

It agrees and signs like a token's key, also with what no token takes: raw scalars, seeds of 56 octets, and
agreement on a signature key's curve.
"""

from __future__ import annotations

from contextlib import AbstractContextManager

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from meshhw.algorithms import Algorithm, Family, Operation, PrivateKey, PublicKey, SecretForm
from meshhw.curves.check import decode_checked
from meshhw.curves.eddsa import edwards_curve, expand, from_scalar, sign
from meshhw.curves.multiply import multiply
from meshhw.curves.named import curve_named
from meshhw.errors import NotSupported
from meshhw.keystore.log import NULL_RECORDER, UseRecorder, in_memory, recorded
from meshhw.privkeys import public_key_of, scalar_of
from meshhw.udf import fingerprint

NIST = {
    Algorithm.P256: (ec.SECP256R1(), hashes.SHA256(), curve_named("P-256").order),
    Algorithm.P384: (ec.SECP384R1(), hashes.SHA384(), curve_named("P-384").order),
}


class LocalKey:
    """A private key that lies in memory for as long as this object does; `recorder` is told of its uses."""

    def __init__(self, private: PrivateKey, recorder: UseRecorder = NULL_RECORDER) -> None:
        self._private = private
        self._recorder = recorder
        self.public: PublicKey = public_key_of(private)

    def __repr__(self) -> str:
        return f"LocalKey({self.public.algorithm})"

    def agree(self, peer: PublicKey) -> bytes:
        """The raw coordinate; on an Edwards curve the encoded point (the drafts' examples). Raises
        InvalidPublicKey, NotSupported."""
        with self._recorded(Operation.AGREE):
            return self._agreed(peer)

    def sign(self, message: bytes) -> bytes:
        """Pure EdDSA, or ECDSA as r || s with s low. Raises NotSupported."""
        with self._recorded(Operation.SIGN):
            return self._signature(message)

    def _recorded(self, operation: Operation) -> AbstractContextManager[None]:
        return recorded(self._recorder, in_memory(fingerprint(self.public)), operation)

    def _agreed(self, peer: PublicKey) -> bytes:
        if peer.algorithm is not self.public.algorithm:
            raise NotSupported(f"a key of {self.public.algorithm} cannot agree with one of {peer.algorithm}")
        point = decode_checked(curve_named(peer.algorithm), peer.octets)
        result = multiply(point, scalar_of(self._private))
        return result.encode() if peer.algorithm.family is Family.EDWARDS else result.x_octets()

    def _signature(self, message: bytes) -> bytes:
        algorithm = self.public.algorithm
        if algorithm.family is Family.EDWARDS:
            curve = edwards_curve(algorithm)
            if self._private.form is SecretForm.SCALAR:
                return sign(from_scalar(curve, scalar_of(self._private)), message)
            return sign(expand(curve, self._private.octets), message)
        if algorithm not in NIST:
            raise NotSupported(f"a key of {algorithm} does not sign")
        curve_object, digest, order = NIST[algorithm]
        key = ec.derive_private_key(scalar_of(self._private), curve_object)
        r, s = decode_dss_signature(key.sign(message, ec.ECDSA(digest)))
        return r.to_bytes(algorithm.field_length, "big") + min(s, order - s).to_bytes(
            algorithm.field_length, "big"
        )
