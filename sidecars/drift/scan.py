"""What is stored at covered paths, judged by policy and keyring.

`read_collection` reads documents as they are stored, `Census` counts their covered values by path, and `Keys`
judges each. If the store of context keys is at hand, `ContextJudge` sees whose an envelope is. Nothing is
decrypted: an envelope's header says its class and key version.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from enum import Enum

from pymongo.errors import PyMongoError

from sealwire.crypto import envelope
from sealwire.crypto.errors import InvalidEnvelope
from sealwire.keys.contexts.resolver import Resolver, tag_of
from sealwire.keys.contexts.store import ContextStore
from sealwire.keys.keyring.data_key import FIRST_STATES, KeyIds, KeyState
from sealwire.keys.keyring.keyring import Keyring
from sealwire.keys.keyring.record import ClassRecord, KeyRecord, KeyringRecord
from sealwire.policies.file.schema import FieldClass, Mode, PathNode, covered_fields
from sealwire.policies.file.stored import StoredValues
from sealwire.policies.planning.contexts import stored_context
from sealwire.sidecars.covered import CoveredCollection
from sealwire.sidecars.direct import Client, documents_of, failure
from sealwire.wire.errors import BsonError

_MODES = {Mode.DETERMINISTIC: envelope.EnvelopeMode.DETERMINISTIC, Mode.RANDOM: envelope.EnvelopeMode.RANDOM}


class Condition(Enum):
    """What a stored value is. All but the first three need an operator's attention."""

    PROTECTED = "protected"
    """An envelope of the path's class, mode and newest key; also of a key that the class borrows."""
    OLDER_KEY = "older-key"
    """The same of an older key, which still opens it; or of the class's own where each context has one.
    If the class is deterministic, only while it moves to a pending key."""
    DECLARED = "declared-in-clear"
    """As `in-clear`, of a class that the policy declares with `accept_plaintext`."""
    IN_CLEAR = "in-clear"
    """A value in clear of a class that the keyring has in clear, or moves from there or to there."""
    LEFT_BEHIND = "left-behind"
    """As `older-key`, of a deterministic class that does not move: equality does not find it."""
    OTHER_CONTEXT = "other-context"
    """An envelope of the key of another context than its document's; it opens all the same."""
    PLAINTEXT = "plaintext"
    OTHER_CLASS = "other-class"
    """An envelope of another class of the keyring, or of the other mode: it equals nothing here."""
    UNKNOWN_KEY = "unknown-key"
    """An envelope of a class or version that the keyring does not have."""
    RETIRED_KEY = "retired-key"
    """An envelope that nobody opens until its key is taken back."""
    DESTROYED_KEY = "destroyed-key"
    """An envelope that nobody opens any more."""
    DAMAGED = "damaged"
    """Begins like an envelope and is none."""

    @property
    def is_sound(self) -> bool:
        """Whether nothing has to be done."""
        return self in (Condition.PROTECTED, Condition.OLDER_KEY, Condition.DECLARED)


@dataclass(frozen=True, slots=True)
class Keys:
    """Which key versions there are; without any material."""

    classes: Mapping[str, ClassRecord]
    states: Mapping[KeyIds, KeyState]
    """By what envelopes name: borrowed versions are those of their lenders."""
    in_clear: frozenset[str] = frozenset()
    """The classes whose active or pending version is plaintext."""
    newest: Mapping[str, KeyRecord] = field(default_factory=dict)
    """By class its pending version, else its active one."""

    @classmethod
    def of(cls, record: KeyringRecord) -> "Keys":
        """The keys of a keyring's record, which need not be authenticated: nothing is opened with them."""
        keys = [(entry, key) for entry in record.classes for key in entry.keys]
        clear = (entry.name for entry, key in keys if key.is_plaintext and key.state in FIRST_STATES)
        return cls(
            {entry.name: entry for entry in record.classes},
            {KeyIds(entry.class_id, key.version): key.state for entry, key in keys if key.lender is None},
            frozenset(clear),
            record.newest,
        )

    def judge(self, kind: int, value: bytes, field_class: FieldClass) -> Condition:
        """The condition of a value of BSON type `kind` where `field_class` is expected. Cost: O(1)."""
        if not envelope.is_envelope(kind, value):
            if field_class.mode is not Mode.DETERMINISTIC or field_class.name not in self.in_clear:
                return Condition.PLAINTEXT
            return Condition.DECLARED if field_class.accepts_plaintext else Condition.IN_CLEAR
        try:
            header = envelope.parse_any_header(value[envelope.BINARY_HEAD :])
        except InvalidEnvelope:
            return Condition.DAMAGED
        entry, is_mode = self.classes.get(field_class.name), header.mode is _MODES[field_class.mode]
        if envelope.is_of_context(value, envelope.BINARY_HEAD):
            # whether its key is there, only the store of context keys says
            is_ours = entry is not None and header.class_id == entry.class_id and is_mode
            return Condition.PROTECTED if is_ours else Condition.OTHER_CLASS
        named = KeyIds(header.class_id, header.key_version)
        state = self.states.get(named)
        if state is None:
            return Condition.UNKNOWN_KEY
        version = None if entry is None else entry.version_named(named)
        if entry is None or version is None or not is_mode:
            return Condition.OTHER_CLASS
        if state is KeyState.DESTROYED:
            return Condition.DESTROYED_KEY
        if state is KeyState.RETIRED:
            return Condition.RETIRED_KEY
        newest = self.newest.get(field_class.name)
        if newest is not None and version == newest.version and field_class.per is None:
            return Condition.PROTECTED
        is_moving = newest is not None and newest.state is KeyState.PENDING
        is_left = field_class.mode is Mode.DETERMINISTIC and not is_moving
        return Condition.LEFT_BEHIND if is_left else Condition.OLDER_KEY


