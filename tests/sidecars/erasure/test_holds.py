"""Legal holds: placed, released, and noticed when somebody else writes the file."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from sealwire.audit.pseudonyms import PseudonymKey
from sealwire.keys.errors import AlreadyExists, DamagedFile, KeyringBusy, KeySettingError, KeysReason
from sealwire.keys.private_file import writer_lock
from sealwire.sidecars.erasure.holds import create_holds, load_holds, place, refuse_held, release
from sealwire.sidecars.errors import Denied, ErasureReason, Unsound, Unusable

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
    with pytest.raises(Denied) as held:
        refuse_held(load_holds(path, KEY), {ANNE})
    assert held.value.reason is ErasureReason.HELD
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
    with pytest.raises(Unusable) as caught:
        place(path, KEY, ANNE, case, "eve", NOW)
    assert caught.value.reason is ErasureReason.CASE
    assert load_holds(path, KEY) == ()


def test_what_is_not_there_cannot_be_released(path: Path) -> None:
    place(path, KEY, ANNE, "QB-1", "eve", NOW)
    release(path, KEY, 1, "eve", NOW)
    for number, reason in ((1, ErasureReason.RELEASED), (2, ErasureReason.HOLD_MISSING)):
        with pytest.raises(Unusable) as caught:
            release(path, KEY, number, "eve", NOW)
        assert caught.value.reason is reason


def test_a_missing_file_is_no_file_without_holds(path: Path) -> None:
    with pytest.raises(AlreadyExists):
        create_holds(path, KEY)
    path.unlink()
    with pytest.raises(KeySettingError) as caught:
        load_holds(path, KEY)
    assert caught.value.reason is KeysReason.FILE_MISSING


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
