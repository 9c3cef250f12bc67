"""Policies of keys and sealed data: the machine's measurements (PCRs) and an authorisation value.

What a policy demands is kept in the key file as its commands, so that any tool can meet it.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from meshhw.errors import InvalidURI, NotSupported
from meshhw_tpm import errors
from meshhw_tpm.context import Context
from meshhw_tpm.keyfile import PolicyStep
from meshhw_tpm.tss import Handle, tss

CC_POLICY_PCR, CC_POLICY_AUTH_VALUE = 0x17F, 0x16B
_BANKS = {"sha1": 0x0004, "sha256": 0x000B, "sha384": 0x000C, "sha512": 0x000D}
_PCRS = 24
_READ_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class Pcrs:
    """A selection of PCRs of one bank, written `sha256:0,7`."""

    bank: str
    numbers: tuple[int, ...]

    @classmethod
    def parse(cls, text: str) -> Pcrs:
        """Read `BANK:N,N…`. Raises InvalidURI."""
        bank, _, listed = text.partition(":")
        numbers = {int(number) for number in listed.split(",") if number.isascii() and number.isdigit()}
        if bank not in _BANKS or len(numbers) != listed.count(",") + 1 or max(numbers) >= _PCRS:
            raise InvalidURI(f"{text!r} selects no PCRs", hint="write pcrs=sha256:0,7")
        return cls(bank, tuple(sorted(numbers)))

    def marshalled(self, numbers: tuple[int, ...] | None = None) -> bytes:
        """TPML_PCR_SELECTION."""
        bits = sum(1 << number for number in (self.numbers if numbers is None else numbers))
        return struct.pack(">IHB", 1, _BANKS[self.bank], _PCRS // 8) + bits.to_bytes(_PCRS // 8, "little")

    def digest(self, context: Context) -> bytes:
        """SHA-256 over the values that the PCRs have now."""
        hasher = hashlib.sha256()
        for start in range(0, len(self.numbers), _READ_AT_ONCE):
            wanted = self.numbers[start : start + _READ_AT_ONCE]
            selection, _ = tss().TPML_PCR_SELECTION.unmarshal(self.marshalled(wanted))
            _, _, values = context.esapi.pcr_read(selection)
            if len(values) != len(wanted):
                raise NotSupported(f"the TPM has no {self.bank} bank of PCRs")
            for value in values:
                hasher.update(bytes(value))
        return hasher.digest()


def steps(context: Context, pcrs: Pcrs | None, auth_value: bool) -> tuple[PolicyStep, ...]:
    """The policy that binds to the PCRs' present values; none without PCRs."""
    if pcrs is None:
        return ()
    digest = pcrs.digest(context)
    bound = PolicyStep(CC_POLICY_PCR, struct.pack(">H", len(digest)) + digest + pcrs.marshalled())
    return (bound, PolicyStep(CC_POLICY_AUTH_VALUE)) if auth_value else (bound,)


def policy_digest(policy: tuple[PolicyStep, ...]) -> bytes:
    """The authPolicy of an object with this policy (part 3, sections 23.7 and 23.17); empty for none."""
    if not policy:
        return b""
    digest = bytes(32)
    for step in policy:
        if step.command == CC_POLICY_PCR:
            size = int.from_bytes(step.parameters[:2], "big")
            arguments = step.parameters[2 + size :] + step.parameters[2 : 2 + size]
        else:
            arguments = b""
        digest = hashlib.sha256(digest + struct.pack(">I", step.command) + arguments).digest()
    return digest


@contextmanager
def session(context: Context, policy: tuple[PolicyStep, ...]) -> Iterator[Handle]:
    """A session that has met the policy, for one command. It encrypts the response's first parameter."""
    handle = context.start_session(context.tss.TPM2_SE.POLICY)
    try:
        for step in policy:
            _meet(context, handle, step)
        context.shape(handle, response=True)
        yield handle
    finally:
        context.flush_session(handle)


def _meet(context: Context, handle: Handle, step: PolicyStep) -> None:
    if step.command == CC_POLICY_AUTH_VALUE:
        context.esapi.policy_auth_value(handle)
    elif step.command == CC_POLICY_PCR:
        digest, used = context.tss.TPM2B_DIGEST.unmarshal(step.parameters)
        selection, _ = context.tss.TPML_PCR_SELECTION.unmarshal(step.parameters[used:])
        try:
            context.esapi.policy_pcr(handle, digest, selection)
        except context.tss.TSS2_Exception as error:
            if errors.tpm_code(int(error.rc)) != errors.VALUE:
                raise
            raise errors.made(errors.TABLE[errors.POLICY_FAIL], int(error.rc)) from error
    else:
        raise NotSupported(f"a key's policy asks for command 0x{step.command:x}, which is not known here")
