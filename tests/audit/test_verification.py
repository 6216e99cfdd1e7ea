"""Whatever is done to a log is found, and where."""

import random
from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sealwire.audit.files import LogPlace, files_of
from sealwire.audit.log import AuditLog, LogPace
from sealwire.audit.verification import FlawKind, LogReport, Spot, read_checkpoints, verify
from tests.audit.logs import KEY, NEVER, Clock, ended, event, opened, place, report, written

Lines = list[bytes]


def lines_of(path: Path) -> Lines:
    return path.read_bytes().splitlines(keepends=True)


def changed(folder: Path, change: Callable[[Lines], object]) -> LogReport:
    """What is found where a log of twelve lines was changed."""
    written(folder, 11)
    path = place(folder).path
    lines = lines_of(path)
    change(lines)
    path.write_bytes(b"".join(lines))
    return report(folder)


def found(said: LogReport) -> list[tuple[FlawKind, int]]:
    return [(each.kind, each.spot.line) for each in said.flaws]


def _edit(lines: Lines, place: int) -> None:
    lines[place] = lines[place].replace(b"clerk", b"klerk")


CHANGES: list[tuple[Callable[[Lines], object], list[tuple[FlawKind, int]]]] = [
    (lambda lines: _edit(lines, 4), [(FlawKind.EDITED, 5)]),
    (lambda lines: _edit(lines, 11), [(FlawKind.OTHER_LINES, 12)]),
    (lambda lines: lines.pop(4), [(FlawKind.MISSING, 5)]),
    (lambda lines: lines.pop(), [(FlawKind.CUT_OFF, 11)]),
    (lambda lines: lines.insert(4, lines[4]), [(FlawKind.REPEATED, 6)]),
    (lambda lines: lines.insert(4, lines[7]), [(FlawKind.MISSING, 5), (FlawKind.REPEATED, 6)]),
    (
        lambda lines: lines.insert(4, lines.pop(5)),
        [(FlawKind.MISSING, 5), (FlawKind.REPEATED, 6), (FlawKind.MISSING, 7)],
    ),
    (lambda lines: lines.insert(4, b"{}\n"), [(FlawKind.NOT_A_LINE, 5), (FlawKind.REPEATED, 6)]),
    (lambda lines: lines.__setitem__(4, b"\0\n"), [(FlawKind.NOT_A_LINE, 5), (FlawKind.EDITED, 5)]),
    (lambda lines: lines.__setitem__(11, lines[11][:-9]), [(FlawKind.TORN, 12)]),
    (lambda lines: lines.append(b'{"torn'), [(FlawKind.TORN, 13)]),
    (lambda lines: lines.pop(0), [(FlawKind.CUT_OFF, 0)]),
    (lambda lines: lines.clear(), [(FlawKind.CUT_OFF, 0)]),
]


@pytest.mark.parametrize(("change", "wanted"), CHANGES)
def test_a_change_is_found_where_it_is(
    tmp_path: Path, change: Callable[[Lines], object], wanted: list[tuple[FlawKind, int]]
) -> None:
    said = changed(tmp_path, change)
    assert found(said) == wanted
    assert not said.is_whole


def test_a_log_that_nobody_changed(tmp_path: Path) -> None:
    said = changed(tmp_path, lambda lines: lines)
    assert said.is_whole
    assert (said.lines, said.read, said.signed, said.checkpoints) == (12, 12, 12, 1)
    assert said.signed_at == Clock().now


def test_what_came_after_the_last_checkpoint_is_told(tmp_path: Path) -> None:
    written(tmp_path, 3)
    log = opened(tmp_path)
    log.append([event(3)])
    log.close()
    said = report(tmp_path)
    assert said.is_whole
    assert (said.lines, said.signed) == (5, 4)


def test_a_chain_that_was_made_anew_is_found_by_the_checkpoints(tmp_path: Path) -> None:
    log = opened(tmp_path, LogPace(checkpoint_lines=4))
    for number in range(12):
        log.append([event(number)])
    log.close()
    (tmp_path / "audit.log").unlink()
    forged = AuditLog(LogPlace(tmp_path / "audit.log"), None, NEVER, Clock())
    for number in range(12):
        forged.append([event(number if number != 6 else 7)])
    forged.close()
    said = report(tmp_path)
    assert found(said) == [(FlawKind.OTHER_LINES, 8)]
    assert said.signed == 4
    assert "line 4 and line 7" in said.flaws[0].detail


