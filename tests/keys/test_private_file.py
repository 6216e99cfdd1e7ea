import errno
import os
import socket
import stat
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import pytest

from sealwire.keys import private_file
from sealwire.keys.errors import AlreadyExists, KeyringBusy, KeysError, KeysReason, UnsafeFile
from sealwire.keys.private_file import (
    create_private,
    read_private,
    replace_private,
    replace_public,
    writer_lock,
)
from tests.support.reasons import raising

LIMIT = 100


def make(path: Path, content: bytes = b"secret", mode: int = 0o600) -> Path:
    path.write_bytes(content)
    path.chmod(mode)
    return path


def refusal(path: Path) -> KeysReason:
    with pytest.raises(KeysError) as caught:
        read_private(path, LIMIT)
    assert "secret" not in str(caught.value)
    assert caught.value.hint
    return caught.value.reason


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o700])
def test_a_private_file_is_read(tmp_path: Path, mode: int) -> None:
    assert read_private(make(tmp_path / "f", mode=mode), LIMIT) == b"secret"


@pytest.mark.parametrize("mode", [0o640, 0o620, 0o610, 0o604, 0o602, 0o601, 0o644, 0o777])
def test_any_bit_for_others_is_refused(tmp_path: Path, mode: int) -> None:
    assert refusal(make(tmp_path / "f", mode=mode)) is KeysReason.FILE_PERMISSIONS


def test_a_file_of_somebody_else_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make(tmp_path / "f")
    owner = path.stat().st_uid
    real = os.fstat

    def of_another_user(descriptor: int) -> os.stat_result:
        fields = list(real(descriptor)[:10])
        fields[stat.ST_UID] = owner + 12345
        return os.stat_result(fields)

    monkeypatch.setattr(os, "fstat", of_another_user)
    assert refusal(path) is KeysReason.FILE_OWNER


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert refusal(tmp_path / "none") is KeysReason.FILE_MISSING
    assert refusal(make(tmp_path / "f") / "below") is KeysReason.FILE_MISSING


def test_only_regular_files_are_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo", 0o600)
    assert refusal(tmp_path / "fifo") is KeysReason.FILE_KIND
    assert refusal(tmp_path) is KeysReason.FILE_KIND
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        assert refusal(tmp_path / "s") is KeysReason.FILE_UNREADABLE


def test_a_file_past_the_limit_is_refused(tmp_path: Path) -> None:
    assert read_private(make(tmp_path / "f", bytes(LIMIT)), LIMIT) == bytes(LIMIT)
    assert refusal(make(tmp_path / "f", bytes(LIMIT + 1))) is KeysReason.FILE_TOO_LARGE


def test_a_file_that_grows_while_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make(tmp_path / "f", bytes(LIMIT + 1))
    monkeypatch.setattr(private_file, "_check_status", lambda *_: None)
    assert refusal(path) is KeysReason.FILE_TOO_LARGE


def test_a_link_to_a_private_file_is_followed(tmp_path: Path) -> None:
    make(tmp_path / "f")
    (tmp_path / "link").symlink_to(tmp_path / "f")
    assert read_private(tmp_path / "link", LIMIT) == b"secret"
    replace_private(tmp_path / "link", b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "f").read_bytes() == b"new"


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o777])
def test_a_written_file_is_private_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    previous = os.umask(umask)
    try:
        replace_private(tmp_path / "f", b"one")
    finally:
        os.umask(previous)
    assert stat.S_IMODE((tmp_path / "f").stat().st_mode) == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["f"]


def test_creating_never_overwrites(tmp_path: Path) -> None:
    create_private(tmp_path / "f", b"one")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    for name in ("f", "dangling"):
        with raising(AlreadyExists, KeysReason.FILE_EXISTS):
            create_private(tmp_path / name, b"two")
    assert (tmp_path / "f").read_bytes() == b"one"


def fail_with(code: int) -> NoReturn:
    raise OSError(code, os.strerror(code))


