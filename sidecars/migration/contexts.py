"""The keys of contexts that a job needs: of each value, by the field that the key of its class depends on."""

import threading
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from sealwire.crypto.context_cipher import ContextCipher
from sealwire.crypto.envelope import BINARY_HEAD, KEY_ID_BYTES, context_key_id, is_envelope, is_of_context
from sealwire.keys.contexts.cache import ContextCache, ContextKeysMissing, ContextWanted
from sealwire.keys.contexts.resolver import Resolver
from sealwire.keys.contexts.store import ContextStore
from sealwire.keys.keyring.keyring import Keyring
from sealwire.policies.errors import Refusal
from sealwire.policies.file.schema import PER_DATABASE, PathNode, PolicySet, context_field
from sealwire.policies.file.stored import StoredValues
from sealwire.policies.planning.contexts import element_at, stored_context
from sealwire.wire import kinds
from sealwire.wire.errors import BsonError


class ValueSpot(NamedTuple):
    """Where a value stands."""

    class_name: str
    path: str
    """The covered one."""
    raw: bytes
    """The whole document."""
    holder: int
    """Where in it the document begins that holds the value."""

    def __repr__(self) -> str:
        return f"ValueSpot({self.class_name!r}, {self.path!r})"


def spot_of(walk: StoredValues, raw: bytes) -> ValueSpot:
    """Where the value stands at which the walk through a document is. Cost: O(depth of arrays)."""
    return ValueSpot(walk.leaf.name, walk.node.path, raw, walk.holder)


def context_at(per: bytes, namespace: str, spot: ValueSpot) -> bytes | None:
    """The context of a value whose class says `per`; None where its document does not say one.

    As `plan_stored_document` has it. Raises BsonError. Cost: O(elements on the way to the field)
    """
    return stored_context(per, namespace, spot.path, spot.raw, spot.holder)


class JobContexts:
    """What all workers of one job share. Blocks; safe to share between threads."""

    def __init__(self, store: ContextStore, keyring: Keyring, policies: PolicySet) -> None:
        self._resolver = Resolver(store)
        self._keyring = keyring
        self._policies = policies
        self._cache = ContextCache()
        self._lock = threading.Lock()

    def prepare(self, namespace: str, raws: Iterable[bytes], class_name: str | None = None) -> None:
        """Have the keys of a batch's values at hand, so that new ones are made in one write.

        They are those of one class, or of all random ones. Values that have the key of a context already
        need none. A damaged document is passed over. Raises what `Resolver.find` raises. Cost: O(bytes)
        """
        wanted: dict[ContextWanted, None] = {}
        for raw in raws:
            try:
                wanted |= dict.fromkeys(self._wanted(namespace, raw, class_name))
            except BsonError:
                continue  # it is told of when its turn comes
        with self._lock:
            missing = self._cache.missing(wanted)
            if missing:
                self._cache.put(self._resolver.find(self._keyring, missing))

    def _wanted(self, namespace: str, raw: bytes, class_name: str | None) -> Iterator[ContextWanted]:
        tree = self._policies.covered(namespace)
        if tree is None:
            return
        walk = StoredValues(raw, tree)
        while walk.next_value():
            leaf, per = walk.leaf, walk.leaf.per
            is_meant = walk.node.is_random if class_name is None else leaf.name == class_name
            if per is None or not is_meant or _has_its_key(walk.kind, raw, walk.value):
                continue
            context = context_at(per, namespace, spot_of(walk, raw))
            if context is not None:
                yield ContextWanted(leaf.name, context, True)

    def prepare_opening(self, raws: Iterable[bytes], tree: PathNode) -> None:
        """Have the keys at hand that open what a batch has at the paths of a tree, after one search.

        A damaged document is passed over. Raises what `Resolver.find` raises. Cost: O(bytes)
        """
        ids: dict[bytes, None] = {}
        for raw in raws:
            try:
                ids |= dict.fromkeys(_key_ids(raw, tree))
            except BsonError:
                continue  # it is told of when its turn comes
        with self._lock:
            missing = [each for each in ids if not self._cache.knows_id(each)]
            if missing:
                self._cache.put(self._resolver.find(self._keyring, (), missing))

    def is_keyed(self, class_name: str) -> bool:
        """Whether a class has a key for each context."""
        found = self._policies.classes.get(class_name)
        return found is not None and found.per is not None

    def cipher_for(self, namespace: str, spot: ValueSpot) -> ContextCipher | None:
        """What encrypts a value of a document; None where the document says no context.

        Raises ContextShredded, BsonError, and what `Resolver.find` raises.
        """
        per = self._policies.classes[spot.class_name].per
        context = None if per is None else context_at(per, namespace, spot)
        if context is None:
            return None
        wanted = ContextWanted(spot.class_name, context, True)
        with self._lock:
            if self._cache.missing([wanted]):
                self._cache.put(self._resolver.find(self._keyring, [wanted]))
            return self._cache.cipher_for(wanted)

    def open(self, envelope: bytes) -> tuple[int, bytes]:
        """As `ContextCache.open`, with the store at hand."""
        with self._lock:
            try:
                return self._cache.open(envelope)
            except ContextKeysMissing as missing:
                self._cache.put(self._resolver.find(self._keyring, (), [missing.key_id]))
            return self._cache.open(envelope)


def fields_of(policies: PolicySet) -> dict[str, bytes]:
    """What says the contexts of each class that has a key for each, and that a document says."""
    return {name: each.per for name, each in policies.classes.items() if each.per not in (None, PER_DATABASE)}


class Owner(NamedTuple):
    """What has to stand where it stood, so that a value still belongs to its context."""

    place: bytes
    kind: int
    start: int
    end: int


def owner_of(per: bytes, walk: StoredValues, raw: bytes) -> Owner | None:
    """What says the context of the value at which the walk is; None where `_id` does, which never changes.

    That is the field. Of an element it is the outermost array around it, with all that it holds: a position
    may be another element's by now, and the field at that position is also looked for in fields of elements
    that a number names.
    None as well where the document says no context. Raises BsonError. Cost: O(elements on the way)
    """
    place, path = context_field(per, walk.node.path)
    if place:
        around = walk.array_around()
        if around is not None:
            return Owner(around.place, kinds.ARRAY, around.start, around.end)
        start, path_of_field = walk.holder, b".".join((walk.holder_place, path))
    elif path.split(b".")[0] == b"_id":
        return None
    else:
        start, path_of_field = 0, path
    try:
        found = element_at(raw, start, path)
    except Refusal:
        return None
    return None if found is None else Owner(path_of_field, found.kind, found.value, found.end)


def _key_ids(raw: bytes, tree: PathNode) -> Iterator[bytes]:
    """The ids of the keys that envelopes of contexts at covered paths name."""
    walk = StoredValues(raw, tree)
    while walk.next_value():
        key_id = context_key_id(raw[: walk.end], walk.value + BINARY_HEAD)
        if _has_its_key(walk.kind, raw, walk.value) and len(key_id) == KEY_ID_BYTES:
            yield key_id


def _has_its_key(kind: int, raw: bytes, value: int) -> bool:
    return is_envelope(kind, raw, value) and is_of_context(raw, value + BINARY_HEAD)
