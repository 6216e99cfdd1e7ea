"""Finds the documents of a person: those with the identifier, and those that lead to them along links.

A value that is looked for along a link has to be the person's alone: where a document of somebody else has it
too, nobody can say whose the linked documents are, and the search is refused.
"""

from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from bson.raw_bson import RawBSONDocument
from pymongo import ReadPreference
from pymongo.collation import Collation

from sealwire.policies.errors import Refusal
from sealwire.policies.file.schema import NOTHING, PathNode, PolicySet, context_field, leaves
from sealwire.policies.file.stored import StoredValues
from sealwire.policies.file.subjects import Link, Subjects
from sealwire.policies.planning.contexts import element_at
from sealwire.sidecars.covered import covered_collections
from sealwire.sidecars.direct import RAW, Client
from sealwire.sidecars.erasure.errors import ErasureReason, ErasureRefused
from sealwire.sidecars.erasure.stored_forms import IdentifierForms, Persons, key_id_of
from sealwire.sidecars.raw_documents import Value, document, identity_of, one_of
from sealwire.wire import kinds
from sealwire.wire.raw_bson import elements

MAX_DOCUMENTS: Final = 1_000_000
"""So many documents are no one person's. One takes some 500 bytes of memory here."""
_BATCH: Final = 500
"""Values of one filter."""
_SIMPLE: Final = Collation("simple")
"""A collection's own collation would find other persons, whose identifiers differ in case."""

_NO_LINK_VALUES: Final = frozenset({kinds.NULL, kinds.UNDEFINED, kinds.REGEX, kinds.MIN_KEY, kinds.MAX_KEY})


class FoundDocument(NamedTuple):
    """A document of the person. Holds an `_id` and a stored value: never shown."""

    identity: bytes
    """The element `_id`."""
    reason: bytes
    """The element of a filter by which it was found: while it holds, the document is still this person's."""
    level: int
    """How many links it is away from the identifier."""
    values: int
    """Covered values that are not null."""
    is_shared: bool
    """Whether it is also another person's."""

    def __repr__(self) -> str:
        return f"FoundDocument(level={self.level}, values={self.values}, is_shared={self.is_shared})"


@dataclass(slots=True)
class Findings:
    """What a search has found."""

    documents: dict[str, dict[bytes, FoundDocument]] = field(default_factory=dict, repr=False)
    """By namespace and identity."""
    followed: dict[Link, set[Value]] = field(default_factory=dict, repr=False)
    """The values that were looked for along each link."""
    others: set[str] = field(default_factory=set)
    """Pseudonyms of other persons whose identifiers stand in these documents."""
    keys: dict[bytes, str] = field(default_factory=dict)
    """Ids of keys of contexts that values in them have, with their classes."""
    contexts: dict[bytes, set[Value | None]] = field(default_factory=dict, repr=False)
    """What the contexts of these keys are, as their documents say it; None where one does not."""
    readable: int = 0
    """Covered values that no key of a context would take along."""

    @property
    def size(self) -> int:
        """How many documents there are."""
        return sum(map(len, self.documents.values()))

    @property
    def shared(self) -> int:
        """How many of them are also another person's."""
        return sum(each.is_shared for found in self.documents.values() for each in found.values())

    def counts(self) -> dict[str, int]:
        """How many documents each collection has, by name."""
        return {namespace: len(found) for namespace, found in sorted(self.documents.items()) if found}

    def has(self, namespace: str, identity: bytes) -> bool:
        """Whether a document is among them."""
        return identity in self.documents.get(namespace, ())


