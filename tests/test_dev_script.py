"""`./dev`, run as it stands in a copy of the tree, on an operating system of small scripts that write down
how they are called: apt-get, dpkg-query, sudo, id and the system's Python. Nothing is really installed."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TREE = ("dev", "requirements.lock", "pyproject.toml", "system-packages.txt")
REAL = (
    "sh env true cat sed tr grep sha256sum date mktemp nproc dirname basename head tail rm mkdir mv touch cp"
)
"""Tools that change nothing of a system, as this machine has them."""
RECORD = '#!/bin/sh\nprintf "%s\\n" "$(basename "$0") $*" >>"$MACHINE/calls"\n'
SYSTEM = {
    "id": 'echo "${ACTS_AS:-$(cat "$MACHINE/uid")}"',
    "dpkg-query": 'for name; do :; done\ngrep -qx "$name" "$MACHINE/installed" && printf installed',
    "dpkg": "exit 0",
    "apt-cache": '[ "$1" != show ] || ! grep -qx "$2" "$MACHINE/unknown"',
    "apt-get": """
for word; do case $word in
    update) echo "reading"; exit "$(cat "$MACHINE/update")" ;;
    install) verb=install ;;
    download) verb=download ;;
    -*) ;;
    *)  case ${verb:-} in
            install) [ ! -e "$MACHINE/broken" ] || { echo "E: no room for $word"; exit 100; }
                     echo "$word" >>"$MACHINE/installed" ;;
            download) touch "$word.deb" ;;
        esac ;;
esac; done""",
    "python3": """
case $1 in
    -c) exec "$PYTHON" "$@" ;;
    --version) echo "Python 3.99" ;;
    -m) mkdir -p .venv/bin; cp "$MACHINE/venv-python" .venv/bin/python ;;
esac""",
}
SUDO = """
[ "$1" != -n ] || exit 1  # it would have to ask
[ ! -e "$MACHINE/refuses" ] || exit 1
ACTS_AS=0 exec "$@\""""
VENV_PYTHON = """
case "$*" in
    "-c import meshhw") [ -e .venv/bin/meshhw ] ;;
    *"install "*" -e .")
        for tool in meshhw pytest ruff mypy lint-imports; do cp "$MACHINE/tool" .venv/bin/$tool; done ;;
esac"""
TOOL = '[ "$(basename "$0")" != "$(cat "$MACHINE/fails")" ]'
STEPS = ["ruff", "ruff", "mypy", "lint-imports", "pytest", "pytest", "python"]
NETWORK = ("apt-get", "sudo", "python -m pip install", "python3 -m venv")


