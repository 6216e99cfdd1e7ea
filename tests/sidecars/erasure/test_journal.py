"""The journal: read back, refused to another erasure, and taken away."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sealwire.audit.pseudonyms import PseudonymKey
from sealwire.keys.errors import DamagedFile
from sealwire.sidecars.erasure.journal import ErasureJournal, ErasureNote, ErasureOrder, read_sealed, sealed
from sealwire.sidecars.errors import ErasureReason, Unsound, Unusable

KEY = PseudonymKey(bytes(range(32)))
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
    with pytest.raises(Unusable) as caught:
        journal.load(order)
    assert caught.value.reason is ErasureReason.OTHER_ERASURE


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
def path(tmp_path: Path) -> Path:
    path = tmp_path / "file.json"
    path.touch(0o600)
    return path


def test_what_was_written_is_read(path: Path) -> None:
    path.write_bytes(WRITTEN)
    fields = read_sealed(path, KEY, "a-form")
    assert (fields.text("text"), fields.integer("number", 0, 9)) == ('x,\n "seal": "', 7)
    fields.done()


def test_another_form_is_another_file(path: Path) -> None:
    path.write_bytes(WRITTEN.replace(b"a-form", b"b-form"))
    with pytest.raises(DamagedFile):
        read_sealed(path, KEY, "a-form")
    with pytest.raises(Unsound):
        read_sealed(path, KEY, "b-form")


@given(st.integers(0, len(WRITTEN) - 1), st.integers(1, 127))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_change_is_noticed_or_changes_nothing(path: Path, place: int, change: int) -> None:
    other = bytearray(WRITTEN)
    other[place] ^= change
    path.write_bytes(bytes(other))
    try:
        fields = read_sealed(path, KEY, "a-form")
        assert (fields.text("text"), fields.integer("number", 0, 9)) == ('x,\n "seal": "', 7)
    except (DamagedFile, Unsound):
        pass