@dataclass(frozen=True, slots=True)
class PersonSearch:
    """Looks for one person on one server, with one policy."""

    client: Client
    policies: PolicySet
    subjects: Subjects
    forms: IdentifierForms
    persons: Persons
    pseudonym: str
    """The person's own."""

    def find(
        self, followed: Mapping[Link, Iterable[Value]] | None = None, replaced: Container[Value] = ()
    ) -> Findings:
        """All documents of the person.

        `followed` is of an earlier search: documents that its values lead to are found though what had the
        values is gone. `replaced` are values that stand for nobody and do not count as covered ones.
        Raises ErasureRefused SHARED, VIEW, TOO_MANY; BsonError; what the driver raises.
        Cost: a query for each covered path and 500 forms; an index on the path makes it cheap.
        """
        run = _Run(self, replaced, is_new=followed is None)
        for each in covered_collections(self.client, self.policies):
            if each.exists and each.kind != "view":
                for path in self._identifier_paths(each.tree):
                    for batch in self.forms.batches(_BATCH):
                        for raw in self.matching(each.namespace, one_of(path.encode(), batch)):
                            run.note(each.namespace, raw, None)
        run.follow_all(followed or {})
        return run.findings

    def matching(self, namespace: str, condition: bytes) -> Iterator[bytes]:
        """The documents that a filter of one element finds, as the primary has them."""
        database, _, name = namespace.partition(".")
        collection = self.client.get_database(database, RAW, ReadPreference.PRIMARY).get_collection(name)
        with collection.find(RawBSONDocument(document(condition)), collation=_SIMPLE) as cursor:
            for found in cursor:
                yield bytes(found.raw)

    def refuse_view(self, namespace: str) -> None:
        """Raises ErasureRefused VIEW: what is in a view is in another collection."""
        database, _, name = namespace.partition(".")
        listed = self.client.get_database(database, RAW).list_collections(filter={"name": name})
        if any(found.get("type") == "view" for found in listed):
            raise ErasureRefused(
                ErasureReason.VIEW,
                f"{namespace} is a view, and a link of the policy begins there",
                "name the collection that has the documents",
            )

    def _identifier_paths(self, tree: PathNode) -> list[str]:
        name = self.subjects.class_name
        return [node.path for node in leaves(tree) if node.leaf is not None and node.leaf.name == name]


class _Step(NamedTuple):
    """What led to a document along a link."""

    path: str
    values: frozenset[Value]
    level: int


