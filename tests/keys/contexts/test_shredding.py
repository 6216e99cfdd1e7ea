"""The end of a context's key, step by step, each with a way back but the last."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from sealwire.keys.contexts.resolver import Resolver
from sealwire.keys.contexts.row import ContextRow
from sealwire.keys.contexts.shredding import announce, cancel, readmit, rewrap, shred
from sealwire.keys.contexts.sqlite_store import SqliteContextStore
from sealwire.keys.errors import KeyringBusy, KeySettingError, KeysReason
from tests.keys.contexts.samples import NOTES, keyring, wanted
from tests.keys.samples import NOW

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
    with pytest.raises(KeySettingError) as caught:
        shred(store, row_of(store), NOW)
    assert caught.value.reason is KeysReason.CONTEXT_STATE
    waiting = announce(store, row_of(store), NOW, WEEK)
    with pytest.raises(KeySettingError) as caught:
        shred(store, waiting, NOW + WEEK - timedelta(seconds=1))
    assert caught.value.reason is KeysReason.DESTROY_EARLY
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
    with pytest.raises(KeySettingError) as caught:
        announce(store, gone, NOW, WEEK)
    assert caught.value.reason is KeysReason.CONTEXT_STATE
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
