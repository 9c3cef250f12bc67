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
from tempfile import TemporaryDirectory

from meshhw.errors import IntegrityError, MeshError
from meshhw.managers.demo_stage import Stage, make_stage

LETTER = "Meet me at the old mill.\n"
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

    def run(self) -> None:
        """All steps in order. Raises MeshError at the first that does not end as it must."""
        self._title("1. The tokens that are here")
        self.meshhw("token", "list")
        self._title("2. A device profile whose four private keys are made inside the first token")
        self.meshhw("device", "create", "--on", self.stage.name, "--label", "demo")
        self.meshhw("device", "show", "demo")
        self._title("3. Can a private key be read? The token answers")
        for line in self.stage.answers():
            self.say(f"   {line}")
        self._title("4. Somebody else, with a clean home, checks the profile")
        self.meshhw("device", "export", "demo", "device.dare")
        self.meshhw("device", "verify", "device.dare", home="elsewhere")
        self._encrypt_and_decrypt()
        self._refusals()
        self._title("8. Every use of a private key is in a log that cannot be changed unseen")
        self.meshhw("log", "show")
        self.meshhw("log", "verify")

    def _encrypt_and_decrypt(self) -> None:
        self._title("5. They encrypt a letter to the device, and the token decrypts it")
        self._file("letter.txt").write_text(LETTER)
        self.meshhw(
            "dare", "encode", "letter.txt", "letter.dare", "--encrypt", "device.dare", home="elsewhere"
        )
        self.meshhw("dare", "decode", "letter.dare", "opened.txt")
        if self._file("opened.txt").read_text() != LETTER:
            raise IntegrityError("the decrypted letter is not the one that was encrypted")
        self.say(f"   opened.txt: {LETTER.strip()}")

    def _refusals(self) -> None:
        self._title("6. With a wrong PIN nothing opens (exit status 4)")
        wrong = self._file("wrong-pin")
        wrong.write_text("00000000\n")
        wrong.chmod(0o600)
        self.meshhw(
            "dare", "decode", "letter.dare", "no.txt", expected=4, env={"MESHHW_PIN_SOURCE": f"file:{wrong}"}
        )
        self._title("7. Without the token nothing opens either (exit status 3)")
        with self.stage.away():
            self.meshhw("dare", "decode", "letter.dare", "no.txt", expected=3)
        if self._file("no.txt").exists():
            raise IntegrityError("a refused decryption left a file")

    def meshhw(
        self, *arguments: str, home: str = "home", expected: int = 0, env: dict[str, str] | None = None
    ) -> None:
        """Run one command and show it. Raises MeshError for another exit status than `expected`."""
        self.say(f"$ {join(('meshhw', *arguments))}" + ("" if home == "home" else f"      # at {home}"))
        done = subprocess.run(
            [sys.executable, "-m", "meshhw", *arguments],
            cwd=self.directory,
            env=self._environment(home) | (env or {}),
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
        self.steps.append(Step(join(("meshhw", *arguments)), done.returncode, done.stdout))
        if done.returncode != expected:
            raise MeshError(
                f"`meshhw {join(arguments)}` ended with {done.returncode}, it must be {expected}",
                hint="`meshhw doctor` says what is missing on this machine",
            )

    def _environment(self, home: str) -> dict[str, str]:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("MESHHW_")}
        here = self.stage.env if home == "home" else {}
        return clean | dict(here) | {"MESHHW_HOME": str(self.directory / home)}

    def _title(self, text: str) -> None:
        self.say(f"\n{text}")

    def _file(self, name: str) -> Path:
        return self.directory / name


def run_demo(say: Say) -> list[Step]:
    """Play the demo, one line of its story at a time to `say`. Raises MeshError when a step fails."""
    with TemporaryDirectory(prefix="meshhw-demo-") as name:
        stage, told = make_stage(Path(name))
        say(f"The stage: {told}.")
        demo = Demo(Path(name), stage, say)
        demo.run()
    say("\nDone. Nothing is left running, and the demo's directory is gone.")
    return demo.steps
