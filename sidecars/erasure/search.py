"""Finds the documents of a person: those with the identifier, and those that lead to them along links.

A value that is looked for along a link has to be the person's alone: where a document of somebody else has it
too, nobody can say whose the linked documents are, and the search is refused. A document that is also about
another person leads nowhere, unless the document itself is this person's (`ownership`).

Persons who were erased may be there again, after a restore, or because somebody wrote them anew. Receipts
know them by pseudonym only, so every identifier that is stored is opened and hashed.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from bson.raw_bson import RawBSONDocument
from pymongo import ReadPreference
from pymongo.collation import Collation

from sealwire.policies.errors import Refusal
from sealwire.policies.file import schema
from sealwire.policies.file.ranges import NUMERIC, read_number
from sealwire.policies.file.stored import StoredValues
from sealwire.policies.planning.contexts import element_at
from sealwire.sidecars.covered import covered_collections, stored_collections
from sealwire.sidecars.direct import RAW, Client, Value, collection_of, identity_of, listing_of, one_of
from sealwire.sidecars.erasure.ownership import Ownership, SharedParts, located
from sealwire.sidecars.erasure.stored_forms import IdentifierForms, Persons, key_id_of
from sealwire.sidecars.errors import ErasureReason, Unusable
from sealwire.wire.raw_bson import enclosed

MAX_DOCUMENTS: Final = 1_000_000
"""So many documents are no one person's. One takes some 500 bytes of memory here."""
_BATCH: Final = 500
"""Values of one filter."""
_SIMPLE: Final = Collation("simple")
"""A collection's own collation would find other persons, whose identifiers differ in case."""


class FoundDocument(NamedTuple):
    """A document of the person. Holds an `_id` and a stored value: never shown."""

    identity: bytes
    """The element `_id`."""
    reason: bytes
    """The element of a filter by which it was found: while it holds, the document is still this person's."""
    level: int
    """How many links it is away from the identifier."""
    values: int
    """Covered values of this person that are not null."""
    shared: SharedParts | None = None
    """What is this person's, if the document is also about another."""

    @property
    def is_shared(self) -> bool:
        """Whether it is also another person's."""
        return self.shared is not None

    @property
    def leads(self) -> bool:
        """Whether links from it lead to documents of this person."""
        return self.shared is None or self.shared.leads

    def __repr__(self) -> str:
        return f"FoundDocument(level={self.level}, values={self.values}, is_shared={self.is_shared})"


@dataclass(slots=True)
class Findings:
    """What a search has found."""

    documents: dict[str, dict[bytes, FoundDocument]] = field(default_factory=dict, repr=False)
    """By namespace and identity."""
    followed: dict[schema.Link, set[Value]] = field(default_factory=dict, repr=False)
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

    def shared(self) -> Iterator[tuple[str, FoundDocument, SharedParts]]:
        """Those that are also another person's, with their namespaces, by name."""
        for namespace, found in sorted(self.documents.items()):
            for each in found.values():
                if each.shared is not None:
                    yield namespace, each, each.shared

    def counts(self) -> dict[str, int]:
        """How many documents each collection has, by name."""
        return {namespace: len(found) for namespace, found in sorted(self.documents.items()) if found}

    def has(self, namespace: str, identity: bytes) -> bool:
        """Whether a document is among them."""
        return identity in self.documents.get(namespace, ())

    def leads(self, namespace: str, identity: bytes) -> bool:
        """Whether a document is among them, and links from it lead to documents of this person."""
        found = self.documents.get(namespace, {}).get(identity)
        return found is not None and found.leads


