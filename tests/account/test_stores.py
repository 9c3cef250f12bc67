"""The catalogs of an account: encrypted, granted by role, and the same data on every way in."""

from __future__ import annotations

from pathlib import Path

import pytest

from meshhw.errors import FormatError, KeyNotFound, NotSupported
from meshhw.keystore.api import OpenOptions
from meshhw.keystore.interaction import PinKind, Scripted
from meshhw.managers.account.complete import complete
from meshhw.managers.account.connect import Connector
from meshhw.managers.account.entries import contact, engagement, summary, task
from meshhw.managers.account.manager import AccountManager
from meshhw.managers.account.request import make_request, read_request
from meshhw.managers.account.rights import rights_of
from meshhw.managers.account.stores import opened_store
from meshhw.managers.device import DeviceManager
from meshhw.managers.host import Host
from meshhw.managers.profilemaking import ProfileRequest
from meshhw.schema.entry import CatalogedBookmark, CatalogedContact, CatalogedCredential, CatalogedTask
from tests.account.vaults import cheap_vault

ALICE = "alice@example.com"
OPTIONS = OpenOptions(Scripted({PinKind.VAULT: "a passphrase"}))
SECRET = CatalogedCredential(service="ftp.example.com", username="alice1", password="correct horse")


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    monkeypatch.setenv("MESHHW_HOME", str(tmp_path / "home"))
    host = Host(tmp_path / "home")
    with AccountManager(host, OPTIONS) as manager:
        manager.create(manager.plan(ALICE, ProfileRequest(tokens=cheap_vault(host.home, OPTIONS))))
    return host


def connected(host: Host, home: Path, *roles: str) -> Host:
    """A second machine whose device was connected with these roles."""
    phone = Host(home)
    with DeviceManager(phone, OPTIONS) as manager:
        device = manager.create(ProfileRequest(tokens=cheap_vault(home, OPTIONS)))
    request = read_request(make_request(phone, device, ALICE, OPTIONS).octets())
    answer = Connector(host, host.profile(ALICE), OPTIONS).connect(request, rights_of(roles))
    complete(phone, answer.octets(), OPTIONS)
    return phone


def test_an_entry_is_kept_replaced_listed_and_deleted(host: Host) -> None:
    for password in ("first", "second"):
        with opened_store(host, "MMM_Credential", OPTIONS, writable=True) as store:
            store.put("ftp", CatalogedCredential(service="ftp", password=password))
    with opened_store(host, "MMM_Credential", OPTIONS) as store:
        assert store.get("ftp", CatalogedCredential).password == "second"
        assert [key for key, _ in store.all(CatalogedCredential)] == ["ftp"]
    with opened_store(host, "MMM_Credential", OPTIONS, writable=True) as store:
        store.delete("ftp")
        with pytest.raises(KeyNotFound):
            store.delete("ftp")
    with opened_store(host, "MMM_Credential", OPTIONS) as store:
        assert list(store.all(CatalogedCredential)) == []


def test_nothing_of_an_entry_lies_open(host: Host) -> None:
    with opened_store(host, "MMM_Credential", OPTIONS, writable=True) as store:
        store.put("ftp.example.com", SECRET)
    files = [path for path in (host.home / "accounts").rglob("*") if path.is_file()]
    assert any(path.name == "MMM_Credential.dcat" for path in files)
    for path in files:
        assert not any(word in path.read_bytes() for word in (b"correct horse", b"alice1", b"ftp.example"))


def test_a_store_takes_only_its_own_class_out(host: Host) -> None:
    with opened_store(host, "MMM_Credential", OPTIONS, writable=True) as store:
        store.put("x", CatalogedBookmark(uri="x"))
        with pytest.raises(FormatError):
            store.get("x", CatalogedCredential)


def test_a_connected_device_reads_the_stores_of_its_roles(host: Host, tmp_path: Path) -> None:
    phone = connected(host, tmp_path / "phone", "web")
    with opened_store(host, "MMM_Credential", OPTIONS, writable=True) as store:
        store.put("ftp.example.com", SECRET)
    source = next((host.home / "accounts").rglob("MMM_Credential.dcat"))
    with opened_store(phone, "MMM_Credential", OPTIONS, writable=True) as store:
        assert list(store.all(CatalogedCredential)) == []
    target = next((phone.home / "accounts").rglob("MMM_Credential.dcat"))
    for beside in target.parent.iterdir():
        beside.unlink()
    target.write_bytes(source.read_bytes())
    target.chmod(0o600)
    with opened_store(phone, "MMM_Credential", OPTIONS, account=ALICE) as store:
        assert store.get("ftp.example.com", CatalogedCredential) == SECRET


def test_a_store_that_no_role_grants_is_refused_with_the_reason(host: Host, tmp_path: Path) -> None:
    phone = connected(host, tmp_path / "phone", "device")
    with opened_store(phone, "MMM_Network", OPTIONS) as store:
        assert list(store.all(CatalogedCredential)) == []
    with (
        pytest.raises(NotSupported, match="connected as device, which does not grant MMM_Credential"),
        opened_store(phone, "MMM_Credential", OPTIONS),
    ):
        pytest.fail("the store opened")


def test_without_an_account_there_is_no_store(tmp_path: Path) -> None:
    with pytest.raises(KeyNotFound), opened_store(Host(tmp_path / "bare"), "MMM_Task", OPTIONS):
        pytest.fail("the store opened")


def test_tasks_and_contacts_keep_what_they_hold(host: Host) -> None:
    with opened_store(host, "MMM_Task", OPTIONS, writable=True) as store:
        store.put("call", task("call", "the plumber"))
        assert engagement(store.get("call", CatalogedTask)).description == "the plumber"
    with opened_store(host, "MMM_Contact", OPTIONS, writable=True) as store:
        store.put("bob", contact("bob", "Bob Baker", ["bob@example.com"]))
        found = summary(store.get("bob", CatalogedContact))
    assert (found.full_name, found.addresses) == ("Bob Baker", ("bob@example.com",))
