"""The end of one context's key: announced, destroyed, and what lets the context have another one.

A destruction takes two steps, as that of a class's key does (`keyring.ending`). Once the key is gone, its
row keeps its tag: a new value for the context is refused until `readmit`. Every function raises
KeySettingError CONTEXT_STATE where the row is in another state, KeyringBusy where somebody else changed it.
"""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta

from sealwire.keys.contexts.row import ContextRow
from sealwire.keys.contexts.store import ContextStore, every_row
from sealwire.keys.contexts.wrapping import unwrap, wrapped, wrapping_cipher
from sealwire.keys.errors import KeyringBusy, KeySettingError, KeysReason
from sealwire.keys.keyring.data_key import whole_seconds
from sealwire.keys.keyring.keyring import Keyring
from sealwire.keys.keyring.record import format_time


def announce(store: ContextStore, row: ContextRow, now: datetime, wait: timedelta) -> ContextRow:
    """The key may then be destroyed after `wait`."""
    _live(row)
    if row.shred_after is not None:
        raise _state(f"waits for its destruction already, after {format_time(row.shred_after)}", "--cancel")
    return _put(store, row, replace(row, shred_after=whole_seconds(now + wait)))


def cancel(store: ContextStore, row: ContextRow) -> ContextRow:
    """The key then stays."""
    _live(row)
    if row.shred_after is None:
        raise _state("waits for no destruction", "nothing is to be taken back")
    return _put(store, row, replace(row, shred_after=None))


def shred(store: ContextStore, row: ContextRow, now: datetime) -> ContextRow:
    """The key is then gone from the store; its copies in the store's own backups are not.

    Raises KeySettingError DESTROY_EARLY before the announced time.
    """
    _live(row)
    if row.shred_after is None:
        raise _state("has no announced destruction", "run it once more without --now to announce it")
    if now < row.shred_after:
        raise KeySettingError(
            KeysReason.DESTROY_EARLY,
            f"the key of this context is kept until {format_time(row.shred_after)}",
            "wait until then, or take it back: sealwire keys shred --cancel",
        )
    return _put(store, row, replace(row, wrapped=None, shred_after=None, destroyed=whole_seconds(now)))


def readmit(store: ContextStore, row: ContextRow) -> ContextRow:
    """A new value for the context then makes another key. The old one stays destroyed."""
    if not row.is_destroyed:
        raise _state("was not destroyed", "it takes new values already")
    return _put(store, row, replace(row, tag=None))


def rewrap(store: ContextStore, keyring: Keyring, class_name: str) -> Iterator[bool]:
    """Wrap every key of a class as `wrapping_cipher` says; for each row whether that was to do.

    A row that somebody else changed meanwhile is as new as theirs. May be repeated and broken off at any row.
    Raises UnknownKey, KeyDestroyed, DamagedFile where one does not open. Cost: one fsync a key.
    """
    cipher = wrapping_cipher(keyring, class_name)
    for row in every_row(store, cipher.class_id):
        if row.is_destroyed or row.wrap_version == cipher.key_version:
            yield False
            continue
        key = unwrap(row, keyring.cipher_by_id(row.class_id, row.wrap_version))
        yield store.replace(row, wrapped(row, cipher, key))


def _live(row: ContextRow) -> None:
    if row.is_destroyed:
        raise _state("was destroyed", "nothing is left to be done")


def _put(store: ContextStore, old: ContextRow, new: ContextRow) -> ContextRow:
    if not store.replace(old, new):
        raise KeyringBusy(
            KeysReason.WRITER, "the key of this context was changed by somebody else meanwhile", "look again"
        )
    return new


def _state(problem: str, hint: str) -> KeySettingError:
    return KeySettingError(KeysReason.CONTEXT_STATE, f"the key of this context {problem}", hint)
