"""The one interface that everything hangs on: drivers, tokens, keys, and their optional powers.

A *driver* finds and opens *tokens* (a PKCS#11 slot, a card, a TPM, a vault); a token holds private
*keys*; a key does only what the token lets it. What a key or token can do beyond the core is a small
protocol of its own, found with `isinstance`: a key that cannot do an operation is of a class without
the method. There is no way to read a private key.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from meshhw.algorithms import Algorithm, Operation, PrivateKey, PublicKey, Tier
from meshhw.keystore.interaction import REFUSING, Interaction, PinKind
from meshhw.keystore.log import NULL_RECORDER, UseRecorder
from meshhw.keystore.uri import KeyURI, TokenURI

if TYPE_CHECKING:
    from meshhw.keystore.attestation import Attestation
    from meshhw.keystore.presence import PresenceProof

API = 1
"""The number of this interface. A driver of another number is listed as unavailable."""


class TouchPolicy(StrEnum):
    """When a key wants the token touched."""

    DEFAULT = "default"
    NEVER = "never"
    ALWAYS = "always"
    CACHED = "cached"


class PinPolicy(StrEnum):
    """When a key wants its PIN."""

    DEFAULT = "default"
    NEVER = "never"
    ONCE = "once"
    ALWAYS = "always"


@dataclass(frozen=True, slots=True)
class TokenInfo:
    """What can be said of a token without its PIN. Texts are empty where the token does not tell."""

    uri: TokenURI
    driver: str
    kind: str
    """What it is to a person: `smartcard`, `hsm`, `tpm`, `authenticator`, `vault`, `softtoken`."""
    vendor: str = ""
    model: str = ""
    serial: str = ""
    firmware: str = ""
    label: str = ""
    reader: str = ""
    initialised: bool = True
    stores_keys: bool = True
    """False for tokens that only `token list --all` shows (certificate stores, uninitialised slots)."""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """The capability matrix of one token and firmware: (algorithm, operation) -> tier."""

    matrix: Mapping[tuple[Algorithm, Operation], Tier] = field(default_factory=dict)
    seals: bool = False
    stores_data: bool = False
    complete: bool = True
    """False where the token does not tell which algorithms it has: some may work that are not in the matrix,
    and stand in it once a key was made."""

    def tier(self, algorithm: Algorithm, operation: Operation) -> Tier | None:
        """How the token does it; None when it does not."""
        return self.matrix.get((algorithm, operation))

    def can(self, algorithm: Algorithm, *operations: Operation) -> bool:
        """Whether the token does all of these."""
        return all((algorithm, operation) in self.matrix for operation in operations)

    def algorithms(self) -> tuple[Algorithm, ...]:
        """The algorithms it knows at all, in the order of the enumeration."""
        known = {algorithm for algorithm, _ in self.matrix}
        return tuple(algorithm for algorithm in Algorithm if algorithm in known)


@dataclass(frozen=True, slots=True)
class Needs:
    """What an operation of a key will ask of the person now (a PIN already given is not asked again)."""

    pin: bool = False
    touch: bool = False


@dataclass(frozen=True, slots=True)
class KeySpec:
    """What a new key shall be. Policies that the token cannot keep are refused with NotSupported."""

    algorithm: Algorithm
    label: str = ""
    uses: frozenset[Operation] = frozenset()
    """SIGN and/or AGREE (or UNWRAP) and/or DECRYPT; empty means all that the algorithm does."""
    touch_policy: TouchPolicy = TouchPolicy.DEFAULT
    pin_policy: PinPolicy = PinPolicy.DEFAULT
    place: str | None = None
    """Where on the token, in its own words (a PIV slot, a persistent handle); None lets the driver choose
    a free place and never overwrites."""
    reserved: bytes | None = None
    """The name that `ReservesNames.reserve` gave, for the token to call the key by."""

    def wants(self, operation: Operation) -> bool:
        """Whether the key shall be able to do this."""
        return not self.uses or operation in self.uses


@runtime_checkable
class Key(Protocol):
    """A handle on a private key inside a token. Usable from any thread."""

    @property
    def uri(self) -> KeyURI:
        """The key's full name."""
        ...

    @property
    def algorithm(self) -> Algorithm:
        """Its algorithm."""
        ...

    @property
    def public(self) -> PublicKey:
        """Its public key. An X448 or X25519 key whose sign is unknown is lift(u, parity 0)."""
        ...

    @property
    def tier(self) -> Tier:
        """How the private key is kept while it works."""
        ...

    def needs(self) -> Needs:
        """What the next operation will ask of the person."""
        ...


