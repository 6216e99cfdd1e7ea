"""`sealwire backup` with a store and two keys."""

import base64
from pathlib import Path

import pytest

from tests.keys.samples import KEK_A, KEK_B


@pytest.fixture
def store(tmp_path: Path) -> Path:
    directory = tmp_path / "store"
    directory.mkdir()
    return directory


@pytest.fixture
def begins_with(tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    """With a store and two KEKs in the environment."""
    monkeypatch.chdir(tmp_path)
    signing = ("SEALWIRE_BACKUP_SIGN_WITH", "SEALWIRE_BACKUP_SIGNED_BY")
    for variable in ("SEALWIRE_BACKUP_KEYS", "SEALWIRE_BACKUP_RECIPIENTS", "SEALWIRE_PASSPHRASE", *signing):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("SEALWIRE_BACKUP_STORE", str(store))
    monkeypatch.setenv("OLD_KEK", base64.b64encode(KEK_A).decode())
    monkeypatch.setenv("NEW_KEK", base64.b64encode(KEK_B).decode())
    return ("backup",)
