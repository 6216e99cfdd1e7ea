"""Find the keys of contexts in their store, and make those that are not there yet."""

from collections.abc import Iterable, Sequence
from datetime import datetime

from sealwire.crypto.cipher import ValueCipher
from sealwire.crypto.unpicklable import Unpicklable
from sealwire.keys.contexts.cache import ContextWanted, Found, FoundKey
from sealwire.keys.contexts.store import CLASS_TAG, ContextRow, ContextStore
from sealwire.keys.contexts.wrapping import is_class_row, new_row, tag_of, unwrap, utc_now, wrapping_cipher
from sealwire.keys.errors import DamagedFile, KeysReason
from sealwire.keys.keyring.keyring import Keyring


class Resolver(Unpicklable):
    """Speaks with one store. Blocks; may be used by several threads."""

    def __init__(self, store: ContextStore) -> None:
        self._store = store
        self._tag_keys: dict[int, bytes] = {}
        """By class id. A class keeps it for ever."""

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
        return self._tag_key(keyring, keyring.cipher_for(class_name), utc_now(), is_made=False)

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
        now = utc_now()
        tag_key = self._tag_key(keyring, cipher, now, is_made=any(contexts.values()))
        if tag_key is None:
            return dict.fromkeys(contexts)
        tags = {tag_of(tag_key, context): context for context in contexts}
        rows = {row.tag: row for row in self._store.find(cipher.class_id, list(tags))}
        new = [
            new_row(cipher, tag, now)
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

    def _tag_key(
        self, keyring: Keyring, cipher: ValueCipher, now: datetime, *, is_made: bool
    ) -> bytes | None:
        """What makes the tags of a class; None where it has no context yet and none is to be made."""
        known = self._tag_keys.get(cipher.class_id)
        if known is not None:
            return known
        rows = self._store.find(cipher.class_id, [CLASS_TAG])
        if not rows:
            if not is_made:
                return None
            rows = self._store.create([new_row(cipher, CLASS_TAG, now)])
        opened = _opened(_only(rows), keyring)
        if opened.key is None:
            raise _lost()
        self._tag_keys[cipher.class_id] = opened.key
        return opened.key


def _opened(row: ContextRow, keyring: Keyring) -> FoundKey:
    if row.is_destroyed:
        return FoundKey(row.key_id, row.class_id, None)
    cipher = keyring.cipher_by_id(row.class_id, row.wrap_version)
    return FoundKey(row.key_id, row.class_id, unwrap(row, cipher))


def _only(rows: Iterable[ContextRow]) -> ContextRow:
    row = next(iter(rows), None)
    if row is None:
        raise _lost()
    return row


def _lost() -> DamagedFile:
    return DamagedFile(
        KeysReason.SCHEMA,
        "the store of context keys has lost the row of a class",
        "restore it from its own backup",
    )