@runtime_checkable
class Signs(Protocol):
    """Keys that sign. EdDSA is pure with no context; ECDSA hashes with SHA-256 (P-256) or SHA-384 (P-384)
    and returns r || s of fixed length with s low; RSA is PSS with SHA-256."""

    def sign(self, message: bytes) -> bytes:
        """The signature over a message."""
        ...


@runtime_checkable
class SignsDigest(Protocol):
    """ECDSA keys whose token signs a digest that the caller made."""

    def sign_digest(self, digest: bytes) -> bytes:
        """r || s (s low) over a digest of 32 (P-256) or 48 octets (P-384)."""
        ...


@runtime_checkable
class SignsComposed(Protocol):
    """EdDSA keys that are in memory for one use, and there can be added to a scalar that the caller has."""

    def sign_composed(self, message: bytes, activation: int) -> bytes:
        """The pure EdDSA signature under this key's scalar + `activation`, with a secret nonce prefix."""
        ...


@runtime_checkable
class SignsPKCS1(Protocol):
    """RSA keys that also sign as RFC 8017 section 8.2, which SSH and OpenPGP ask for."""

    def sign_pkcs1(self, message: bytes, hash_name: str) -> bytes:
        """RSASSA-PKCS1-v1_5 over a message; `hash_name` is "sha256" or "sha512"."""
        ...


@runtime_checkable
class Agrees(Protocol):
    """Keys that agree and return the raw coordinate, as every token on the market does."""

    def agree(self, peer: PublicKey) -> bytes:
        """u (32/56 octets, little-endian) or x (32/48, big-endian) of scalar * peer. Raises
        InvalidPublicKey for a peer that fails its check or an all-zero result."""
        ...


@runtime_checkable
class AgreesFully(Protocol):
    """Keys whose token returns the whole point (TPM, software)."""

    def agree_point(self, peer: PublicKey) -> bytes:
        """The octets of the point scalar * peer: Montgomery 33/57 octets (u and the parity octet), NIST
        65/97 (SEC 1 uncompressed). The peer's point is its lift with the parity it carries (X25519: 0)."""
        ...


@runtime_checkable
class UnwrapsAgreed(Protocol):
    """Keys that unwrap a key wrapped under an agreement: group, composed and threshold keys, and HSMs
    that derive but do not export."""

    def unwrap(self, peer: PublicKey, kdf_info: bytes, wrapped: bytes) -> bytes:
        """RFC 3394 unwrap of `wrapped` under HKDF-SHA-512(agreement with `peer`, no salt, `kdf_info`, 32).
        Raises DecryptionFailed."""
        ...


@runtime_checkable
class Decrypts(Protocol):
    """RSA keys that decrypt."""

    def decrypt(self, ciphertext: bytes, padding: str) -> bytes:
        """`padding` is "oaep-sha1" or "oaep-sha256". Raises DecryptionFailed, NotSupported."""
        ...


