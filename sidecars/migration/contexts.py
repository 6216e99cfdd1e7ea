"""The keys of contexts that a job needs: of each value, by the field that the key of its class depends on."""

import threading
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from sealwire.crypto.context_cipher import ContextCipher
from sealwire.crypto.envelope import MARKER, is_of_context
from sealwire.keys.contexts.cache import ContextCache, ContextKeysMissing, ContextWanted
from sealwire.keys.contexts.resolver import Resolver
from sealwire.keys.contexts.store import ContextStore
from sealwire.keys.keyring.keyring import Keyring
from sealwire.policies.errors import Refusal
from sealwire.policies.file.schema import BESIDE, PER_DATABASE, PolicySet, context_field
from sealwire.policies.file.stored import StoredValues
from sealwire.policies.planning.contexts import database_context, fixed_in_document
from sealwire.wire import kinds
from sealwire.wire.errors import BsonError

_CONTENT = 5
"""A BSON Binary is an int32 length and the subtype, then the content."""


class Spot(NamedTuple):
    """Where a value stands."""

    class_name: str
    path: str
    """The covered one."""
    raw: bytes
    """The whole document."""
    holder: int
    """Where in it the document begins that holds the value."""

    def __repr__(self) -> str:
        return f"Spot({self.class_name!r}, {self.path!r})"


def spot_of(walk: StoredValues, raw: bytes) -> Spot:
    """Where the value stands at which the walk through a document is. Cost: O(depth of arrays)."""
    return Spot(walk.leaf.name, walk.node.path, raw, walk.holder)


def context_at(per: bytes, namespace: str, spot: Spot) -> bytes | None:
    """The context of a value whose class says `per`; None where its document does not say one.

    As `plan_stored_document` has it. Raises BsonError. Cost: O(elements on the way to the field)
    """
    if per == PER_DATABASE:
        return database_context(namespace.partition(".")[0])
    place, path = context_field(per, spot.path)
    try:
        return fixed_in_document(spot.raw, spot.holder if place else 0, [path]).get(path)
    except Refusal:
        return None


class JobContexts:
    """What all workers of one job share. Blocks; safe to share between threads."""

    def __init__(self, store: ContextStore, keyring: Keyring, policies: PolicySet) -> None:
        self._resolver = Resolver(store)
        self._keyring = keyring
        self._policies = policies
        self._cache = ContextCache()
        self._lock = threading.Lock()

    def prepare(self, namespace: str, raws: Iterable[bytes]) -> None:
        """Have the keys of a batch's values at hand, so that new ones are made in one write.

        Values that have the key of a context already need none, nor do those of deterministic classes, which
        do not move here. A damaged document is passed over.
        Raises what `Resolver.find` raises. Cost: O(bytes)
        """
        wanted: dict[ContextWanted, None] = {}
        for raw in raws:
            try:
                wanted |= dict.fromkeys(self._wanted(namespace, raw))
            except BsonError:
                continue  # it is told of when its turn comes
        with self._lock:
            missing = self._cache.missing(wanted)
            if missing:
                self._cache.put(self._resolver.find(self._keyring, missing))

    def _wanted(self, namespace: str, raw: bytes) -> Iterator[ContextWanted]:
        tree = self._policies.covered(namespace)
        if tree is None:
            return
        walk = StoredValues(raw, tree)
        while walk.next_value():
            per = walk.leaf.per
            if per is None or not walk.node.is_random or _has_its_key(walk.kind, raw, walk.value):
                continue
            context = context_at(per, namespace, spot_of(walk, raw))
            if context is not None:
                yield ContextWanted(walk.leaf.name, context, True)

    def is_keyed(self, class_name: str) -> bool:
        """Whether a class has a key for each context."""
        found = self._policies.classes.get(class_name)
        return found is not None and found.per is not None

    def cipher_for(self, namespace: str, spot: Spot) -> ContextCipher | None:
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


def classes_beside(policies: PolicySet) -> frozenset[str]:
    """The classes whose context is a field of the document that holds the value."""
    return frozenset(name for name, each in policies.classes.items() if (each.per or b"").startswith(BESIDE))


def _has_its_key(kind: int, raw: bytes, value: int) -> bool:
    is_envelope = kind == kinds.BIN_DATA and raw.startswith(MARKER, value + _CONTENT - 1)
    return is_envelope and is_of_context(raw, value + _CONTENT)
