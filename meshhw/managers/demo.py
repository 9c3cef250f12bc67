"""The main job from end to end: a device profile born in a token, checked elsewhere, and used.

Every step is a real command in a process of its own; what it printed and its exit status are shown. The demo
plays in a private temporary directory and leaves nothing behind and nothing running.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from shlex import join
from shutil import copytree
from tempfile import TemporaryDirectory

from meshhw.errors import IntegrityError, MeshError
from meshhw.managers import demo_makers, demo_threshold
from meshhw.managers.demo_stage import Stage, make_stage

LETTER = "Meet me at the old mill.\n"
_WHOSE = {
    "elsewhere": "on somebody else's machine",
    "old-home": "on a machine that missed the renewal",
}
_BEFORE = """Each line that begins with $ is a real command, and below it stands what it answered. The tokens
are emulated in a private directory, which is removed at the end; PINs are read from files."""
_AFTER = """
Done. Nothing is left running, and the demo's directory is gone.
Next: `meshhw doctor` says what your own tokens need, and README.md goes on with "Five minutes"."""
_TIMEOUT = 120.0
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Step:
    """One command of the demo and what came of it."""

    command: str
    status: int
    output: str


@dataclass
class Demo:
    """A running demo. `home` holds the profile; `elsewhere` is somebody else's clean home."""

    directory: Path
    stage: Stage
    say: Say
    steps: list[Step] = field(default_factory=list)

    def play(self) -> None:
        """All steps in order. Raises MeshError at the first that does not end as it must."""
        self.title("1. The tokens that are here")
        self.meshhw("token", "list")
        self.title("2. A device profile whose four private keys are made inside the first token")
        self.meshhw("device", "create", "--on", self.stage.name, "--label", "demo")
        self.meshhw("device", "show", "demo")
        self.title("3. Can a private key be read? The token answers")
        for line in self.stage.answers():
            self.say(f"   {line}")
        self.title("4. The profile is public: somebody else, who has nothing yet, checks it")
        self.meshhw("device", "export", "demo", "device.dare")
        self.meshhw("device", "verify", "device.dare", home="elsewhere")
        self._encrypt_and_decrypt()
        self._refusals()
        self.title("8. Every use of a private key is in a log that cannot be changed unseen")
        self.meshhw("log", "show")
        self.meshhw("log", "verify")
        demo_threshold.play(self, self.stage.holders, self.stage.spare, LETTER)
        self.title("14. The log has grown; its newest entries")
        self.meshhw("log", "show", "--last", "4")
        self.meshhw("log", "verify")
        demo_makers.play(self, self.directory, LETTER)

    def _encrypt_and_decrypt(self) -> None:
        self.title("5. They encrypt a letter to the device, unsigned, and the token decrypts it")
        self._file("letter.txt").write_text(LETTER)
        self.meshhw(
            "dare", "encode", "letter.txt", "letter.dare", "--encrypt", "device.dare", home="elsewhere"
        )
        self.meshhw("dare", "decode", "letter.dare", "opened.txt")
        if self._file("opened.txt").read_text() != LETTER:
            raise IntegrityError("the decrypted letter is not the one that was encrypted")
        self.say(f"   opened.txt: {LETTER.strip()}")

    def _refusals(self) -> None:
        self.title("6. With a wrong PIN nothing opens: exit status 4")
        wrong = self._file("wrong-pin")
        wrong.write_text("00000000\n")
        wrong.chmod(0o600)
        self.meshhw(
            "dare", "decode", "letter.dare", "no.txt", expected=4, env={"MESHHW_PIN_SOURCE": f"file:{wrong}"}
        )
        self.title("7. Without the token nothing opens either: exit status 3")
        with self.stage.away():
            self.meshhw("dare", "decode", "letter.dare", "no.txt", expected=3)
        if self._file("no.txt").exists():
            raise IntegrityError("a refused decryption left a file")

    def meshhw(
        self, *arguments: str, home: str = "home", expected: int = 0, env: dict[str, str] | None = None
    ) -> None:
        """Run one command and show it. Raises MeshError for another exit status than `expected`."""
        shown = join(("meshhw", *arguments))
        self.say(f"$ {shown}" + (f"      # {_WHOSE[home]}" if home in _WHOSE else ""))
        command = (sys.executable, "-m", "meshhw", *arguments)
        self._command(command, shown, expected, self._environment(home) | (env or {}))

    def run(self, *command: str) -> None:
        """Run another program and show it. Raises MeshError unless it ends well."""
        self.say(f"$ {join(command)}")
        self._command(command, join(command), 0, dict(os.environ))

    def without_second(self, *arguments: str) -> None:
        """One command while the second holder's token is lost."""
        with self.stage.lost():
            self.meshhw(*arguments)

    def copy_home(self, name: str) -> None:
        """Keep what the home's files say now."""
        self.say(f"$ cp -r home {name}")
        copytree(self.directory / "home", self.directory / name)

    def read(self, name: str) -> str:
        """A file of the demo."""
        return self._file(name).read_text()

    def _command(
        self, command: tuple[str, ...], shown: str, expected: int, environment: dict[str, str]
    ) -> None:
        done = subprocess.run(
            command,
            cwd=self.directory,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_TIMEOUT,
            check=False,
        )
        for line in done.stdout.splitlines():
            self.say(f"   {line}")
        if done.returncode or expected:
            self.say(f"   [{done.returncode}]")
        self.steps.append(Step(shown, done.returncode, done.stdout))
        if done.returncode != expected:
            raise MeshError(
                f"`{shown}` ended with {done.returncode}, it must be {expected}",
                hint="`meshhw doctor` says what is missing on this machine",
            )

    def _environment(self, home: str) -> dict[str, str]:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("MESHHW_")}
        here = self.stage.env if home != "elsewhere" else {}
        return clean | dict(here) | {"MESHHW_HOME": str(self.directory / home)}

    def title(self, text: str) -> None:
        """The heading of a step."""
        self.say(f"\n{text}")

    def _file(self, name: str) -> Path:
        return self.directory / name


def run_demo(say: Say) -> list[Step]:
    """Play the demo, one line of its story at a time to `say`. Raises MeshError when a step fails."""
    with TemporaryDirectory(prefix="meshhw-demo-") as name:
        stage, told = make_stage(Path(name))
        say(f"The stage: {told}.\n{_BEFORE}")
        demo = Demo(Path(name), stage, say)
        demo.play()
    say(_AFTER)
    return demo.steps
