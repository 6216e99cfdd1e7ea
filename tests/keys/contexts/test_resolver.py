"""A wrapped key opens in its own row only, and a tag says nothing without the class's key."""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from sealwire.crypto.context_cipher import ContextCipher
from sealwire.crypto.errors import DecryptionFailed
from sealwire.keys.contexts.cache import (
    DESTROYED_VALUE,
    ContextCache,
    ContextKeysMissing,
    ContextsMissing,
    Found,
    FoundKey,
    Opener,
)
from sealwire.keys.contexts.resolver import (
    Resolver,
    is_class_row,
    new_row,
    receipt_tag,
    tag_of,
    unwrap,
    wrapped,
    wrapping_cipher,
)
from sealwire.keys.contexts.shredding import announce, shred
from sealwire.keys.contexts.sqlite_store import SqliteContextStore
from sealwire.keys.contexts.store import CLASS_TAG
from sealwire.keys.errors import ContextShredded, DamagedFile, KeysReason, UnknownKey
from sealwire.keys.keyring.data_key import DataKey, KeyState
from sealwire.keys.keyring.keyring import Keyring
from tests.keys.contexts.samples import NOTES, keyring, wanted
from tests.keys.samples import NOW
from tests.support.reasons import raising

CIPHER = keyring().cipher_for("notes")
TAG = tag_of(bytes(64), b"\x02someone")


def test_every_row_has_another_key_and_another_id() -> None:
    first, second = (new_row(CIPHER, TAG, NOW) for _ in range(2))
    assert first.key_id != second.key_id
    assert len(unwrap(first, CIPHER)) == 64
    assert unwrap(first, CIPHER) != unwrap(second, CIPHER)


def test_a_key_is_wrapped_anew_by_another_version() -> None:
    row = new_row(CIPHER, TAG, NOW)
    newer = keyring(2).cipher_for("notes")
    again = wrapped(row, newer, unwrap(row, CIPHER))
    assert again.wrap_version == 2
    assert unwrap(again, newer) == unwrap(row, CIPHER)


@pytest.mark.parametrize("change", ["id", "tag", "version", "bytes", "class", "nothing"])
def test_a_key_in_another_row_does_not_open(change: str) -> None:
    row = new_row(CIPHER, TAG, NOW)
    sealed = row.wrapped or b""
    altered = {
        "id": replace(row, key_id=bytes(16)),
        "tag": replace(row, tag=bytes(15) + b"\1"),
        "version": replace(row, wrap_version=2),
        "bytes": replace(row, wrapped=sealed[:-1] + bytes((sealed[-1] ^ 1,))),
        "class": row,
        "nothing": replace(row, wrapped=b""),
    }[change]
    cipher = keyring().cipher_for("letters") if change == "class" else CIPHER
    with raising(DamagedFile, KeysReason.TAMPERED):
        unwrap(altered, cipher)


def test_a_tag_depends_on_context_and_key_and_use() -> None:
    assert tag_of(bytes(64), b"\x02someone") == TAG
    others = [tag_of(bytes(64), b"\x02somebody"), tag_of(b"\1" + bytes(63), b"\x02someone")]
    assert TAG not in [*others, receipt_tag(bytes(64), b"\x02someone")]
    assert len(TAG) == 16


def test_the_row_of_a_class_is_known_by_its_tag() -> None:
    assert is_class_row(new_row(CIPHER, CLASS_TAG, NOW))
    assert not is_class_row(new_row(CIPHER, TAG, NOW))


def version(number: int, state: KeyState, *, is_plaintext: bool = False) -> DataKey:
    return DataKey("ssn", 5, number, state, NOW, bytes([number]) * 64, is_plaintext=is_plaintext)


def test_no_version_that_is_plaintext_wraps_a_key() -> None:
    clear = version(1, KeyState.ACTIVE, is_plaintext=True)
    assert wrapping_cipher(Keyring([clear, version(2, KeyState.PENDING)]), "ssn").key_version == 2
    leaving = [version(1, KeyState.ACTIVE), version(2, KeyState.PENDING, is_plaintext=True)]
    assert wrapping_cipher(Keyring(leaving), "ssn").key_version == 1
    with raising(UnknownKey, KeysReason.NO_ACTIVE_KEY):
        wrapping_cipher(Keyring([clear]), "ssn")


