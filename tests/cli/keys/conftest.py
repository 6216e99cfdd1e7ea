"""`sealwire keys` with a key-encryption key."""

from pathlib import Path

import pytest

from sealwire.keys.kek.kek import generate_encoded_kek
from tests.cli.runs import Run

POLICY = """\
version: 1
classes:
  nhs_number: {mode: deterministic, type: string}
  notes: {mode: random}
collections:
  clinic.patients: {nhs_number: nhs_number, notes: notes}
  "tenant_*.visits": {who.nhs: nhs_number}
"""


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    """A policy with a deterministic and a random class."""
    path = tmp_path / "policy.yaml"
    path.write_text(POLICY)
    return path


@pytest.fixture
def begins_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    """In `tmp_path`, with a KEK in the environment."""
    monkeypatch.chdir(tmp_path)
    for variable in (
        "KEYRING",
        "KEK_PROVIDER",
        "PASSPHRASE",
        "PASSPHRASE_FILE",
        "POLICY",
        "REWRAP_EVERY",
        "ROTATE_EVERY",
    ):
        monkeypatch.delenv(f"SEALWIRE_{variable}", raising=False)
    monkeypatch.setenv("SEALWIRE_KEK", generate_encoded_kek())
    return ("keys",)


@pytest.fixture
def keyring(run: Run, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Of two classes; NEW_KEK is another key."""
    monkeypatch.setenv("NEW_KEK", run("create-kek").out.strip())
    run("create", "--keyring", "k.json", "a", "b", code=0)
    return Path("k.json")
