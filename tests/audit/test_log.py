"""The log: several writers, restarts, crashes, full disks, files that are renamed, cut or taken away."""

import multiprocessing
import os
import random
import signal
import stat
import time
from datetime import timedelta
from pathlib import Path

import pytest

from sealwire.audit.errors import AuditFileProblem, AuditReason, LogDamaged, NotAudited
from sealwire.audit.files import LogPlace, files_of, newest_file
from sealwire.audit.line import read_line
from sealwire.audit.log import AuditLog, LogPace
from tests.audit.logs import KEY, NEVER, Clock, ended, event, largest_file, opened, place, report, written
from tests.support.reasons import raising


def lines_of(path: Path) -> list[dict[str, object]]:
    return [dict(read_line(line).fields) for line in path.read_bytes().splitlines(keepends=True)]


def users(path: Path) -> list[object]:
    return [line["user"] for line in lines_of(path) if line["event"] == "refused"]


def test_a_log_begins_with_its_file_and_goes_on(tmp_path: Path) -> None:
    written(tmp_path, 3)
    log = opened(tmp_path)
    log.append([event(3), event(4)])
    log.close()
    lines = lines_of(tmp_path / "audit.log")
    assert [line["n"] for line in lines] == list(range(6))
    assert [line["event"] for line in lines] == ["file"] + ["refused"] * 5
    assert lines[0]["peaks"] == ""
    assert lines[0]["time"] == "2026-11-27T04:05:06.000+00:00"
    assert report(tmp_path).is_whole


def test_its_files_are_for_their_owner(tmp_path: Path) -> None:
    written(tmp_path, 1)
    modes = {stat.S_IMODE(each.stat().st_mode) for each in tmp_path.iterdir()}
    assert modes == {0o600}


def test_writers_that_take_turns_write_one_chain(tmp_path: Path) -> None:
    logs = [opened(tmp_path), opened(tmp_path)]
    for number in range(20):
        logs[(number * number) % 2].append([event(number)])
    assert [log.size for log in logs] in ([20, 21], [21, 20])
    for log in logs:
        ended(log)
    assert users(tmp_path / "audit.log") == [f"clerk{number}@clinic" for number in range(20)]
    said = report(tmp_path)
    assert said.is_whole
    assert said.signed == 21


_PROCESSES = multiprocessing.get_context("forkserver")
_BUSY = LogPace(checkpoint_lines=7, file_bytes=4000)


def append(folder: Path, first: int, lines: int) -> None:
    log = opened(folder, _BUSY)
    for number in range(first, first + lines):
        log.append([event(number)])
    log.sign()


