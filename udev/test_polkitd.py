"""The polkit rule in polkit's own daemon, on a system bus and with files that are this test's alone.

What pcscd asks is asked by `pkcheck`, since Debian 12 builds pcscd without polkit.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

RULE = Path(__file__).with_name("polkit-meshhw.rules")
ACTION = "org.debian.pcsc-lite.access_pcsc"
MEMBER, STRANGER = "games", "news"
"""Accounts of every Debian that have no session: the first is put into the group plugdev."""
PATIENCE = 60.0
NOT_ALLOWED, NO_ANSWER = 1, 126
"""What pkcheck exits with, the latter or more; 0 says that it is allowed."""
DAEMONS = ("/usr/lib/polkit-1/polkitd", "/usr/libexec/polkitd", "/usr/libexec/polkit-1/polkitd")
PLACES = ("/etc/polkit-1/rules.d", "/usr/share/polkit-1/rules.d", "/usr/share/polkit-1/actions")
BUS = """<busconfig>
  <type>system</type>
  <listen>unix:path={directory}/bus</listen>
  <policy context="default">
    <allow user="*"/> <allow own="*"/> <allow send_destination="*"/> <allow receive_sender="*"/>
  </policy>
</busconfig>
"""
POLICY = f"""<policyconfig><action id="{ACTION}">
  <description>Access to the PC/SC daemon</description> <message>as pcscd ships it</message>
  <defaults>
    <allow_any>no</allow_any> <allow_inactive>no</allow_inactive> <allow_active>yes</allow_active>
  </defaults>
</action></policyconfig>
"""
ROOM = """
mount --make-rprivate / || exit
for place in {places}; do mount -t tmpfs -o mode=755 none $place || exit; done
cp {directory}/policy /usr/share/polkit-1/actions/org.debian.pcsc-lite.policy
mount --bind {directory}/group /etc/group || exit
dbus-daemon --config-file={directory}/bus.conf --nofork &
while [ ! -S {directory}/bus ]; do kill -0 $! || exit; sleep 0.1; done
exec {daemon} --no-debug
"""


@dataclass(frozen=True)
class Polkit:
    """A running daemon."""

    pid: int
    environment: dict[str, str]

    def answer(self, user: str) -> int:
        """What it says of a process of that user."""
        sleeper = subprocess.Popen(["sleep", "300"], user=user, group=user, extra_groups=[])
        try:
            return self.ask(sleeper.pid).returncode
        finally:
            sleeper.kill()
            sleeper.wait()

    def becomes(self, user: str, wanted: int) -> bool:
        """Whether that is the answer before long: a new rule is noticed as files are."""
        end = time.monotonic() + PATIENCE
        while (found := self.answer(user) == wanted) is False and time.monotonic() < end:
            time.sleep(0.2)
        return found

    def run(self, command: str) -> None:
        """A command of the machine's administrator, where the daemon sees what it does."""
        inside = ["nsenter", f"--mount=/proc/{self.pid}/ns/mnt", *command.split()]
        subprocess.run(inside, check=True, timeout=PATIENCE)

    def ask(self, pid: int) -> subprocess.CompletedProcess[str]:
        """Whether the process may do what pcscd asks about each that connects to it."""
        command = ["pkcheck", "--action-id", ACTION, "--process", str(pid)]
        return subprocess.run(
            command, env=self.environment, capture_output=True, text=True, timeout=PATIENCE, check=False
        )


@pytest.fixture
def polkit() -> Iterator[Polkit]:
    """With no rule, in a group of mounts of its own; it ends with the test."""
    daemon = next((path for path in DAEMONS if Path(path).exists()), None)
    if daemon is None or shutil.which("pkcheck") is None or not Path(PLACES[1]).is_dir():
        pytest.skip("polkit with rules is not installed (package polkitd)")
    if shutil.which("dbus-daemon") is None:
        pytest.skip("dbus-daemon is not installed (package dbus-bin)")
    if os.geteuid() != 0:
        pytest.skip("polkit's daemon wants to be started by root")
    with ExitStack() as ending:
        directory = Path(ending.enter_context(TemporaryDirectory(prefix="meshhw-polkit-")))
        directory.chmod(0o755)  # the daemon becomes a user of its own
        texts = {"bus.conf": BUS.format(directory=directory), "policy": POLICY, "group": _groups()}
        for name, text in texts.items():
            (directory / name).write_text(text)
        script = ROOM.format(places=" ".join(PLACES), directory=directory, daemon=daemon)
        environment = os.environ | {"DBUS_SYSTEM_BUS_ADDRESS": f"unix:path={directory}/bus"}
        said = ending.enter_context((directory / "said").open("w+"))
        room = subprocess.Popen(
            ["unshare", "--mount", "sh", "-c", script],
            env=environment,
            stdout=said,
            stderr=said,
            start_new_session=True,
        )
        ending.callback(_end, room)
        made = Polkit(room.pid, environment)
        while made.ask(os.getpid()).returncode >= NO_ANSWER:
            if room.poll() is not None:
                pytest.skip(f"polkit's daemon does not run here: {(directory / 'said').read_text().strip()}")
            time.sleep(0.1)
        yield made


def _groups() -> str:
    """The machine's groups, and in plugdev the one member."""
    others = [line for line in Path("/etc/group").read_text().splitlines() if not line.startswith("plugdev:")]
    return "\n".join([*others, f"plugdev:x:46:{MEMBER}", ""])


def _end(room: subprocess.Popen[bytes]) -> None:
    """The daemon, and the bus beside it."""
    with suppress(ProcessLookupError):  # where neither came to run
        os.killpg(room.pid, signal.SIGTERM)
    room.wait()


def test_the_rule_lets_in_whom_polkit_refused_before(polkit: Polkit) -> None:
    """The command with which the doctor has a refusal mended, for its group and for nobody else."""
    assert polkit.answer(MEMBER) == NOT_ALLOWED
    command = next(line for line in RULE.read_text().splitlines() if "sudo install" in line)
    assert f"udev/{RULE.name}" in command
    polkit.run(command.partition("sudo ")[2].replace(f"udev/{RULE.name}", str(RULE)))
    assert polkit.becomes(MEMBER, 0)
    assert polkit.answer(STRANGER) == NOT_ALLOWED
