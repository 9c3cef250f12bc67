"""What a token can do: its mechanism list, and what is known of modules whose list does not say it all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pkcs11 import KeyType, Mechanism
from pkcs11.exceptions import PKCS11Error

from meshhw.algorithms import Algorithm, Family, Operation, Tier
from meshhw.keystore.api import Capabilities
from meshhw_pkcs11 import unwrapping
from meshhw_pkcs11.discovery import CKF_WRITE_PROTECTED, Found
from meshhw_pkcs11.errors import fold
from meshhw_pkcs11.keytypes import EC_MONTGOMERY, EC_MONTGOMERY_KEY_PAIR_GEN, KeyForm, form_for

if TYPE_CHECKING:
    from pkcs11 import Slot

_RSA_BITS = {Algorithm.RSA2048: 2048, Algorithm.RSA3072: 3072, Algorithm.RSA4096: 4096}
_CURVE_BITS = {Algorithm.P256: 256, Algorithm.P384: 384}
_EDWARDS_BITS = {Algorithm.ED25519: 255, Algorithm.X25519: 255, Algorithm.ED448: 448, Algorithm.X448: 448}


@dataclass(frozen=True, slots=True)
class Facts:
    """What a module's mechanism list does not tell."""

    x_key_type: KeyType | None = None
    """The key type of its X25519 and X448 keys, where it is not CKK_EC_MONTGOMERY."""
    x448: bool = True
    imports: frozenset[Family] = frozenset(Family)
    generates: bool = True
    """False where only the security officer makes keys, as on a card by its management key."""
    stores_data: bool = True
    oaep_sha256: bool = True
    plain_templates: bool = False
    """It refuses key templates that state usages."""


_FACTS: tuple[tuple[str, Facts], ...] = (
    ("SoftHSM", Facts(x_key_type=KeyType.EC_EDWARDS, oaep_sha256=False)),
    (
        "Mozilla",
        Facts(
            x_key_type=KeyType.EC,
            x448=False,
            imports=frozenset({Family.WEIERSTRASS, Family.RSA}),
            stores_data=False,
        ),
    ),
    ("tpm2", Facts(imports=frozenset(), plain_templates=True)),
    ("OpenSC", Facts(imports=frozenset(), generates=False, stores_data=False)),
    ("ykcs11", Facts(imports=frozenset(), generates=False, stores_data=False)),
)


