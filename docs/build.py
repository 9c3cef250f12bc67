"""`./dev docs`: write the pages that are made from the program itself.

`--check` writes nothing and fails when a page is not current. `--quick` leaves out what takes a run of the
hardware suites. `--from DIR` takes the reports of an earlier run (`pytest hwtests --reports DIR`).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import real_tokens
import run_pages
from page_facts import differences

from meshhw.cli.common import common_options
from meshhw.cli.help import explain
from meshhw.cli.main import COMMANDS, load

HERE = Path(__file__).parent


def reference() -> str:
    """docs/reference.md: every command with its arguments and options."""
    return "\n".join(_reference()).rstrip() + "\n"


def _reference() -> Iterator[str]:
    yield "# Reference of the command line"
    yield "\n<!-- made by ./dev docs from the program; do not edit -->\n"
    yield "What holds for every command stands in [the contract](cli.md). These options stand before the"
    yield "group or after the verb:\n"
    yield from _options(common_options())
    for name in COMMANDS:
        command = load(name)
        if isinstance(command, click.Group):
            yield f"\n## meshhw {name}\n\n{COMMANDS[name].help}"
            yield from _verbs(f"meshhw {name}", command)
        else:
            yield from _command(f"meshhw {name}", command, "##")


def _verbs(path: str, group: click.Group) -> Iterator[str]:
    for name, command in group.commands.items():
        if command.hidden:
            continue
        if isinstance(command, click.Group):
            yield from _verbs(f"{path} {name}", command)
        else:
            yield from _command(f"{path} {name}", command, "###")


def _command(path: str, command: click.Command, level: str) -> Iterator[str]:
    explain(command)
    own = [p for p in command.params if p.name not in {option.name for option in common_options()}]
    arguments = [p for p in own if isinstance(p, click.Argument)]
    options = [p for p in own if isinstance(p, click.Option) and not p.hidden]
    usage = " ".join(
        [path, *(_metavar(argument) for argument in arguments), *(["[OPTIONS]"] if options else [])]
    )
    yield f"\n{level} {usage}\n\n{(command.help or '').strip()}"
    told = [(_metavar(argument).strip("[]"), getattr(argument, "help", None)) for argument in arguments]
    if any(text for _, text in told):
        yield ""
        yield from (f"- `{name}`: {text}" for name, text in told if text)
    if options:
        yield ""
        yield from _options(options)


def _options(options: list[click.Option]) -> Iterator[str]:
    for option in options:
        names = ", ".join([*option.opts, *option.secondary_opts])
        takes = "" if option.is_flag or option.count else " " + _value(option)
        notes = [option.help or ""] + (["(required)"] if option.required else [])
        notes += [f"(default {option.default})"] if _tells_default(option) else []
        yield f"- `{names}{takes}`: {' '.join(note for note in notes if note)}"


def _value(option: click.Option) -> str:
    if isinstance(option.type, click.Choice):
        return "|".join(str(getattr(choice, "value", choice)) for choice in option.type.choices)
    return option.metavar or option.type.name.upper()


def _tells_default(option: click.Option) -> bool:
    plain = isinstance(option.default, str | int | float) and option.default != ""
    return plain and not (option.is_flag or option.count or option.required)


def _metavar(argument: click.Argument) -> str:
    name = argument.metavar or (argument.name or "").upper()
    return name if argument.required else f"[{name}]"


PAGES: dict[str, Callable[[], str]] = {"reference.md": reference, "compatibility.md": real_tokens.page}


def main(arguments: list[str]) -> int:
    """Write the pages, or with --check tell what in them is not current."""
    check, quick = "--check" in arguments, "--quick" in arguments
    stale = [name for name, make in PAGES.items() if make() != _present(name)]
    if check:
        told = [f"{name} is not current" for name in stale]
        if not quick:
            told += differences(_reports(arguments))
        print("".join(f"{line}: run ./dev docs\n" for line in told), end="")
        return 1 if told else 0
    for name in stale:
        (HERE / name).write_text(PAGES[name]())
        print(f"wrote docs/{name}")
    if not quick:
        run_pages.write(_reports(arguments))
    return 0


def _reports(arguments: list[str]) -> Path:
    """Those of `--from DIR`, else of a run that is made now."""
    if "--from" in arguments:
        return Path(arguments[arguments.index("--from") + 1])
    return run_pages.run()


def _present(name: str) -> str:
    path = HERE / name
    return path.read_text() if path.exists() else ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