class _Run:
    """One search."""

    def __init__(self, search: PersonSearch, replaced: Container[Value], *, is_new: bool) -> None:
        self._search = search
        self._replaced = replaced
        self._is_new = is_new
        self.findings = Findings()

    def follow_all(self, followed: Mapping[Link, Iterable[Value]]) -> None:
        """Go along the links, until nothing new is found."""
        findings = self.findings
        wanted = {link: set(values) for link, values in followed.items()}
        level = 0
        while True:
            for link in self._search.subjects.links:
                wanted.setdefault(link, set()).update(self._values_of(link, level))
            new = {link: values - findings.followed.get(link, set()) for link, values in wanted.items()}
            if not any(new.values()):
                return
            level += 1
            for link, values in new.items():
                if values:
                    self._follow(link, values, level)
            wanted = {}

    def _values_of(self, link: Link, level: int) -> Iterator[Value]:
        """The values that lead from the documents of one level to others along a link."""
        found = self.findings.documents.get(link.target.namespace, {})
        identities = [_value_of(each.identity) for each in found.values() if each.level == level]
        if link.target.path == "_id":
            yield from identities
            return
        for start in range(0, len(identities), _BATCH):
            condition = one_of(b"_id", identities[start : start + _BATCH])
            for raw in self._search.matching(link.target.namespace, condition):
                yield from values_at(raw, link.target.path)

    def _follow(self, link: Link, values: set[Value], level: int) -> None:
        self.findings.followed.setdefault(link, set()).update(values)
        self._search.refuse_view(link.source.namespace)
        step = _Step(link.source.path, frozenset(values), level)
        ordered = sorted(values)
        for start in range(0, len(ordered), _BATCH):
            batch = ordered[start : start + _BATCH]
            if self._is_new and link.target.path != "_id":
                self._refuse_shared(link, batch)
            for raw in self._search.matching(link.source.namespace, one_of(link.source.path.encode(), batch)):
                self.note(link.source.namespace, raw, step)

    def _refuse_shared(self, link: Link, values: Iterable[Value]) -> None:
        for raw in self._search.matching(link.target.namespace, one_of(link.target.path.encode(), values)):
            if not self.findings.has(link.target.namespace, identity_of(raw)):
                raise ErasureRefused(
                    ErasureReason.SHARED,
                    f"documents of several persons have the same value of {link.target}",
                    "let the link of the policy lead to a path whose values are unique, such as _id",
                )

    def note(self, namespace: str, raw: bytes, step: _Step | None) -> None:
        """Note a document that was found. Raises ErasureRefused TOO_MANY, BsonError."""
        identity = identity_of(raw)
        if self.findings.has(namespace, identity):
            return
        if self.findings.size >= MAX_DOCUMENTS:
            text = f"more than {MAX_DOCUMENTS} documents are found"
            raise ErasureRefused(ErasureReason.TOO_MANY, text, "see whether the value identifies one person")
        reason, is_shared, values = b"", False, 0
        walk = StoredValues(raw, self._search.policies.covered(namespace) or NOTHING)
        while walk.next_value():
            value = walk.kind, raw[walk.value : walk.end]
            if value in self._replaced:
                continue
            values += 1
            self._note_key(value, walk, raw)
            if walk.leaf.name == self._search.subjects.class_name:
                if self._is_own(value):
                    reason = reason or one_of(walk.node.path.encode(), [value])
                else:
                    is_shared = is_shared or not self._search.persons.is_gone(*value)
        if step is not None:
            led = list(values_at(raw, step.path))
            reason = one_of(step.path.encode(), [each for each in led if each in step.values][:1] or led[:1])
            is_shared = is_shared or (len(led) > 1 and not step.values.issuperset(led))
        found = FoundDocument(identity, reason, 0 if step is None else step.level, values, is_shared)
        self.findings.documents.setdefault(namespace, {})[identity] = found

    def _note_key(self, value: Value, walk: StoredValues, raw: bytes) -> None:
        key_id = key_id_of(*value)
        if key_id is None:
            self.findings.readable += 1
            return
        self.findings.keys[key_id] = walk.leaf.name
        place, path = context_field(walk.leaf.per or b"", walk.node.path)
        try:
            found = element_at(raw, walk.holder if place else 0, path)
        except Refusal:
            found = None
        said = None if found is None else (found.kind, raw[found.value : found.end])
        self.findings.contexts.setdefault(key_id, set()).add(said)

    def _is_own(self, value: Value) -> bool:
        """Whether an identifier is this person's; another person's is noted."""
        if value in self._search.forms:
            return True
        pseudonym = self._search.persons.pseudonym(*value)
        if pseudonym is not None and pseudonym != self._search.pseudonym:
            self.findings.others.add(pseudonym)
        return pseudonym == self._search.pseudonym


def values_at(raw: bytes, path: str) -> Iterator[Value]:
    """The values of a document that a link may lead along: no nulls, through arrays. Cost: O(elements)."""
    yield from _values_below(raw, kinds.OBJECT, 0, len(raw), path.encode().split(b"."))


def _values_below(raw: bytes, kind: int, start: int, end: int, parts: list[bytes]) -> Iterator[Value]:
    if kind == kinds.ARRAY:
        for item in elements(raw, start):
            yield from _values_below(raw, item.kind, item.value, item.end, parts)
    elif not parts:
        if kind not in _NO_LINK_VALUES:
            yield kind, raw[start:end]
    elif kind == kinds.OBJECT:
        for item in elements(raw, start):
            if item.name == parts[0]:
                yield from _values_below(raw, item.kind, item.value, item.end, parts[1:])


def _value_of(identity: bytes) -> Value:
    """The value of an element `_id`."""
    return identity[0], identity[5:]