@pytest.mark.parametrize("step", ["write", "fsync", "rename"])
def test_a_failure_before_the_rename_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    path = make(tmp_path / "f", b"old")
    if step == "write":
        monkeypatch.setattr(os, "fchmod", lambda *_: fail_with(errno.ENOSPC))
    elif step == "fsync":
        monkeypatch.setattr(os, "fsync", lambda *_: fail_with(errno.EIO))
    else:
        monkeypatch.setattr(Path, "rename", lambda *_: fail_with(errno.EACCES))
    with raising(KeysError, KeysReason.FILE_UNWRITABLE):
        replace_private(path, b"new")
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["f"]


DYING_WRITER = """
import os, sys
from pathlib import Path
from sealwire.keys.private_file import replace_private
if sys.argv[2] == "fsync":
    os.fsync = lambda descriptor: os._exit(9)
else:
    Path.rename = lambda source, target: os._exit(9)
replace_private(Path(sys.argv[1]), b"new")
"""


@pytest.mark.parametrize("step", ["fsync", "rename"])
def test_a_crash_before_the_rename_leaves_the_old_file(tmp_path: Path, step: str) -> None:
    path = make(tmp_path / "f", b"old")
    died = subprocess.run([sys.executable, "-c", DYING_WRITER, str(path), step], check=False)
    assert died.returncode == 9
    assert read_private(path, LIMIT) == b"old"
    replace_private(path, b"new")
    assert read_private(path, LIMIT) == b"new"


def test_the_directory_is_flushed_after_the_rename(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed: list[bool] = []
    real = os.fsync

    def record(descriptor: int) -> None:
        flushed.append(stat.S_ISDIR(os.fstat(descriptor).st_mode))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", record)
    replace_private(tmp_path / "f", b"x")
    assert flushed == [False, True]


def test_the_whole_file_is_flushed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    def record(descriptor: int) -> None:
        status = os.fstat(descriptor)
        if stat.S_ISREG(status.st_mode):
            sizes.append(status.st_size)

    monkeypatch.setattr(os, "fsync", record)
    replace_private(tmp_path / "f", b"content")
    assert sizes == [len(b"content")]


def test_a_missing_directory_is_said_so(tmp_path: Path) -> None:
    for write in (replace_private, create_private):
        with raising(KeysError, KeysReason.FILE_UNWRITABLE):
            write(tmp_path / "no" / "f", b"x")
    with raising(KeysError, KeysReason.FILE_UNWRITABLE), writer_lock(tmp_path / "no" / "f"):
        pass


def test_a_second_writer_is_turned_away_and_a_later_one_is_not(tmp_path: Path) -> None:
    path = tmp_path / "f"
    with writer_lock(path), raising(KeyringBusy, KeysReason.WRITER), writer_lock(path):
        pass
    with writer_lock(path):
        pass


def test_a_writer_through_a_link_meets_the_same_lock(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "f")
    with writer_lock(tmp_path / "f"), pytest.raises(KeyringBusy), writer_lock(tmp_path / "link"):
        pass


def test_a_lock_is_let_go_when_its_holder_fails(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), writer_lock(tmp_path / "f"):
        raise RuntimeError
    with writer_lock(tmp_path / "f"):
        pass


def test_a_file_that_cannot_be_read_to_its_end_is_unreadable() -> None:
    # nothing is at address 0
    with raising(UnsafeFile, KeysReason.FILE_UNREADABLE):
        read_private(Path("/proc/self/mem"), 100)


def test_a_public_file_replaces_a_link_and_not_what_it_leads_to(tmp_path: Path) -> None:
    other = make(tmp_path / "other")
    place = tmp_path / "report"
    place.symlink_to(other)
    replace_public(place, b"open")
    assert other.read_bytes() == b"secret"
    assert not place.is_symlink()
    assert stat.S_IMODE(place.stat().st_mode) == 0o644
