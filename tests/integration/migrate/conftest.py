"""For the tests of this folder: clinics whose data moves."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sealwire.sidecars.migration import engine
from sealwire.testbed.database import DatabaseProcess
from tests.integration.migrate import clinics, in_clear
from tests.integration.migrate.clinics import Clinic, Direct, new_clinic
from tests.support.secantus import secantus

TRANSACTIONS_S = 2
"""How long transactions may last here: a move waits for a proxy that ended until they are over."""


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DatabaseProcess]:
    """A server without users, for all tests of one file. Cost: 3 s."""
    with secantus(tmp_path_factory.mktemp("database"), transaction_s=TRANSACTIONS_S) as process:
        yield process


@pytest.fixture
def clinic(database: DatabaseProcess, tmp_path: Path) -> Iterator[Clinic]:
    """One whose classes have a key each."""
    with new_clinic(database, tmp_path, clinics.WHOLE, clinics.CLASSES) as clinic:
        yield clinic


@pytest.fixture
def client(database: DatabaseProcess) -> Iterator[Direct]:
    """The server past Sealwire."""
    with database.connect() as client:
        yield client


@pytest.fixture
def stored(client: Direct) -> Any:
    """The collection past Sealwire."""
    return client["clinic"]["patients"]


@pytest.fixture
def rotating(database: DatabaseProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Clinic]:
    """One whose deterministic class has a pending key."""
    # the tests' own threads, and other tests, are what would slow a job down
    monkeypatch.setattr(engine, "SLOWER", 1000.0)
    with new_clinic(database, tmp_path, clinics.POLICY, (clinics.NHS, "notes")) as clinic:
        clinic.rotate(clinics.NHS, pending=True)
        yield clinic


@pytest.fixture
def clear(database: DatabaseProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Clinic]:
    """One whose deterministic classes are in clear."""
    monkeypatch.setattr(engine, "SLOWER", 1000.0)
    with new_clinic(database, tmp_path, in_clear.POLICY, in_clear.CLASSES, in_clear.CLEAR) as clinic:
        yield clinic
