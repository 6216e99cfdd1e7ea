import gzip
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from sealwire.sidecars.backup.errors import BackupMissing, BackupReason, PlaintextOverdue
from sealwire.sidecars.backup.keeping.transition import check_transition, write_metrics
from tests.sidecars.backup.samples import local, make_tar, seal

SINCE = date(2026, 11, 25)
IN_TIME = datetime(2026, 12, 1, 23, 59, tzinfo=UTC)
LATE = datetime(2026, 12, 2, tzinfo=UTC)

PLAINTEXT = {
    "dump.tar.gz": gzip.compress(b"x"),
    "renamed.enc": gzip.compress(b"x"),
    "dump.tar": make_tar([("a", b"b")]),
    "archive": bytes.fromhex("6de29981") + bytes(8),
    "old/clinic/patients.bson": b"",
    "old/clinic/patients.metadata.json": b"{}",
    "old.zip": b"PK\x03\x04",
}


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Encrypted backups and other files, none of them a dump in plaintext."""
    directory = tmp_path / "backups"
    directory.mkdir()
    seal(local(directory))
    (directory / "README.txt").write_text("what lies here")
    (directory / "empty").touch()
    return directory


@pytest.mark.parametrize("name", PLAINTEXT)
def test_plaintext_is_told_by_what_it_begins_with(directory: Path, name: str) -> None:
    path = directory / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(PLAINTEXT[name])
    status = check_transition(directory, SINCE, 7, LATE)
    assert status.files == (path,)
    assert status.size == len(PLAINTEXT[name])
    with pytest.raises(PlaintextOverdue) as caught:
        status.require_in_time()
    assert caught.value.reason is BackupReason.OVERDUE


def test_it_may_stay_for_a_week(directory: Path) -> None:
    (directory / "dump.gz").write_bytes(PLAINTEXT["dump.tar.gz"])
    status = check_transition(directory, SINCE, 7, IN_TIME)
    assert not status.overdue
    status.require_in_time()
    assert check_transition(directory, SINCE, 6, IN_TIME).overdue


def test_encrypted_backups_may_stay_for_ever(directory: Path) -> None:
    status = check_transition(directory, SINCE, 7, datetime(2040, 1, 1, tzinfo=UTC))
    assert (status.files, status.overdue) == ((), False)
    status.require_in_time()


def test_links_are_not_followed(directory: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere.gz").write_bytes(PLAINTEXT["dump.tar.gz"])
    (directory / "link").symlink_to(tmp_path / "elsewhere.gz")
    assert check_transition(directory, SINCE, 7, LATE).files == ()


def test_a_directory_is_needed(tmp_path: Path) -> None:
    with pytest.raises(BackupMissing):
        check_transition(tmp_path / "none", SINCE, 7, LATE)


def test_the_metrics_say_the_same(directory: Path, tmp_path: Path) -> None:
    (directory / "dump.gz").write_bytes(PLAINTEXT["dump.tar.gz"])
    path = tmp_path / "sealwire_backup.prom"
    for now, overdue in ((IN_TIME, "0.0"), (LATE, "1.0")):
        write_metrics(check_transition(directory, SINCE, 7, now), path)
        values = dict(line.split() for line in path.read_text().splitlines() if not line.startswith("#"))
        assert values["sealwire_backup_plaintext_files"] == "1.0"
        assert values["sealwire_backup_plaintext_overdue"] == overdue
        assert float(values["sealwire_backup_transition_end_timestamp_seconds"]) == LATE.timestamp()