# Keys of contexts are made once, found again by any process, and never kept or found in clear.


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteContextStore]:
    opened = SqliteContextStore(tmp_path / "contexts.db")
    yield opened
    opened.close()


def test_a_context_gets_a_key_once(store: SqliteContextStore) -> None:
    first = Resolver(store).find(keyring(), [wanted("a"), wanted("b"), wanted("a", "letters")])
    again = Resolver(store).find(keyring(), [wanted("b"), wanted("a", "letters"), wanted("a")])
    assert first.by_context == again.by_context
    keys = [found.key for found in first.by_context.values() if found is not None]
    assert len(set(keys)) == 3
    assert store.count(NOTES).live == 2


def test_a_context_that_is_only_compared_gets_none(store: SqliteContextStore) -> None:
    resolver = Resolver(store)
    found = resolver.find(keyring(), [wanted("a", is_stored=False)])
    assert found.by_context == {("notes", b"a"): None}
    resolver.find(keyring(), [wanted("b")])
    assert resolver.find(keyring(), [wanted("a", is_stored=False)]).by_context == {("notes", b"a"): None}
    both = resolver.find(keyring(), [wanted("a", is_stored=False), wanted("a")])
    assert both.by_context["notes", b"a"] is not None


def test_keys_are_found_by_their_ids(store: SqliteContextStore) -> None:
    resolver = Resolver(store)
    made = resolver.find(keyring(), [wanted("a")]).by_context["notes", b"a"]
    assert made is not None
    found = resolver.find(keyring(), (), [made.key_id, bytes(16)])
    assert found.by_id == {made.key_id: made, bytes(16): None}


def test_the_key_that_makes_tags_is_nobody_s_to_open_values_with(store: SqliteContextStore) -> None:
    resolver = Resolver(store)
    resolver.find(keyring(), [wanted("a")])
    ids = [row.key_id for row in store.rows(NOTES, b"", 10)]
    found = resolver.find(keyring(), (), ids)
    assert sum(key is not None for key in found.by_id.values()) == 1


def test_contexts_stay_what_they_are_when_the_class_gets_another_key(store: SqliteContextStore) -> None:
    before = Resolver(store).find(keyring(1), [wanted("a")])
    after = Resolver(store).find(keyring(2), [wanted("a"), wanted("b")])
    assert after.by_context["notes", b"a"] == before.by_context["notes", b"a"]
    # a process that has not loaded the newer keyring knows the contexts, and not how to open the new key
    with pytest.raises(UnknownKey):
        Resolver(store).find(keyring(1), [wanted("b")])


def test_a_destroyed_key_is_told_as_such(store: SqliteContextStore) -> None:
    resolver = Resolver(store)
    made = resolver.find(keyring(), [wanted("a")]).by_context["notes", b"a"]
    row = resolver.row_of(keyring(), "notes", b"a")
    assert made is not None
    assert row is not None
    shred(store, announce(store, row, NOW, NOW - NOW), NOW)
    found = resolver.find(keyring(), [wanted("a")], [made.key_id])
    for key in (found.by_context["notes", b"a"], found.by_id[made.key_id]):
        assert key is not None
        assert key.key is None


def test_no_row_is_found_where_there_is_no_context(store: SqliteContextStore) -> None:
    resolver = Resolver(store)
    assert resolver.row_of(keyring(), "notes", b"a") is None
    assert resolver.tag_key(keyring(), "notes") is None
    resolver.find(keyring(), [wanted("b")])
    assert resolver.row_of(keyring(), "notes", b"a") is None
    assert resolver.row_of(keyring(), "notes", b"b") is not None


def test_another_keyring_opens_nothing(store: SqliteContextStore) -> None:
    Resolver(store).find(keyring(), [wanted("a")])
    other = keyring(2)
    with pytest.raises((DamagedFile, UnknownKey)):
        Resolver(store).find(type(other)([]), [wanted("a")])


