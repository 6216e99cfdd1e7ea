"""The end of a context's key, step by step, each with a way back but the last."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from sealwire.keys.contexts.resolver import Resolver
from sealwire.keys.contexts.shredding import (
    announce,
    cancel,
    check_receipt,
    parse_receipt,
    readmit,
    receipt_of,
    rewrap,
    shred,
)
from sealwire.keys.contexts.sqlite_store import SqliteContextStore
from sealwire.keys.contexts.store import ContextRow
from sealwire.keys.errors import DamagedFile, KeyringBusy, KeySettingError, KeysReason
from tests.keys.contexts.samples import NOTES, keyring, wanted
from tests.keys.contexts.store_contract import row
from tests.keys.samples import NOW
from tests.support.reasons import raising

WEEK = timedelta(days=7)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteContextStore]:
    opened = SqliteContextStore(tmp_path / "contexts.db")
    Resolver(opened).find(keyring(), [wanted("a"), wanted("b")])
    yield opened
    opened.close()


def row_of(store: SqliteContextStore, context: bytes = b"a") -> ContextRow:
    row = Resolver(store).row_of(keyring(), "notes", context)
    assert row is not None
    return row


def test_a_key_is_destroyed_when_it_is_time_and_not_before(store: SqliteContextStore) -> None:
    with raising(KeySettingError, KeysReason.CONTEXT_STATE):
        shred(store, row_of(store), NOW)
    waiting = announce(store, row_of(store), NOW, WEEK)
    with raising(KeySettingError, KeysReason.DESTROY_EARLY):
        shred(store, waiting, NOW + WEEK - timedelta(seconds=1))
    gone = shred(store, waiting, NOW + WEEK)
    assert gone.is_destroyed
    assert row_of(store) == gone
    assert not row_of(store, b"b").is_destroyed


def test_an_announcement_can_be_taken_back_once(store: SqliteContextStore) -> None:
    waiting = announce(store, row_of(store), NOW, WEEK)
    with pytest.raises(KeySettingError):
        announce(store, waiting, NOW, WEEK)
    stays = cancel(store, waiting)
    assert stays.shred_after is None
    with pytest.raises(KeySettingError):
        cancel(store, stays)


def test_nothing_happens_to_a_destroyed_key_but_that_another_may_follow(store: SqliteContextStore) -> None:
    with pytest.raises(KeySettingError):
        readmit(store, row_of(store))
    gone = shred(store, announce(store, row_of(store), NOW, NOW - NOW), NOW)
    with raising(KeySettingError, KeysReason.CONTEXT_STATE):
        announce(store, gone, NOW, WEEK)
    with pytest.raises(KeySettingError):
        cancel(store, gone)
    readmit(store, gone)
    found = Resolver(store).find(keyring(), [wanted("a")], [gone.key_id])
    fresh = found.by_context["notes", b"a"]
    assert fresh is not None
    assert fresh.key_id != gone.key_id
    assert fresh.key is not None
    old = found.by_id[gone.key_id]
    assert old is not None
    assert old.key is None


def test_a_row_that_somebody_else_changed_is_left(store: SqliteContextStore) -> None:
    before = row_of(store)
    announce(store, before, NOW, WEEK)
    with pytest.raises(KeyringBusy):
        announce(store, before, NOW, WEEK)


def test_keys_are_wrapped_anew_and_stay_what_they_are(store: SqliteContextStore) -> None:
    before = Resolver(store).find(keyring(1), [wanted("a"), wanted("b")])
    shred(store, announce(store, row_of(store), NOW, NOW - NOW), NOW)
    assert sum(rewrap(store, keyring(2), "notes")) == 2  # the class's own row, and b
    assert sum(rewrap(store, keyring(2), "notes")) == 0
    after = Resolver(store).find(keyring(2), [wanted("b")])
    assert after.by_context["notes", b"b"] == before.by_context["notes", b"b"]
    assert store.count(NOTES).wrapped_by == {2: 2}


KEY = bytes(range(64))
GONE = replace(row(1), wrapped=None, destroyed=NOW)
TEXT = receipt_of(GONE, "notes", "a@b", "s.db", {"key_in_row": False, "key_in_files": "no"}).serialize(KEY)


def test_what_was_written_is_read_and_genuine() -> None:
    receipt, tag = parse_receipt(TEXT, "r.json")
    assert (receipt.class_name, receipt.key_id, receipt.by) == ("notes", GONE.key_id, "a@b")
    check_receipt(receipt, tag, KEY, GONE, "r.json")
    assert receipt.serialize(KEY) == TEXT


@pytest.mark.parametrize("change", ["text", "key", "missing row", "live row", "another time"])
def test_anything_else_is_refused(change: str) -> None:
    text = TEXT.replace(b"a@b", b"c@d") if change == "text" else TEXT
    receipt, tag = parse_receipt(text, "r.json")
    standing = {
        "missing row": None,
        "live row": row(1),
        "another time": replace(GONE, destroyed=NOW.replace(year=2025)),
    }.get(change, GONE)
    key = bytes(64) if change == "key" else KEY
    with raising(DamagedFile, KeysReason.TAMPERED):
        check_receipt(receipt, tag, key, standing, "r.json")


@pytest.mark.parametrize("raw", [b"{}", b"nothing", TEXT.replace(b'"by"', b'"why"')])
def test_what_is_no_receipt_is_said_to_be_none(raw: bytes) -> None:
    with pytest.raises(DamagedFile):
        parse_receipt(raw, "r.json")
