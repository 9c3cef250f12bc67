"""PKCS#11 tokens and TPMs in the fault suite."""

from __future__ import annotations

import base64
import ctypes
import resource
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest
from meshhw_pkcs11.cryptoki import CryptokiError, load
from meshhw_pkcs11.login import CKU_USER
from meshhw_pkcs11.modules import VARIABLE
from meshhw_tpm.keyfile import LOADABLE

from hwtests.family import Family, Unable
from hwtests.family_vault import SMALL, limit_files
from meshhw.algorithms import Algorithm
from meshhw.errors import MeshError, NotSupported
from meshhw.keystore.api import Key, PinPolicy, Signs, Token
from meshhw.keystore.home import state_directory
from meshhw.keystore.uri import TokenURI
from meshhw.lab import shim
from meshhw.lab.pkcs11_token import Pkcs11Token, counted
from meshhw.lab.shim import Control, State, Trouble
from meshhw.lab.skipping import or_skip
from meshhw.lab.swtpm import SoftwareTpm
from meshhw.lab.tpm_proxy import Answer, Delay, Fault, Hang

SESSION_COUNT = 0xB1


class Pkcs11Family(Family):
    """A PKCS#11 token behind the fault module."""

    _refused = 0
    _changed_pin = ""

    def __init__(self, token: Pkcs11Token, trouble: Trouble, module: Path) -> None:
        self._token, self._trouble, self._module = token, trouble, module
        self._control = Control(shim.control_of(module))

    @property
    def uri(self) -> TokenURI:
        return self._token.uri

    @property
    def pin(self) -> str:
        return self._token.pin

    @property
    def env(self) -> dict[str, str]:
        return dict(self._token.env)

    def pull(self) -> None:
        self._trouble.pull()

    def slow_down(self, seconds: float) -> None:
        self._trouble.delay(seconds, "C_Sign")

    def put_back(self) -> None:
        self._trouble.put_back()

    def swap(self) -> None:
        self._trouble.swap()

    def lock(self) -> None:
        self._trouble.be(State.LOCKED)

    def nearly_lock(self) -> None:
        self._trouble.be(State.FINAL_TRY)

    def hang(self) -> None:
        self._trouble.hang("C_Sign")

    def strange_answer(self) -> int:
        self._trouble.fail(0x80001234, "C_Sign")
        return 0x80001234

    def fill(self) -> None:
        self._trouble.be(State.FULL)

    @contextmanager
    def exhaust(self) -> Iterator[None]:
        before = self._control.calls().get("C_OpenSession", 0)
        self._trouble.fail(SESSION_COUNT, "C_OpenSession", times=1000)
        yield
        self._trouble.clear()
        self._refused += self._control.calls().get("C_OpenSession", 0) - before

    def handles(self) -> int:
        calls = self._control.calls()
        return calls.get("C_OpenSession", 0) - self._refused - calls.get("C_CloseSession", 0)

    @contextmanager
    def held_by_another(self) -> Iterator[str]:
        self._trouble.be(State.BUSY)
        try:
            yield ""
        finally:
            self._trouble.clear()

    def change_pin(self, new: str) -> None:
        """Another library of this process, which logs in together with us, sets it and logs out."""
        self._set_pin(self._token.pin, new)
        self._changed_pin = new

    def _set_pin(self, old: str, new: str) -> None:
        module, name = load(str(self._module)), self._token.label.encode()
        slot = next(slot for slot in module.slots() if module.token_info(slot).label.strip() == name)
        with module.session(slot) as session:
            with suppress(CryptokiError):  # that somebody of this process is logged in already
                module.call("C_Login", session, ctypes.c_ulong(CKU_USER), *counted(old))
            module.call("C_SetPIN", session, *counted(old), *counted(new))
            module.call("C_Logout", session)

    def heal(self) -> None:
        self._trouble.clear()
        if self._changed_pin:
            self._set_pin(self._changed_pin, self._token.pin)
            self._changed_pin = ""

    def pins_received(self) -> int:
        return self._control.calls().get("C_Login", 0)

    def forget_pins(self) -> None:
        self._control.reset()


class RsaFamily(Pkcs11Family):
    """The same for a token without elliptic curves."""

    algorithm = Algorithm.RSA2048

    def make_key(self, token: Token) -> Key:
        """One serves all tests: they are slow to make, and some tests have a deadline."""
        for key in list(token.keys()):  # a test before may have left others
            if key.algorithm is self.algorithm and isinstance(key, Signs):
                return key
        return super().make_key(token)

    def prepare(self) -> None:
        """Make it while there is time."""
        token = self.open()
        self.make_key(token)
        token.close()


