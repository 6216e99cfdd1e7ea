"""`sealwire luks` on a machine in memory."""

from pathlib import Path

import pytest

from sealwire.cli.luks import options
from sealwire.sidecars.luks import journal
from tests.sidecars.luks import story
from tests.sidecars.luks.test_preflight import Site, site


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    """A machine in memory behind the commands; only the lock of the journal is a real file."""
    model = site()
    monkeypatch.setattr(journal, "DIRECTORY", tmp_path)
    monkeypatch.setattr(options, "LinuxMachine", lambda: model)
    return model


@pytest.fixture
def begins_with() -> tuple[str, ...]:
    return ("luks",)


@pytest.fixture
def secret(tmp_path: Path) -> list[str]:
    path = tmp_path / "secret"
    path.touch(0o600)
    path.write_bytes(story.PASSPHRASE)
    return ["--passphrase-from", f"file:{path}"]
