"""The demo's second half: a key in three shares, used without one of its tokens, renewed, and signing."""

from __future__ import annotations

import shutil
from typing import Protocol

from meshhw.errors import IntegrityError

NAME = "team"


class Player(Protocol):
    """What this part needs of the demo."""

    def title(self, text: str) -> None: ...

    def meshhw(self, *arguments: str, home: str = "home", expected: int = 0) -> None: ...

    def run(self, *command: str) -> None: ...

    def without_second(self, *arguments: str) -> None: ...

    def copy_home(self, name: str) -> None: ...

    def read(self, name: str) -> str: ...


def play(demo: Player, holders: tuple[str, str, str], spare: str, letter: str) -> None:
    """Provision, decrypt with any two, lose a token and replace it, refresh, sign. Raises MeshError."""
    demo.title("9. A key in three shares, one in each of three tokens; the whole key is in none")
    on = [argument for token in holders for argument in ("--on", token)]
    demo.meshhw("threshold", "provision", NAME, "--threshold", "2", "--renewable", *on)
    demo.meshhw("threshold", "show", NAME)
    demo.meshhw(
        "dare", "encode", "letter.txt", "shared.dare", "--encrypt", f"threshold:{NAME}", "--sign", "demo"
    )
    demo.meshhw("dare", "decode", "shared.dare", "shared-1.txt")
    demo.title("10. The second token is lost: the other two decrypt")
    demo.without_second("dare", "decode", "shared.dare", "shared-2.txt")
    demo.title("11. It is replaced, all shares are made anew, and the key stays the same")
    demo.copy_home("old-home")
    demo.without_second("threshold", "replace", NAME, "--holder", "2", "--on", spare)
    demo.meshhw("threshold", "refresh", NAME)
    demo.meshhw("dare", "decode", "shared.dare", "shared-3.txt")
    demo.title("12. The lost token is found, with its old share, and opens nothing: exit status 3")
    demo.meshhw("dare", "decode", "shared.dare", "no.txt", home="old-home", expected=3)
    for number in (1, 2, 3):
        if demo.read(f"shared-{number}.txt") != letter:
            raise IntegrityError("the letter that two holders decrypted is not the one that was encrypted")
    demo.title("13. Two holders sign; anybody verifies an ordinary signature")
    demo.meshhw("threshold", "sign", NAME, "letter.txt", "--out", "letter.sig")
    demo.meshhw("threshold", "public", NAME, "--use", "sign", "--out", "team.pem")
    if shutil.which("openssl"):
        check = ("-rawin", "-in", "letter.txt", "-sigfile", "letter.sig")
        demo.run("openssl", "pkeyutl", "-verify", "-pubin", "-inkey", "team.pem", *check)
