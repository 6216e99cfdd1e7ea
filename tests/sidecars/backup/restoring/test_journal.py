"""The journal of a restore: on disk after every step, of one restore only, held by one process."""

import json
from pathlib import Path

import pytest

from sealwire.sidecars.backup.errors import BackupReason, BackupSettingError
from sealwire.sidecars.backup.restoring.journal import Entry, opened, purpose_of


def test_a_second_run_finds_what_the_first_one_did(tmp_path: Path) -> None:
    path = tmp_path / "state" / "journal.json"
    with opened(path, "one") as journal:
        assert not journal.resumed
        journal.begin("clinic.a")
        journal.begin("clinic.a", "ab")
        journal.add("clinic.a", 5)
        journal.begin("clinic.b")
        # as a killed process leaves it: nothing is written at the end
        found = json.loads(path.read_bytes())
        assert [row["documents"] for row in found["collections"]] == [5, 0]
    with opened(path, "one") as journal:
        assert journal.resumed
        assert list(journal.entries.items()) == [("clinic.a", Entry("ab", 5)), ("clinic.b", Entry(""))]
        journal.complete(["clinic.a"])
        assert journal.entries["clinic.a"].whole
        journal.remove()
    with opened(path, "another") as journal:
        assert not journal.resumed
        assert "clinic.a" not in journal.entries


def test_the_journal_of_another_restore_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "journal.json"
    with opened(path, "one") as journal:
        journal.begin("clinic.a")
    with pytest.raises(BackupSettingError) as caught, opened(path, "another"):
        pass
    assert caught.value.reason is BackupReason.JOURNAL_OTHER


def test_two_restores_do_not_share_one(tmp_path: Path) -> None:
    path = tmp_path / "journal.json"
    with opened(path, "one"), pytest.raises(BackupSettingError) as caught, opened(path, "one"):
        pass
    assert caught.value.reason is BackupReason.JOURNAL


@pytest.mark.parametrize("content", [b"", b"{}", b'{"format": "sealwire-restore-journal", "version": 2}'])
def test_a_damaged_journal_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "journal.json"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(BackupSettingError) as caught, opened(path, "one"):
        pass
    assert caught.value.reason is BackupReason.JOURNAL


def test_a_place_that_takes_no_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(BackupSettingError) as caught, opened(tmp_path / "file" / "journal.json", "one"):
        pass
    assert caught.value.reason is BackupReason.JOURNAL


def test_dump_target_and_names_each_make_another_restore() -> None:
    purposes = {
        purpose_of(*arguments)
        for arguments in (
            ("d", "t", [("a.b", "a.b")]),
            ("e", "t", [("a.b", "a.b")]),
            ("d", "u", [("a.b", "a.b")]),
            ("d", "t", [("a.b", "a.c")]),
        )
    }
    assert len(purposes) == 4
