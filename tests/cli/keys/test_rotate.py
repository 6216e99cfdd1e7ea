"""`sealwire keys rotate`: by name, and by the calendar."""

import json
from pathlib import Path

import pytest

from sealwire.keys.keyring.file import read_record
from tests.cli.runs import Run


@pytest.fixture
def keyring(run: Run, policy: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SEALWIRE_KEYRING", "k.json")
    monkeypatch.setenv("SEALWIRE_POLICY", str(policy))
    assert run("create", "--policy", policy).code == 0
    return Path("k.json")


def states(keyring: Path) -> dict[str, list[str]]:
    return {entry.name: [key.state.value for key in entry.keys] for entry in read_record(keyring).classes}


def test_the_policy_says_whether_a_new_key_encrypts_at_once(run: Run, keyring: Path) -> None:
    done = run("rotate", "nhs_number", "notes", "--json", code=0)
    assert json.loads(done.out) == {
        "dry_run": False,
        "rewrapped": True,
        "keys": [
            {"class": "nhs_number", "version": 2, "state": "pending"},
            {"class": "notes", "version": 2, "state": "active"},
        ],
        "next": ["sealwire migrate reencrypt POLICY nhs_number"],
    }
    assert states(keyring) == {"nhs_number": ["active", "pending"], "notes": ["decrypt-only", "active"]}
    assert read_record(keyring).generation == 2
    assert run("verify").code == 0


def test_what_comes_next_is_said(run: Run, keyring: Path) -> None:
    done = run("rotate", "nhs_number")
    assert "pending" in done.out
    assert "next: sealwire migrate reencrypt POLICY nhs_number" in done.out


def test_a_class_in_clear_has_no_key_to_rotate(run: Run, policy: Path, keyring: Path) -> None:
    assert run("create", "--keyring", "clear.json", "--policy", policy, "--plaintext-all").code == 0
    content = Path("clear.json").read_bytes()
    refused = run("rotate", "nhs_number", "--keyring", "clear.json")
    assert refused.code != 0
    assert "sealwire migrate encrypt POLICY nhs_number" in refused.err
    assert Path("clear.json").read_bytes() == content
    done = run("rotate", "--due", "--rotate-every", "1d", "--keyring", "clear.json", "--json")
    assert json.loads(done.out)["keys"] == []


def test_a_class_with_contexts_in_clear_has_none_either(run: Run, policy: Path, keyring: Path) -> None:
    """Its key would count at once, and what lies in clear would be found no more."""
    policy.write_text(policy.read_text().replace("type: string", "type: string, key: {per: tenant}"))
    assert run("create", "--keyring", "clear.json", "--policy", policy, "--plaintext-all").code == 0
    refused = run("rotate", "nhs_number", "--keyring", "clear.json")
    assert refused.code != 0
    assert "sealwire migrate encrypt POLICY nhs_number" in refused.err


def test_a_random_class_in_clear_gets_a_key(run: Run, keyring: Path) -> None:
    """Its class was deterministic before: the policy has changed."""
    assert run("create", "--keyring", "clear.json", "--plaintext", "notes").code == 0
    assert run("rotate", "notes", "--keyring", "clear.json").code == 0
    assert states(Path("clear.json")) == {"notes": ["decrypt-only", "active"]}
    (entry,) = read_record(Path("clear.json")).classes
    assert [key.is_plaintext for key in entry.keys] == [True, False]


def test_a_dry_run_changes_nothing(run: Run, keyring: Path) -> None:
    content = keyring.read_bytes()
    done = run("rotate", "notes", "--dry-run", "--json")
    assert json.loads(done.out)["dry_run"] is True
    assert run("rotate", "--due", "--rewrap-every", "0d", "--dry-run").code == 0
    assert keyring.read_bytes() == content


def test_a_timer_that_comes_too_early_writes_nothing_and_needs_no_kek(
    run: Run, keyring: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = keyring.read_bytes()
    monkeypatch.delenv("SEALWIRE_KEK")
    done = run("rotate", "--due", "--json", code=0)
    assert json.loads(done.out) == {"dry_run": False, "rewrapped": False, "keys": [], "plan": [], "next": []}
    assert keyring.read_bytes() == content
    assert "nothing" in run("rotate", "--due").out


def test_a_timer_wraps_anew_and_rotates_nothing_by_default(run: Run, keyring: Path) -> None:
    before = read_record(keyring)
    done = run("rotate", "--due", "--rewrap-every", "0d", "--json")
    assert json.loads(done.out)["rewrapped"] is True
    assert read_record(keyring).generation == before.generation + 1
    assert read_record(keyring).wrapped_mac_key != before.wrapped_mac_key
    assert states(keyring) == {"nhs_number": ["active"], "notes": ["active"]}
    assert "wrapped anew" in run("rotate", "--due", "--rewrap-every", "0d").out


def test_a_timer_rotates_what_is_due_and_leaves_what_is_under_way(
    run: Run, keyring: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEALWIRE_ROTATE_EVERY", "0d")
    first = json.loads(run("rotate", "--due", "--json").out)
    assert [key["class"] for key in first["keys"]] == ["nhs_number", "notes"]
    second = json.loads(run("rotate", "--due", "--json").out)
    assert [key["class"] for key in second["keys"]] == ["notes"]
    assert second["next"] == ["sealwire migrate reencrypt POLICY nhs_number"]
    assert states(keyring) == {
        "nhs_number": ["active", "pending"],
        "notes": ["decrypt-only", "decrypt-only", "active"],
    }


def test_a_class_that_the_policy_does_not_have_is_not_rotated(run: Run, keyring: Path) -> None:
    assert run("create", "old").code == 0
    assert run("rotate", "--due", "--rotate-every", "0d").code == 0
    assert states(keyring)["old"] == ["active"]
