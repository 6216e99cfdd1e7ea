"""Whether an envelope has the key of its own document's context, as the store of context keys says.

A key is tied to its context by a tag that only a holder of the class's key can make. No value is opened, and
no key of a context.
"""

from sealwire.crypto.envelope import BINARY_HEAD, context_key_id
from sealwire.keys.contexts.resolver import Resolver
from sealwire.keys.contexts.store import ContextStore
from sealwire.keys.contexts.wrapping import tag_of
from sealwire.keys.keyring.keyring import Keyring
from sealwire.policies.file.stored import StoredValues
from sealwire.policies.planning.contexts import stored_context
from sealwire.sidecars.drift.condition import Condition

"""Behind the length and the subtype of a BSON Binary."""
_MAX_KNOWN = 100_000


class ContextJudge:
    """Judges the envelopes of one server, and remembers which key is whose."""

    def __init__(self, store: ContextStore, keyring: Keyring) -> None:
        """`keyring` has the keys of the classes, which open what makes the tags."""
        self._store = store
        self._resolver = Resolver(store)
        self._keyring = keyring
        self._known: dict[tuple[bytes, str, bytes], Condition] = {}

    def judge(self, namespace: str, walk: StoredValues, raw: bytes) -> Condition:
        """The condition of the envelope of a context at which a walk through a document is.

        Raises:  BsonError, what the store raises, UnknownKey, KeyDestroyed
        Cost:    one query of the store for each key, once
        """
        leaf = walk.leaf
        if leaf.per is None:
            return Condition.PROTECTED
        context = stored_context(leaf.per, namespace, walk.node.path, raw, walk.holder)
        if context is None:
            return Condition.OTHER_CONTEXT
        key = context_key_id(raw, walk.value + BINARY_HEAD), leaf.name, context
        found = self._known.get(key)
        if found is None:
            if len(self._known) >= _MAX_KNOWN:
                self._known.clear()
            found = self._known[key] = self._look_up(*key)
        return found

    def _look_up(self, key_id: bytes, class_name: str, context: bytes) -> Condition:
        row = next(iter(self._store.find_ids([key_id])), None)
        tag_key = self._resolver.tag_key(self._keyring, class_name)
        if row is None or tag_key is None:
            return Condition.UNKNOWN_KEY
        if row.tag is None:
            return Condition.PROTECTED  # destroyed: whose it was, nobody can say any more
        return Condition.PROTECTED if row.tag == tag_of(tag_key, context) else Condition.OTHER_CONTEXT
