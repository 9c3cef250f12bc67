"""Objects made inside the TPM below the storage primary."""

from __future__ import annotations

from dataclasses import dataclass, field

from meshhw.algorithms import Algorithm
from meshhw.keystore.tpm_public import Attributes
from meshhw_tpm import templates
from meshhw_tpm.context import Context
from meshhw_tpm.keyfile import LOADABLE, SEALED, KeyFile, PolicyStep
from meshhw_tpm.policy import policy_digest
from meshhw_tpm.tss import Structure


@dataclass(frozen=True, slots=True)
class Terms:
    """On what terms a new object may be used."""

    attributes: Attributes
    auth: bytes = field(default=b"", repr=False)
    policy: tuple[PolicyStep, ...] = ()
    label: str = ""

    def key_file(self, public: bytes, private: bytes, kind: bytes = LOADABLE) -> KeyFile:
        """The object, once it is made, as a file."""
        return KeyFile(public, private, not self.auth, policy=self.policy, label=self.label, kind=kind)


def generate(context: Context, algorithm: Algorithm, terms: Terms) -> KeyFile:
    """A new key; its authorisation value travels encrypted."""
    public = templates.key(algorithm, terms.attributes, policy_digest(terms.policy))
    return terms.key_file(*_create(context, public, terms.auth, b""))


def seal(context: Context, secret: bytes, terms: Terms) -> KeyFile:
    """A data object of at most 128 octets; secret and authorisation value travel encrypted."""
    public = templates.sealed(terms.attributes, policy_digest(terms.policy))
    return terms.key_file(*_create(context, public, terms.auth, secret), SEALED)


def _create(context: Context, public: Structure, auth: bytes, data: bytes) -> tuple[bytes, bytes]:
    """TPM2_Create below the storage primary; the public and the private part."""
    t = context.tss
    sensitive = t.TPM2B_SENSITIVE_CREATE(t.TPMS_SENSITIVE_CREATE(userAuth=auth, data=data))
    session = context.session(command=True) if auth or data else context.password()
    private, made, *_ = context.esapi.create(context.primary, sensitive, public, session1=session)
    return bytes(made.marshal()), bytes(private.marshal())
