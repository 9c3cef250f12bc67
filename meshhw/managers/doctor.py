"""What is missing on this machine for each kind of token, and the command that mends it.

A check looks and never changes anything, asks for no PIN and opens no token. It yields findings: `ok`,
`missing` (with the command that mends it) or `note` for what is worth knowing.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from meshhw import files
from meshhw.errors import DriverUnavailable, MeshError
from meshhw.keystore import registry
from meshhw.keystore.api import HasModules
from meshhw.managers.intentions import Intentions
from meshhw.managers.machine import Answer, Machine, rules_file


class State(StrEnum):
    """What a finding means."""

    OK = "ok"
    MISSING = "missing"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the doctor's report. `mend` is a command where one line can mend it."""

    subject: str
    state: State
    says: str
    mend: str = ""

    def __str__(self) -> str:
        line = f"{self.state:<8} {self.subject}: {self.says}"
        return f"{line}\n{'':<8} mend: {self.mend}" if self.mend else line


Check = Callable[[Machine], Iterator[Finding]]

_RESTART = "sudo systemctl restart pcscd"

_TOKEN_VENDORS = {
    "1050": "Yubico",
    "20a0": "Nitrokey",
    "096e": "Feitian",
    "1209": "open hardware",
    "349e": "Token2",
}
_LAB = {
    "softhsm2-util": ("softhsm2", "SoftHSM tokens"),
    "certutil": ("libnss3 libnss3-tools", "NSS tokens"),
    "pkcsslotd": ("opencryptoki", "opencryptoki tokens"),
    "swtpm": ("swtpm swtpm-tools", "TPMs"),
    "pcscd": ("pcscd vsmartcard-vpcd", "virtual cards"),
    "cc": ("build-essential", "faults under PKCS#11 modules"),
}


def examine(machine: Machine, home: Path) -> list[Finding]:
    """Every finding, in the order in which a person would mend them."""
    found = [*_state_directory(home), *_interrupted(home), *_python(), *_drivers()]
    for check in CHECKS:
        found += check(machine)
    return found


def _interrupted(home: Path) -> Iterator[Finding]:
    """Makings of keys whose process was killed before it had a record of them."""
    if not (home / "making").is_dir():
        return
    with suppress(MeshError):  # a home that is open to others is a finding already
        tokens = Counter(intention.token for intention in Intentions(home).interrupted())
        for uri, count in tokens.items():
            what = "a key" if count == 1 else f"{count} keys"
            yield Finding(
                "interrupted",
                State.MISSING,
                f"a command that was making {what} on {uri} was killed; what it left has no record",
                f"meshhw key tidy '{uri}'",
            )


def _python() -> Iterator[Finding]:
    """The interpreter. One below 3.11 cannot get here, so this only tells which it is."""
    yield Finding("python", State.OK, f"{sys.version.split()[0]} at {sys.executable}")


def _drivers() -> Iterator[Finding]:
    """Each driver: whether it loads, speaks this interface, and finds its library and tokens."""
    found = registry.discover()
    for name in registry.names():
        error = found.unavailable.get(name)
        if error is None:
            count = sum(info.driver == name for info in found.tokens)
            yield Finding(f"driver {name}", State.OK, f"{count} token{'' if count == 1 else 's'}")
            yield from _modules(name)
        else:
            mend = "" if error.hint == DriverUnavailable.default_hint else error.hint
            yield Finding(f"driver {name}", State.MISSING, error.message, mend)


def _modules(name: str) -> Iterator[Finding]:
    """Makers' libraries that cannot be asked: the wrong file, or one whose service does not run."""
    driver = registry.driver(name)
    for path, reason in driver.modules().items() if isinstance(driver, HasModules) else ():
        if reason:
            mend = "start the service it needs, or name the right library: export MESHHW_PKCS11_MODULES=PATH"
            yield Finding(f"library {Path(path).name}", State.NOTE, reason, mend)