@runtime_checkable
class Token(Protocol):
    """An open token. Login is lazy; a PIN is kept until close, removal or a wrong try."""

    def info(self) -> TokenInfo:
        """What it is."""
        ...

    def capabilities(self) -> Capabilities:
        """What this very token and firmware can do."""
        ...

    def keys(self) -> Sequence[Key]:
        """Its private keys that this project can use. Asks for the PIN where keys are hidden without it."""
        ...

    def key(self, uri: KeyURI) -> Key:
        """The key of that name. Raises KeyNotFound, Ambiguous."""
        ...

    def hold(self) -> AbstractContextManager[None]:
        """One transaction and one PIN for a batch of calls; released at exit."""
        ...

    def close(self) -> None:
        """Forget PINs, flush handles, log out. Closing twice is fine."""
        ...


@runtime_checkable
class Generates(Protocol):
    """Tokens that make keys inside, never extractable."""

    def generate(self, spec: KeySpec) -> Key:
        """A new key. Raises NotSupported, TokenFull, TokenReadOnly."""
        ...


@runtime_checkable
class Imports(Protocol):
    """Tokens that take a private key, never to give it back."""

    def import_key(self, private: PrivateKey, spec: KeySpec) -> Key:
        """Import as sensitive and non-extractable. Raises NotSupported for a form it cannot take."""
        ...


@runtime_checkable
class Deletes(Protocol):
    """Tokens that destroy keys."""

    def delete(self, key: KeyURI) -> None:
        """Destroy the key (overwritten where the token cannot delete). Raises KeyNotFound."""
        ...


@runtime_checkable
class Seals(Protocol):
    """Tokens that keep a small secret such that only they open it again."""

    def seal(self, secret: bytes, purpose: bytes) -> bytes:
        """A blob that only this token opens, bound to `purpose` (public octets). At most 4096 octets."""
        ...

    def unseal(self, blob: bytes, purpose: bytes) -> bytes:
        """The secret. Raises DecryptionFailed for another token, purpose or a changed blob; TokenMismatch
        where the token can tell that the blob is another's before anything is asked of a person."""
        ...


@runtime_checkable
class TellsNeeds(Protocol):
    """Tokens that say, before any PIN, what they will ask a person for."""

    def needs_of_key(self, key: KeyURI) -> Needs:
        """To use the key of that name once. Raises KeyNotFound where its absence shows without a PIN."""
        ...

    def needs_to_unseal(self, blob: bytes) -> Needs:
        """To open this blob. Raises DecryptionFailed for octets that are none."""
        ...


@runtime_checkable
class ShowsKeys(Protocol):
    """Tokens that hide private keys until the PIN, and may show their public halves before."""

    def shows_key(self, key: KeyURI) -> bool | None:
        """Whether the public half of the key of that name is to be seen without a PIN. None where the token
        shows no key at all then, so that nothing follows from it."""
        ...


@runtime_checkable
class Attests(Protocol):
    """Tokens that state how a key came to be."""

    def attest(self, key: KeyURI) -> Attestation:
        """The token's statement; `meshhw.keystore.attestation.verify` checks it."""
        ...


@runtime_checkable
class ProvesPresence(Protocol):
    """Keys that sign only what a person confirms by a touch, and say so in what they sign."""

    def prove(self, digest: bytes) -> PresenceProof:
        """Of a digest of 32, 48 or 64 octets; `meshhw.keystore.presence.verify_presence` checks it."""
        ...


@runtime_checkable
class EnrolsPresence(Protocol):
    """Tokens that make such keys."""

    def enrol(self, label: str, *, discoverable: bool = True) -> Key:
        """A new key; one that is not discoverable lives in its name alone, and takes no room."""
        ...


@dataclass(frozen=True, slots=True)
class Protection:
    """How a token says that a private key is protected; None where it does not say."""

    extractable: bool | None
    generated_inside: bool | None
    answers: Mapping[str, str] = field(default_factory=dict)
    """The token's own words: {"CKA_SENSITIVE": "true", "read CKA_VALUE": "CKR_ATTRIBUTE_SENSITIVE"}."""


