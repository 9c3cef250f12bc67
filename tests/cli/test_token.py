"""`meshhw token` and `meshhw log` on the software vault."""

from __future__ import annotations

import json


def test_a_list_in_json_carries_the_agreed_fields(meshhw) -> None:
    assert json.loads(meshhw("token", "list", "--json").stdout) == []
    shown = json.loads(meshhw("token", "show", "software:", "--json").stdout)
    assert set(shown) >= {"uri", "driver", "kind", "vendor", "model", "serial", "firmware", "label"}
    assert shown["capabilities"]["Ed448"]["sign"] == "software"
    assert "agree" not in shown["capabilities"]["Ed448"]


def test_the_matrix_says_no_where_a_token_cannot(meshhw) -> None:
    lines = meshhw("token", "show", "software:").stdout.splitlines()
    head = next(line for line in lines if "sign" in line and "agree" in line).split()
    row = next(line for line in lines if line.startswith("X25519")).split()[1:]
    assert dict(zip(head, row, strict=True))["sign"] == "no"
    assert dict(zip(head, row, strict=True))["agree"] == "software"


def test_an_absent_token_is_status_3_and_a_bad_uri_2(meshhw) -> None:
    assert meshhw("token", "show", "no-such-token").returncode == 3
    done = meshhw("token", "show", "pkcs11:token=a;pin-value=1234")
    assert done.returncode == 2
    assert "1234" not in done.stderr


def test_an_empty_log_is_shown_and_whole(meshhw) -> None:
    assert json.loads(meshhw("log", "show", "--json").stdout) == []
    assert json.loads(meshhw("log", "verify", "--json").stdout)["entries"] == 0
