"""The context keys that the sessions of one process have at hand: no more than a bound, and none for long
after its destruction.

It does no I/O. Who misses a key raises `ContextsMissing` or `ContextKeysMissing`; the shell has the
`resolver` find it, and hands it in by `put`. What was found to be nowhere counts only for the command that
asked: another process may make it a moment later.
"""

import os
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple, final

from sealwire.crypto.context_cipher import ContextCipher
from sealwire.crypto.envelope import KEY_BYTES, NO_KEY, class_id_of, is_of_context, parse_context_header
from sealwire.crypto.unpicklable import Unpicklable
from sealwire.keys.errors import ContextShredded, KeysReason, UnknownKey
from sealwire.keys.keyring.keyring import Keyring

DEFAULT_BOUND: Final = 100_000
"""Keys at hand; one takes some 500 bytes."""
_READY: Final = 4096
"""So many of these have their cipher made ready, which takes 4 KB more."""
_MAX_GONE: Final = 1_000_000
"""Ids of destroyed keys that are remembered; beyond it, all keys are looked up anew."""

DESTROYED_VALUE: Final = (0x0A, b"")
"""What a value whose key was destroyed is in a reply: null."""


class ContextWanted(NamedTuple):
    """A key that a command needs."""

    class_name: str
    context: bytes
    """The type and the bytes of the value, in one form for equal ones. Never shown."""
    is_stored: bool
    """Whether a value is stored under it, so that a new context gets a key."""

    def __repr__(self) -> str:
        return f"ContextWanted({self.class_name!r}, is_stored={self.is_stored})"


class FoundKey(NamedTuple):
    """A key as it stands in the store."""

    key_id: bytes
    class_id: int
    key: bytes | None
    """None where it was destroyed."""

    def __repr__(self) -> str:
        return f"FoundKey(class_id={self.class_id})"


class Found(NamedTuple):
    """What came of a search."""

    by_context: dict[tuple[str, bytes], FoundKey | None]
    """By class and context; None for one that has no key."""
    by_id: dict[bytes, FoundKey | None]

    def __repr__(self) -> str:
        return f"Found({len(self.by_context)}, {len(self.by_id)})"


class _Entry:
    """A key at hand."""

    __slots__ = ("cipher", "class_id", "key", "name")

    def __init__(self, class_id: int, key: bytes) -> None:
        self.class_id = class_id
        self.key = key
        self.cipher: ContextCipher | None = None
        self.name: tuple[str, bytes] | None = None
        """The class and context that it is known for."""


