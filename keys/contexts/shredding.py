"""The end of one context's key: announced, destroyed, and what lets the context have another one.

A destruction takes two steps, as that of a class's key does (`keyring.turning`). Once the key is gone, its
row keeps its tag: a new value for the context is refused until `readmit`. Every function raises
KeySettingError CONTEXT_STATE where the row is in another state, KeyringBusy where somebody else changed it.
Without a store nothing is written, and the row is returned as it would be: that is a dry run.
"""

import hmac
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from sealwire.keys import strict_json
from sealwire.keys.contexts.resolver import receipt_tag, unwrap, wrapped, wrapping_cipher
from sealwire.keys.contexts.store import TAG_BYTES, ContextRow, ContextStore, every_row
from sealwire.keys.errors import DamagedFile, KeyringBusy, KeySettingError, KeysReason
from sealwire.keys.keyring.data_key import whole_seconds
from sealwire.keys.keyring.keyring import Keyring
from sealwire.keys.keyring.record import format_time

# The receipt of a shredded key: what was destroyed, when and by whom, and what a look afterwards found.
#
# It holds no context, only its tag. A tag over all of it, made with the key of the class's own row, shows
# that a holder of the keyring wrote it; whoever has keyring and store can check it.

FORMAT_NAME = "sealwire-shred-receipt"
FORMAT_VERSION = 1
MAX_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Receipt:
    """One destroyed key."""

    class_name: str
    class_id: int
    key_id: bytes
    context_tag: bytes
    created: str
    destroyed: str
    by: str
    """User and machine, as the operating system names them."""
    store: str
    key_in_row: bool
    """Whether the row, read anew, still had a wrapped key."""
    key_in_files: str
    """Whether the store's files still had its bytes: `no`, `yes`, or `unknown` where nobody can look."""

    def serialize(self, tag_key: bytes) -> bytes:
        """The receipt as JSON, with its tag."""
        return strict_json.serialize({**self._fields(), "tag": strict_json.encode(self.tag(tag_key))})

    def _fields(self) -> dict[str, Any]:
        return {
            "format": FORMAT_NAME,
            "version": FORMAT_VERSION,
            "class": self.class_name,
            "class_id": self.class_id,
            "key_id": strict_json.encode(self.key_id),
            "context_tag": strict_json.encode(self.context_tag),
            "created": self.created,
            "destroyed": self.destroyed,
            "by": self.by,
            "store": self.store,
            "key_in_row": "yes" if self.key_in_row else "no",
            "key_in_files": self.key_in_files,
        }

    def tag(self, tag_key: bytes) -> bytes:
        """The tag that shows that a holder of the class's key wrote exactly this."""
        return receipt_tag(tag_key, strict_json.serialize(self._fields()))


def receipt_of(row: ContextRow, class_name: str, by: str, store: str, found: Mapping[str, Any]) -> Receipt:
    """The receipt of a row that was destroyed. `found`: `key_in_row` and `key_in_files`."""
    return Receipt(
        class_name,
        row.class_id,
        row.key_id,
        row.tag or b"",
        format_time(row.created),
        _time(row.destroyed),
        by,
        store,
        bool(found["key_in_row"]),
        str(found["key_in_files"]),
    )


def parse_receipt(raw: bytes, filename: str) -> tuple[Receipt, bytes]:
    """A receipt and the tag that it came with, not checked yet. Raises DamagedFile."""
    fields = strict_json.parse(raw, filename)
    fields.format(FORMAT_NAME, FORMAT_VERSION)
    receipt = Receipt(
        fields.text("class"),
        fields.integer("class_id", 1, 2**32 - 1),
        fields.binary("key_id", 16, 16),
        fields.binary("context_tag", TAG_BYTES, TAG_BYTES),
        fields.text("created"),
        fields.text("destroyed"),
        fields.text("by"),
        fields.text("store"),
        fields.text("key_in_row") == "yes",
        fields.text("key_in_files"),
    )
    tag = fields.binary("tag", TAG_BYTES, TAG_BYTES)
    fields.done()
    return receipt, tag


def check_receipt(receipt: Receipt, tag: bytes, tag_key: bytes, row: ContextRow | None, name: str) -> None:
    """Raises DamagedFile TAMPERED where it is not genuine, or the store says something else."""
    if not hmac.compare_digest(receipt.tag(tag_key), tag):
        raise DamagedFile(KeysReason.TAMPERED, f"{name} is not what Sealwire wrote", "ask for the original")
    if row is None or not row.is_destroyed or _time(row.destroyed) != receipt.destroyed:
        raise DamagedFile(
            KeysReason.TAMPERED,
            "the store does not say that this key was destroyed then",
            "it may have been restored from a backup: find out when, and shred again",
        )


def _time(moment: datetime | None) -> str:
    return "" if moment is None else format_time(moment)


def announce(store: ContextStore | None, row: ContextRow, now: datetime, wait: timedelta) -> ContextRow:
    """The key may then be destroyed after `wait`."""
    _live(row)
    if row.shred_after is not None:
        raise _state(f"waits for its destruction already, after {format_time(row.shred_after)}", "--cancel")
    return _put(store, row, replace(row, shred_after=whole_seconds(now + wait)))


def cancel(store: ContextStore | None, row: ContextRow) -> ContextRow:
    """The key then stays."""
    _live(row)
    if row.shred_after is None:
        raise _state("waits for no destruction", "nothing is to be taken back")
    return _put(store, row, replace(row, shred_after=None))


def shred(store: ContextStore | None, row: ContextRow, now: datetime) -> ContextRow:
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


def readmit(store: ContextStore | None, row: ContextRow) -> ContextRow:
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


def _put(store: ContextStore | None, old: ContextRow, new: ContextRow) -> ContextRow:
    if store is not None and not store.replace(old, new):
        raise KeyringBusy(
            KeysReason.WRITER, "the key of this context was changed by somebody else meanwhile", "look again"
        )
    return new


def _state(problem: str, hint: str) -> KeySettingError:
    return KeySettingError(KeysReason.CONTEXT_STATE, f"the key of this context {problem}", hint)
