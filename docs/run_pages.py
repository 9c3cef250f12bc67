"""Pages that are made from a run of the hardware suites: docs/compatibility.md and docs/reliability.md."""

from __future__ import annotations

import json
import platform
import re
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import real_tokens

from meshhw.conformance.model import Promise

ROOT = Path(__file__).parent.parent
SUITES = ("hwtests/test_conformance.py", "hwtests/test_promises.py")
TITLES = {
    "software": "software vault",
    "softhsm": "SoftHSM 2",
    "nss": "NSS softokn",
    "opencryptoki": "opencryptoki",
    "tpm2-pkcs11": "tpm2-pkcs11 (swtpm)",
    "swtpm": "TPM 2.0 (swtpm)",
    "piv-4.3": "PIV, firmware 4.3",
    "piv-5.4": "PIV, firmware 5.4",
    "piv-5.7": "PIV, firmware 5.7",
    "piv-plain": "PIV, plain SP 800-73 card",
    "piv-odd": "PIV, plain card of rare ways",
    "piv-nameless": "PIV, plain card without a name",
    "piv-imitator": "PIV, imitation of a YubiKey",
    "piv-applet": "PIV, Java card applet",
    "piv-hollow": "PIV, imitation with empty answers",
    "piv-small": "PIV, imitation with little room",
    "opensc": "OpenSC over the PIV card",
    "ykcs11": "ykcs11 over the PIV card",
    "ctap": "FIDO2 card",
    "piv": "PIV, firmware 5.7",
}
MADE = "\n<!-- made by ./dev docs from a run of the hardware suites on {}; do not edit -->\n"
_OWNERS = "`python -m pytest hwtests --token URI --wipe`"
_ATTENDED = "`python -m pytest hwtests --token URI --wipe --attended`"
ONLY_REAL = {
    "what this token's firmware does of all that is promised above of emulated ones": _OWNERS,
    "the card's own touch sensor, and how long it waits": f"{_ATTENDED}, which says when not to touch it",
    "that it is missed when it is pulled, and found again": f"{_ATTENDED}, which says when to pull it",
    "power lost in the middle of a write inside the token": f"pull it during {_OWNERS}, and run that again",
    "USB suspend, hubs and readers of other makers": f"{_OWNERS} behind them",
    "a pcscd that asks polkit, which Debian 12's does not, and refuses": "`meshhw doctor` outside of plugdev",
    "that a private key made inside cannot be had by opening the chip": "no test; the maker's certification",
    "an attestation up to the maker's published root": "`meshhw key attest KEY --root FILE`",
}


def system() -> str:
    """What this machine runs, whose releases of the emulated tokens the pages tell of."""
    try:
        release = platform.freedesktop_os_release()
    except OSError:
        return platform.system()
    return f"{release['NAME']} {release.get('VERSION_ID', '')}".strip()


def run() -> Path:
    """Run both suites in one process; the directory of their reports. Exits where the run fails."""
    directory = Path(tempfile.mkdtemp(prefix="meshhw-docs-"))
    command = [sys.executable, "-m", "pytest", "-q", *SUITES, "--reports", str(directory)]
    if subprocess.run(command, cwd=ROOT, check=False).returncode:
        sys.exit("the hardware suites failed; the pages were left as they are")
    return directory


def compatibility(directory: Path) -> str:
    """docs/compatibility.md: what each token does, how fast, and which promises it keeps."""
    reports = {
        name: json.loads((directory / f"conformance-{name}.json").read_text())
        for name in TITLES
        if (directory / f"conformance-{name}.json").exists()
    }
    return "\n".join(_compatibility(reports)) + "\n"


def _compatibility(reports: dict[str, Any]) -> Iterator[str]:
    yield "# Which token does what"
    yield MADE.format(system())
    yield _prose(
        "Every row was asked of a token, emulated or real, by one body of checks (`meshhw token check`); "
        "what it makes is compared with an independent library. A token of your own can be added as a row: "
        "[how to](reports/README.md)."
    )
    yield "## Operations\n"
    yield _prose(
        "Milliseconds of one warm operation, and the calls that it takes: C_* functions through PKCS#11, "
        "APDUs to PIV cards, CTAP or TPM commands; a vault is read, not called. Latencies are of one run on "
        "one machine; only they may differ from run to run."
    )
    yield from operations({TITLES[name]: report for name, report in reports.items()})
    yield "\n## Promises\n"
    for promise in Promise:
        yield f"- **{_key(promise)}**: {promise}"
    yield "\n`+` kept wherever it applies, `-` does not apply. A run with a broken promise makes no page.\n"
    yield from promises({TITLES[name]: report for name, report in reports.items()})
    yield from real_tokens.section()


