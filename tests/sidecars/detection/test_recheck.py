"""What was changed after it was read is found by reading all of it again."""

from pathlib import Path

from sealwire.audit.verification import Flaw, FlawKind
from sealwire.sidecars.detection.recheck import Recheck
from tests.audit.logs import KEY, place
from tests.sidecars.detection.logs import append, line


def kinds(flaws: list[Flaw]) -> list[FlawKind]:
    return [flaw.kind for flaw in flaws]


def test_a_log_that_nobody_changed_has_none(tmp_path: Path) -> None:
    check = Recheck(place(tmp_path), KEY.verification, 60)
    assert check.look() == []
    append(tmp_path, [line(0), line(1)])
    assert check.look() == []
    with place(tmp_path).path.open("ab") as file:
        file.write(b'{"half')
    assert check.look() == []


def test_an_edited_line_is_found(tmp_path: Path) -> None:
    append(tmp_path, [line(0), line(1)])
    path = place(tmp_path).path
    path.write_bytes(path.read_bytes().replace(b"ann@", b"eve@"))
    for key in (KEY.verification, None):
        assert FlawKind.EDITED in kinds(Recheck(place(tmp_path), key, 60).look())


def test_one_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    append(tmp_path, [line(0)])
    place(tmp_path).checkpoints[0].unlink()
    place(tmp_path).checkpoints[0].mkdir()
    assert kinds(Recheck(place(tmp_path), KEY.verification, 60).look()) == [FlawKind.NOT_A_FILE]


def test_it_looks_in_a_thread_and_ends_with_it(tmp_path: Path) -> None:
    append(tmp_path, [line(0), line(1)])
    path = place(tmp_path).path
    path.write_bytes(path.read_bytes().replace(b"ann@", b"eve@"))
    check = Recheck(place(tmp_path), KEY.verification, 3600)
    check.start()
    found: list[Flaw] = []
    while not found:
        found = check.flaws()
    check.stop()
    assert FlawKind.EDITED in kinds(found)
    assert check.flaws() == []
