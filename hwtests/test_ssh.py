"""The ssh-agent with the real OpenSSH and git: listing, logging in, and signing a commit."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from meshhw.lab.ports import free_pair

pytestmark = pytest.mark.skipif(
    not all(map(shutil.which, ("ssh", "ssh-add", "ssh-keygen", "git"))),
    reason="openssh-client or git is not installed",
)
PRIVATE = Path(__file__).parents[1] / ".venv" / "sshd"
"""Where `./dev setup` unpacks an sshd on machines that have none."""
PARTS = {"SshdSessionPath": "usr/lib/openssh/sshd-session", "SshdAuthPath": "usr/lib/openssh/sshd-auth"}
"""Programs of a newer sshd that it looks for where it would be installed."""
ALGORITHMS = ["Ed25519", "P-256", "P-384", "RSA-3072"]


@dataclass
class Home:
    """A home with a vault, and its SSH keys."""

    path: Path

    def meshhw(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "meshhw", "--home", str(self.path / "home"), *arguments],
            env=os.environ | {"MESHHW_PIN_SOURCE": f"file:{self.path / 'pin'}"},
            check=check,
            capture_output=True,
            text=True,
            timeout=60,
        )

    def with_agent(self, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return self.meshhw("ssh", "agent", "--", *command, check=check)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    path = tmp_path_factory.mktemp("ssh")
    (path / "pin").write_text("correct horse\n")
    (path / "pin").chmod(0o600)
    made = Home(path)
    for algorithm in ALGORITHMS:
        made.meshhw("ssh", "add", "--on", "software:", "--comment", algorithm, "--algorithm", algorithm)
    return made


@pytest.fixture(scope="module")
def server(home: Home, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A real sshd on the loopback that knows the keys. Gives its port."""
    sshd = next((path for path in (Path("/usr/sbin/sshd"), PRIVATE / "usr/sbin/sshd") if path.exists()), None)
    if sshd is None:
        pytest.skip("there is no sshd; `./dev setup` fetches one")
    path = tmp_path_factory.mktemp("sshd")
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path / "host")], check=True)
    (path / "authorized").write_text(home.meshhw("ssh", "list").stdout.split("\n", 1)[1])
    port = free_pair()
    (path / "config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {path / 'host'}\nPidFile none\nUsePAM no\n"
        f"AuthorizedKeysFile {path / 'authorized'}\nStrictModes no\nPasswordAuthentication no\n"
        + "".join(
            f"{option} {PRIVATE / program}\n"
            for option, program in PARTS.items()
            if sshd.is_relative_to(PRIVATE) and (PRIVATE / program).exists()
        )
    )
    if os.geteuid() == 0:
        # Debian's sshd, as root, wants it at each connection; elsewhere its service unit makes it. It stays:
        # another process of these tests may have a server that wants it still.
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    command = [str(sshd), "-D", "-E", str(path / "log"), "-f", str(path / "config")]
    with subprocess.Popen(command, env=os.environ | _surroundings(path), stderr=subprocess.PIPE) as daemon:
        try:
            _wait_for(port, daemon)
            yield port
        finally:
            daemon.terminate()
            daemon.wait(10)


def _surroundings(path: Path) -> dict[str, str]:
    """The libraries that were unpacked beside sshd, and the user that it wants as root."""
    libraries = {str(found.parent) for found in PRIVATE.rglob("*.so*")}
    found = {"LD_LIBRARY_PATH": ":".join(sorted(libraries))}
    wrapper = next(PRIVATE.rglob("libnss_wrapper.so"), None)
    users = Path("/etc/passwd").read_text()
    if "\nsshd:" not in users and wrapper is not None:
        (path / "passwd").write_text(f"{users}sshd:x:65534:65534::/run/sshd:/usr/sbin/nologin\n")
        shutil.copy("/etc/group", path / "group")
        found |= {"NSS_WRAPPER_PASSWD": str(path / "passwd"), "NSS_WRAPPER_GROUP": str(path / "group")}
        found["LD_PRELOAD"] = str(wrapper)
    return found


def _wait_for(port: int, daemon: subprocess.Popen[bytes]) -> None:
    for _ in range(400):
        with closing(socket.socket()) as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        if daemon.poll() is not None:
            break
        time.sleep(0.05)
    daemon.kill()
    pytest.fail(f"sshd does not listen: {daemon.communicate()[1].decode(errors='replace')}")


def test_ssh_add_lists_the_keys(home: Home) -> None:
    listed = home.with_agent("ssh-add", "-l").stdout
    assert [line.split()[2] for line in listed.splitlines()] == ALGORITHMS


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_logging_in(home: Home, server: int, algorithm: str, tmp_path: Path) -> None:
    line = next(key for key in home.meshhw("ssh", "list").stdout.splitlines() if f" {algorithm} " in key)
    (tmp_path / "id.pub").write_text(line)
    (tmp_path / "id.pub").chmod(0o600)
    done = home.with_agent(
        *("ssh", "-F", "none", "-p", str(server), "-o", "StrictHostKeyChecking=no", "-o", "BatchMode=yes"),
        *("-o", f"UserKnownHostsFile={tmp_path / 'known'}", "-o", "IdentitiesOnly=yes"),
        *("-i", str(tmp_path / "id.pub"), f"{getpass.getuser()}@127.0.0.1", "echo in"),
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "in\n"), done.stderr + _log(home)


def _log(home: Home) -> str:
    """What the servers of this session have said."""
    return "\n".join(path.read_text(errors="replace") for path in home.path.parent.glob("sshd*/log"))


def test_git_signs_a_commit(home: Home, tmp_path: Path) -> None:
    line = " ".join(home.meshhw("ssh", "list").stdout.splitlines()[1].split()[:2])
    (tmp_path / "signers").write_text(f"dev@example.com {line}\n")
    (tmp_path / "id.pub").write_text(line)
    git = ["git", "-C", str(tmp_path), "-c", "user.name=dev", "-c", "user.email=dev@example.com"]
    git += ["-c", "gpg.format=ssh", "-c", f"user.signingkey={tmp_path / 'id.pub'}"]
    git += ["-c", f"gpg.ssh.allowedSignersFile={tmp_path / 'signers'}"]
    subprocess.run([*git, "init", "-q"], check=True)
    home.with_agent(*git, "commit", "-q", "-S", "--allow-empty", "-m", "signed by a token")
    shown = subprocess.run([*git, "verify-commit", "HEAD"], check=True, capture_output=True, text=True)
    assert "Good" in shown.stderr
    assert "dev@example.com" in shown.stderr


def test_the_agent_neither_adds_nor_removes(home: Home) -> None:
    refused = home.with_agent("ssh-add", "-D", check=False)
    assert refused.returncode != 0
    assert len(home.with_agent("ssh-add", "-l").stdout.splitlines()) == len(ALGORITHMS)


def test_an_agent_ends_when_it_is_told_to(home: Home) -> None:
    command = [sys.executable, "-m", "meshhw", "--home", str(home.path / "home"), "ssh", "agent"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as serving:
        assert serving.stdout is not None
        place = Path(serving.stdout.readline().split(";")[0].split("=")[1])
        assert place.stat().st_mode & 0o777 == 0o600
        serving.terminate()
        assert serving.wait(10) == 0
    assert not place.exists()
