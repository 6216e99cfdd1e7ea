"""A log is read as it grows: each line once, and whatever is done to it is told of."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from sealwire.audit.files import files_of, moment_text
from sealwire.audit.following import LogFollower, LogPosition
from sealwire.audit.line import Fields
from sealwire.audit.log import LogPace
from sealwire.audit.verification import FlawKind
from tests.audit.logs import KEY, NEVER, ended, event, opened, place, written


def follower(folder: Path, position: LogPosition | None = None) -> LogFollower:
    return LogFollower(place(folder), KEY.verification, position)


def seen(reader: LogFollower, most: int = 5000) -> tuple[list[int], list[FlawKind]]:
    new = reader.look(most)
    return [line.number for line in new.lines], [flaw.kind for flaw in new.flaws]


def append(folder: Path, *lines: Fields, pace: LogPace = NEVER) -> None:
    log = opened(folder, pace)
    log.append(lines)
    ended(log)


def test_lines_are_read_once_as_they_come(tmp_path: Path) -> None:
    reader = follower(tmp_path)
    assert seen(reader) == ([], [])
    append(tmp_path, event(1), event(2))
    assert seen(reader) == ([0, 1, 2], [])
    assert seen(reader) == ([], [])
    append(tmp_path, event(3))
    assert seen(reader) == ([3], [])
    reader.close()
    reader.close()


def test_a_part_at_a_time_and_then_the_end(tmp_path: Path) -> None:
    written(tmp_path, 11)
    reader = follower(tmp_path)
    assert not reader.look(5).is_end
    assert seen(reader, 5) == ([5, 6, 7, 8, 9], [])
    last = reader.look(5)
    assert ([line.number for line in last.lines], last.is_end) == ([10, 11], True)


def test_another_process_goes_on_where_one_has_stopped(tmp_path: Path) -> None:
    written(tmp_path, 11)
    first = follower(tmp_path)
    first.look(7)
    second = follower(tmp_path, first.position)
    assert seen(second) == ([7, 8, 9, 10, 11], [])
    append(tmp_path, event(3))
    assert seen(follower(tmp_path, second.position)) == ([12], [])


def test_files_are_followed_whoever_renames_them(tmp_path: Path) -> None:
    small = LogPace(1000, 3600, 600)
    reader = follower(tmp_path)
    numbers: list[int] = []
    for number in range(40):
        append(tmp_path, event(number), pace=small)
        if number % 3 == 0:
            found, flaws = seen(reader)
            numbers += found
            assert flaws == []
        if number == 20:
            path = place(tmp_path).path
            path.rename(path.with_name(path.name + ".1"))
    numbers += seen(reader)[0]
    assert numbers == list(range(len(numbers)))
    assert len(files_of(place(tmp_path).path)) > 5
    again = follower(tmp_path)
    assert seen(again)[0] == numbers


def test_a_file_that_was_archived_meanwhile_holds_nobody_up(tmp_path: Path) -> None:
    small = LogPace(1000, 3600, 600)
    append(tmp_path, event(1), pace=small)
    reader = follower(tmp_path)
    reader.look()
    position = reader.position
    path = place(tmp_path).path
    path.rename(tmp_path / "archived")
    path.with_name(path.name + ".checkpoints").rename(tmp_path / "old-checkpoints")
    (tmp_path / "archived").rename(path.with_name(path.name + ".0"))
    append(tmp_path, event(2), pace=small)
    path.with_name(path.name + ".0").unlink()
    numbers, _ = seen(follower(tmp_path, position))
    assert numbers == [2, 3]


Change = Callable[[Path], object]


def _cut(path: Path) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-2]))


def _drop(path: Path) -> None:
    append(path.parent, event(20), event(21), event(22))
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:-3], *lines[-2:]]))


def _spoil(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"{}\n")


def _flood(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"x" * 100_000 + b"\n")


def _remake(path: Path) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    path.unlink()
    path.write_bytes(b"".join(lines))


@pytest.mark.parametrize(
    ("change", "kinds"),
    [
        (_cut, {FlawKind.CUT_OFF}),
        (_drop, {FlawKind.MISSING}),
        (_spoil, {FlawKind.NOT_A_LINE}),
        (_flood, {FlawKind.NOT_A_LINE}),
        (_remake, {FlawKind.MISSING}),
        (Path.unlink, {FlawKind.MISSING}),
    ],
    ids=["cut", "drop", "spoil", "flood", "remake", "unlink"],
)
def test_what_is_done_to_a_log_while_it_is_read_is_told_of(
    tmp_path: Path, change: Change, kinds: set[FlawKind]
) -> None:
    written(tmp_path, 11)
    reader = follower(tmp_path)
    reader.look()
    change(place(tmp_path).path)
    assert kinds <= set(seen(reader)[1])


@pytest.mark.parametrize("change", [_cut, Path.unlink], ids=["cut", "unlink"])
def test_what_was_done_while_nobody_read_is_told_of(tmp_path: Path, change: Change) -> None:
    written(tmp_path, 11)
    reader = follower(tmp_path)
    reader.look()
    change(place(tmp_path).path)
    assert seen(follower(tmp_path, reader.position))[1] != []


def _write_over(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(path.read_bytes())
    other.replace(path)


@pytest.mark.parametrize("change", [_remake, _write_over], ids=["remake", "write over"])
def test_a_file_that_takes_the_place_of_another_is_read_on(tmp_path: Path, change: Change) -> None:
    written(tmp_path, 11)
    reader = follower(tmp_path)
    reader.look()
    change(place(tmp_path).path)
    assert FlawKind.MISSING in seen(reader)[1]
    append(tmp_path, event(12))
    assert seen(reader) == ([12], [])


def _begin_anew(folder: Path, minute: int) -> None:
    """As an operator does after a log was found changed."""
    for each in folder.glob("*"):
        each.unlink()
    moment = datetime(2026, 11, 28, 0, minute, tzinfo=UTC)
    log = opened(folder, clock=lambda: moment)
    log.append([{**event(number), "time": moment_text(moment)} for number in range(3)])
    log.close()


def test_a_log_that_was_begun_anew_is_read_from_its_beginning(tmp_path: Path) -> None:
    _begin_anew(tmp_path, 1)
    reader = follower(tmp_path)
    assert seen(reader) == ([0, 1, 2, 3], [])
    _begin_anew(tmp_path, 2)
    assert seen(reader)[0] == [0, 1, 2, 3]
    position = reader.position
    _begin_anew(tmp_path, 3)
    assert seen(follower(tmp_path, position))[0] == [0, 1, 2, 3]


def test_a_file_that_was_cut_is_not_read_twice(tmp_path: Path) -> None:
    _begin_anew(tmp_path, 1)
    reader = follower(tmp_path)
    reader.look()
    path = place(tmp_path).path
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:2]))
    assert seen(reader) == ([], [FlawKind.CUT_OFF])
    moment = datetime(2026, 11, 28, 0, 9, tzinfo=UTC)
    log = opened(tmp_path, clock=lambda: moment)
    log.append([{**event(7), "time": moment_text(moment)}])
    log.close()
    assert seen(reader) == ([2], [])


def test_a_file_beside_the_log_does_not_take_its_place(tmp_path: Path) -> None:
    small = LogPace(1000, 3600, 600)
    append(tmp_path, event(1), pace=small)
    path = place(tmp_path).path
    reader = follower(tmp_path)
    reader.look()
    while len(files_of(path)) < 2:
        append(tmp_path, event(2), pace=small)
    path.with_name(path.name + ".0a").write_bytes(path.read_bytes()[:300].split(b"\n")[0] + b"\n{}\n")
    numbers, flaws = seen(reader)
    assert (numbers, flaws) == (list(range(2, numbers[-1] + 1)), [])
    append(tmp_path, event(3))
    assert seen(reader) == ([numbers[-1] + 1], [])


def test_the_last_line_read_is_looked_at_again(tmp_path: Path) -> None:
    written(tmp_path, 11)
    reader = follower(tmp_path)
    reader.look()
    path = place(tmp_path).path
    path.write_bytes(path.read_bytes().replace(b"clerk", b"klerk"))
    assert FlawKind.EDITED in seen(follower(tmp_path, reader.position))[1]


def test_a_chain_made_anew_does_not_fit_what_was_signed(tmp_path: Path) -> None:
    true, false = tmp_path / "true", tmp_path / "false"
    for folder, clerk in ((true, 1), (false, 2)):
        folder.mkdir()
        append(folder, event(clerk), event(3))
    reader = follower(true)
    assert seen(reader) == ([0, 1, 2], [])
    place(false).path.with_name("audit.log.checkpoints").replace(tmp_path / "signed")
    (false / "audit.log.checkpoints").write_bytes(b"")
    reader = follower(false)
    (false / "elsewhere.checkpoints").unlink()
    reader.look(1)
    (false / "audit.log.checkpoints").write_bytes((true / "audit.log.checkpoints").read_bytes())
    assert FlawKind.OTHER_LINES in seen(reader)[1]


def test_checkpoints_that_are_no_good_are_told_of_once(tmp_path: Path) -> None:
    written(tmp_path, 3)
    reader = follower(tmp_path)
    reader.look()
    path = place(tmp_path).path
    checkpoints = path.with_name(path.name + ".checkpoints")
    content = checkpoints.read_bytes()
    with checkpoints.open("ab") as file:
        file.write(content.replace(b"time 2", b"time 3"))
    assert seen(reader)[1] == [FlawKind.BAD_CHECKPOINT]
    assert seen(reader)[1] == []
    checkpoints.write_bytes(content)
    assert seen(reader)[1] == [FlawKind.BAD_CHECKPOINT]
    checkpoints.unlink()
    assert seen(reader)[1] == [FlawKind.BAD_CHECKPOINT]
    assert seen(reader)[1] == []


def test_without_a_key_the_chain_alone_is_looked_at(tmp_path: Path) -> None:
    written(tmp_path, 3)
    reader = LogFollower(place(tmp_path), None)
    assert seen(reader) == ([0, 1, 2, 3], [])


def test_lines_go_on_behind_what_is_wrong(tmp_path: Path) -> None:
    written(tmp_path, 3)
    path = place(tmp_path).path
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([lines[0], b"{}\n", *lines[2:]]))
    numbers, flaws = seen(follower(tmp_path))
    assert numbers == [0, 2, 3]
    assert FlawKind.NOT_A_LINE in flaws
