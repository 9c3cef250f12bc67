"""New keys: made inside the TPM or imported, with the authorisation that is asked for."""

from __future__ import annotations

from dataclasses import dataclass

from meshhw.algorithms import Operation, PrivateKey
from meshhw.errors import NotSupported, TokenFull, UsageError
from meshhw.keystore.api import KeySpec, PinPolicy, TouchPolicy
from meshhw.keystore.tpm_public import MADE_INSIDE, Attributes
from meshhw_tpm import importing, objects, policy
from meshhw_tpm.connection import Connection
from meshhw_tpm.context import PERSISTENT_FIRST, PERSISTENT_LAST, Context
from meshhw_tpm.keyfile import KeyFile
from meshhw_tpm.objects import Terms
from meshhw_tpm.pins import Pins
from meshhw_tpm.policy import Pcrs
from meshhw_tpm.source import loaded, structures
from meshhw_tpm.store import Note, Store

_FIRST_FREE = PERSISTENT_FIRST + 0x100  # the lower ones are the provisioning guidance's


@dataclass(frozen=True, slots=True)
class Maker:
    """Makes the keys of one open token."""

    connection: Connection
    store: Store
    pins: Pins
    pcrs: Pcrs | None

    def generate(self, spec: KeySpec) -> str | int:
        """The name of the new key file, or the persistent handle."""
        auth = self._auth(spec)
        attributes = MADE_INSIDE | self._attributes(spec, auth)

        def make(context: Context) -> KeyFile:
            steps = policy.steps(context, self.pcrs, bool(auth))
            return objects.generate(context, spec.algorithm, Terms(attributes, auth, steps, spec.label))

        return self._keep(self.connection.run(make), spec)

    def import_key(self, private: PrivateKey, spec: KeySpec) -> str | int:
        """The same for a key from outside."""
        if private.algorithm is not spec.algorithm:
            raise UsageError(f"a {private.algorithm} key cannot be imported as {spec.algorithm}")
        auth = self._auth(spec)
        attributes = self._attributes(spec, auth)
        material = importing.material(private)

        def make(context: Context) -> KeyFile:
            steps = policy.steps(context, self.pcrs, bool(auth))
            return importing.import_key(context, material, Terms(attributes, auth, steps, spec.label))

        return self._keep(self.connection.run(make), spec)

    def _auth(self, spec: KeySpec) -> bytes:
        """The authorisation value that the policy asks for; by default the PIN, if this home has one."""
        if spec.touch_policy not in (TouchPolicy.DEFAULT, TouchPolicy.NEVER):
            raise NotSupported("a TPM has nothing to touch")
        if spec.pin_policy is PinPolicy.ALWAYS:
            raise NotSupported("a TPM key cannot demand that its PIN is typed each time", hint="use once")
        wanted = spec.pin_policy is PinPolicy.ONCE or (
            spec.pin_policy is PinPolicy.DEFAULT and self.store.has_pin()
        )
        return self.pins.token_pin() if wanted else b""

    def _attributes(self, spec: KeySpec, auth: bytes) -> Attributes:
        signs = spec.algorithm.signs and spec.wants(Operation.SIGN)
        decrypts = spec.wants(Operation.AGREE) or spec.wants(Operation.DECRYPT)
        if not signs and not decrypts:
            raise NotSupported("the key would be able to do nothing")
        attributes = Attributes.SIGN if signs else Attributes(0)
        if decrypts:
            attributes |= Attributes.DECRYPT
        if self.pcrs is None:
            attributes |= Attributes.USER_WITH_AUTH
        return attributes if auth else attributes | Attributes.NO_DA

    def _keep(self, key: KeyFile, spec: KeySpec) -> str | int:
        if spec.place is None:
            return self.store.add(key)
        if key.policy:
            raise NotSupported(
                "a key with a policy cannot be persistent: the TPM does not keep what the policy demands"
            )
        return self._persist(key, spec.place)

    def _persist(self, key: KeyFile, place: str) -> int:
        def persist(context: Context) -> int:
            used = context.handles(PERSISTENT_FIRST)
            handle = _place(place, used)
            with (
                loaded(context, key.parent, key.area.name, *structures(key)) as transient,
                context.owner_session() as session,
            ):
                owner = context.tss.ESYS_TR.RH_OWNER
                made = context.esapi.evict_control(owner, transient, handle, session1=session)
                context.esapi.tr_close(made)
            context.forget_persistent(handle)
            return handle

        handle = self.connection.run(persist)
        self.store.note(handle, Note(key.area.name, key.label))
        return handle


def _place(text: str, used: list[int]) -> int:
    """A free persistent handle: the one that is named, or the next one for `persistent`."""
    if text == "persistent":
        free = (handle for handle in range(_FIRST_FREE, PERSISTENT_LAST + 1) if handle not in used)
        return next(free)
    try:
        handle = int(text, 16)
    except ValueError as error:
        raise UsageError(
            f"{text!r} is no place on a TPM", hint="write persistent or a handle such as 0x81000100"
        ) from error
    if not PERSISTENT_FIRST <= handle <= PERSISTENT_LAST:
        raise UsageError(
            f"the owner's persistent handles are 0x{PERSISTENT_FIRST:x} to 0x{PERSISTENT_LAST:x}"
        )
    if handle in used:
        raise TokenFull(f"the TPM's handle 0x{handle:08x} is in use", hint="choose another, or `persistent`")
    return handle