def operations(reports: Mapping[str, Any]) -> Iterator[str]:
    """The table of operations of tokens by their titles."""
    yield "| token | algorithm | operation | tier | ms | calls |"
    yield "|---|---|---|---|---|---|"
    for title, report in reports.items():
        for row in report["measurements"]:
            calls = "-" if row["calls"] is None else row["calls"]
            cells = (title, row["algorithm"], row["operation"], row["tier"])
            yield f"| {' | '.join(cells)} | {row['seconds'] * 1000:.2f} | {calls} |"


def promises(reports: Mapping[str, Any]) -> Iterator[str]:
    """The table of promises of tokens by their titles."""
    yield "| token | " + " | ".join(map(_key, Promise)) + " |"
    yield "|---" * (len(Promise) + 1) + "|"
    for title, report in reports.items():
        yield f"| {title} | " + " | ".join(_mark(report, promise) for promise in Promise) + " |"


def _key(promise: Promise) -> str:
    return promise.name.lower().replace("_", "-")


def _mark(report: Any, promise: Promise) -> str:
    outcomes = {row["outcome"] for row in report["verdicts"] if row["promise"] == _key(promise)}
    return "**broken**" if "broken" in outcomes else "+" if "kept" in outcomes else "-"


def reliability(directory: Path) -> str:
    """docs/reliability.md: what happens on each kind of token when something goes wrong."""
    outcomes = json.loads((directory / "promises.json").read_text())
    return "\n".join(_reliability(outcomes)) + "\n"


def _reliability(outcomes: dict[str, Any]) -> Iterator[str]:
    families = [name for name in TITLES if any(key.split()[1] == name for key in outcomes)]
    yield "# What happens when something goes wrong"
    yield MADE.format(system())
    yield _prose(
        "Each line is a promise and a test of that name in `hwtests/test_promises.py`; the fault is injected "
        "below the driver, into the emulated token. A number points to why a fault cannot happen there."
    )
    yield "| promise | " + " | ".join(TITLES[name] for name in families) + " |"
    yield "|---" * (len(families) + 1) + "|"
    reasons: list[str] = []
    for test, text in _promises():
        cells = [_cell(outcomes.get(f"{test} {name}"), reasons) for name in families]
        yield f"| {text} (`{test}`) | " + " | ".join(cells) + " |"
    yield ""
    yield from (f"{number}. {reason}" for number, reason in enumerate(reasons, 1))
    yield "\n## What only real hardware can prove\n"
    yield "| promise | how its owner proves it |"
    yield "|---|---|"
    yield from (f"| {promise} | {command} |" for promise, command in ONLY_REAL.items())
    yield ""
    yield _prose(
        "With `--reports DIR` such a run writes a report, which a pull request adds as a row to "
        "[the tables of tokens](compatibility.md): [how](reports/README.md)."
    )


def _promises() -> Iterator[tuple[str, str]]:
    """The tests of the fault suite and their first sentences, in their order."""
    source = (ROOT / "hwtests" / "test_promises.py").read_text()
    for found in re.finditer(
        r'^def (test_\w+)\(.*?\) -> None:\n    """(.*?)"""', source, re.MULTILINE | re.DOTALL
    ):
        yield found[1], " ".join(found[2].split())


def _cell(outcome: dict[str, str] | None, reasons: list[str]) -> str:
    if outcome is None:
        return ""
    if outcome["outcome"] == "passed":
        return "kept"
    reason = outcome["reason"].removeprefix("Skipped: ")
    if reason not in reasons:
        reasons.append(reason)
    return f"no ({reasons.index(reason) + 1})"


def _prose(text: str) -> str:
    return textwrap.fill(text, 118) + "\n"


PAGES = {"compatibility.md": compatibility, "reliability.md": reliability}


def write(directory: Path) -> None:
    """Write both pages. Exits where a token that is in a page could not be asked here."""
    for name, make in PAGES.items():
        page, text = ROOT / "docs" / name, make(directory)
        cells = [f"| {title} |" for title in TITLES.values()]
        lost = [cell for cell in cells if cell in page.read_text() and cell not in text]
        if lost:
            sys.exit(f"{name} was left as it is: tests were skipped of {' '.join(lost)}")
        page.write_text(text)
        print(f"wrote docs/{name}")