# ---------- in what condition one stored value is, judged by its envelope's header and the keyring's record


_MAX_NAMES = 512
"""Field names that are remembered beside each covered name, for hints."""


# ------------------------------------------ reads the covered collections of a server, each as it is stored

RIGHTS = "log in as a user that may list collections and read them (read)"
"""The hint where the server denies something."""


@dataclass(frozen=True, slots=True)
class PathReport:
    """What one covered path holds in the documents that were read."""

    path: str
    class_name: str
    documents: int
    """Documents that have the path; a null counts."""
    values: dict[Condition, int]
    """Values by condition; each element of an array is one. Nulls are none."""
    hint: str = ""
    """For a path that no document has: the name that is nearest to it, where one is near."""

    @property
    def is_sound(self) -> bool:
        """Whether every value is ciphertext that the class opens."""
        return all(condition.is_sound for condition in self.values)


@dataclass(frozen=True, slots=True)
class CollectionReport:
    """What one collection holds."""

    namespace: str
    documents: int
    """Documents that were read."""
    paths: tuple[PathReport, ...]
    skipped: str = ""
    """Why it was not read, or not to its end."""

    @property
    def is_sound(self) -> bool:
        """Whether it was read, and every value in it is ciphertext that its class opens."""
        return not self.skipped and all(path.is_sound for path in self.paths)


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
        key = envelope.context_key_id(raw, walk.value + envelope.BINARY_HEAD), leaf.name, context
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


def read_collection(
    client: Client,
    found: CoveredCollection,
    keys: Keys,
    sample: int | None,
    progress: Callable[[int], None],
    contexts: ContextJudge | None = None,
) -> CollectionReport:
    """Read all documents, or a random `sample` of them; `progress` is told of each. `contexts` as `Census`.

    A view holds nothing of its own, and is skipped. What the server refuses becomes a report, so that the
    other collections are read; so does a document that is none.
    """
    if not found.exists or found.kind == "view":
        why = "a view holds nothing of its own" if found.exists else "does not exist"
        return CollectionReport(found.namespace, 0, (), why)
    census = Census(found.tree, keys, found.namespace, contexts)
    skipped = ""
    try:
        for raw in documents_of(client, found.namespace, sample):
            census.read(raw)
            progress(1)
    except PyMongoError as error:
        skipped = f"not read to its end: {failure(error)}"
    except BsonError as error:
        skipped = f"not read to its end: a document is damaged ({error.reason.value})"
    return CollectionReport(found.namespace, census.documents, tuple(census.report()), skipped)


# Whether an envelope has the key of its own document's context, as the store of context keys says.
#
# A key is tied to its context by a tag that only a holder of the class's key can make. No value is
# opened, and no key of a context.

_MAX_KNOWN = 100_000


@dataclass(slots=True)
class _PathTally:
    documents: int = 0
    values: Counter[Condition] = field(default_factory=Counter)


class Census:
    """The counts of one collection while its documents are read."""

    def __init__(
        self, tree: PathNode, keys: Keys, namespace: str = "", contexts: ContextJudge | None = None
    ) -> None:
        """`contexts` judges the envelopes of contexts; None: each is taken for its document's."""
        self._namespace = namespace
        self._contexts = contexts
        self.documents = 0
        self._tree = tree
        self._keys = keys
        self._tallies = {path: _PathTally() for path, _ in covered_fields(tree)}
        self._names: dict[str, set[str]] = {}
        """Names of fields that were met beside covered ones, by the path of what holds them."""

    def read(self, raw: bytes) -> None:
        """Count one document. Raises BsonError for what is none. Cost: O(bytes)."""
        self.documents += 1
        walk = StoredValues(raw, self._tree, beside=self._note)
        present: set[str] = set()
        while walk.advance():
            present.add(walk.node.path)
            if walk.is_value:
                condition = self._keys.judge(walk.kind, raw[walk.value : walk.end], walk.leaf)
                if condition is Condition.PROTECTED and self._contexts is not None:
                    condition = self._contexts.judge(self._namespace, walk, raw)
                self._tallies[walk.node.path].values[condition] += 1
        for path in present:
            self._tallies[path].documents += 1

    def report(self) -> list[PathReport]:
        """Every covered path, in the policy's order."""
        return [self._report(*each) for each in covered_fields(self._tree)]

    def _report(self, path: str, field_class: FieldClass) -> PathReport:
        tally = self._tallies[path]
        hint = "" if tally.documents else self._nearest(path)
        return PathReport(path, field_class.name, tally.documents, dict(tally.values), hint)

    def _note(self, holder: PathNode, name: bytes) -> None:
        names = self._names.setdefault(holder.path, set())
        if len(names) < _MAX_NAMES:
            names.add(name.decode("utf-8", "replace"))

    def _nearest(self, path: str) -> str:
        """A name that documents have where they lack the first missing part of `path`."""
        parent, parts = "", path.split(".")
        for count, part in enumerate(parts):
            near = get_close_matches(part, self._names.get(parent, ()), n=1)
            if near:
                return ".".join([*parts[:count], near[0], *parts[count + 1 :]])
            parent = ".".join(parts[: count + 1])
        return ""
