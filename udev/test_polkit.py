"""The polkit rule, run by the interpreter that polkit itself has: who may use the PC/SC service by it."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

RULES = Path(__file__).with_name("polkit-meshhw.rules")
INTERPRETER = shutil.which("duk")
AROUND = """
var rules = [];
var polkit = {
    Result: {NO: "no", YES: "yes", AUTH_ADMIN: "auth_admin", NOT_HANDLED: null},
    addRule: function (rule) { rules.push(rule); }
};
%s
var subject = {user: "service", isInGroup: function (group) { return %s.indexOf(group) >= 0; }};
var answers = rules.map(function (rule) { return rule({id: %s}, subject) || "left to others"; });
print(JSON.stringify(answers));
"""
PCSC = ("org.debian.pcsc-lite.access_pcsc", "org.debian.pcsc-lite.access_card")
SAYS_SO = (
    Path("/usr/share/polkit-1/actions/org.debian.pcsc-lite.policy"),
    Path("/usr/share/doc/pcscd/README.polkit"),
)

pytestmark = pytest.mark.skipif(INTERPRETER is None, reason="duk is not installed (package duktape)")


def answer(action: str, groups: list[str], tmp_path: Path) -> list[str]:
    """What the rules say to that action of a subject in these groups."""
    assert INTERPRETER is not None
    script = tmp_path / "asked.js"
    script.write_text(AROUND % (RULES.read_text(), json.dumps(groups), json.dumps(action)))
    done = subprocess.run([INTERPRETER, str(script)], capture_output=True, text=True, check=True)
    told: list[str] = json.loads(done.stdout)
    return told


@pytest.mark.parametrize("action", PCSC)
def test_a_service_account_of_the_group_may_use_cards(action: str, tmp_path: Path) -> None:
    assert answer(action, ["plugdev"], tmp_path) == ["yes"]
    assert answer(action, ["users"], tmp_path) == ["left to others"]


@pytest.mark.parametrize("action", ["org.freedesktop.policykit.exec", "org.debian.pcsc-lite", PCSC[0] + ".x"])
def test_nothing_else_is_allowed(action: str, tmp_path: Path) -> None:
    assert answer(action, ["plugdev", "sudo"], tmp_path) == ["left to others"]


def test_the_actions_are_those_that_the_service_asks_for() -> None:
    """Debian builds pcscd without polkit, and ships what it asks for all the same."""
    texts = [page.read_text() for page in SAYS_SO if page.exists()]
    if not texts:
        pytest.skip(f"none of {', '.join(map(str, SAYS_SO))} is there (package pcscd)")
    assert all(action in texts[0] for action in PCSC)