@runtime_checkable
class TellsProtection(Protocol):
    """Tokens that can be asked how a private key is protected, and whether it can be read."""

    def protection(self, key: KeyURI) -> Protection:
        """Asks the token, also by trying to read the private value where its interface has such a call."""
        ...


@runtime_checkable
class ReservesNames(Protocol):
    """Tokens on which a new key's name is known before it is made, so that it is found again when the process
    that had it made dies before it could take note."""

    def reserve(self) -> bytes:
        """A name that no key has, for `KeySpec.reserved`."""
        ...

    def discard(self, name: bytes) -> bool:
        """Destroy whatever stands under a reserved name, be it half a key; whether anything did."""
        ...


@runtime_checkable
class StoresData(Protocol):
    """Tokens that keep named octets, private ones behind the PIN."""

    def store_data(self, name: str, data: bytes, *, private: bool = True) -> None:
        """Create or replace. Raises TokenFull."""
        ...

    def load_data(self, name: str) -> bytes | None:
        """The octets, None if absent."""
        ...

    def delete_data(self, name: str) -> None:
        """Remove; absent is fine."""
        ...

    def data_names(self) -> Sequence[str]:
        """The names in store."""
        ...


@runtime_checkable
class Administers(Protocol):
    """Tokens whose PINs can be managed. New and old secrets are asked through the Interaction."""

    def change_pin(self, kind: PinKind) -> None:
        """Change a PIN (USER, PUK, SO, MANAGEMENT, VAULT)."""
        ...

    def unlock(self) -> None:
        """Set a new user PIN with the PUK or SO PIN."""
        ...

    def retries_left(self, kind: PinKind) -> int | None:
        """Tries that are left; None where the token does not tell."""
        ...

    def reset(self) -> None:
        """Erase the token. The caller has asked the person."""
        ...


@runtime_checkable
class TellsMore(Protocol):
    """Tokens of which a person wants to know more than of every token."""

    def details(self) -> Mapping[str, str | int]:
        """Facts by name, for a person to read; none of them asks for a PIN."""
        ...


@runtime_checkable
class CountsCalls(Protocol):
    """Tokens that tell what an operation costs: the calls of their own interface that it takes."""

    def count_calls(self, work: Callable[[], object]) -> int:
        """How many C_* functions, APDUs, CTAP or TPM commands this process has the token do while `work`
        runs. Raises what `work` raises."""
        ...


@dataclass(frozen=True, slots=True)
class TokenEvent:
    """A token came or went."""

    uri: TokenURI
    present: bool


@runtime_checkable
class Watches(Protocol):
    """Drivers that tell of tokens plugged and pulled."""

    def events(self, timeout: float) -> Iterator[TokenEvent]:
        """What happens within `timeout` seconds, as it happens."""
        ...


@runtime_checkable
class HasModules(Protocol):
    """Drivers that reach their tokens through makers' libraries."""

    def modules(self) -> Mapping[str, str]:
        """The path of each library, and why it cannot be asked (empty where it can)."""
        ...


@dataclass(frozen=True, slots=True)
class OpenOptions:
    """How a token is opened."""

    interaction: Interaction = REFUSING
    recorder: UseRecorder = NULL_RECORDER
    deadline: float | None = None
    """Seconds that one token operation may take; None runs it in the caller's thread without a limit."""


@runtime_checkable
class Driver(Protocol):
    """A key-store driver: what the entry-point group `meshhw.drivers` names."""

    @property
    def api(self) -> int:
        """The interface it was written for; must equal `API`."""
        ...

    @property
    def name(self) -> str:
        """Its URI scheme."""
        ...

    def tokens(self) -> Sequence[TokenInfo]:
        """The tokens that are there now. Asks for nothing. Raises DriverUnavailable with the reason."""
        ...

    def open(self, uri: TokenURI, options: OpenOptions) -> Token:
        """Open one token; `uri` may hold only some attributes. Raises TokenNotFound, Ambiguous,
        DriverUnavailable."""
        ...