class TpmFamily(Family):
    """A software TPM behind the counting proxy. It is soldered in: pulling it is a daemon that dies."""

    key_pin_policy = PinPolicy.ONCE

    def __init__(self, tpm: SoftwareTpm) -> None:
        self._tpm = tpm
        self._swapped = False

    @property
    def uri(self) -> TokenURI:
        return self._tpm.uri

    @property
    def pin(self) -> str:
        return self._tpm.pin

    @property
    def env(self) -> dict[str, str]:
        return dict(self._tpm.env)

    def pull(self) -> None:
        self._tpm.kill()

    def slow_down(self, seconds: float) -> None:
        self._tpm.proxy.inject(Fault(Delay(seconds), "Sign"))

    def put_back(self) -> None:
        if self._swapped:
            self._tpm.put_back()
        else:
            self._tpm.restart()
        self._swapped = False

    def swap(self) -> None:
        self._tpm.replace()
        self._swapped = True

    def lock(self) -> None:
        self._tpm.lock()

    def nearly_lock(self) -> None:
        self._tpm.nearly_lock()

    def tries_left(self) -> int:
        return self._tpm.tries_left()

    def change_pin(self, new: str) -> None:
        raise Unable("the PIN's change shows in the TPM's key files, before one is sent")

    def hang(self) -> None:
        self._tpm.proxy.inject(Fault(Hang()))

    def strange_answer(self) -> int:
        self._tpm.proxy.inject(Fault(Answer(0x9FF), "Sign", times=1))
        return 0x9FF

    def fill(self) -> None:
        """A TPM's keys are files beside it, so it is full when their disk is."""
        limit_files(SMALL)

    def file(self) -> Path:
        (found,) = (state_directory() / "tpm").glob("*/*.pem")
        return found

    def changed(self, whole: bytes) -> dict[bytes, type[MeshError]]:
        label, pem = whole.split(b"-----BEGIN")
        lines = pem.splitlines()
        der = bytearray(base64.b64decode(b"".join(lines[1:-1])))
        place = der.index(LOADABLE) + len(LOADABLE) - 1
        der[place] = 0x7F  # a type of key file that there is not yet
        later = b"\n".join((lines[0], base64.encodebytes(der).strip(), lines[-1], b""))
        return super().changed(whole) | {label + b"-----BEGIN" + later: NotSupported}

    @contextmanager
    def exhaust(self) -> Iterator[None]:
        taken = self._tpm.fill()
        yield
        self._tpm.flush(taken)

    def handles(self) -> int:
        return self._tpm.loaded()

    def heal(self) -> None:
        limit_files(resource.RLIM_INFINITY)
        self._tpm.proxy.clear_faults()

    def pins_received(self) -> int:
        return self._tpm.proxy.counts["Sign"]

    def forget_pins(self) -> None:
        self._tpm.proxy.reset_counts()


def softhsm(request: pytest.FixtureRequest) -> Family:
    """A SoftHSM token."""
    token, trouble = request.getfixturevalue("troubled_softhsm")
    return Pkcs11Family(token, trouble, Path(token.module_path))


def nss(request: pytest.FixtureRequest) -> Family:
    """An NSS token."""
    token, trouble = request.getfixturevalue("troubled_nss")
    module = Path(token.module_path).read_text().split()[1]
    family = Pkcs11Family(token, trouble, Path(module))
    family.opens_files = False  # it keeps its database open
    return family


def swtpm(request: pytest.FixtureRequest) -> Family:
    """A software TPM."""
    return TpmFamily(request.getfixturevalue("swtpm_token"))


def opencryptoki(request: pytest.FixtureRequest) -> Family:
    """The machine's opencryptoki token behind the fault module."""
    token = request.getfixturevalue("opencryptoki_token")
    directory = request.getfixturevalue("tmp_path")
    path = or_skip(lambda: shim.place(token.module_path, directory, "opencryptoki-shim"))
    shimmed = replace(token, module_path=str(path), env={VARIABLE: str(path)})
    trouble = Control(shim.control_of(path)).trouble(token.label)
    family = RsaFamily(shimmed, trouble, path)
    family.prepare()
    return family
