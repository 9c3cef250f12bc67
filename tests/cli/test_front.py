"""The front of the command line: one table, common options anywhere, one way to end."""

from __future__ import annotations

import json
import os
import pty
import re
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from meshhw.cli.common import Context, add_common_options, context, ending, verbs
from meshhw.cli.errors import report
from meshhw.cli.help import explain
from meshhw.cli.main import COMMANDS, front, load
from meshhw.errors import PinIncorrect, WireCode
from tests.patience import until

VENDORS = ("pkcs11", "yubikit", "ykman", "smartcard", "tpm2_pytss", "fido2", "keyring", "rich")


def test_help_lists_every_command_and_imports_none_of_them() -> None:
    script = (
        "import sys; sys.argv = ['meshhw', '--help']\n"
        "from meshhw.cli.main import run\n"
        "try: run()\n"
        "except SystemExit as end: assert not end.code\n"
        "print(sorted(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    for name, entry in COMMANDS.items():
        assert f"  {name}" in done.stdout
        assert f"'{entry.module}'" not in done.stderr
    assert not [name for name in VENDORS if f"'{name}'" in done.stderr]
    assert "'cryptography'" not in done.stderr


def test_version_as_text_and_as_json(meshhw) -> None:
    assert meshhw("version").stdout.startswith("meshhw ")
    told = json.loads(meshhw("version", "--json").stdout)
    assert told["drivers"][0] == "software"
    assert json.loads(meshhw("--json", "version").stdout) == told


@pytest.mark.parametrize(
    "arguments",
    [
        ("nonsense",),
        ("version", "--nonsense"),
        *(("--deadline", seconds, "version") for seconds in ("0", "nan", "inf", "1e300")),
    ],
)
def test_a_usage_error_is_one_line_and_a_hint(meshhw, arguments: tuple[str, ...]) -> None:
    done = meshhw(*arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    complaint, hint = done.stderr.splitlines()
    assert complaint.startswith("meshhw: ")
    assert hint.startswith("hint: ")


@pytest.mark.parametrize(
    "arguments",
    [
        ("udf", "digest", "/dev/null", "--type", "\udcff"),
        ("key", "generate", "--on", "software:", "--algorithm", "Ed25519", "--label", "\udcff"),
        ("udf", "recover", "@binary"),
        ("udf", "recover", "-"),
    ],
)
def test_what_is_no_text_is_one_line_too(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    (tmp_path / "binary").write_bytes(b"S\xff\xfe")
    pin = {"MESHHW_HOME": str(tmp_path / "home"), "PIN": "x", "MESHHW_PIN_SOURCE": "env:PIN"}
    command = [sys.executable, "-m", "meshhw", *arguments]
    with (tmp_path / "binary").open("rb") as source:
        done = subprocess.run(
            command,
            stdin=source,
            cwd=tmp_path,
            env=os.environ | pin,
            capture_output=True,
            text=True,
            check=False,
        )
    assert (done.returncode, done.stdout) == (2, "")
    assert "Traceback" not in done.stderr
    assert "text" in done.stderr or "UTF-8" in done.stderr


def test_a_slip_of_the_pen_is_answered_with_the_command_that_was_meant(meshhw) -> None:
    assert "'tokn'. (Did you mean 'token'?)" in meshhw("tokn").stderr
    assert "(Did you mean one of: 'decode', 'encode'?)" in meshhw("dare", "encod").stderr


def test_a_groups_help_tells_of_each_verb_in_a_whole_sentence(meshhw) -> None:
    told = " ".join(meshhw("dare", "--help").stdout.split())
    assert (
        "decode Take a file out of its envelope; nothing appears at OUT before all of it was checked." in told
    )


def test_a_shell_completes_commands_verbs_and_options() -> None:
    """The real shell with the script that is shown for it; it calls the program by its name."""
    script = """
        meshhw() { "$PYTHON" -m meshhw "$@"; }
        eval "$(meshhw --show-completion bash | sed 's/ $1 / "$PYTHON" -m meshhw /')"
        ask() { COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)); _meshhw_completion meshhw; echo "${COMPREPLY[@]}"; }
        ask meshhw thr; ask meshhw udf re; ask meshhw dare encode --enc; complete -p meshhw
    """
    environment = os.environ | {"PYTHON": sys.executable}
    done = subprocess.run(["bash", "-c", script], env=environment, capture_output=True, text=True, check=True)
    *told, hung = done.stdout.splitlines()
    assert (told, done.stderr) == (["threshold", "recover", "--encrypt"], "")
    assert hung == "complete -o default -F _meshhw_completion meshhw"


def test_completion_is_installed_for_the_shell_that_is_named(meshhw, tmp_path: Path) -> None:
    done = meshhw("--install-completion", "bash", env={"HOME": str(tmp_path)})
    assert done.returncode == 0, done.stderr
    script = tmp_path / ".bash_completions" / "meshhw.sh"
    assert done.stdout.startswith(str(script))
    assert script.read_text().strip() == meshhw("--show-completion", "bash").stdout.strip()
    assert f"source '{script}'" in (tmp_path / ".bashrc").read_text()
    assert meshhw("--show-completion", "tcsh").returncode == 2


def test_help_tells_what_each_argument_and_option_is(meshhw) -> None:
    told = meshhw("udf", "split", "--help").stdout
    assert "  SECRET  A key or seed UDF; -, @FILE, or typed." in told
    assert told.count("rguments:") == 1
    for name in COMMANDS:
        for path, verb in leaves(f"meshhw {name}", load(name)):
            explain(verb)
            silent = [param.name for param in verb.params if not getattr(param, "help", None)]
            assert (path, silent) == (path, [])


def leaves(path: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
    """The verbs below a command, with the words that call them."""
    if isinstance(command, click.Group):
        for name, below in command.commands.items():
            yield from leaves(f"{path} {name}", below)
    else:
        yield path, command


def test_a_crash_leaves_no_core_file(tmp_path: Path) -> None:
    def allow_cores() -> None:
        _, most = resource.getrlimit(resource.RLIMIT_CORE)
        resource.setrlimit(resource.RLIMIT_CORE, (most, most))

    command = [sys.executable, "-m", "meshhw", "udf", "digest", "-"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, cwd=tmp_path, preexec_fn=allow_cores) as running:  # noqa: PLW1509
        until(lambda: core_limit(running.pid) in ("0", "1"))
        running.send_signal(signal.SIGSEGV)
        assert running.wait(30) == -signal.SIGSEGV
    assert list(tmp_path.iterdir()) == []


def core_limit(process: int) -> str:
    limits = Path(f"/proc/{process}/limits").read_text()
    return next(line.split()[4] for line in limits.splitlines() if line.startswith("Max core file size"))


def test_a_narrow_terminal_breaks_no_uri(tmp_path: Path) -> None:
    """By the terminal's own lines it can be copied; a table that is folded within its columns cannot."""
    vault = {"MESHHW_HOME": str(tmp_path), "MESHHW_PKCS11_MODULES": "", "COLUMNS": "20"}
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "meshhw", "token", "list", "--all"]
    subprocess.run(command, env=os.environ | vault, stdin=theirs, stdout=theirs, check=True)
    shown = os.read(ours, 1 << 16).decode()
    os.close(theirs)
    os.close(ours)
    assert re.search(r"software vault +vault +software:", shown), shown


def test_no_arguments_show_the_help(meshhw) -> None:
    done = meshhw()
    assert done.returncode == 2
    assert "Commands:" in done.stderr


def trial(body) -> click.Group:
    """The real front with one more group, `trial`, whose verb `run` has this body."""
    app = verbs("A trial.")
    app.command("run")(body)
    from typer.main import get_command

    group = add_common_options(get_command(app))
    main = front()
    main.add_command(group, "trial")
    return main


def call(body, *arguments: str) -> int:
    return report(lambda: trial(body).main(list(arguments), prog_name="meshhw", standalone_mode=False))


def test_options_before_and_after_are_gathered() -> None:
    seen: list[Context] = []
    status = call(
        lambda: seen.append(context()),
        *("-v", "--pin-source", "env:A", "--deadline", "3", "--yes"),
        *("trial", "run", "-v", "--pin-source", "fd:3", "--deadline", "4.5"),
    )
    assert status == 0
    assert (seen[0].verbose, seen[0].deadline, seen[0].yes) == (2, 4.5, True)
    assert seen[0].pin_sources == ("env:A", "fd:3")
    assert not seen[0].allow_final_try


def wrong_pin() -> None:
    raise PinIncorrect(
        "the PIN is wrong",
        retries_left=2,
        hint="2 tries left",
        code=WireCode("pkcs11", 0xA0, "CKR_PIN_INCORRECT"),
    )


def test_a_fault_is_a_line_a_hint_and_its_status(capsys) -> None:
    assert call(wrong_pin, "trial", "run") == 4
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "meshhw: the PIN is wrong [CKR_PIN_INCORRECT (0xa0)]\nhint: 2 tries left\n"


def test_a_fault_under_json_is_still_exactly_one_value(capsys) -> None:
    assert call(wrong_pin, "trial", "run", "--json") == 4
    told = json.loads(capsys.readouterr().out)
    assert told["error"]["class"] == "PinIncorrect"
    assert told["error"]["exit_status"] == 4


def test_a_fault_after_the_value_adds_no_second(capsys) -> None:
    def body() -> None:
        context().output.show({"valid": False}, "not valid")
        wrong_pin()

    assert call(body, "trial", "run", "--json") == 4
    assert json.loads(capsys.readouterr().out) == {"valid": False}


def test_silence_under_json_is_null(capsys) -> None:
    assert call(lambda: None, "--json", "trial", "run") == 0
    assert json.loads(capsys.readouterr().out) is None


def test_a_missing_file_is_one_line_and_a_hint(capsys, tmp_path) -> None:
    assert call(lambda: (tmp_path / "absent").read_bytes() and None, "trial", "run") == 1
    line, hint = capsys.readouterr().err.splitlines()
    assert line == f"meshhw: {tmp_path}/absent: No such file or directory"
    assert hint.startswith("hint: check its spelling")


def test_interruption_ends_with_130(capsys) -> None:
    def body() -> None:
        raise KeyboardInterrupt

    assert call(body, "trial", "run") == 130


def test_a_reader_that_goes_away_is_no_fault() -> None:
    shell = f"{sys.executable} -m meshhw --help | true"
    done = subprocess.run(["sh", "-c", shell], capture_output=True, text=True, check=True)
    assert done.stderr == ""


def test_another_pipe_that_breaks_is_told(capsys) -> None:
    """A service that went away, or a file that is a pipe: only whoever reads stdout may go without a word."""

    def body() -> None:
        reader, writer = os.pipe()
        os.close(reader)
        with os.fdopen(writer, "wb", buffering=0) as pipe:
            pipe.write(b"x")

    assert call(body, "trial", "run") == 1
    assert capsys.readouterr().err == "meshhw: Broken pipe\n"
    assert call(body, "--json", "trial", "run") == 1
    assert json.loads(capsys.readouterr().out)["error"]["message"] == "Broken pipe"


def test_a_file_that_is_a_pipe_without_a_reader_is_told(meshhw, tmp_path: Path) -> None:
    pipe, large = tmp_path / "pipe", tmp_path / "large"
    os.mkfifo(pipe)
    with large.open("wb") as file:
        file.truncate(1 << 22)
    reader = subprocess.Popen(["head", "-c", "1", pipe], stdout=subprocess.DEVNULL)
    done = meshhw("dare", "encode", str(large), str(pipe))
    reader.wait()
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.endswith("Broken pipe\n")


def test_ending_stops_what_waits_for_a_person() -> None:
    main = trial(lambda: None)
    with main.make_context("meshhw", ["--yes", "trial", "run"]) as ctx, ending(ctx):
        interaction = context().interaction
        assert not interaction.cancelled()
    assert interaction.cancelled()