def test_checkpoints_of_another_key_are_none(tmp_path: Path) -> None:
    written(tmp_path, 3)
    checkpoints = tmp_path / "audit.log.checkpoints"
    note = checkpoints.read_bytes()
    checkpoints.write_bytes(note.replace(b"\n4\n", b"\n3\n") + note)
    said = report(tmp_path)
    assert said.flaws[0].kind is FlawKind.BAD_CHECKPOINT
    assert said.flaws[0].spot == Spot(checkpoints, 1)
    assert (len(said.flaws), said.signed) == (1, 4)


def test_a_log_without_checkpoints_says_so(tmp_path: Path) -> None:
    written(tmp_path, 3)
    for path in place(tmp_path).checkpoints:
        path.unlink()
    assert found(report(tmp_path)) == [(FlawKind.NO_CHECKPOINTS, 0)]


def test_two_checkpoints_that_contradict_each_other_are_found(tmp_path: Path) -> None:
    first, second = tmp_path / "one", tmp_path / "two"
    for folder, lines in ((first, 3), (second, 3)):
        folder.mkdir()
        log = opened(folder)
        log.append([event(number + (folder == second)) for number in range(lines)])
        ended(log)
    said = LogReport()
    read_checkpoints([place(first).checkpoints[0], place(second).checkpoints[0]], KEY.verification, said)
    assert found(said) == [(FlawKind.BAD_CHECKPOINT, 1)]


def test_a_file_that_is_missing_between_others_is_found(tmp_path: Path) -> None:
    written(tmp_path, 30, LogPace(file_bytes=1000))
    files = files_of(place(tmp_path).path)
    files[2].unlink()
    said = report(tmp_path, archived=True)
    assert found(said) == [(FlawKind.MISSING, 1)]
    # the tree goes on from what the next file says of those before, which the checkpoint vouches for
    assert said.signed == said.lines


def test_peaks_that_were_edited_are_found(tmp_path: Path) -> None:
    written(tmp_path, 30, LogPace(file_bytes=1000))
    files = files_of(place(tmp_path).path)
    lines = lines_of(files[1])
    lines[0] = lines[0].replace(b'"peaks":"', b'"peaks":"' + b"00" * 32 + b" ", 1)
    said = LogReport()
    files[1].write_bytes(b"".join(lines))
    verify(files, {}, said)
    assert not said.is_whole


@cache
def _made(checkpoint_lines: int) -> dict[str, bytes]:
    """The files of a log of 25 lines: to write one takes longer than to verify it."""
    with TemporaryDirectory() as name:
        written(Path(name), 25, LogPace(file_bytes=1500, checkpoint_lines=checkpoint_lines))
        return {path.name: path.read_bytes() for path in Path(name).iterdir()}


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.integers(0, 2**32),
    st.sampled_from(["edit", "delete", "repeat", "swap", "cut", "drop file", "cut bytes", "none"]),
)
def test_random_changes_are_found(tmp_path_factory: pytest.TempPathFactory, seed: int, kind: str) -> None:
    chance = random.Random(seed)
    folder = tmp_path_factory.mktemp("log")
    for name, content in _made(chance.choice((3, 10, 1000))).items():
        (folder / name).write_bytes(content)
    files = files_of(place(folder).path)
    path = chance.choice(files)
    data = path.read_bytes()
    lines = data.splitlines(keepends=True)
    one, other = chance.randrange(len(lines)), chance.randrange(len(lines))
    match kind:
        case "edit":
            spot = chance.randrange(len(data))
            data = data[:spot] + bytes([data[spot] ^ chance.randrange(1, 256)]) + data[spot + 1 :]
        case "delete":
            data = b"".join(lines[:one] + lines[one + 1 :])
        case "repeat":
            data = b"".join([*lines[:one], lines[other], *lines[one:]])
        case "swap":
            lines[one], lines[other] = lines[other], lines[one]
            data = b"".join(lines)
        case "cut":
            data = b"".join(lines[:one])
        case "cut bytes":
            data = data[: chance.randrange(len(data))]
        case _:
            pass
    is_same = data == path.read_bytes() and kind != "drop file"
    path.write_bytes(data)
    if kind == "drop file":
        path.unlink()
    said = report(folder)
    assert said.is_whole == is_same
    if is_same:
        assert said.signed == said.lines