def test_no_context_lies_in_the_store(store: SqliteContextStore, tmp_path: Path) -> None:
    Resolver(store).find(keyring(), [wanted("someone in particular")])
    for path in tmp_path.iterdir():
        assert b"someone" not in path.read_bytes()


# Keys at hand: bounded, gone once destroyed, and nothing that was nowhere is remembered.


def key(number: int, *, is_destroyed: bool = False) -> FoundKey:
    material = None if is_destroyed else bytes([number % 256]) * 64
    return FoundKey(number.to_bytes(16, "little"), NOTES, material)


def by_context(context: str, found: FoundKey | None) -> Found:
    return Found({("notes", context.encode()): found}, {})


def envelope(number: int) -> bytes:
    return ContextCipher(bytes([number % 256]) * 64, NOTES, number.to_bytes(16, "little")).encrypt_randomly(
        0x08, b"\1"
    )


def test_a_context_that_nothing_is_known_of_is_asked_for() -> None:
    cache = ContextCache()
    assert cache.missing([wanted("a"), wanted("b")]) == [wanted("a"), wanted("b")]
    with pytest.raises(ContextsMissing) as caught:
        cache.cipher_for(wanted("a"))
    assert caught.value.wanted == (wanted("a"),)
    with pytest.raises(ContextKeysMissing) as missed:
        cache.open(envelope(1))
    assert missed.value.key_id == key(1).key_id


def test_a_key_serves_by_context_and_by_id() -> None:
    cache = ContextCache()
    cache.put(by_context("a", key(1)))
    cipher = cache.cipher_for(wanted("a"))
    assert cipher is not None
    assert cache.open(cipher.encrypt_randomly(0x08, b"\1")) == (0x08, b"\1")
    assert cache.missing([wanted("a")]) == []
    assert cache.knows_id(key(1).key_id)


def test_a_context_of_another_class_is_another_one() -> None:
    cache = ContextCache()
    cache.put(by_context("a", key(1)))
    assert cache.missing([wanted("a", "letters")]) == [wanted("a", "letters")]


def test_the_longest_unused_leaves_first() -> None:
    cache = ContextCache(bound=3)
    for number in range(3):
        cache.put(by_context(str(number), key(number)))
    assert cache.cipher_for(wanted("0")) is not None
    cache.put(by_context("3", key(3)))
    assert len(cache) == 3
    assert cache.missing([wanted(str(number)) for number in range(4)]) == [wanted("1")]


def test_it_never_outgrows_its_bound() -> None:
    cache = ContextCache(bound=10)
    for number in range(1, 100):
        cache.put(Found({}, {key(number).key_id: key(number)}))
        assert len(cache) <= 10
    with pytest.raises(ContextKeysMissing):
        cache.open(envelope(1))
    assert cache.open(envelope(99)) == (0x08, b"\1")


def test_more_keys_serve_than_are_made_ready() -> None:
    cache = ContextCache()
    for number in range(4100):
        cache.put(by_context(str(number), FoundKey(number.to_bytes(16, "little"), NOTES, os.urandom(64))))
        assert cache.cipher_for(wanted(str(number))) is not None
    first = cache.cipher_for(wanted("0"))
    assert first is not None
    assert first.key_id == bytes(16)


def test_a_destroyed_key_opens_nothing_and_its_values_are_null() -> None:
    cache = ContextCache()
    cache.put(by_context("a", key(1)))
    cache.destroy([key(1).key_id])
    assert cache.open(envelope(1)) == DESTROYED_VALUE
    assert cache.destroyed_met == 1
    assert cache.missing([wanted("a")]) == [wanted("a")]


def test_a_search_that_began_before_a_destruction_does_not_bring_the_key_back() -> None:
    cache = ContextCache()
    cache.destroy([key(1).key_id])
    cache.put(Found({("notes", b"a"): key(1)}, {key(1).key_id: key(1)}))
    assert len(cache) == 0
    with pytest.raises(ContextShredded):
        cache.cipher_for(wanted("a"))


