"""The vault as a token: its keys are listed, made, imported, used and deleted here."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from secrets import token_bytes

from meshhw.algorithms import Algorithm, Operation, PrivateKey, Tier
from meshhw.errors import Ambiguous, KeyNotFound, NotSupported
from meshhw.keystore.api import Capabilities, KeySpec, Needs, OpenOptions, PinPolicy, TokenInfo, TouchPolicy
from meshhw.keystore.interaction import PinKind
from meshhw.keystore.log import in_place_of_key, recorded, recorded_making
from meshhw.keystore.uri import KeyURI, TokenURI
from meshhw_software import secret
from meshhw_software.data import Drawer
from meshhw_software.header import KeyHeader, SealedHeader
from meshhw_software.key import SoftwareKey, all_uses, handle, uses_of
from meshhw_software.keyfile import KeyFiles
from meshhw_software.sealing import tier_of, wants_touch
from meshhw_software.vault import IDENTIFIER_OCTETS, Vault


class VaultToken:
    """`meshhw.keystore.api.Token` and its powers over one vault. Usable from any thread."""

    def __init__(self, vault: Vault, options: OpenOptions, label: str) -> None:
        self.recorder = options.recorder
        self._vault = vault
        self._files = KeyFiles(vault)
        self._drawer = Drawer(vault)
        self._label = label
        self._lock = threading.RLock()
        self._holds = 0

    def info(self) -> TokenInfo:
        """What it is. A vault that was not made yet is not initialised."""
        return TokenInfo(
            self._vault.uri,
            driver="software",
            kind="vault",
            vendor="meshhw",
            model="vault",
            label=self._label,
            initialised=self._vault.exists,
        )

    def capabilities(self) -> Capabilities:
        """Every algorithm, at the tier that the vault's own protection gives."""
        tier = self._vault_tier()
        matrix = {
            (algorithm, operation): tier for algorithm in Algorithm for operation in _operations(algorithm)
        }
        return Capabilities(matrix, seals=True, stores_data=True)

    def tier_of(self, header: KeyHeader) -> Tier:
        """SEALED where the key or the whole vault is behind another token."""
        return tier_of(header.sealed_by) if header.sealed_by else self._vault_tier()

    def needs_of(self, header: KeyHeader) -> Needs:
        """A PIN or passphrase while the vault is shut; a touch where what must be opened wants one."""
        shut = not self._vault.is_open
        sealers = [header.sealed_by, self._sealed_by() if shut else ""]
        return Needs(pin=shut, touch=any(wants_touch(sealer) for sealer in sealers))

    def keys(self) -> Sequence[SoftwareKey]:
        """All keys. Asks for nothing; once the vault is open, every header is proved."""
        with self._lock:
            return [self._handle(header) for header in self._files.headers()]

    def key(self, uri: KeyURI) -> SoftwareKey:
        """The key with that `id`; without one, the only key of the vault."""
        with self._lock:
            return self._handle(self._files.header(self._identifier(uri)))

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Keys that another token seals are opened once for the batch."""
        with self._lock:
            self._holds += 1
            try:
                yield
            finally:
                self._holds -= 1
                if not self._holds:
                    self._files.forget_sealed()

    def close(self) -> None:
        """Forget the passphrase's key and every opened private key."""
        with self._lock:
            self._files.forget()
            self._vault.forget()

    def secret(self, header: KeyHeader) -> secret.Secret:
        """The opened private key, for its handle."""
        with self._lock:
            return self._files.secret(header, keep=not header.sealed_by or self._holds > 0)

    def generate(self, spec: KeySpec) -> SoftwareKey:
        """A new key. `spec.place` may name the token (a URI) that shall seal it."""
        _refuse_policies(spec)
        uses_of(spec.algorithm, spec.uses)
        return self._add(secret.generate(spec.algorithm), spec, Operation.GENERATE)

    def import_key(self, private: PrivateKey, spec: KeySpec) -> SoftwareKey:
        """Any form: seeds (Ed448's of 56 octets too), bare scalars, NIST numbers, RSA in DER."""
        _refuse_policies(spec)
        if private.algorithm is not spec.algorithm:
            raise NotSupported(f"a key of {private.algorithm} cannot become one of {spec.algorithm}")
        return self._add(private, spec, Operation.IMPORT)

    def reserve(self) -> bytes:
        """A fresh identifier."""
        return token_bytes(IDENTIFIER_OCTETS)

    def discard(self, name: bytes) -> bool:
        """Remove the file of this identifier; whether there was one."""
        try:
            self._remove(self._vault.uri.key(id=name))
        except KeyNotFound:
            return False
        self.recorder.record(self._vault.uri.key(id=name), Operation.DELETE, "ok")
        return True

    def delete(self, key: KeyURI) -> None:
        """Remove the key's file."""
        with recorded(self.recorder, key, Operation.DELETE):
            self._remove(key)

    def _remove(self, key: KeyURI) -> None:
        with self._lock:
            self._files.delete(self._identifier(key))

    def seal(self, secret: bytes, purpose: bytes) -> bytes:
        """A box under the vault's key."""
        with self._lock:
            return self._drawer.seal(secret, purpose)

    def unseal(self, blob: bytes, purpose: bytes) -> bytes:
        """The secret. Raises DecryptionFailed."""
        with recorded(self.recorder, in_place_of_key(self._vault.uri), Operation.UNWRAP), self._lock:
            return self._drawer.unseal(blob, purpose)

    def needs_of_key(self, key: KeyURI) -> Needs:
        """As the key says."""
        return self.key(key).needs()

    def needs_to_unseal(self, blob: bytes) -> Needs:
        """What opening the vault asks."""
        shut = not self._vault.is_open
        return Needs(pin=shut, touch=shut and wants_touch(self._sealed_by()))

    def store_data(self, name: str, data: bytes, *, private: bool = True) -> None:
        """Create or replace; private octets are encrypted."""
        with self._lock:
            self._drawer.store(name, data, private=private)

    def load_data(self, name: str) -> bytes | None:
        """The octets, None if absent."""
        with self._lock:
            return self._drawer.load(name)

    def delete_data(self, name: str) -> None:
        """Remove; absent is fine."""
        with self._lock:
            self._drawer.delete(name)

    def data_names(self) -> Sequence[str]:
        """The names in store."""
        with self._lock:
            return self._drawer.names()

    def change_pin(self, kind: PinKind) -> None:
        """A new passphrase."""
        if kind is not PinKind.VAULT:
            raise NotSupported(f"a vault has a passphrase, and no {kind} PIN")
        with self._lock:
            self._vault.change_passphrase()

    def unlock(self) -> None:
        """Raises NotSupported: a vault never locks, and a lost passphrase is lost."""
        raise NotSupported("a vault never locks", hint="a forgotten passphrase cannot be replaced")

    def retries_left(self, kind: PinKind) -> int | None:
        """None: there is no limit but Argon2id's cost."""
        return None

    def reset(self) -> None:
        """Remove the vault with all its keys."""
        with recorded(self.recorder, in_place_of_key(self._vault.uri), Operation.DELETE), self._lock:
            self.close()
            if self._vault.exists:
                self._vault.erase()

    def _vault_tier(self) -> Tier:
        return tier_of(self._sealed_by())

    def _sealed_by(self) -> str:
        if not self._vault.exists:
            return self._vault.new_sealed_by
        head = self._vault.header()
        return head.sealed_by if isinstance(head, SealedHeader) else ""

    def _handle(self, header: KeyHeader) -> SoftwareKey:
        return handle(self, self._vault.uri.key(id=header.id), header)

    def _add(self, private: PrivateKey, spec: KeySpec, operation: Operation) -> SoftwareKey:
        def add() -> SoftwareKey:
            with self._lock:
                uses = uses_of(spec.algorithm, spec.uses)
                header = self._files.add(private, spec.label, uses, spec.place or "", spec.reserved)
            return self._handle(header)

        return recorded_making(self.recorder, self._vault.uri, operation, add, self._remove)

    def _identifier(self, uri: KeyURI) -> bytes:
        if uri.scheme != "software" or not _same_vault(uri.token, self._vault):
            raise KeyNotFound(f"{uri} is not in {self._vault.label}")
        named = uri.attributes.get("id")
        if named is not None:
            if len(named) != IDENTIFIER_OCTETS:
                raise KeyNotFound(f"{uri} is not in {self._vault.label}")
            return named
        held = self._files.headers()
        if not held:
            raise KeyNotFound(f"{self._vault.label} holds no key")
        if len(held) > 1:
            names = tuple(str(self._vault.uri.key(id=header.id)) for header in held)
            raise Ambiguous(f"{self._vault.label} holds {len(held)} keys", candidates=names)
        return held[0].id


def _same_vault(uri: TokenURI, vault: Vault) -> bool:
    named = uri.get("vault")
    return named is None or named == str(vault.path)


def _operations(algorithm: Algorithm) -> set[Operation]:
    operations = {Operation.GENERATE, Operation.IMPORT, *all_uses(algorithm)}
    if Operation.AGREE in operations:
        operations.add(Operation.AGREE_POINT)
    if Operation.SIGN in operations and Operation.AGREE in operations:
        operations.add(Operation.SIGN_DIGEST)
    return operations


def _refuse_policies(spec: KeySpec) -> None:
    if spec.touch_policy in (TouchPolicy.ALWAYS, TouchPolicy.CACHED):
        raise NotSupported("a vault cannot ask for a touch", hint="seal the key by a FIDO2 token")
    if spec.pin_policy in (PinPolicy.ALWAYS, PinPolicy.NEVER):
        raise NotSupported(f"a vault cannot keep the PIN policy {spec.pin_policy}")
