"""`sealwire keys cancel`: what it says without a server. The server is in tests/integration/migrate."""

import json
from pathlib import Path

import pytest

from sealwire.keys.kek.kek import EnvironmentKek
from sealwire.keys.keyring import turning
from sealwire.keys.keyring.file import read_record
from tests.cli.runs import Run
from tests.keys.samples import NOW


@pytest.fixture
def keyring(run: Run, policy: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Its deterministic class has a pending key."""
    monkeypatch.setenv("SEALWIRE_KEYRING", "k.json")
    monkeypatch.delenv("SEALWIRE_SERVER_URI", raising=False)
    assert run("create", "--policy", policy).code == 0
    assert run("rotate", "nhs_number", "--policy", policy).code == 0
    return Path("k.json")


def states(keyring: Path) -> list[str]:
    entry = next(entry for entry in read_record(keyring).classes if entry.name == "nhs_number")
    return [key.state.value for key in entry.keys]


def test_the_server_has_to_be_asked(run: Run, keyring: Path) -> None:
    assert run("cancel", "nhs_number").code == 2
    nobody = "mongodb://127.0.0.1:9/?serverSelectionTimeoutMS=200"
    assert run("cancel", "nhs_number", "--uri", nobody).code == 69
    assert states(keyring) == ["active", "pending"]


def test_a_class_without_a_pending_key_is_refused(run: Run, keyring: Path) -> None:
    assert run("cancel", "notes", "--uri", "mongodb://127.0.0.1:9/").code == 78
    assert run("cancel", "other", "--uri", "mongodb://127.0.0.1:9/").code == 65
    assert run("cancel", "notes", "--undo").code == 78


def test_a_cancelled_key_is_pending_again(run: Run, keyring: Path) -> None:
    turning.cancel(keyring, EnvironmentKek(), "nhs_number", NOW)
    assert states(keyring) == ["active", "retired"]
    assert run("cancel", "nhs_number", "--undo", "--dry-run").code == 0
    assert states(keyring) == ["active", "retired"]
    done = run("cancel", "nhs_number", "--undo", "--json")
    assert json.loads(done.out) == {
        "dry_run": False,
        "class": "nhs_number",
        "version": 2,
        "state": "pending",
    }
    assert states(keyring) == ["active", "pending"]


def test_a_rotation_while_one_is_pending_says_how_to_take_it_back(
    run: Run, keyring: Path, policy: Path
) -> None:
    refused = run("rotate", "nhs_number", "--policy", policy)
    assert refused.code == 78
    assert "keys cancel nhs_number" in refused.err