def test_nothing_is_stored_for_a_shredded_context_and_nothing_equals_there() -> None:
    cache = ContextCache()
    cache.put(by_context("a", key(1, is_destroyed=True)))
    assert cache.missing([wanted("a"), wanted("a", is_stored=False)]) == []
    with raising(ContextShredded, KeysReason.DESTROYED):
        cache.cipher_for(wanted("a"))
    assert cache.cipher_for(wanted("a", is_stored=False)) is None
    cache.forget_misses()
    assert cache.missing([wanted("a")]) == [wanted("a")]  # it may have been readmitted


def test_that_a_context_has_no_key_counts_for_one_command() -> None:
    cache = ContextCache()
    cache.put(by_context("a", None))
    assert cache.cipher_for(wanted("a", is_stored=False)) is None
    assert cache.missing([wanted("a")]) == [wanted("a")]
    with pytest.raises(ContextsMissing):
        cache.cipher_for(wanted("a"))
    cache.forget_misses()
    assert cache.missing([wanted("a", is_stored=False)]) == [wanted("a", is_stored=False)]


def test_a_key_that_is_nowhere_counts_for_one_reply() -> None:
    cache = ContextCache()
    cache.put(Found({}, {key(1).key_id: None, key(2).key_id: key(2, is_destroyed=True)}))
    with raising(UnknownKey, KeysReason.CONTEXT_UNKNOWN):
        cache.open(envelope(1))
    assert cache.open(envelope(2)) == DESTROYED_VALUE
    cache.forget_misses()
    with pytest.raises(ContextKeysMissing):
        cache.open(envelope(1))
    assert cache.open(envelope(2)) == DESTROYED_VALUE


def test_all_keys_can_be_let_go() -> None:
    cache = ContextCache()
    cache.put(by_context("a", key(1)))
    cache.clear()
    assert len(cache) == 0
    assert cache.missing([wanted("a")]) == [wanted("a")]


def test_what_one_process_compares_where_nothing_is_stored_another_does_not_open() -> None:
    cache, other = ContextCache(), ContextCache()
    compared = cache.stand_in(NOTES).encrypt_randomly(0x08, b"\1")
    key_id = compared[13:29]
    assert cache.knows_id(key_id)
    assert other.knows_id(key_id)
    assert cache.open(compared) == (0x08, b"\1")
    assert other.open(compared) == DESTROYED_VALUE
    assert other.destroyed_met == 0
    cache.clear()
    assert cache.open(compared) == (0x08, b"\1")
    with pytest.raises(DecryptionFailed):
        cache.open(compared[:-1] + bytes([compared[-1] ^ 1]))


def test_no_context_and_no_key_is_shown() -> None:
    cache = ContextCache()
    cache.put(by_context("someone", key(1)))
    shown = [repr(cache), repr(wanted("someone")), repr(key(65)), repr(by_context("someone", key(1)))]
    missing = ContextsMissing([wanted("someone")])
    for text in (*shown, str(missing), repr(missing)):
        assert "someone" not in text
        assert "AAAA" not in text


# Envelopes of both formats, each opened by what it names.


def test_both_formats_are_opened_where_they_lie() -> None:
    cache = ContextCache()
    cache.put(Found({}, {key(1).key_id: key(1)}))
    opener = Opener(keyring(), cache)
    own = keyring().cipher_for("notes").encrypt_randomly(0x08, b"\0")
    buf = b"??" + own + envelope(1)
    assert opener.open_envelope(buf, 2, 2 + len(own)) == (0x08, b"\0")
    assert opener.open_envelope(buf, 2 + len(own), len(buf)) == (0x08, b"\1")
    with pytest.raises(ContextKeysMissing):
        opener.open_envelope(envelope(2), 0, len(envelope(2)))
    assert "notes" not in repr(opener)


def test_a_keyring_alone_says_what_is_missing() -> None:
    with raising(UnknownKey, KeysReason.CONTEXTS) as caught:
        keyring().open_envelope(envelope(1), 0, len(envelope(1)))
    assert caught.value.key is None
