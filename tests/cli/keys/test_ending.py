"""`sealwire keys retire` and `destroy`: two steps, each shown and agreed to, each with a way back."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest

from sealwire.cli.keys import ending as command
from sealwire.keys.kek.kek import EnvironmentKek
from sealwire.keys.keyring import turning
from sealwire.keys.keyring.file import KeyringWriter, read_record
from tests.cli.runs import Run
from tests.keys.samples import NOW


@pytest.fixture
def keyring(run: Run, policy: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Its class `notes` was rotated once."""
    monkeypatch.setenv("SEALWIRE_KEYRING", "k.json")
    monkeypatch.setenv("SEALWIRE_POLICY", str(policy))
    assert run("create", "--policy", policy).code == 0
    assert run("rotate", "notes", "--policy", policy).code == 0
    return Path("k.json")


def state(keyring: Path) -> str:
    return next(entry for entry in read_record(keyring).classes if entry.name == "notes").keys[0].state.value


def test_retiring_shows_the_key_and_asks(run: Run, keyring: Path) -> None:
    refused = run("retire", "notes", "1", stdin="n\n", code=1)
    assert state(keyring) == "decrypt-only"
    for shown in ("notes", "decrypt-only", "migrate verify"):
        assert shown in refused.err
    assert run("retire", "notes", "1", stdin="y\n").code == 0
    assert state(keyring) == "retired"


def test_retiring_can_be_undone(run: Run, keyring: Path) -> None:
    done = run("retire", "notes", "1", "--yes", "--json")
    assert json.loads(done.out) == {
        "dry_run": False,
        "class": "notes",
        "version": 1,
        "state": "retired",
        "destroy_after": None,
    }
    assert run("retire", "notes", "1", "--undo").code == 0
    assert state(keyring) == "decrypt-only"


def test_verify_says_that_a_retired_key_decrypts_nothing(run: Run, keyring: Path) -> None:
    assert run("retire", "notes", "1", "--yes").code == 0
    assert "2 of 3" in run("verify").out


def test_a_destruction_is_announced_first_and_done_when_it_is_time(
    run: Run, keyring: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("retire", "notes", "1", "--yes").code == 0
    first = run("destroy", "notes", "1", "--yes", "--wait", "2d", "--json")
    until = datetime.fromisoformat(json.loads(first.out)["destroy_after"])
    assert timedelta(days=1, hours=23) < until - datetime.now(UTC) <= timedelta(days=2)
    early = run("destroy", "notes", "1", "--yes", code=78)
    assert "--cancel" in early.err
    assert state(keyring) == "retired"

    later = datetime.now(UTC) + timedelta(days=2)
    monkeypatch.setattr(command, "datetime", SimpleNamespace(now=lambda _zone: later))
    assert run("destroy", "notes", "1", stdin="n\n").code == 1
    assert run("destroy", "notes", "1", "--yes", "--dry-run").code == 0
    assert state(keyring) == "retired"
    done = run("destroy", "notes", "1", "--yes", code=0)
    assert "not be read again" in done.err
    assert state(keyring) == "destroyed"
    assert run("verify").code == 0


def test_an_announced_destruction_can_be_taken_back(run: Run, keyring: Path) -> None:
    assert run("retire", "notes", "1", "--yes").code == 0
    assert run("destroy", "notes", "1", stdin="n\n").code == 1
    assert run("destroy", "notes", "1", "--yes").code == 0
    assert run("destroy", "notes", "1", "--cancel").code == 0
    assert read_record(keyring).classes[1].keys[0].destroy_after is None
    assert run("destroy", "notes", "1", "--yes").code == 0
    assert run("retire", "notes", "1", "--undo").code == 0
    assert state(keyring) == "decrypt-only"


def test_without_a_waiting_period_the_key_has_to_be_typed(run: Run, keyring: Path) -> None:
    assert run("retire", "notes", "1", "--yes").code == 0
    for confirmed in ((), ("--confirm", "notes:2"), ("--confirm", "yes")):
        assert run("destroy", "notes", "1", "--wait", "0d", "--yes", *confirmed).code == 2
    assert run("destroy", "notes", "1", "--wait", "0w", "--yes", "--confirm", "notes:1").code == 0
    assert state(keyring) == "retired"
    assert run("destroy", "notes", "1", "--yes").code == 0
    assert state(keyring) == "destroyed"


# -------- `sealwire keys cancel`: what it says without a server. The server is in tests/integration/migrate


@pytest.fixture
def pending_keyring(run: Run, policy: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Its deterministic class has a pending key."""
    monkeypatch.setenv("SEALWIRE_KEYRING", "k.json")
    monkeypatch.delenv("SEALWIRE_SERVER_URI", raising=False)
    assert run("create", "--policy", policy).code == 0
    assert run("rotate", "nhs_number", "--policy", policy).code == 0
    return Path("k.json")


def states(pending_keyring: Path) -> list[str]:
    entry = next(entry for entry in read_record(pending_keyring).classes if entry.name == "nhs_number")
    return [key.state.value for key in entry.keys]


def test_the_server_has_to_be_asked(run: Run, pending_keyring: Path) -> None:
    assert run("cancel", "nhs_number").code == 2
    nobody = "mongodb://127.0.0.1:9/?serverSelectionTimeoutMS=200"
    assert run("cancel", "nhs_number", "--uri", nobody).code == 69
    assert states(pending_keyring) == ["active", "pending"]


def test_a_class_without_a_pending_key_is_refused(run: Run, pending_keyring: Path) -> None:
    assert run("cancel", "notes", "--uri", "mongodb://127.0.0.1:9/").code == 78
    assert run("cancel", "other", "--uri", "mongodb://127.0.0.1:9/").code == 65
    assert run("cancel", "notes", "--undo").code == 78


def test_a_cancelled_key_is_pending_again(run: Run, pending_keyring: Path) -> None:
    turning.cancel(KeyringWriter(pending_keyring, EnvironmentKek(), NOW), "nhs_number")
    assert states(pending_keyring) == ["active", "retired"]
    assert run("cancel", "nhs_number", "--undo", "--dry-run").code == 0
    assert states(pending_keyring) == ["active", "retired"]
    done = run("cancel", "nhs_number", "--undo", "--json")
    assert json.loads(done.out) == {"dry_run": False, "class": "nhs_number", "version": 2, "state": "pending"}
    assert states(pending_keyring) == ["active", "pending"]


def test_a_rotation_while_one_is_pending_says_how_to_take_it_back(
    run: Run, pending_keyring: Path, policy: Path
) -> None:
    refused = run("rotate", "nhs_number", "--policy", policy, code=78)
    assert "keys cancel nhs_number" in refused.err