@dataclass(frozen=True, slots=True)
class PersonSearch:
    """Looks for one person on one server, with one policy."""

    client: Client
    policies: schema.PolicySet
    subjects: schema.Subjects
    forms: IdentifierForms
    persons: Persons
    pseudonym: str
    """The person's own."""
    aliases: frozenset[str] = frozenset()
    """Those of other spellings of the identifier."""

    def find(
        self, followed: Mapping[schema.Link, Iterable[Value]] | None = None, replaced: Container[Value] = ()
    ) -> Findings:
        """All documents of the person.

        `followed` is of an earlier search: documents that its values lead to are found though what had the
        values is gone. `replaced` are values that stand for nobody and do not count as covered ones.
        Raises Unusable SHARED, VIEW, TOO_MANY; BsonError; what the driver raises.
        Cost: a query for each covered path and 500 forms; an index on the path makes it cheap.
        """
        run = _Run(self, replaced, is_new=followed is None)
        for each in stored_collections(self.client, self.policies):
            for path in schema.identifiers(self.subjects, each.tree):
                for batch in self.forms.batches(_BATCH):
                    for raw in self.matching(each.namespace, one_of(path.encode(), batch)):
                        run.note_named(each.namespace, raw)
        run.follow_all(followed or {})
        run.note_waiting()
        run.follow_all({})
        return run.findings

    def not_searched(self) -> list[str]:
        """What was not looked through: forms and spellings of the identifier, and parts of GridFS.

        A collection of GridFS is looked through as any other, if it has a covered identifier or a link. Names
        of files never are. Raises what the driver raises. Cost: a list of collections for each database.
        """
        named, name = list(self.forms.not_searched), self.subjects.class_name
        if self.policies.classes[name].value_type is schema.ValueType.STRING:
            named.append(f"{name}: spellings other than the {1 + len(self.aliases)} that were looked for")
        covered = covered_collections(self.client, self.policies)
        searched = {each.namespace for each in covered if schema.identifiers(self.subjects, each.tree)}
        searched |= {each.source.namespace for each in self.subjects.links}
        for database in sorted({each.partition(".")[0] for each in searched}):
            found = self.client.get_database(database, RAW).list_collection_names()
            for bucket in sorted(each.removesuffix(".files") for each in found if each.endswith(".files")):
                if f"{bucket}.chunks" in found:
                    files, chunks = f"{database}.{bucket}.files", f"{database}.{bucket}.chunks"
                    named.append(f"{files}: GridFS names of files")
                    named += [f"{files}: GridFS metadata"] if files not in searched else []
                    named += [f"{chunks}: GridFS contents"] if chunks not in searched else []
        return named

    def matching(self, namespace: str, condition: bytes) -> Iterator[bytes]:
        """The documents that a filter of one element finds, as the primary has them."""
        collection = collection_of(self.client, namespace, read_preference=ReadPreference.PRIMARY)
        with collection.find(RawBSONDocument(enclosed(condition)), collation=_SIMPLE) as cursor:
            for found in cursor:
                yield bytes(found.raw)

    def refuse_view(self, namespace: str) -> None:
        """Raises Unusable VIEW: what is in a view is in another collection."""
        if (listing_of(self.client, namespace) or {}).get("type") == "view":
            raise Unusable(
                ErasureReason.VIEW,
                f"{namespace} is a view, and a link of the policy begins there",
                "name the collection that has the documents",
            )


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
        self._waiting: dict[str, dict[bytes, None]] = defaultdict(dict)
        """Documents with the identifier whose link may lead to somebody else, by namespace and identity."""
        self.findings = Findings()

    def follow_all(self, followed: Mapping[schema.Link, Iterable[Value]]) -> None:
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

    def _values_of(self, link: schema.Link, level: int) -> Iterator[Value]:
        """The values that lead from the documents of one level to others along a link."""
        found = self.findings.documents.get(link.target.namespace, {})
        leading = [each for each in found.values() if each.level == level and each.leads]
        if link.target.path == "_id":
            yield from (_value_of(each.identity) for each in leading)
            return
        is_top = "." not in link.target.path  # what is deeper may be in another person's part
        identities = [_value_of(each.identity) for each in leading if is_top or not each.is_shared]
        for start in range(0, len(identities), _BATCH):
            condition = one_of(b"_id", identities[start : start + _BATCH])
            for raw in self._search.matching(link.target.namespace, condition):
                yield from values_at(raw, link.target.path)

    def _follow(self, link: schema.Link, values: set[Value], level: int) -> None:
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

    def _refuse_shared(self, link: schema.Link, values: Iterable[Value]) -> None:
        for raw in self._search.matching(link.target.namespace, one_of(link.target.path.encode(), values)):
            if not self.findings.leads(link.target.namespace, identity_of(raw)):
                raise Unusable(
                    ErasureReason.SHARED,
                    f"documents of several persons have the same value of {link.target}",
                    "let the link of the policy lead to a path whose values are unique, such as _id",
                )

    def note_named(self, namespace: str, raw: bytes) -> None:
        """Note a document that has the identifier, or leave it to `note_waiting` if a link begins there.

        Raises as `note`.
        """
        if self._search.subjects.link_of(namespace) is None:
            self.note(namespace, raw, None)
        else:
            self._waiting[namespace][identity_of(raw)] = None

    def note_waiting(self) -> None:
        """Note the documents with the identifier to which no link has led. Raises as `note`.

        Cost: two queries for 500 documents.
        """
        for namespace, waiting in self._waiting.items():
            link = self._search.subjects.link_of(namespace)
            left = [_value_of(each) for each in waiting if not self.findings.has(namespace, each)]
            for start in range(0, len(left), _BATCH):
                condition = one_of(b"_id", left[start : start + _BATCH])
                found = list(self._search.matching(namespace, condition))
                others = set() if link is None else self._others(link, found)
                for raw in found:
                    self.note(namespace, raw, None, others)

    def _others(self, link: schema.Link, found: Iterable[bytes]) -> set[object]:
        """The values of a link in these documents that lead to documents of other persons."""
        wanted = {value for raw in found for value in values_at(raw, link.source.path)}
        others: set[object] = set()
        if wanted:
            target = link.target
            for raw in self._search.matching(target.namespace, one_of(target.path.encode(), wanted)):
                if not self.findings.leads(target.namespace, identity_of(raw)):
                    others.update(map(_compared, values_at(raw, target.path)))
        return others

    def note(
        self, namespace: str, raw: bytes, step: _Step | None, others: Container[object] = frozenset()
    ) -> None:
        """Note a document that was found; link values that are in `others` lead to other persons.

        Raises Unusable TOO_MANY, BsonError.
        """
        identity = identity_of(raw)
        if self.findings.has(namespace, identity):
            return
        if self.findings.size >= MAX_DOCUMENTS:
            text = f"more than {MAX_DOCUMENTS} documents are found"
            raise Unusable(ErasureReason.TOO_MANY, text, "see whether the value identifies one person")
        search = self._search
        tree, link = search.policies.covered(namespace) or schema.NOTHING, search.subjects.link_of(namespace)
        owned = Ownership(raw, tree, search.subjects.class_name, self._whose)
        if link is not None:
            owned.led_by(link.source.path, _leads_to(raw, link.source.path, step, others))
        reason, values = b"", 0
        walk = StoredValues(raw, tree)
        while walk.next_value():
            value = walk.kind, raw[walk.value : walk.end]
            if value in self._replaced or not owned.is_mine(walk):
                continue
            values += 1
            self._note_key(value, walk, raw)
            if walk.leaf.name == search.subjects.class_name and not reason and self._whose(value):
                reason = one_of(walk.node.path.encode(), [value])
        if step is not None:
            led = list(values_at(raw, step.path))
            reason = one_of(step.path.encode(), [each for each in led if each in step.values][:1] or led[:1])
        shared = owned.parts(search.forms) if owned.is_shared else None
        found = FoundDocument(identity, reason, 0 if step is None else step.level, values, shared)
        self.findings.documents.setdefault(namespace, {})[identity] = found

    def _note_key(self, value: Value, walk: StoredValues, raw: bytes) -> None:
        key_id = key_id_of(*value)
        if key_id is None:
            self.findings.readable += 1
            return
        self.findings.keys[key_id] = walk.leaf.name
        place, path = schema.context_field(walk.leaf.per or b"", walk.node.path)
        try:
            found = element_at(raw, walk.holder if place else 0, path)
        except Refusal:
            found = None
        said = None if found is None else (found.kind, raw[found.value : found.end])
        self.findings.contexts.setdefault(key_id, set()).add(said)

    def _whose(self, value: Value) -> bool | None:
        """Whether an identifier is this person's; None: nobody's. Another person's is noted."""
        if value in self._replaced:
            return None
        if value in self._search.forms:
            return True
        pseudonym = self._search.persons.pseudonym(*value)
        if pseudonym is None:
            return None if self._search.persons.is_gone(*value) else False
        if pseudonym in {self._search.pseudonym, *self._search.aliases}:
            return True
        self.findings.others.add(pseudonym)
        return False


