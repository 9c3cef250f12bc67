"""The few TPM 2.0 commands that the lab sends itself, and the framing of all (TPM 2.0 Library part 3).

Written with `struct` alone: the lab must be able to disturb a TPM without the library that is under test.
"""

from __future__ import annotations

import socket
import struct

from meshhw.errors import TokenFault, TokenRemoved, WireCode

HEADER = struct.Struct(">HII")  # tag, size of the whole message, command or response code
MAX_MESSAGE = 1 << 16

NO_SESSIONS = 0x8001
SESSIONS = 0x8002
RH_OWNER, RH_LOCKOUT = 0x40000001, 0x4000000A
RS_PW = 0x40000009

COMMANDS = {
    0x120: "EvictControl",
    0x122: "NV_UndefineSpace",
    0x126: "Clear",
    0x129: "HierarchyChangeAuth",
    0x12A: "NV_DefineSpace",
    0x131: "CreatePrimary",
    0x137: "NV_Write",
    0x139: "DictionaryAttackLockReset",
    0x13A: "DictionaryAttackParameters",
    0x13D: "PCR_Reset",
    0x144: "Startup",
    0x145: "Shutdown",
    0x147: "ActivateCredential",
    0x148: "Certify",
    0x14E: "NV_Read",
    0x150: "ObjectChangeAuth",
    0x151: "PolicySecret",
    0x153: "Create",
    0x154: "ECDH_ZGen",
    0x156: "Import",
    0x157: "Load",
    0x159: "RSA_Decrypt",
    0x15D: "Sign",
    0x15E: "Unseal",
    0x161: "ContextLoad",
    0x162: "ContextSave",
    0x165: "FlushContext",
    0x167: "LoadExternal",
    0x168: "MakeCredential",
    0x169: "NV_ReadPublic",
    0x16B: "PolicyAuthValue",
    0x173: "ReadPublic",
    0x176: "StartAuthSession",
    0x17A: "GetCapability",
    0x17B: "GetRandom",
    0x17E: "PCR_Read",
    0x17F: "PolicyPCR",
    0x182: "PCR_Extend",
    0x186: "HashSequenceStart",
    0x18A: "TestParms",
}
"""Command codes by the names of part 3, those that this project's driver and its tests use."""


def command_name(code: int) -> str:
    """The command's name; unknown ones as hexadecimal."""
    return COMMANDS.get(code, f"0x{code:x}")


def read_message(stream: socket.socket) -> bytes | None:
    """One whole command or response; None when the other side has closed.

    Raises TokenFault for a size outside 10 to 65536 octets.
    """
    head = _read(stream, HEADER.size)
    if head is None:
        return None
    size: int = HEADER.unpack(head)[1]
    if not HEADER.size <= size <= MAX_MESSAGE:
        raise TokenFault(f"a TPM message cannot have {size} octets")
    body = _read(stream, size - HEADER.size)
    return None if body is None else head + body


def code_of(message: bytes) -> int:
    """The command or response code."""
    code: int = HEADER.unpack_from(message)[2]
    return code


def response(code: int) -> bytes:
    """A response that holds a code and nothing else."""
    return HEADER.pack(NO_SESSIONS, HEADER.size, code)


def clear() -> bytes:
    """TPM2_Clear by the lockout authorisation, which is empty: every owner key is gone."""
    return _by_lockout(0x126, b"")


def dictionary_attack_parameters(max_tries: int, recovery_seconds: int) -> bytes:
    """TPM2_DictionaryAttackParameters. No tries at all puts the TPM into lock-out at once."""
    return _by_lockout(0x13A, struct.pack(">III", max_tries, recovery_seconds, recovery_seconds))


def owner_password(password: bytes) -> bytes:
    """TPM2_HierarchyChangeAuth: give an owner that has none a password."""
    empty_password = struct.pack(">IHBH", RS_PW, 0, 0, 0)
    body = struct.pack(">II", RH_OWNER, len(empty_password)) + empty_password
    return _message(SESSIONS, 0x129, body + struct.pack(">H", len(password)) + password)


def hash_sequence_start() -> bytes:
    """TPM2_HashSequenceStart (SHA-256): takes one transient slot and needs no authorisation."""
    return _message(NO_SESSIONS, 0x186, struct.pack(">HH", 0, 0x000B))


def flush_context(handle: int) -> bytes:
    """TPM2_FlushContext."""
    return _message(NO_SESSIONS, 0x165, struct.pack(">I", handle))


def transient_handles() -> bytes:
    """TPM2_GetCapability: the handles of loaded objects."""
    return _message(NO_SESSIONS, 0x17A, struct.pack(">III", 1, 0x80000000, 64))


def failed_tries() -> bytes:
    """TPM2_GetCapability: the counter of wrong authorisations and how many it takes to lock."""
    return _message(NO_SESSIONS, 0x17A, struct.pack(">III", 6, 0x20E, 2))


def transact(address: tuple[str, int], message: bytes) -> bytes:
    """Send one command to a TPM and return the response's body. Raises TokenFault, TokenRemoved."""
    with socket.create_connection(address, timeout=10) as stream:
        stream.sendall(message)
        answer = read_message(stream)
    if answer is None:
        raise TokenRemoved("the TPM closed the connection without an answer")
    code = code_of(answer)
    if code != 0:
        name = command_name(code_of(message))
        raise TokenFault(f"the lab's {name} failed", code=WireCode("TPM", code))
    return answer[HEADER.size :]


def _message(tag: int, code: int, body: bytes) -> bytes:
    return HEADER.pack(tag, HEADER.size + len(body), code) + body


def _by_lockout(code: int, parameters: bytes) -> bytes:
    empty_password = struct.pack(">IHBH", RS_PW, 0, 0, 0)
    authorisation = struct.pack(">I", len(empty_password)) + empty_password
    return _message(SESSIONS, code, struct.pack(">I", RH_LOCKOUT) + authorisation + parameters)


def _read(stream: socket.socket, length: int) -> bytes | None:
    octets = b""
    while len(octets) < length:
        piece = stream.recv(length - len(octets))
        if not piece:
            return None
        octets += piece
    return octets
