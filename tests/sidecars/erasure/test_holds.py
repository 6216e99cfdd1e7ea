"""Legal holds: placed, released, and noticed when somebody else writes the file."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sealwire.audit.pseudonyms import PseudonymKey
from sealwire.keys.errors import AlreadyExists, DamagedFile, KeyringBusy, KeySettingError, KeysReason
from sealwire.keys.private_file import writer_lock
from sealwire.sidecars.erasure.holds import create_holds, load_holds, place, refuse_held, release
from sealwire.sidecars.erasure.journal import ErasureJournal, ErasureNote, ErasureOrder, read_sealed, sealed
from sealwire.sidecars.errors import Denied, ErasureReason, Unsound, Unusable
from tests.support.reasons import raising

KEY = PseudonymKey(bytes(range(32)))
NOW = datetime(2026, 11, 27, 9, 30, tzinfo=UTC)
ANNE, BILL = "a" * 32, "b" * 32


@pytest.fixture
def path(tmp_path: Path) -> Path:
    create_holds(tmp_path / "holds.json", KEY)
    return tmp_path / "holds.json"


def test_a_hold_stands_until_it_is_released(path: Path) -> None:
    first = place(path, KEY, ANNE, "QB-1", "eve@desk", NOW)
    place(path, KEY, BILL, "QB-2", "eve@desk", NOW)
    with raising(Denied, ErasureReason.HELD) as held:
        refuse_held(load_holds(path, KEY), {ANNE})
    assert ANNE not in str(held.value)
    done = release(path, KEY, first.number, "ann@desk", NOW)
    assert (done.released_by, done.released) == ("ann@desk", "2026-11-27T09:30:00Z")
    holds = load_holds(path, KEY)
    refuse_held(holds, {ANNE})
    assert [hold.stands for hold in holds] == [False, True]
    assert holds[0] == done


def test_two_holds_on_one_person_are_released_one_by_one(path: Path) -> None:
    for case in ("QB-1", "QB-2"):
        place(path, KEY, ANNE, case, "eve", NOW)
    release(path, KEY, 1, "eve", NOW)
    with pytest.raises(Denied):
        refuse_held(load_holds(path, KEY), {ANNE})


@pytest.mark.parametrize("case", ["", " ", "x" * 201, "two\nlines"])
def test_a_case_is_one_short_line(path: Path, case: str) -> None:
    with raising(Unusable, ErasureReason.CASE):
        place(path, KEY, ANNE, case, "eve", NOW)
    assert load_holds(path, KEY) == ()


def test_what_is_not_there_cannot_be_released(path: Path) -> None:
    place(path, KEY, ANNE, "QB-1", "eve", NOW)
    release(path, KEY, 1, "eve", NOW)
    for number, reason in ((1, ErasureReason.RELEASED), (2, ErasureReason.HOLD_MISSING)):
        with raising(Unusable, reason):
            release(path, KEY, number, "eve", NOW)


def test_a_missing_file_is_no_file_without_holds(path: Path) -> None:
    with pytest.raises(AlreadyExists):
        create_holds(path, KEY)
    path.unlink()
    with raising(KeySettingError, KeysReason.FILE_MISSING):
        load_holds(path, KEY)


def test_nobody_places_a_hold_while_an_erasure_has_the_lock(path: Path) -> None:
    with writer_lock(path), pytest.raises(KeyringBusy):
        place(path, KEY, ANNE, "QB-1", "eve", NOW)


def test_another_key_and_every_edit_is_noticed(path: Path) -> None:
    place(path, KEY, ANNE, "QB-1", "eve", NOW)
    with pytest.raises(Unsound):
        load_holds(path, PseudonymKey(bytes(32)))
    written = path.read_bytes()
    for old, new in (
        (b"QB-1", b"QB-2"),
        (ANNE.encode(), BILL.encode()),
        (b'"released": null', b'"released": "2026-11-27T09:30:00Z"'),
        (b'"holds": [', b'"more": 1,\n "holds": ['),
        (b'"\n}\n', b'",\n "more": 1\n}\n'),
        (b'"format"', b'"format": "x", "format"'),
    ):
        assert old in written
        path.write_bytes(written.replace(old, new))
        with pytest.raises((Unsound, DamagedFile)):
            load_holds(path, KEY)


# The journal: read back, refused to another erasure, and taken away.


ORDER = ErasureOrder("a" * 32, "delete", True, "c" * 64)
NOTE = ErasureNote(
    ORDER, "2026-11-27T09:30:00Z", {"clinic.a": 3}, {"clinic.a": 2}, {bytes(16): "notes"}, {"clinic.a": 1}, 2
)


def test_it_is_read_as_it_was_written(tmp_path: Path) -> None:
    journal = ErasureJournal(tmp_path / "journal", KEY)
    assert journal.load(ORDER) is None
    journal.save(NOTE)
    assert journal.load(ORDER) == NOTE
    journal.save(replace(NOTE, keys={}))
    assert journal.load(ORDER) == replace(NOTE, keys={})
    journal.remove()
    journal.remove()
    assert journal.load(ORDER) is None


@pytest.mark.parametrize(
    "order",
    [
        replace(ORDER, subject="b" * 32),
        replace(ORDER, way="overwrite"),
        replace(ORDER, shreds=False),
        replace(ORDER, policy="d" * 64),
    ],
)
def test_another_erasure_does_not_go_on_with_it(order: ErasureOrder, tmp_path: Path) -> None:
    journal = ErasureJournal(tmp_path / "journal", KEY)
    journal.save(NOTE)
    with raising(Unusable, ErasureReason.OTHER_ERASURE):
        journal.load(order)


def test_an_edit_is_noticed(tmp_path: Path) -> None:
    journal = ErasureJournal(tmp_path / "journal", KEY)
    journal.save(NOTE)
    journal.path.write_bytes(journal.path.read_bytes().replace(b'"class": "notes"', b'"class": "other"'))
    with pytest.raises(Unsound):
        journal.load(ORDER)


def test_a_later_look_adds_and_takes_nothing_away() -> None:
    more = NOTE.with_more({"clinic.a": 1, "clinic.b": 5}, {"clinic.b": 4}, {"clinic.b": 3}, 5)
    assert more.found == {"clinic.a": 3, "clinic.b": 5}
    assert more.meant == {"clinic.a": 2, "clinic.b": 4}
    assert more.undecided == 5
    assert more.shared == {"clinic.a": 1, "clinic.b": 3}


WRITTEN = sealed(KEY, "a-form", {"text": 'x,\n "seal": "', "number": 7})


@pytest.fixture
def journal_path(tmp_path: Path) -> Path:
    journal_path = tmp_path / "file.json"
    journal_path.touch(0o600)
    return journal_path


def test_what_was_written_is_read(journal_path: Path) -> None:
    journal_path.write_bytes(WRITTEN)
    fields = read_sealed(journal_path, KEY, "a-form")
    assert (fields.text("text"), fields.integer("number", 0, 9)) == ('x,\n "seal": "', 7)
    fields.done()


def test_another_form_is_another_file(journal_path: Path) -> None:
    journal_path.write_bytes(WRITTEN.replace(b"a-form", b"b-form"))
    with pytest.raises(DamagedFile):
        read_sealed(journal_path, KEY, "a-form")
    with pytest.raises(Unsound):
        read_sealed(journal_path, KEY, "b-form")


@given(st.integers(0, len(WRITTEN) - 1), st.integers(1, 127))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_change_is_noticed_or_changes_nothing(journal_path: Path, place: int, change: int) -> None:
    other = bytearray(WRITTEN)
    other[place] ^= change
    journal_path.write_bytes(bytes(other))
    try:
        fields = read_sealed(journal_path, KEY, "a-form")
        assert (fields.text("text"), fields.integer("number", 0, 9)) == ('x,\n "seal": "', 7)
    except (DamagedFile, Unsound):
        pass
