"""`sealwire keys list` and `verify`: what they prove, and what not."""

import json
from datetime import timedelta
from pathlib import Path

import pytest

from sealwire.keys.kek.kek import EnvironmentKek
from sealwire.keys.keyring.file import create_keyring
from tests.cli.runs import Run
from tests.keys.samples import NOW, edit_json


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
    plain = run("verify", "--keyring", "k.json", code=0)
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


# ------------------------------------------------------ `sealwire keys status`: ages, uses, and what is due


@pytest.fixture
def keyring(policy: Path, monkeypatch: pytest.MonkeyPatch, begins_with: tuple[str, ...]) -> Path:
    """Made long ago."""
    monkeypatch.setenv("SEALWIRE_KEYRING", "k.json")
    path = Path("k.json")
    create_keyring(path, EnvironmentKek(), ["nhs_number", "notes"], NOW - timedelta(days=9000))
    return path


def test_a_fresh_keyring_is_in_order_and_needs_no_kek(
    run: Run, policy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEALWIRE_KEYRING", "k.json")
    assert run("create", "--policy", policy).code == 0
    monkeypatch.delenv("SEALWIRE_KEK")
    done = run("status", "--policy", policy, "--json", code=0)
    document = json.loads(done.out)
    assert (document["due"], document["overdue"], document["authenticated"]) == ([], False, False)
    (nhs, notes) = document["keys"]
    assert nhs["used_in"] == ["clinic.patients: nhs_number", "tenant_*.visits: who.nhs"]
    assert notes["used_in"] == ["clinic.patients: notes"]
    assert (nhs["age_days"], nhs["version"], nhs["state"]) == (0, 1, "active")
    assert "clinic.patients" in run("status", "--policy", policy).out


def test_what_is_overdue_ends_with_1_and_says_what_to_do(run: Run, keyring: Path, policy: Path) -> None:
    done = run("status", "--policy", policy, code=1)
    assert "sealwire keys rewrap" in done.out
    assert "rotate" not in done.out
    yearly = run("status", "--rotate-every", "52w", "--json")
    due = json.loads(yearly.out)["due"]
    assert [(each["what"], each["class"], each["version"], each["overdue"]) for each in due] == [
        ("rewrap", None, None, True),
        ("rotate", "nhs_number", 1, True),
        ("rotate", "notes", 1, True),
    ]
    assert json.loads(yearly.out)["keys"][0]["age_days"] > 9000


def test_a_schedule_that_asks_for_nothing_is_kept(run: Run, keyring: Path) -> None:
    assert run("status", "--rewrap-every", "never").code == 0


def test_what_is_due_and_not_overdue_ends_with_0(run: Run, keyring: Path, policy: Path) -> None:
    assert run("rotate", "nhs_number", "--policy", policy).code == 0
    done = run("status", "--policy", policy, code=0)
    assert "due since" in done.out
    assert "sealwire migrate reencrypt POLICY nhs_number" in done.out


def test_a_class_of_the_policy_without_a_key_is_overdue(run: Run, policy: Path) -> None:
    assert run("create", "--keyring", "k.json", "notes").code == 0
    done = run("status", "--keyring", "k.json", "--policy", policy, code=1)
    assert "sealwire keys create nhs_number" in done.out


def test_a_keyring_of_the_first_format_is_as_old_as_its_newest_key(run: Run, keyring: Path) -> None:
    def to_first(whole: dict[str, object]) -> None:
        whole["version"] = 1
        del whole["wrapped_at"]

    edit_json(keyring, to_first)
    document = json.loads(run("status", "--json").out)
    assert document["wrapped_at"] is None
    assert document["due"][0]["what"] == "rewrap"
