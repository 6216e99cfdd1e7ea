"""Keys at hand: bounded, gone once destroyed, and nothing that was nowhere is remembered."""

import os

import pytest

from sealwire.crypto.context_cipher import ContextCipher
from sealwire.keys.contexts.cache import (
    DESTROYED_VALUE,
    ContextCache,
    ContextKeysMissing,
    ContextsMissing,
    Found,
    FoundKey,
    Opener,
)
from sealwire.keys.errors import ContextShredded, KeysReason, UnknownKey
from tests.keys.contexts.samples import NOTES, keyring, wanted


def key(number: int, *, is_destroyed: bool = False) -> FoundKey:
    material = None if is_destroyed else bytes([number % 256]) * 64
    return FoundKey(number.to_bytes(16, "big"), NOTES, material)


def by_context(context: str, found: FoundKey | None) -> Found:
    return Found({("notes", context.encode()): found}, {})


def envelope(number: int) -> bytes:
    return ContextCipher(bytes([number % 256]) * 64, NOTES, number.to_bytes(16, "big")).encrypt_randomly(
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
        cache.put(by_context(str(number), FoundKey(number.to_bytes(16, "big"), NOTES, os.urandom(64))))
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
    with pytest.raises(ContextShredded) as caught:
        cache.cipher_for(wanted("a"))
    assert caught.value.reason is KeysReason.DESTROYED
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
    with pytest.raises(UnknownKey) as caught:
        cache.open(envelope(1))
    assert caught.value.reason is KeysReason.CONTEXT_UNKNOWN
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
    with pytest.raises(UnknownKey) as caught:
        keyring().open_envelope(envelope(1), 0, len(envelope(1)))
    assert caught.value.reason is KeysReason.CONTEXTS
    assert caught.value.key is None
