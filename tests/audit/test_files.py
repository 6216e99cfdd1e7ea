"""The files of a log: their order, how they are opened, and files of checkpoints that are cut off."""

import os
from pathlib import Path

import pytest

from sealwire.audit.errors import AuditFileProblem, AuditKeyProblem, AuditReason, LogDamaged
from sealwire.audit.files import (
    LogPlace,
    append_whole,
    end_of,
    end_of_file,
    files_of,
    is_at,
    load_signing_key,
    load_verification_key,
    newest_file,
    open_file,
)
from sealwire.audit.log import LogPace
from sealwire.audit.signing import open_checkpoint, split_notes
from sealwire.keys.errors import UnsafeFile
from tests.audit.logs import KEY, written
from tests.support.reasons import raising


def test_files_are_in_the_order_of_their_lines_whatever_they_are_called(tmp_path: Path) -> None:
    written(tmp_path, 30, LogPace(file_bytes=1000))
    path = tmp_path / "audit.log"
    before = files_of(path)
    for number, each in enumerate(reversed(before[:-1])):
        each.rename(tmp_path / f"audit.log-{number}")
    after = files_of(path)
    assert [each.name for each in after] == [
        *(f"audit.log-{number}" for number in reversed(range(len(before) - 1))),
        "audit.log",
    ]
    assert newest_file(path) == path
    assert files_of(tmp_path / "other.log") == []
    assert newest_file(tmp_path / "other.log") is None


def test_the_end_of_a_file_is_behind_its_last_line(tmp_path: Path) -> None:
    written(tmp_path, 3)
    assert end_of(tmp_path / "audit.log").size == 4
    assert end_of(None).size == 0
    with (tmp_path / "audit.log").open("ab") as file:
        file.write(b"{}\n")
    with raising(LogDamaged, AuditReason.CHANGED):
        end_of(tmp_path / "audit.log")


def test_only_the_end_of_a_file_of_checkpoints_is_read(tmp_path: Path) -> None:
    path = tmp_path / "checkpoints"
    assert end_of_file(path) == b""
    path.write_bytes(b"x" * 100_000 + b"end")
    assert len(end_of_file(path)) == 65_536
    assert end_of_file(path).endswith(b"end")


def test_a_note_behind_one_that_is_cut_off_stands_alone(tmp_path: Path) -> None:
    written(tmp_path, 3)
    path = tmp_path / "audit.log.checkpoints"
    note = path.read_bytes()
    path.write_bytes(note[:-30])
    append_whole(path, note)
    opened = [
        open_checkpoint(each, KEY.verification)
        for each in split_notes(path.read_bytes(), KEY.verification.name)
    ]
    assert opened[0] is None
    assert opened[-1] is not None


def test_a_renamed_file_is_no_longer_at_its_path(tmp_path: Path) -> None:
    path = tmp_path / "file"
    file = open_file(path, os.O_RDWR)
    assert is_at(file, path)
    path.rename(tmp_path / "other")
    assert not is_at(file, path)
    path.touch()
    assert not is_at(file, path)
    os.close(file)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_what_root_makes_belongs_to_the_owner_of_the_folder(tmp_path: Path) -> None:
    os.chown(tmp_path, 12345, 12346)
    written(tmp_path, 30, LogPace(file_bytes=1000))
    owners = {(each.stat().st_uid, each.stat().st_gid) for each in tmp_path.iterdir()}
    assert owners == {(12345, 12346)}
    os.chown(tmp_path / "audit.log", 1, 1)
    os.close(open_file(tmp_path / "audit.log", os.O_RDWR))
    assert (tmp_path / "audit.log").stat().st_uid == 1


def test_a_folder_is_no_log(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with raising(AuditFileProblem, AuditReason.FILE_MISSING):
        open_file(tmp_path / "folder", os.O_RDWR)
    assert files_of(tmp_path / "folder") == []


def test_keys_are_read_from_files_that_nobody_else_reads_or_changes(tmp_path: Path) -> None:
    private, public = tmp_path / "key", tmp_path / "key.pub"
    private.write_bytes(KEY.written())
    public.write_text(f"{KEY.verification}\n")
    private.chmod(0o600)
    public.chmod(0o644)
    assert load_signing_key(private) == KEY
    assert load_verification_key(public) == KEY.verification
    private.chmod(0o640)
    public.chmod(0o666)
    for load, path in ((load_signing_key, private), (load_verification_key, public)):
        with pytest.raises(UnsafeFile):
            load(path)
    private.chmod(0o600)
    with pytest.raises(AuditKeyProblem):
        load_verification_key(private)


def test_checkpoints_lie_beside_the_log_and_where_the_operator_says(tmp_path: Path) -> None:
    beside = tmp_path / "audit.log.checkpoints"
    assert LogPlace(tmp_path / "audit.log").checkpoints == (beside,)
    assert LogPlace(tmp_path / "audit.log", tmp_path / "other").checkpoints == (beside, tmp_path / "other")
