"""New keys on a token: generated inside, or imported, and never to be had back."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

from pkcs11 import Attribute, KeyType, MechanismFlag, ObjectClass
from pkcs11.constants import DEFAULT

from meshhw.algorithms import Algorithm, Family, Operation
from meshhw.errors import IntegrityError
from meshhw.keystore.api import KeySpec, PinPolicy
from meshhw_pkcs11.keytypes import KeyForm
from meshhw_pkcs11.scalars import Loadable

if TYPE_CHECKING:
    import pkcs11

ID_LENGTH = 16
_USAGES = (Attribute.SIGN, Attribute.DERIVE, Attribute.DECRYPT, Attribute.UNWRAP)
_PUBLIC_USAGES = (Attribute.VERIFY, Attribute.ENCRYPT, Attribute.WRAP)
_RSA_BITS = {Algorithm.RSA2048: 2048, Algorithm.RSA3072: 3072, Algorithm.RSA4096: 4096}


def new_id() -> bytes:
    """A CKA_ID that no key has."""
    return secrets.token_bytes(ID_LENGTH)


def generate(session: pkcs11.Session, spec: KeySpec, form: KeyForm | None, *, plain: bool) -> Any:
    """Make the key pair; the private key object. `form` is None for RSA; `plain` leaves usages unsaid.

    Raises IntegrityError, with the key destroyed, when the token says that it could be read.
    """
    arguments: dict[str, Any] = {
        "id": spec.reserved or new_id(),
        "label": spec.label,
        "store": True,
        "capabilities": _capabilities(spec),
        "private_template": _protected(spec) | dict.fromkeys(_USAGES if plain else (), DEFAULT),
        "public_template": dict.fromkeys(_PUBLIC_USAGES if plain else (), DEFAULT),
    }
    if form is None:
        public, private = session.generate_keypair(KeyType.RSA, _RSA_BITS[spec.algorithm], **arguments)
    else:
        curve = session.create_domain_parameters(
            form.key_type, {Attribute.EC_PARAMS: form.params}, local=True
        )
        public, private = curve.generate_keypair(mechanism=form.generator, **arguments)
    if private[Attribute.EXTRACTABLE] or not private[Attribute.SENSITIVE]:
        private.destroy()
        public.destroy()
        raise IntegrityError("the token made a key that can be read out of it; it was destroyed")
    return private


def store(session: pkcs11.Session, spec: KeySpec, loadable: Loadable, form: KeyForm | None) -> Any:
    """Put a private key and its public half on the token, or neither; the private key object."""
    common = {
        Attribute.TOKEN: True,
        Attribute.ID: spec.reserved or new_id(),
        Attribute.LABEL: spec.label,
        Attribute.KEY_TYPE: KeyType.RSA if form is None else form.key_type,
    }
    if form is not None:
        common[Attribute.EC_PARAMS] = form.params
    private = common | _protected(spec) | _usages(spec) | loadable.private
    created = session.create_object({Attribute.CLASS: ObjectClass.PRIVATE_KEY} | private)
    try:
        public = common | loadable.public | ({Attribute.VERIFY: True} if spec.algorithm.signs else {})
        session.create_object({Attribute.CLASS: ObjectClass.PUBLIC_KEY} | public)
    except BaseException:
        created.destroy()
        raise
    return created


def _protected(spec: KeySpec) -> dict[Attribute, Any]:
    """Said explicitly: NSS's default is an extractable key."""
    template: dict[Attribute, Any] = {
        Attribute.PRIVATE: True,
        Attribute.SENSITIVE: True,
        Attribute.EXTRACTABLE: False,
    }
    if spec.pin_policy is PinPolicy.ALWAYS:
        template[Attribute.ALWAYS_AUTHENTICATE] = True
    return template


def _usages(spec: KeySpec) -> dict[Attribute, Any]:
    flags = _capabilities(spec)
    return {
        Attribute.SIGN: bool(flags & MechanismFlag.SIGN),
        Attribute.DERIVE: bool(flags & MechanismFlag.DERIVE),
        Attribute.DECRYPT: bool(flags & MechanismFlag.DECRYPT),
    }


def _capabilities(spec: KeySpec) -> MechanismFlag:
    flags = MechanismFlag(0)
    if spec.algorithm.signs and spec.wants(Operation.SIGN):
        flags |= MechanismFlag.SIGN | MechanismFlag.VERIFY
    if spec.algorithm.agrees and (spec.wants(Operation.AGREE) or spec.wants(Operation.UNWRAP)):
        flags |= MechanismFlag.DERIVE
    if spec.algorithm.family is Family.RSA and spec.wants(Operation.DECRYPT):
        flags |= MechanismFlag.DECRYPT | MechanismFlag.ENCRYPT
    return flags
