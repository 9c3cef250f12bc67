"""The software vault keeps every promise that applies to it."""

from __future__ import annotations

from pathlib import Path

from meshhw.conformance.model import SEALED, Outcome, Promise
from meshhw.conformance.run import check_token
from meshhw.keystore.api import OpenOptions
from meshhw.keystore.interaction import PinKind, Scripted
from meshhw.keystore.registry import open_token
from meshhw.keystore.uri import TokenURI


def test_a_vault_keeps_its_promises(tmp_path: Path) -> None:
    script = Scripted({PinKind.VAULT: "correct horse"})
    token = open_token(TokenURI.make("software", vault=str(tmp_path / "vault")), OpenOptions(script))
    try:
        report = check_token(token)
    finally:
        token.close()
    assert report.broken == []
    kept = {verdict.promise for verdict in report.verdicts if verdict.outcome is Outcome.KEPT}
    assert kept >= set(Promise) - {
        Promise.CONFINED,  # whoever has the files and the passphrase has the keys: nothing to ask
        Promise.PIN,
        Promise.UNWRAPS,  # it agrees
        Promise.ATTESTS,
        Promise.DECRYPTS,
    }
    measured = {row.algorithm for row in report.measurements}
    assert measured == {*token.capabilities().algorithms(), SEALED}
