"""Envelopes of both formats, each opened by what it names."""

import pytest

from sealwire.keys.contexts.cache import ContextCache, ContextKeysMissing, Found, Opener
from sealwire.keys.errors import KeysReason, UnknownKey
from tests.keys.contexts.samples import keyring
from tests.keys.contexts.test_cache import envelope, key


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