class Machine:
    """A fresh machine with a copy of the project's tree."""

    def __init__(self, path: Path) -> None:
        self.path, self.tree, self.bin = path, path / "tree", path / "bin"
        for directory in (self.tree, self.bin):
            directory.mkdir()
        for name in TREE:
            shutil.copy(ROOT / name, self.tree)
        for name in REAL.split():
            found = shutil.which(name)
            assert found is not None, name
            (self.bin / name).symlink_to(found)
        for name, script in SYSTEM.items():
            self.script(self.bin / name, script)
        self.script(path / "venv-python", VENV_PYTHON)
        self.script(path / "tool", TOOL)
        for name, text in {"uid": "0", "update": "0", "installed": "", "unknown": "", "fails": ""}.items():
            (path / name).write_text(text)

    def script(self, path: Path, text: str) -> None:
        path.write_text(RECORD + text + "\n")
        path.chmod(0o755)

    def dev(self, *words: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        (self.path / "calls").write_text("")
        env = {
            "PATH": str(self.bin),
            "MACHINE": str(self.path),
            "PYTHON": sys.executable,
            "TMPDIR": str(self.path),
        }
        return subprocess.run(
            [str(self.tree / "dev"), *words],
            cwd=cwd or self.path,
            env=env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    def calls(self, *beginnings: str) -> list[str]:
        """How the last run called what begins so."""
        return [
            line for line in (self.path / "calls").read_text().splitlines() if line.startswith(beginnings)
        ]

    def have_everything(self) -> None:
        """As a machine on which every package is there."""
        (self.path / "installed").write_text("\n".join(one for names in packages() for one in names) + "\n")


def packages() -> list[list[str]]:
    lines = (
        line.partition("#")[0].strip() for line in (ROOT / "system-packages.txt").read_text().splitlines()
    )
    return [line.split("|") for line in lines if line]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_a_fresh_machine_gets_what_is_listed_and_nothing_more(machine: Machine) -> None:
    done = machine.dev("setup")
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    update, install = machine.calls("apt-get -q -y")
    assert update == "apt-get -q -y update"
    wanted = [names[0] for names in packages()]
    assert install == f"apt-get -q -y install --no-install-recommends {' '.join(wanted)}"
    assert "system packages are missing" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("dev: ready: .venv/bin/meshhw")


def test_python_packages_come_by_their_hashes_and_the_project_alone_after_them(machine: Machine) -> None:
    assert machine.dev("setup").returncode == 0
    locked, project = machine.calls("python -m pip install")
    assert "--require-hashes -r requirements.lock" in locked
    assert project.endswith("--no-deps --no-build-isolation -e .")


@pytest.mark.parametrize("verb", ["setup", "demo", "bench", "docs", "fuzz"])
def test_a_second_run_fetches_and_installs_nothing(machine: Machine, verb: str) -> None:
    assert machine.dev("setup").returncode == 0
    assert machine.calls(*NETWORK)
    done = machine.dev(verb)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert machine.calls(*NETWORK) == []
    assert done.stderr.splitlines() == [
        "dev: ready: .venv/bin/meshhw (`. .venv/bin/activate` puts it on your path)"
    ]


def test_a_changed_lock_is_installed_again_in_the_same_environment(machine: Machine) -> None:
    assert machine.dev("setup").returncode == 0
    with (machine.tree / "requirements.lock").open("a") as lock:
        lock.write("# another release\n")
    assert machine.dev("setup").returncode == 0
    assert len(machine.calls("python -m pip install")) == 2
    assert machine.calls("python3 -m venv", "apt-get") == []


def test_without_root_and_sudo_the_command_is_told(machine: Machine) -> None:
    (machine.path / "uid").write_text("1000")
    machine.have_everything()
    installed = machine.path / "installed"
    installed.write_text(installed.read_text().replace("softhsm2\n", "").replace("pcscd\n", ""))
    done = machine.dev("setup")
    assert (done.returncode, done.stdout) == (1, "")
    assert "without root or sudo nothing can be installed" in done.stderr
    assert done.stderr.splitlines()[-1].strip() == "apt-get install --no-install-recommends softhsm2 pcscd"
    assert machine.calls(*NETWORK) == []


def test_without_root_nothing_is_asked_when_everything_is_there(machine: Machine) -> None:
    (machine.path / "uid").write_text("1000")
    machine.have_everything()
    assert machine.dev("setup").returncode == 0
    assert machine.calls("sudo", "apt-get -q -y") == []


def test_sudo_is_asked_for_apt_alone(machine: Machine) -> None:
    (machine.path / "uid").write_text("1000")
    machine.script(machine.bin / "sudo", SUDO)
    done = machine.dev("setup")
    assert done.returncode == 0, done.stderr
    assert "sudo asks for your password, for apt-get alone" in done.stderr
    assert {call.partition(" -q")[0] for call in machine.calls("sudo")} == {
        "sudo -n true",
        "sudo true",
        "sudo env DEBIAN_FRONTEND=noninteractive apt-get",
    }


def test_sudo_that_refuses_is_as_none(machine: Machine) -> None:
    (machine.path / "uid").write_text("1000")
    (machine.path / "refuses").touch()
    machine.script(machine.bin / "sudo", SUDO)
    done = machine.dev("demo")
    assert done.returncode == 1
    assert "somebody who has it must first run:" in done.stderr
    assert machine.calls("apt-get", "meshhw") == []


def test_what_apt_said_is_shown_when_it_fails(machine: Machine) -> None:
    (machine.path / "broken").touch()
    done = machine.dev("check")
    assert done.returncode == 1
    assert f"E: no room for {packages()[0][0]}\ndev: apt-get could not install them\n" in done.stderr
    assert machine.calls("python", "ruff", "pytest") == []


def test_old_lists_and_absent_packages_hold_nobody_up(machine: Machine) -> None:
    (machine.path / "update").write_text("100")
    (machine.path / "unknown").write_text("swtpm\nlibtss2-tcti-swtpm0\n")
    done = machine.dev("setup")
    assert done.returncode == 0, done.stderr
    assert "going on with the old ones" in done.stderr
    assert "not in this release, tests that need them are skipped: swtpm\n" in done.stderr
    installed = (machine.path / "installed").read_text().split()
    assert "libtss2-tcti-swtpm0t64" in installed
    assert {"swtpm", "libtss2-tcti-swtpm0"}.isdisjoint(installed)


def test_a_machine_without_apt_is_told_of_the_list(machine: Machine) -> None:
    for name in ("apt-get", "apt-cache", "dpkg", "dpkg-query"):
        (machine.bin / name).unlink()
    done = machine.dev("setup")
    assert done.returncode == 0, done.stderr
    assert "no apt here: install what system-packages.txt lists by hand" in done.stderr
    assert len(machine.calls("python -m pip install")) == 2


def test_an_old_python_is_told_of(machine: Machine) -> None:
    machine.have_everything()
    machine.script(machine.bin / "python3", "exit 1")
    done = machine.dev("setup")
    assert done.returncode == 1
    assert "Python 3.11 or later is needed" in done.stderr


@pytest.mark.parametrize("words", [["nothing"], ["--help"], ["set-up", "demo"]])
def test_a_verb_that_is_none_is_a_usage_fault(machine: Machine, words: list[str]) -> None:
    done = machine.dev(*words)
    assert (done.returncode, done.stdout) == (2, "")
    for verb in ("setup", "demo", "check", "bench", "fuzz", "docs"):
        assert verb in done.stderr
    assert machine.calls("") == []


@pytest.mark.parametrize("words", [[], ["help"]])
def test_help_tells_the_verbs(machine: Machine, words: list[str]) -> None:
    done = machine.dev(*words)
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr.startswith("One door for people who work on meshhw: ./dev setup | demo | check")


@pytest.mark.parametrize(
    ("verb", "called"),
    [
        ("demo", "meshhw demo one two words"),
        ("bench", "python -m benchmarks one two words"),
        ("docs", "python docs/build.py one two words"),
        ("fuzz", "pytest tests hwtests -m fuzz --hypothesis-profile=fuzz --timeout=0 one two words"),
    ],
)
def test_what_follows_a_verb_is_its_own(machine: Machine, verb: str, called: str) -> None:
    machine.have_everything()
    assert machine.dev(verb, "one", "two words", cwd=Path("/")).returncode == 0
    assert machine.calls("")[-1] == called


def test_check_runs_every_step_though_one_fails(machine: Machine) -> None:
    machine.have_everything()
    (machine.path / "fails").write_text("mypy")
    done = machine.dev("check", "-x")
    assert (done.returncode, done.stdout) == (1, "")
    assert "dev: failed: types (after " in done.stderr
    steps = machine.calls("ruff", "mypy", "lint-imports", "pytest", "python docs")
    assert [step.split()[0] for step in steps] == [
        "ruff",
        "ruff",
        "mypy",
        "lint-imports",
        "pytest",
        "pytest",
        "python",
    ]
    assert all(step.endswith(" -x") for step in steps[4:6])
    assert " tests udev " in steps[4]
    assert " hwtests --reports " in steps[5]
    assert not list(machine.path.glob("tmp.*"))  # its reports are gone


def test_check_passes_when_every_step_does(machine: Machine) -> None:
    machine.have_everything()
    done = machine.dev("check")
    assert (done.returncode, done.stdout) == (0, "")
    assert "dev: everything passed in " in done.stderr


def test_ci_runs_check(machine: Machine) -> None:
    assert (ROOT / ".ci/run").read_text().strip().endswith('exec ./dev check "$@"')


def test_it_is_for_any_posix_shell() -> None:
    assert (ROOT / "dev").read_text().startswith("#!/bin/sh\n")
    for shell in filter(None, map(shutil.which, ("sh", "dash", "bash"))):
        posix = ["--posix"] if shell.endswith("bash") else []
        assert subprocess.run([shell, *posix, "-n", str(ROOT / "dev")], check=False).returncode == 0
