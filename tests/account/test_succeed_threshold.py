"""An account with devices of the role `threshold` is succeeded: who stays asks the holders as before, and who
is left out is on no descriptor any more."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import pytest

from meshhw.errors import IntegrityError
from meshhw.managers.account.complete import receive
from meshhw.managers.account.connect import Connector
from meshhw.managers.account.listing import listing
from meshhw.managers.account.membership import membership
from meshhw.managers.account.rights import rights_of
from meshhw.managers.account.updates import pending_updates
from meshhw.managers.threshold.answering import respond
from meshhw.managers.threshold.asking import request
from tests.account.people import ALICE, OPTIONS, Phone
from tests.account.test_threshold_role import SECRET, Office, key_of, made_office, phone_of, version


@pytest.fixture
def office(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Office:
    monkeypatch.setenv("MESHHW_HOME", str(tmp_path / "home"))
    return made_office(tmp_path)


def join(office: Office, phone: Phone, name: str, *roles: str) -> None:
    connector = Connector(office.host, office.here, OPTIONS)
    answer = connector.connect(office.asked(phone), rights_of(roles), name=name, holders_of=["crew"])
    phone.complete(answer.octets())


def succeed(office: Office, lost: str) -> str:
    """By the command; what it said."""
    pins = office.path / "pins"
    pins.write_text("a passphrase\n")
    pins.chmod(0o600)
    on = str(office.here.tokens()[0])
    common = ["--home", str(office.host.home), "--pin-source", f"file:{pins}"]
    command = [sys.executable, "-m", "meshhw", *common, "account", "succeed", lost, "--on", on, "--yes"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stderr


def test_who_stays_asks_the_holders_and_who_is_left_out_does_not(office: Office) -> None:
    before = office.here.udf
    lost, stays = phone_of(office), phone_of(office, "stays")
    join(office, lost, "lost", "super", "threshold")
    join(office, stays, "stays", "threshold")
    stale = request(io.BytesIO(office.envelope().octets()), lost.host.home, OPTIONS)
    told = succeed(office, "lost")
    assert "1 by this machine's device for the threshold keys crew; on " in told
    after = office.here.udf
    assert after != before
    assert listing(office.host, key_of(lost)) == []
    assert listing(office.host, key_of(stays)) == ["crew"]
    update = pending_updates(office.host.home, after)[stays.device.udf]
    receive(stays.host, update, OPTIONS, following=True)
    there = membership(stays.host, ALICE)
    assert (there.udf, there.connection.roles) == (after, ("threshold",))
    assert there.common(OPTIONS).encryption is None
    assert version(stays.host) == version(office.host)
    assert office.opened(stays) == SECRET
    with pytest.raises(IntegrityError, match="version"):
        respond(stale, office.away.home, OPTIONS)
