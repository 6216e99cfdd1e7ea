"""The journal: read back, refused to another erasure, and taken away."""

from dataclasses import replace
from pathlib import Path

import pytest

from sealwire.audit.pseudonyms import PseudonymKey
from sealwire.sidecars.erasure.errors import ErasureDamaged, ErasureReason, ErasureRefused
from sealwire.sidecars.erasure.journal import ErasureJournal, ErasureNote, ErasureOrder

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
    with pytest.raises(ErasureRefused) as caught:
        journal.load(order)
    assert caught.value.reason is ErasureReason.OTHER_ERASURE


def test_an_edit_is_noticed(tmp_path: Path) -> None:
    journal = ErasureJournal(tmp_path / "journal", KEY)
    journal.save(NOTE)
    journal.path.write_bytes(journal.path.read_bytes().replace(b'"class": "notes"', b'"class": "other"'))
    with pytest.raises(ErasureDamaged):
        journal.load(ORDER)


def test_a_later_look_adds_and_takes_nothing_away() -> None:
    more = NOTE.with_more({"clinic.a": 1, "clinic.b": 5}, {"clinic.b": 4}, {"clinic.b": 3}, 5)
    assert more.found == {"clinic.a": 3, "clinic.b": 5}
    assert more.meant == {"clinic.a": 2, "clinic.b": 4}
    assert more.undecided == 5
    assert more.shared == {"clinic.a": 1, "clinic.b": 3}