class Abilities:
    """One token's abilities; its mechanism list is read once, when it is first needed."""

    def __init__(self, found: Found) -> None:
        """Nothing is asked of the token yet."""
        wrapper = found.library.wrapper
        maker = f"{wrapper.manufacturer_id} {wrapper.library_description} {found.library.spec.path}"
        self.facts = next((facts for name, facts in _FACTS if name in maker), Facts())
        self.inside = found.library.inside
        self._fips = found.library.module.fips
        if self._fips:
            self.facts = replace(self.facts, imports=frozenset())
        self.writable = not int(found.token.flags) & CKF_WRITE_PROTECTED
        self._slot: Slot = found.token.slot
        self._name = found.name
        # Not `cached_property`: in Python 3.11 all tokens share its lock, and one that hangs would keep it.
        self._listed: frozenset[int] | None = None
        self._matrix: Capabilities | None = None

    @property
    def _mechanisms(self) -> frozenset[int]:
        if self._listed is None:
            try:
                self._listed = frozenset(map(int, self._slot.get_mechanisms()))
            except PKCS11Error as error:
                raise fold(error, self._name) from error
        return self._listed

    def has(self, mechanism: int) -> bool:
        """Whether the token lists a mechanism."""
        return int(mechanism) in self._mechanisms

    def wraps(self) -> bool:
        """Whether it wraps keys from outside and gives them back, which no token in FIPS mode does."""
        mechanisms = Mechanism.AES_KEY_WRAP, Mechanism.AES_KEY_GEN
        return not self._fips and all(map(self.has, mechanisms))

    def uses_of(self, algorithm: Algorithm, allowed: frozenset[Operation]) -> frozenset[Operation]:
        """What a key does that may do all this: where agreed secrets stay inside, none is agreed on."""
        if Operation.AGREE not in allowed or not self.inside:
            return allowed
        rest = allowed - {Operation.AGREE}
        return rest | {Operation.UNWRAP} if self._unwraps(algorithm) else rest

    def why_not(self, algorithm: Algorithm) -> str | None:
        """Why keys are of no use here though the token could agree with them; None where it could not."""
        if not self.inside or not algorithm.agrees or self._unwraps(algorithm):
            return None
        return "agreed secrets stay inside it, and it unwraps under those of P-256 and P-384 alone, if at all"

    def _unwraps(self, algorithm: Algorithm) -> bool:
        """Whether it unwraps under agreements within. A small-order result of the other curves would not be
        seen, and what their keys are for, composing, needs the agreed secret."""
        return algorithm.family is Family.WEIERSTRASS and all(map(self.has, unwrapping.NEEDED))

    def form(self, algorithm: Algorithm) -> KeyForm | None:
        """How keys of this curve are written on this token; None where it has none."""
        if algorithm.family is Family.WEIERSTRASS:
            return form_for(algorithm, KeyType.EC)
        if algorithm.family is Family.EDWARDS:
            return form_for(algorithm, KeyType.EC_EDWARDS) if self.has(Mechanism.EDDSA) else None
        if self.has(EC_MONTGOMERY_KEY_PAIR_GEN):
            return form_for(algorithm, EC_MONTGOMERY)
        if self.facts.x_key_type is None or (algorithm is Algorithm.X448 and not self.facts.x448):
            return None
        return form_for(algorithm, self.facts.x_key_type)

    def matrix(self, within: Callable[[Callable[[], Capabilities]], Capabilities]) -> Capabilities:
        """The capability matrix; the first time it is asked of the token, `within` its deadline."""
        if self._matrix is None:
            self._matrix = within(self._asked)
        return self._matrix

    def _asked(self) -> Capabilities:
        matrix = {pair: Tier.NATIVE for algorithm in Algorithm for pair in self._pairs(algorithm)}
        wraps = self.wraps()
        return Capabilities(
            matrix,
            seals=self.writable and (wraps or self.facts.stores_data),
            stores_data=self.writable and self.facts.stores_data,
        )

    def _pairs(self, algorithm: Algorithm) -> Iterator[tuple[Algorithm, Operation]]:
        uses = self._ordered(self.uses_of(algorithm, frozenset(self._uses(algorithm))))
        for use in uses:
            yield algorithm, use
        if uses and self.writable:
            if self.facts.generates and self._generates(algorithm):
                yield algorithm, Operation.GENERATE
            if algorithm.family in self.facts.imports:
                yield algorithm, Operation.IMPORT

    @staticmethod
    def _ordered(uses: frozenset[Operation]) -> tuple[Operation, ...]:
        return tuple(one for one in Operation if one in uses)

    def _uses(self, algorithm: Algorithm) -> Iterator[Operation]:
        if algorithm.family is Family.RSA:
            yield from self._rsa_uses(_RSA_BITS[algorithm])
        elif algorithm.family is Family.WEIERSTRASS:
            if self._reaches(Mechanism.ECDSA, _CURVE_BITS[algorithm]):
                yield from (Operation.SIGN, Operation.SIGN_DIGEST)
            if self._reaches(Mechanism.ECDH1_DERIVE, _CURVE_BITS[algorithm]):
                yield Operation.AGREE
        elif algorithm.family is Family.EDWARDS:
            if self._reaches(Mechanism.EDDSA, _EDWARDS_BITS[algorithm]):
                yield Operation.SIGN
        elif self.has(Mechanism.ECDH1_DERIVE) and self._x_curve(algorithm):
            yield Operation.AGREE

    def _rsa_uses(self, bits: int) -> Iterator[Operation]:
        if self._reaches(Mechanism.SHA256_RSA_PKCS_PSS, bits):
            yield Operation.SIGN
        if self._reaches(Mechanism.RSA_PKCS_OAEP, bits):
            yield Operation.DECRYPT

    def _x_curve(self, algorithm: Algorithm) -> bool:
        form = self.form(algorithm)
        if form is None:
            return False
        # An X25519 key under CKK_EC is the one such curve; its size says nothing of it.
        return form.key_type is KeyType.EC or self._reaches(form.generator, _EDWARDS_BITS[algorithm])

    def _generates(self, algorithm: Algorithm) -> bool:
        if algorithm.family is Family.RSA:
            return self._reaches(Mechanism.RSA_PKCS_KEY_PAIR_GEN, _RSA_BITS[algorithm])
        form = self.form(algorithm)
        return form is not None and self.has(form.generator)

    def _reaches(self, mechanism: Mechanism, bits: int) -> bool:
        """Whether a listed mechanism does keys of this size; a module that gives no sizes is believed."""
        if not self.has(mechanism):
            return False
        try:
            info = self._slot.get_mechanism_info(mechanism)
        except PKCS11Error:
            return True
        least, most = info.min_key_length or 0, info.max_key_length or 0
        return not most or least - 1 <= bits <= most