def _leads_to(
    raw: bytes, path: str, step: _Step | None, others: Container[object]
) -> Callable[[Value], bool | None]:
    """What says of a link's value whether it leads to the person; None: to nobody."""
    if step is None:
        return lambda value: False if _compared(value) in others else None
    if len(list(values_at(raw, path))) == 1:
        return lambda _: True  # as the server compares, 1 and 1.0 are the same
    return step.values.__contains__


def values_at(raw: bytes, path: str) -> Iterator[Value]:
    """The values of a document that a link may lead along: no nulls, through arrays. Cost: O(elements)."""
    return (value for _, value in located(raw, path))


def _compared(value: Value) -> object:
    """What is equal for values that the server takes for equal."""
    return read_number(*value) if value[0] in NUMERIC else value


def _value_of(identity: bytes) -> Value:
    """The value of an element `_id`."""
    return identity[0], identity[5:]


@dataclass(frozen=True, slots=True)
class Returned:
    """What a look at all identifiers has found."""

    documents: dict[str, Counter[str]]
    """How many documents have an identifier of those that were wanted, by pseudonym and collection."""
    unread: int
    """Documents with an identifier that did not open, and whose key was not destroyed: nobody knows whose."""


def find_returned(
    client: Client,
    policies: schema.PolicySet,
    subjects: schema.Subjects,
    persons: Persons,
    wanted: Collection[str],
    tell: Callable[[int], None],
) -> Returned:
    """Look for these pseudonyms in all collections; `tell` is called with the number of documents read.

    Raises BsonError, and what the driver raises. Cost: reads every document that has an identifier, by its
    covered fields alone; 15 us a value.
    """
    found: dict[str, Counter[str]] = {}
    unread = 0
    for place in stored_collections(client, policies):
        paths = schema.identifiers(subjects, place.tree)
        if not paths:
            continue
        collection = collection_of(client, place.namespace)
        with collection.find({}, projection=dict.fromkeys(paths, 1)) as cursor:
            for document in cursor:
                raw, is_read = bytes(document.raw), True
                theirs: set[str] = set()
                walk = StoredValues(raw, place.tree)
                while walk.next_value():
                    if walk.leaf.name != subjects.class_name:
                        continue
                    value = walk.kind, raw[walk.value : walk.end]
                    pseudonyms = persons.pseudonyms(*value)
                    theirs.update(pseudonyms)
                    if not pseudonyms and not persons.is_gone(*value):
                        is_read = False
                unread += not is_read
                for pseudonym in theirs.intersection(wanted):
                    found.setdefault(pseudonym, Counter())[place.namespace] += 1
                tell(1)
    return Returned(found, unread)