def test_processes_that_write_at_once_write_one_chain(tmp_path: Path) -> None:
    children = [_PROCESSES.Process(target=append, args=(tmp_path, each * 100, 100)) for each in range(3)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    assert [child.exitcode for child in children] == [0, 0, 0]
    found = [user for file in files_of(tmp_path / "audit.log") for user in users(file)]
    assert len(files_of(tmp_path / "audit.log")) > 3
    assert sorted(map(str, found)) == sorted(f"clerk{number}@clinic" for number in range(300))
    said = report(tmp_path)
    assert said.is_whole
    assert said.signed == said.lines


def size_of(folder: Path) -> int:
    log = opened(folder, _BUSY)
    log.close()
    return log.size


def test_writers_that_are_killed_leave_a_chain_that_others_go_on_with(tmp_path: Path) -> None:
    chance = random.Random(1)
    for each in range(8):
        child = _PROCESSES.Process(target=append, args=(tmp_path, each * 10**6, 10**6))
        child.start()
        before = size_of(tmp_path)
        deadline = time.monotonic() + 30
        while size_of(tmp_path) < before + 50 and time.monotonic() < deadline:
            time.sleep(chance.random() / 20)
        child.kill()
        child.join()
        assert child.exitcode == -signal.SIGKILL
    append(tmp_path, 0, 1)
    assert report(tmp_path).is_whole


def test_a_checkpoint_is_due_by_lines_and_by_the_clock(tmp_path: Path) -> None:
    clock = Clock()
    log = opened(tmp_path, LogPace(checkpoint_lines=3, checkpoint_s=60), clock)
    checkpoints = tmp_path / "audit.log.checkpoints"
    log.append([event(0)])
    log.tick()
    assert not checkpoints.exists()
    log.append([event(1)])
    log.tick()
    assert report(tmp_path).signed == 3
    assert checkpoints.read_bytes() == (tmp_path / "elsewhere.checkpoints").read_bytes()
    log.append([event(2)])
    clock.forward(59)
    log.tick()
    assert report(tmp_path).signed == 3
    clock.forward(1)
    log.tick()
    assert report(tmp_path).signed == 4
    size = checkpoints.stat().st_size
    clock.forward(60)
    log.tick()
    assert checkpoints.stat().st_size == size
    log.append([event(3)])
    clock.forward(-3600)
    log.tick()
    assert report(tmp_path).signed == 5
    log.close()


def test_a_log_without_new_lines_is_signed_again_after_a_while(tmp_path: Path) -> None:
    clock = Clock()
    log = opened(tmp_path, LogPace(checkpoint_s=60, quiet_s=3600), clock)
    log.append([event(0)])
    log.sign()
    clock.forward(3599)
    log.tick()
    assert report(tmp_path).signed_at == clock.now - timedelta(seconds=3599)
    clock.forward(60)
    log.tick()
    said = report(tmp_path)
    assert (said.signed, said.signed_at, said.is_whole) == (2, clock.now, True)
    log.close()


def test_without_a_key_there_are_no_checkpoints(tmp_path: Path) -> None:
    log = AuditLog(LogPlace(tmp_path / "audit.log"), None, LogPace(checkpoint_lines=1), Clock())
    log.append([event(0)])
    ended(log)
    assert {each.name for each in tmp_path.iterdir()} == {"audit.log", "audit.log.lock"}


def test_a_full_file_is_renamed_and_the_next_goes_on(tmp_path: Path) -> None:
    written(tmp_path, 30, LogPace(file_bytes=1000, checkpoint_lines=7))
    files = files_of(tmp_path / "audit.log")
    assert files[-1].name == "audit.log"
    assert files[0].name == "audit.log.000000000000000"
    assert all(int(each.suffix[1:]) == lines_of(each)[0]["n"] for each in files[:-1])
    assert [user for file in files for user in users(file)] == [f"clerk{n}@clinic" for n in range(30)]
    assert report(tmp_path).is_whole
    # the first files were archived
    for file in files[:2]:
        file.unlink()
    assert not report(tmp_path).is_whole
    assert report(tmp_path, archived=True).is_whole


@pytest.mark.parametrize("restart", [False, True])
def test_a_file_that_somebody_renames_is_gone_on_with_in_a_new_one(tmp_path: Path, restart: bool) -> None:
    log, other = opened(tmp_path), opened(tmp_path)
    log.append([event(0)])
    (tmp_path / "audit.log").rename(tmp_path / "audit.log-20261127")
    if restart:
        log.close()
        log = opened(tmp_path)
    log.append([event(1)])
    other.append([event(2)])
    log.append([event(3)])
    ended(log)
    other.close()
    assert newest_file(tmp_path / "audit.log") == tmp_path / "audit.log"
    assert users(tmp_path / "audit.log-20261127") == ["clerk0@clinic"]
    assert users(tmp_path / "audit.log") == ["clerk1@clinic", "clerk2@clinic", "clerk3@clinic"]
    assert report(tmp_path).is_whole


def test_a_part_of_a_line_is_put_aside_and_said(tmp_path: Path) -> None:
    written(tmp_path, 2)
    with (tmp_path / "audit.log").open("ab") as file:
        file.write(b'{"connection":7')
    log = opened(tmp_path)
    log.append([event(2)])
    ended(log)
    (torn,) = tmp_path.glob("audit.log.torn-*")
    assert torn.read_bytes() == b'{"connection":7'
    assert [line["event"] for line in lines_of(tmp_path / "audit.log")][-2:] == ["torn", "refused"]
    assert lines_of(tmp_path / "audit.log")[-2]["bytes"] == 15
    assert report(tmp_path).is_whole


def test_a_disk_that_is_full_leaves_all_lines_of_a_call_or_none(tmp_path: Path) -> None:
    log = opened(tmp_path)
    log.append([event(0)])
    path = tmp_path / "audit.log"
    before = path.read_bytes()
    for room in (0, 1, 300):
        with largest_file(len(before) + room), raising(NotAudited, AuditReason.UNWRITABLE):
            log.append([event(1), event(2), event(3)])
        assert path.read_bytes() == before
    log.append([event(1), event(2), event(3)])
    with largest_file(1), pytest.raises(NotAudited):
        log.sign()
    assert (tmp_path / "audit.log.checkpoints").read_bytes() == b""
    ended(log)
    assert users(path) == [f"clerk{number}@clinic" for number in range(4)]
    assert report(tmp_path).is_whole


def test_a_disk_that_is_full_as_a_new_file_begins_spoils_no_file(tmp_path: Path) -> None:
    log = opened(tmp_path, LogPace(file_bytes=500))
    while (tmp_path / "audit.log").stat().st_size < 500:
        log.append([event(0)])
    with largest_file(0):
        for _ in range(2):
            with pytest.raises(NotAudited):
                log.append([event(1)])
    log.append([event(2)])
    ended(log)
    assert users(tmp_path / "audit.log") == ["clerk2@clinic"]
    assert report(tmp_path).is_whole


def test_a_checkpoint_that_cannot_be_written_keeps_no_line_twice(tmp_path: Path) -> None:
    log = opened(tmp_path, LogPace(checkpoint_lines=2))
    log.append([event(0)])
    (tmp_path / "elsewhere.checkpoints").mkdir()
    with pytest.raises(AuditFileProblem):
        log.append([event(1)])
    (tmp_path / "elsewhere.checkpoints").rmdir()
    log.append([event(1)])
    ended(log)
    assert users(tmp_path / "audit.log") == ["clerk0@clinic", "clerk1@clinic"]
    assert report(tmp_path).is_whole


def test_a_file_that_cannot_be_renamed_is_an_error_that_an_operator_can_mend(tmp_path: Path) -> None:
    log = opened(tmp_path, LogPace(file_bytes=300))
    while (tmp_path / "audit.log").stat().st_size < 300:
        log.append([event(0)])
    in_the_way = tmp_path / "audit.log.000000000000000"
    in_the_way.mkdir()
    with pytest.raises(AuditFileProblem):
        log.append([event(1)])
    in_the_way.rmdir()
    log.append([event(1)])
    ended(log)
    found = [user for file in files_of(tmp_path / "audit.log") for user in users(file)]
    assert found.count("clerk1@clinic") == 1
    assert report(tmp_path).is_whole


def test_a_part_of_a_line_that_finds_no_room_beside_stays_where_it_is(tmp_path: Path) -> None:
    written(tmp_path, 2)
    path = tmp_path / "audit.log"
    with path.open("ab") as file:
        file.write(b'{"connection":7')
    before = path.read_bytes()
    for _ in range(2):
        with largest_file(5), pytest.raises(NotAudited):
            opened(tmp_path)
        assert path.read_bytes() == before
    opened(tmp_path).close()
    (torn,) = tmp_path.glob("audit.log.torn-*")
    assert torn.read_bytes() == b'{"connection":7'


def test_a_line_that_cannot_be_written_changes_nothing(tmp_path: Path) -> None:
    log = opened(tmp_path)
    with pytest.raises(ValueError, match="bytes"):
        log.append([event(0), {"x": "y" * 70_000}])
    log.append([event(1)])
    ended(log)
    assert users(tmp_path / "audit.log") == ["clerk1@clinic"]
    assert report(tmp_path).is_whole


def test_a_file_that_became_shorter_is_not_written_to(tmp_path: Path) -> None:
    log = opened(tmp_path)
    log.append([event(0)])
    os.truncate(tmp_path / "audit.log", 10)
    with raising(LogDamaged, AuditReason.CHANGED):
        log.append([event(1)])
    log.close()


@pytest.mark.parametrize(
    "content", [b"an old line\n", b'{"event":"refused"}\n', b'{"n":1}\n', b"x" * 70_000 + b"\n"]
)
def test_a_file_that_is_no_log_is_left_alone(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "audit.log").write_bytes(content)
    with pytest.raises(LogDamaged) as caught:
        opened(tmp_path)
    assert caught.value.reason in (AuditReason.FOREIGN, AuditReason.CHANGED)
    assert (tmp_path / "audit.log").read_bytes() == content


def test_a_start_notices_an_end_that_was_cut_off(tmp_path: Path) -> None:
    written(tmp_path, 3)
    path = tmp_path / "audit.log"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-1]))
    with raising(LogDamaged, AuditReason.CHANGED):
        opened(tmp_path)
    # one file of checkpoints out of reach is enough
    (tmp_path / "audit.log.checkpoints").unlink()
    with pytest.raises(LogDamaged):
        opened(tmp_path)
    (tmp_path / "elsewhere.checkpoints").unlink()
    opened(tmp_path).close()