@final
class ContextCache(Unpicklable):
    """See the module. All methods are for one thread."""

    def __init__(self, bound: int = DEFAULT_BOUND) -> None:
        """`bound`: how many keys are held at most."""
        self._bound = bound
        self._entries: OrderedDict[bytes, _Entry] = OrderedDict()
        self._ids: dict[tuple[str, bytes], bytes] = {}
        self._ready: OrderedDict[bytes, _Entry] = OrderedDict()
        self._gone: set[bytes] = set()
        self._nowhere: set[bytes] = set()
        self._fleeting: dict[tuple[str, bytes], bool] = {}
        """Contexts without a key, for the command at hand; True for those whose key was destroyed."""
        self._own_key = os.urandom(KEY_BYTES)
        self._own_id = NO_KEY + os.urandom(8)
        """For values that are compared where nothing is stored; the server's `explain` repeats them."""
        self.destroyed_met = 0
        """How many values of destroyed keys replies have held."""

    def __repr__(self) -> str:
        return f"ContextCache({len(self._entries)})"

    def __len__(self) -> int:
        return len(self._entries)

    def missing(self, wanted: Iterable[ContextWanted]) -> list[ContextWanted]:
        """Those of which nothing is known. Cost: O(1) each."""
        return [each for each in wanted if not self._is_known(each)]

    def cipher_for(self, wanted: ContextWanted) -> ContextCipher | None:
        """What encrypts for a context; None where nothing can be stored under it, so nothing equals a value.

        Raises ContextShredded where a value is to be stored for one whose key was destroyed, ContextsMissing.
        """
        name = (wanted.class_name, wanted.context)
        key_id = self._ids.get(name)
        entry = None if key_id is None else self._entries.get(key_id)
        if entry is not None and key_id is not None:
            self._entries.move_to_end(key_id)
            return self._made(key_id, entry)
        is_destroyed = self._fleeting.get(name)
        if is_destroyed is None or (wanted.is_stored and not is_destroyed):
            raise ContextsMissing([wanted])
        if wanted.is_stored:
            raise ContextShredded(
                KeysReason.DESTROYED,
                f"the key of a context of class {wanted.class_name} was destroyed",
                "sealwire keys contexts --readmit lets it have another one",
            )
        return None

    def stand_in(self, class_id: int) -> ContextCipher:
        """What encrypts a value that is compared where `cipher_for` has nothing; only this process opens it.

        Nothing that is stored is encrypted with it. Cost: 10 us.
        """
        return ContextCipher(self._own_key, class_id, self._own_id)

    def open(self, envelope: bytes) -> tuple[int, bytes]:
        """BSON type and value of an envelope of format 2; null for a destroyed key, or another's `stand_in`.

        Raises InvalidEnvelope, DecryptionFailed, ContextKeysMissing; UnknownKey for a key that is nowhere.
        """
        header, key_id = parse_context_header(envelope)
        entry = self._entries.get(key_id)
        if entry is not None:
            self._entries.move_to_end(key_id)
            return self._made(key_id, entry).decrypt(envelope)
        if key_id in self._gone:
            self.destroyed_met += 1
            return DESTROYED_VALUE
        if key_id == self._own_id:
            return self.stand_in(header.class_id).decrypt(envelope)
        if key_id.startswith(NO_KEY):
            return DESTROYED_VALUE
        if key_id not in self._nowhere:
            raise ContextKeysMissing(key_id)
        raise UnknownKey(
            KeysReason.CONTEXT_UNKNOWN,
            "the store of context keys does not have the key of a stored value",
            "it is older than the data, or another one: restore its newest copy",
        )

    def knows_id(self, key_id: bytes) -> bool:
        """Whether a value of this key can be judged without a search."""
        known = key_id in self._entries or key_id in self._gone or key_id in self._nowhere
        return known or key_id.startswith(NO_KEY)

    def put(self, found: Found) -> None:
        """Take what a search has found. Cost: O(1) for each key."""
        for name, key in found.by_context.items():
            if key is None or key.key is None or key.key_id in self._gone:
                self._fleeting[name] = key is not None
                if key is not None:
                    self._gone.add(key.key_id)
            else:
                self._add(key, name)
        for key_id, key in found.by_id.items():
            if key is None:
                self._nowhere.add(key_id)
            elif key.key is None:
                self._gone.add(key_id)
            elif key_id not in self._gone:
                self._add(key, None)

    def forget_misses(self) -> None:
        """What was nowhere may be there by now."""
        self._nowhere.clear()
        self._fleeting.clear()

    def destroy(self, key_ids: Iterable[bytes]) -> None:
        """These keys were destroyed: they open nothing any more."""
        for key_id in key_ids:
            if len(self._gone) >= _MAX_GONE:
                self._gone.clear()
                self.clear()
            self._gone.add(key_id)
            self._drop(key_id)

    def clear(self) -> None:
        """Let go of all keys."""
        self._entries.clear()
        self._ids.clear()
        self._ready.clear()
        self.forget_misses()

    def _is_known(self, wanted: ContextWanted) -> bool:
        name = (wanted.class_name, wanted.context)
        if name in self._ids:
            return True
        is_destroyed = self._fleeting.get(name)
        return is_destroyed is not None and (is_destroyed or not wanted.is_stored)

    def _add(self, found: FoundKey, name: tuple[str, bytes] | None) -> None:
        if found.key is None:
            return
        entry = self._entries.get(found.key_id)
        if entry is None:
            while len(self._entries) >= self._bound:
                self._drop(next(iter(self._entries)))
            entry = self._entries[found.key_id] = _Entry(found.class_id, found.key)
        if name is not None:
            entry.name = name
            self._ids[name] = found.key_id

    def _drop(self, key_id: bytes) -> None:
        entry = self._entries.pop(key_id, None)
        self._ready.pop(key_id, None)
        if entry is not None and entry.name is not None:
            self._ids.pop(entry.name, None)

    def _made(self, key_id: bytes, entry: _Entry) -> ContextCipher:
        if entry.cipher is None:
            entry.cipher = ContextCipher(entry.key, entry.class_id, key_id)
            self._ready[key_id] = entry
            if len(self._ready) > _READY:
                self._ready.popitem(last=False)[1].cipher = None
        return entry.cipher


# Opens envelopes of both formats: with the keyring, and with the keys of contexts that are at hand.


@final
class Opener(Unpicklable):
    """Opens the envelopes of a `Keyring`, and those of contexts."""

    def __init__(self, keyring: Keyring, contexts: ContextCache) -> None:
        self._keyring = keyring
        self._contexts = contexts

    def __repr__(self) -> str:
        return f"Opener({self._keyring!r}, {self._contexts!r})"

    def open_envelope(self, buf: bytes, start: int, end: int) -> tuple[int, bytes]:
        """As `Keyring.open_envelope`; raises as `ContextCache.open` besides."""
        if is_of_context(buf, start):
            opened = self._contexts.open(buf[start:end])
            counts = self._keyring.opened
            counts.add(counts.of(class_id_of(buf, start)))
            return opened
        return self._keyring.open_envelope(buf, start, end)


class ContextsMissing(Exception):
    """A command needs keys that are not at hand."""

    def __init__(self, wanted: Sequence[ContextWanted]) -> None:
        super().__init__(len(wanted))
        self.wanted = tuple(wanted)


class ContextKeysMissing(Exception):
    """A reply needs keys that are not at hand: the first of them."""

    def __init__(self, key_id: bytes) -> None:
        super().__init__()
        self.key_id = key_id
