"""The keys of contexts that a job needs: of each document, by the field that its classes are keyed by."""

import threading
from collections.abc import Iterable

from sealwire.crypto.context_cipher import ContextCipher
from sealwire.keys.contexts.cache import ContextCache, ContextKeysMissing, ContextWanted
from sealwire.keys.contexts.resolver import Resolver
from sealwire.keys.contexts.store import ContextStore
from sealwire.keys.keyring.keyring import Keyring
from sealwire.policies.errors import Refusal
from sealwire.policies.file.schema import BESIDE, PER_DATABASE, PolicySet, leaves
from sealwire.policies.planning.contexts import database_context, fixed_in_document


class JobContexts:
    """What all workers of one job share. Blocks; safe to share between threads."""

    def __init__(self, store: ContextStore, keyring: Keyring, policies: PolicySet) -> None:
        self._resolver = Resolver(store)
        self._keyring = keyring
        self._policies = policies
        self._cache = ContextCache()
        self._lock = threading.Lock()

    def prepare(self, namespace: str, raws: Iterable[bytes]) -> None:
        """Have the keys of a batch's documents at hand, so that new ones are made in one write.

        Raises what `Resolver.find` raises, BsonError.
        """
        tree = self._policies.covered(namespace)
        classes = {node.leaf for node in leaves(tree)} if tree is not None else set()
        keyed = [(each.name, each.per) for each in classes if each is not None and each.per is not None]
        wanted: dict[ContextWanted, None] = {}
        for raw in raws:
            for name, per in keyed:
                context = self._context_of(namespace, raw, per)
                if context is not None:
                    wanted[ContextWanted(name, context, True)] = None
        with self._lock:
            missing = self._cache.missing(wanted)
            if missing:
                self._cache.put(self._resolver.find(self._keyring, missing))

    def is_keyed(self, class_name: str) -> bool:
        """Whether a class has a key for each context."""
        found = self._policies.classes.get(class_name)
        return found is not None and found.per is not None

    def cipher_for(self, class_name: str, namespace: str, raw: bytes) -> ContextCipher | None:
        """What encrypts a value of a document; None where the document says no context.

        Raises ContextShredded, and what `Resolver.find` raises.
        """
        per = self._policies.classes[class_name].per
        context = None if per is None else self._context_of(namespace, raw, per)
        if context is None:
            return None
        wanted = ContextWanted(class_name, context, True)
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

    def _context_of(self, namespace: str, raw: bytes, per: bytes) -> bytes | None:
        if per == PER_DATABASE:
            return database_context(namespace.partition(".")[0])
        if per.startswith(BESIDE):
            return None  # an element that moves meanwhile would be taken for another patient's
        try:
            return fixed_in_document(raw, 0, [per]).get(per)
        except Refusal:
            return None
