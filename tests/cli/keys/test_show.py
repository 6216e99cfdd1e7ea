"""`sealwire keys list` and `verify`: what they prove, and what not."""

import json

import pytest

from tests.cli.runs import Run


def test_list_needs_no_kek_and_says_that_it_proves_nothing(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    run("create", "--keyring", "k.json", "nhs_number")
    monkeypatch.delenv("SEALWIRE_KEK")
    monkeypatch.setenv("SEALWIRE_KEYRING", "k.json")
    listed = json.loads(run("list", "--json").out)
    assert listed["authenticated"] is False
    (key,) = listed["keys"]
    assert set(key) == {"class", "id", "version", "state", "created", "plaintext", "key_of"}
    assert (key["class"], key["version"], key["state"]) == ("nhs_number", 1, "active")
    assert "nhs_number" in run("list").out


def test_verify_reports_a_sound_keyring(run: Run) -> None:
    run("create", "--keyring", "k.json", "nhs_number")
    verified = json.loads(run("verify", "--keyring", "k.json", "--json").out)
    assert verified["authenticated"] is True
    assert verified["keys"] == json.loads(run("list", "--keyring", "k.json", "--json").out)["keys"]
    plain = run("verify", "--keyring", "k.json")
    assert plain.code == 0
    assert "1 of 1" in plain.out


def test_a_class_in_clear_shows(run: Run) -> None:
    assert run("create", "--keyring", "k.json", "nhs", "--plaintext", "postcode").code == 0
    for command in ("list", "verify", "status"):
        keys = json.loads(run(command, "--keyring", "k.json", "--json").out)["keys"]
        assert {key["class"]: key["plaintext"] for key in keys} == {"nhs": False, "postcode": True}
        table = run(command, "--keyring", "k.json").out
        lines = [line for line in table.splitlines() if " active" in line]
        shown = {line.split()[1]: "active, plaintext" in line for line in lines}
        assert shown == {"nhs": False, "postcode": True}
