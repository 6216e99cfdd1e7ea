"""A store of backups."""

from pathlib import Path

import pytest

from sealwire.sidecars.backup.stores.local_store import LocalStore


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path)