def smartcards(machine: Machine) -> Iterator[Finding]:
    """pcscd, which every card reader needs, and what commonly stands in its way."""
    answer = machine.pcsc_answer() if machine.pcsc_socket().exists() else Answer.NOBODY
    if answer is not Answer.NOBODY:
        yield _pcsc_access(machine, answer)
    elif machine.program("pcscd") is None:
        yield Finding("pcscd", State.MISSING, "not installed: no smartcards", "sudo apt-get install pcscd")
    else:
        start = "systemctl enable --now pcscd.socket" if machine.has_systemd() else "pcscd"
        yield Finding("pcscd", State.MISSING, "installed but not running: no smartcards", f"sudo {start}")
    holders = [number for number, name in machine.processes() if name == "scdaemon"]
    if holders:
        yield Finding(
            "scdaemon",
            State.NOTE,
            f"GnuPG's scdaemon runs (process {holders[0]}) and may hold a card for itself",
            "gpgconf --kill scdaemon; echo disable-ccid >> ~/.gnupg/scdaemon.conf",
        )


def _pcsc_access(machine: Machine, answer: Answer) -> Finding:
    if answer is Answer.GIVEN:
        return Finding("pcscd", State.OK, "running")
    if answer is Answer.SILENCE:
        return Finding("pcscd", State.MISSING, "running, but it does not answer", _RESTART)
    whom = (
        "polkit does not let this user in"
        if os.access(machine.pcsc_socket(), os.W_OK)
        else "its socket is closed"
    )
    return Finding(
        "pcscd",
        State.MISSING,
        f"running, but it refuses this user: {whom}",
        f"sudo install -m 644 {rules_file('polkit-meshhw.rules')} /etc/polkit-1/rules.d/50-meshhw.rules"
        " && sudo adduser $USER plugdev, then log in again",
    )


def usb(machine: Machine) -> Iterator[Finding]:
    """Token devices on USB and the rules that open them to the person at the machine."""
    plugged = sorted({_TOKEN_VENDORS[v] for v in machine.usb_vendors() if v in _TOKEN_VENDORS})
    if plugged:
        yield Finding("usb", State.OK, "plugged in: " + ", ".join(plugged))
    elif machine.is_wsl():
        yield Finding(
            "usb", State.NOTE, "WSL sees no USB device by itself", "usbipd attach --wsl --busid BUSID"
        )
    elif machine.is_container():
        yield Finding(
            "usb",
            State.NOTE,
            "a container sees only devices it is given",
            "docker run --device /dev/bus/usb …",
        )
    closed = [
        path for path in sorted(machine.path("dev").glob("hidraw*")) if not os.access(path, os.R_OK | os.W_OK)
    ]
    if closed and machine.has_rules("70-meshhw.rules"):
        yield Finding(
            "udev rules",
            State.MISSING,
            f"{closed[0]} is closed to this user, who is neither at the machine nor in the group plugdev",
            "sudo adduser $USER plugdev, then log in again",
        )
    elif closed:
        yield Finding(
            "udev rules",
            State.MISSING,
            f"{closed[0]} is closed to this user: no FIDO2 over USB",
            f"sudo install -m 644 {rules_file('70-meshhw.rules')} /etc/udev/rules.d/"
            " && sudo udevadm control --reload && sudo udevadm trigger",
        )


def tpm(machine: Machine) -> Iterator[Finding]:
    """The machine's own TPM."""
    device = machine.path("dev/tpmrm0")
    if not device.exists():
        where = (
            "in a container only with --device /dev/tpmrm0"
            if machine.is_container()
            else "see the firmware's set-up"
        )
        yield Finding("tpm", State.NOTE, f"no /dev/tpmrm0 here ({where})")
    elif os.access(device, os.R_OK | os.W_OK):
        yield Finding("tpm", State.OK, "/dev/tpmrm0 can be used")
    else:
        yield Finding(
            "tpm",
            State.MISSING,
            "/dev/tpmrm0 is closed to this user",
            "sudo usermod -aG tss $USER, then log in again",
        )


def lab(machine: Machine) -> Iterator[Finding]:
    """What the lab's emulated tokens need; nobody needs it for real ones."""
    for program, (packages, what) in _LAB.items():
        if machine.program(program) is None:
            yield Finding(
                f"lab: {program}", State.MISSING, f"no emulated {what}", f"sudo apt-get install {packages}"
            )
        else:
            yield Finding(f"lab: {program}", State.OK, what)


def _state_directory(home: Path) -> Iterator[Finding]:
    try:
        files.check_private(home)
    except MeshError as error:
        yield Finding("state directory", State.MISSING, error.message, error.hint)
    else:
        yield Finding(
            "state directory", State.OK, f"{home}" if home.exists() else f"{home} (made on first use)"
        )


CHECKS: tuple[Check, ...] = (smartcards, usb, tpm, lab)
