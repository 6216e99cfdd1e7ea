"""Find the keys of contexts in their store, and make those that are not there yet.

A row is wrapped by the class's key and found by a tag. Each class has a row of its own, whose key makes the
tags of its contexts. So a tag outlives the rotation of the class's key, and two processes with keyrings of
different age agree on it.
"""

import os
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from sealwire.crypto.cipher import ValueCipher
from sealwire.crypto.envelope import KEY_BYTES, KEY_ID_BYTES
from sealwire.crypto.errors import DecryptionFailed
from sealwire.crypto.unpicklable import Unpicklable
from sealwire.keys.contexts.cache import ContextWanted, Found, FoundKey
from sealwire.keys.contexts.store import CLASS_TAG, TAG_BYTES, ContextRow, ContextStore
from sealwire.keys.errors import DamagedFile, KeysReason, UnknownKey
from sealwire.keys.keyring.data_key import whole_seconds
from sealwire.keys.keyring.keyring import Keyring
from sealwire.keys.keyring.turning import moving_command

_DOMAIN: Final = b"sealwire context key"
_TAG_DOMAIN: Final = b"sealwire context tag"
_RECEIPT_DOMAIN: Final = b"sealwire shred receipt"


def wrapping_cipher(keyring: Keyring, class_name: str) -> ValueCipher:
    """What wraps the keys of a class's contexts: its active key; while it is taken in, its pending one.

    A version that is plaintext wraps nothing: it ends when the class is taken in, and its values need no key
    where it is put back.
    Raises UnknownKey CLASS_UNKNOWN, NO_ACTIVE_KEY, also for a class in clear that does not move.
    """
    active = keyring.cipher_for(class_name)
    if not keyring.is_plaintext(active):
        return active
    pending = keyring.pending_cipher_for(class_name)
    if pending is None:
        raise UnknownKey(
            KeysReason.NO_ACTIVE_KEY,
            f"class {class_name} is in clear, and has no key that wraps those of its contexts",
            f"{moving_command(class_name, from_plaintext=True)} takes it in",
        )
    return pending


def has_wrapping(keyring: Keyring, class_name: str) -> bool:
    """Whether `wrapping_cipher` gives one. Raises UnknownKey for a class without an active version."""
    is_plaintext = keyring.is_plaintext(keyring.cipher_for(class_name))
    return not is_plaintext or keyring.pending_cipher_for(class_name) is not None


def tag_of(tag_key: bytes, context: bytes) -> bytes:
    """16 bytes that only a holder of the class's key can make of a context, which is not empty.

    Source: RFC 5297 section 2.4, S2V is a pseudorandom function. Cost: 10 us.
    """
    return AESSIV(tag_key).encrypt(context, [_TAG_DOMAIN])[:TAG_BYTES]


def receipt_tag(tag_key: bytes, receipt: bytes) -> bytes:
    """16 bytes that only a holder of the class's key can make of a receipt; never those of a context."""
    return AESSIV(tag_key).encrypt(receipt, [_RECEIPT_DOMAIN])[:TAG_BYTES]


def new_row(cipher: ValueCipher, tag: bytes, now: datetime) -> ContextRow:
    """A row with a fresh key, wrapped by `cipher`, the class's own."""
    key_id = os.urandom(KEY_ID_BYTES)
    row = ContextRow(key_id, cipher.class_id, tag, cipher.key_version, b"", whole_seconds(now))
    return wrapped(row, cipher, os.urandom(KEY_BYTES))


def wrapped(row: ContextRow, cipher: ValueCipher, key: bytes) -> ContextRow:
    """The row with its key wrapped by `cipher`."""
    version = cipher.key_version
    sealed = cipher.seal(_DOMAIN, _head(row, version), key)
    return ContextRow(
        row.key_id, row.class_id, row.tag, version, sealed, row.created, row.shred_after, row.destroyed
    )


def unwrap(row: ContextRow, cipher: ValueCipher) -> bytes:
    """The key of a row that is not destroyed; `cipher` is of the class and version that wrapped it.

    Raises DamagedFile TAMPERED: another row's key, another class's, or altered.
    """
    try:
        key = cipher.unseal(_DOMAIN, _head(row, row.wrap_version), row.wrapped or b"")
    except DecryptionFailed:
        key = b""
    if len(key) != KEY_BYTES or len(row.key_id) != KEY_ID_BYTES:
        raise DamagedFile(
            KeysReason.TAMPERED,
            f"the key of a context of class id {row.class_id} was altered since Sealwire wrote it",
            "find out who wrote to the store of context keys, and restore it from its own backup",
        )
    return key


