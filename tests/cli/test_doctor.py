"""The doctor on machines that are laid out in a directory, and on this one."""

from __future__ import annotations

import os
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from meshhw.managers.doctor import Finding, State, examine, lab, smartcards, tpm, usb
from meshhw.managers.machine import Machine


def machine(root: Path, files: dict[str, str] | None = None, **environment: str) -> Machine:
    for name, text in (files or {}).items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return Machine(root, {"PATH": "/nonexistent", **environment})


@pytest.fixture
def open_directory() -> Iterator[Path]:
    """A directory that every user can enter; pytest's own are private."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def as_nobody(look: Callable[[], str]) -> str:
    """What an ordinary user is told: root, who is refused nothing, becomes nobody in a child first."""
    if os.geteuid() != 0:
        return look()
    with suppress(StopIteration):
        look()  # imports what it needs, which may lie where nobody cannot enter
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setuid(65534)
            os.write(writer, look().encode())
        except Exception as error:
            os.write(writer, repr(error).encode())
        finally:
            os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)
    with os.fdopen(reader) as pipe:
        return pipe.read()


def the(findings: object, subject: str) -> Finding:
    return next(f for f in findings if f.subject == subject)


@contextmanager
def service(answer: bytes | None) -> Iterator[str]:
    """A service that answers its first client so: b"" closes the connection, None never answers."""
    with tempfile.TemporaryDirectory() as name, socket.socket(socket.AF_UNIX) as server:
        server.bind(path := f"{name}/comm")
        server.listen()
        done = threading.Event()

        def serve() -> None:
            client, _ = server.accept()
            with client:
                if answer is None:
                    done.wait(60)
                elif answer:
                    client.recv(20)
                    client.sendall(answer)

        threading.Thread(target=serve, daemon=True).start()
        yield path
        done.set()


@pytest.mark.parametrize(
    ("answer", "says", "mend"),
    [
        (bytes(12), "ok       pcscd: running", ""),
        (
            b"",
            "missing  pcscd: running, but it refuses this user: polkit",
            "/etc/polkit-1/rules.d/50-meshhw.rules",
        ),
        (None, "missing  pcscd: running, but it does not answer", "sudo systemctl restart pcscd"),
    ],
    ids=["running", "refusing", "hanging"],
)
def test_pcscd_is_told_by_how_it_takes_a_client(
    tmp_path: Path, answer: bytes | None, says: str, mend: str
) -> None:
    with service(answer) as path:
        told = str(the(smartcards(machine(tmp_path, PCSCLITE_CSOCK_NAME=path)), "pcscd"))
    assert told.startswith(says)
    assert mend in told


def test_the_rule_that_lets_in_whom_polkit_refuses_is_there(tmp_path: Path) -> None:
    with service(b"") as path:
        mend = the(smartcards(machine(tmp_path, PCSCLITE_CSOCK_NAME=path)), "pcscd").mend
    assert 'isInGroup("plugdev")' in Path(mend.split()[4]).read_text()
    assert "adduser $USER plugdev" in mend


def test_a_pcscd_that_is_not_installed_is_told_with_its_package(tmp_path: Path) -> None:
    found = the(smartcards(machine(tmp_path)), "pcscd")
    assert found == Finding(
        "pcscd", State.MISSING, "not installed: no smartcards", "sudo apt-get install pcscd"
    )


def test_a_pcscd_that_refuses_this_user_is_told_with_the_rule(open_directory: Path) -> None:
    path = open_directory / "comm"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        path.chmod(0)
        here = machine(open_directory, PCSCLITE_CSOCK_NAME=str(path))
        told = as_nobody(lambda: str(the(smartcards(here), "pcscd")))
    assert told.startswith("missing")
    assert "polkit" in told


@pytest.mark.parametrize(
    ("files", "command"),
    [({}, "pcscd"), ({"run/systemd/system/x": ""}, "systemctl enable --now pcscd.socket")],
)
def test_a_pcscd_that_does_not_run_is_told_with_its_start(
    tmp_path: Path, files: dict[str, str], command: str
) -> None:
    program = tmp_path / "bin/pcscd"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    found = the(smartcards(machine(tmp_path, files, PATH=str(program.parent))), "pcscd")
    assert found == Finding("pcscd", State.MISSING, found.says, f"sudo {command}")


def test_an_scdaemon_is_named_with_its_process_and_left_alive(tmp_path: Path) -> None:
    here = machine(tmp_path, {"proc/42/comm": "scdaemon\n", "proc/43/comm": "sh\n"})
    found = the(smartcards(here), "scdaemon")
    assert "process 42" in found.says
    assert found.mend.startswith("gpgconf --kill")


def test_wsl_and_containers_see_no_usb_by_themselves(tmp_path: Path) -> None:
    wsl = machine(tmp_path / "a", {"proc/sys/kernel/osrelease": "5.15.0-microsoft-standard-WSL2\n"})
    assert "usbipd" in the(usb(wsl), "usb").mend
    container = machine(tmp_path / "b", {".dockerenv": ""})
    assert "--device" in the(usb(container), "usb").mend


def test_a_plugged_key_is_named_by_its_maker(tmp_path: Path) -> None:
    here = machine(tmp_path, {"sys/bus/usb/devices/1-1/idVendor": "1050\n"})
    assert the(usb(here), "usb").says == "plugged in: Yubico"


def test_a_missing_tpm_is_a_note_and_a_present_one_is_fine(tmp_path: Path) -> None:
    assert the(tpm(machine(tmp_path)), "tpm").state is State.NOTE
    assert the(tpm(machine(tmp_path, {"dev/tpmrm0": ""})), "tpm").state is State.OK


def test_devices_closed_to_an_ordinary_user_are_told_with_group_and_rules(open_directory: Path) -> None:
    here = machine(open_directory, {"dev/tpmrm0": "", "dev/hidraw0": ""})
    for name in ("tpmrm0", "hidraw0"):
        (open_directory / "dev" / name).chmod(0)
    assert "usermod -aG tss" in as_nobody(lambda: str(the(tpm(here), "tpm")))
    assert "70-meshhw.rules" in as_nobody(lambda: str(the(usb(here), "udev rules")))
    with_rules = machine(open_directory, {"etc/udev/rules.d/70-meshhw.rules": ""})
    assert "adduser $USER plugdev" in as_nobody(lambda: str(the(usb(with_rules), "udev rules")))


def test_each_missing_program_of_the_lab_is_told_with_its_packages(tmp_path: Path) -> None:
    sbin = tmp_path / "usr/sbin/pkcsslotd"
    sbin.parent.mkdir(parents=True)
    sbin.touch(0o755)
    commands = {f.subject: f.mend for f in lab(machine(tmp_path)) if f.state is State.MISSING}
    assert set(commands) == {f"lab: {name}" for name in ("softhsm2-util", "certutil", "swtpm", "pcscd", "cc")}
    assert commands["lab: softhsm2-util"] == "sudo apt-get install softhsm2"


def test_a_state_directory_open_to_others_is_told_with_chmod(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir(mode=0o755)
    found = the(examine(machine(tmp_path), home), "state directory")
    assert found.state is State.MISSING
    assert found.mend == f"chmod 700 '{home}'"


def test_the_status_says_nothing_unless_strict(meshhw, tmp_path: Path) -> None:
    absent = {"PCSCLITE_CSOCK_NAME": str(tmp_path / "absent")}
    assert meshhw("doctor", env=absent).returncode == 0
    done = meshhw("doctor", "--strict", env=absent)
    assert done.returncode == 1
    assert "missing  pcscd" in done.stdout


def test_a_library_that_is_no_pkcs11_module_is_told_with_what_to_name(meshhw, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.so"
    wrong.write_bytes(b"\x7fELF, but no library")
    told = meshhw("doctor", env={"MESHHW_PKCS11_MODULES": f"{wrong}:{tmp_path}/absent.so"}).stdout
    assert f"note     library wrong.so: {wrong} is not a PKCS#11 module that can be loaded" in told
    assert f"note     library absent.so: there is no PKCS#11 module at {tmp_path}/absent.so" in told
    assert told.count("name the right library: export MESHHW_PKCS11_MODULES=PATH") == 2