def test_a_start_notices_a_log_that_is_gone(tmp_path: Path) -> None:
    written(tmp_path, 3)
    (tmp_path / "audit.log").unlink()
    for _ in range(2):
        with pytest.raises(LogDamaged):
            opened(tmp_path)


def test_a_start_notices_a_chain_that_was_made_anew(tmp_path: Path) -> None:
    written(tmp_path, 3)
    (tmp_path / "audit.log").unlink()
    log = AuditLog(LogPlace(tmp_path / "audit.log"), None, NEVER, Clock())
    for number in (0, 7, 2):
        log.append([event(number)])
    log.close()
    with raising(LogDamaged, AuditReason.CHANGED):
        opened(tmp_path)


def test_a_start_notices_a_line_that_was_edited(tmp_path: Path) -> None:
    written(tmp_path, 3)
    path = tmp_path / "audit.log"
    path.write_bytes(path.read_bytes().replace(b"clerk1", b"clerk7"))
    with pytest.raises(LogDamaged):
        opened(tmp_path)


def test_a_place_that_cannot_be_used(tmp_path: Path) -> None:
    with raising(AuditFileProblem, AuditReason.FILE_MISSING):
        opened(tmp_path / "missing")
    (tmp_path / "target").touch()
    (tmp_path / "audit.log").symlink_to("target")
    with pytest.raises(AuditFileProblem):
        opened(tmp_path)


def test_a_name_with_signs_of_a_pattern_is_a_name(tmp_path: Path) -> None:
    path = tmp_path / "audit[1]*.log"
    log = AuditLog(LogPlace(path), KEY, LogPace(file_bytes=500), Clock())
    (tmp_path / "audit1.log.000000000000000").write_bytes(b"another")
    for number in range(5):
        log.append([event(number)])
    log.close()
    assert len(files_of(path)) > 1
    assert {each.name[:13] for each in files_of(path)} == {"audit[1]*.log"}


def test_what_lies_beside_a_log_is_none_of_it(tmp_path: Path) -> None:
    written(tmp_path, 2)
    (tmp_path / "audit.log.gz").write_bytes(b"\x1f\x8b")
    (tmp_path / "audit.log.d").mkdir()
    assert files_of(place(tmp_path).path) == [tmp_path / "audit.log"]