def is_class_row(row: ContextRow) -> bool:
    """Whether its key makes tags, and encrypts nothing."""
    return row.tag == CLASS_TAG


def _head(row: ContextRow, version: int) -> bytes:
    """What a wrapped key is bound to: a row with the key of another one does not open."""
    ids = row.class_id.to_bytes(4, "big") + version.to_bytes(4, "big")
    return b"".join((ids, row.key_id, row.tag or b""))


class Resolver(Unpicklable):
    """Speaks with one store. Blocks; may be used by several threads."""

    def __init__(self, store: ContextStore) -> None:
        self._store = store
        self._tag_keys: dict[int, bytes] = {}
        """By class id. A class keeps it forever."""

    def find(self, keyring: Keyring, wanted: Sequence[ContextWanted], key_ids: Sequence[bytes] = ()) -> Found:
        """What stands in the store for these contexts and key ids; a context to be stored gets a key.

        Raises what the store raises; UnknownKey, KeyDestroyed where the keyring has not the class's key;
        DamagedFile for a key that does not open.
        Cost: one query and one write a class, and 20 us a key
        """
        by_context: dict[tuple[str, bytes], FoundKey | None] = {}
        for class_name in dict.fromkeys(each.class_name for each in wanted):
            of_class = {each.context: False for each in wanted if each.class_name == class_name}
            for each in wanted:
                if each.class_name == class_name and each.is_stored:
                    of_class[each.context] = True
            for context, key in self._of_class(keyring, class_name, of_class).items():
                by_context[class_name, context] = key
        by_id: dict[bytes, FoundKey | None] = dict.fromkeys(key_ids)
        for row in self._store.find_ids(key_ids) if key_ids else ():
            if not is_class_row(row):
                by_id[row.key_id] = _opened(row, keyring)
        return Found(by_context, by_id)

    def tag_key(self, keyring: Keyring, class_name: str) -> bytes | None:
        """What makes the tags of a class; None where it has no context yet. Raises as `find`."""
        return self._tag_key(keyring, keyring.cipher_for(class_name), is_made=False)

    def row_of(self, keyring: Keyring, class_name: str, context: bytes) -> ContextRow | None:
        """The row of a context, if it has one. Raises as `find`."""
        tag_key = self.tag_key(keyring, class_name)
        if tag_key is None:
            return None
        class_id = keyring.cipher_for(class_name).class_id
        return next(iter(self._store.find(class_id, [tag_of(tag_key, context)])), None)

    def _of_class(
        self, keyring: Keyring, class_name: str, contexts: dict[bytes, bool]
    ) -> dict[bytes, FoundKey | None]:
        """The keys of contexts, each of which says whether it gets one."""
        cipher = wrapping_cipher(keyring, class_name)
        tag_key = self._tag_key(keyring, cipher, is_made=any(contexts.values()))
        if tag_key is None:
            return dict.fromkeys(contexts)
        tags = {tag_of(tag_key, context): context for context in contexts}
        rows = {row.tag: row for row in self._store.find(cipher.class_id, list(tags))}
        new = [
            new_row(cipher, tag, datetime.now(UTC))
            for tag, context in tags.items()
            if tag not in rows and contexts[context]
        ]
        if new:
            rows |= {row.tag: row for row in self._store.create(new)}
        found: dict[bytes, FoundKey | None] = dict.fromkeys(contexts)
        for tag, context in tags.items():
            if tag in rows:
                found[context] = _opened(rows[tag], keyring)
        return found

    def _tag_key(self, keyring: Keyring, cipher: ValueCipher, *, is_made: bool) -> bytes | None:
        """What makes the tags of a class; None where it has no context yet and none is to be made."""
        known = self._tag_keys.get(cipher.class_id)
        if known is not None:
            return known
        rows = self._store.find(cipher.class_id, [CLASS_TAG])
        if not rows:
            if not is_made:
                return None
            rows = self._store.create([new_row(cipher, CLASS_TAG, datetime.now(UTC))])
        opened = _opened(rows[0], keyring) if rows else None
        if opened is None or opened.key is None:
            raise DamagedFile(
                KeysReason.SCHEMA,
                "the store of context keys has lost the row of a class",
                "restore it from its own backup",
            )
        self._tag_keys[cipher.class_id] = opened.key
        return opened.key


def _opened(row: ContextRow, keyring: Keyring) -> FoundKey:
    if row.is_destroyed:
        return FoundKey(row.key_id, row.class_id, None)
    cipher = keyring.cipher_by_id(row.class_id, row.wrap_version)
    return FoundKey(row.key_id, row.class_id, unwrap(row, cipher))
