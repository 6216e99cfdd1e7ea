"""`sealwire keys` with a key-encryption key."""

from pathlib import Path

import pytest

from sealwire.keys.kek.environment import generate_encoded_kek


@pytest.fixture
def begins_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    """In `tmp_path`, with a KEK in the environment."""
    monkeypatch.chdir(tmp_path)
    for variable in ("KEYRING", "KEK_PROVIDER", "PASSPHRASE", "PASSPHRASE_FILE"):
        monkeypatch.delenv(f"SEALWIRE_{variable}", raising=False)
    monkeypatch.setenv("SEALWIRE_KEK", generate_encoded_kek())
    return ("keys",)
