"""Whom commands and documents are about: which persons are named, and how many values of each class.

Paths say where documents have identifiers, or values that lead to them (`policies.file.schema`). Only where
documents come as the collection has them: elsewhere a path says nothing of where a value comes from.
"""

from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, final

from sealwire.crypto.envelope import BINARY_HEAD, is_envelope
from sealwire.crypto.errors import DecryptionFailed, InvalidEnvelope
from sealwire.keys.contexts.cache import ContextKeysMissing
from sealwire.keys.errors import KeyDestroyed, UnknownKey
from sealwire.keys.keyring.keyring import OpenEnvelope
from sealwire.policies.errors import Refusal
from sealwire.policies.file.schema import (
    FieldClass,
    Mode,
    PathNode,
    PolicySet,
    belongs_to_server,
    identifiers,
)
from sealwire.policies.file.stored import StoredValues
from sealwire.policies.planning.numbers import whole_number
from sealwire.policies.planning.plan import RangeEdit, Use, ValueEdit
from sealwire.proxy.session.choices import CommandScope
from sealwire.wire import kinds
from sealwire.wire.errors import BsonError
from sealwire.wire.op_msg import OpMsg, sequence_documents
from sealwire.wire.raw_bson import Element, elements, find_element, string_bytes

Pseudonym = Callable[[str, int, bytes], str]
"""From what an identifier is, its BSON type and its value to the name of a person; as `audit.pseudonyms`."""

IDENTIFIER: Final = ""
"""What a value of the class that identifies persons is; of others it is the path to which a link leads."""


@dataclass(frozen=True, slots=True)
class CommandAudit:
    """What configuration says to sessions of the commands that are carried out."""

    scope: CommandScope
    pseudonym: Pseudonym | None = None
    """What names persons; without it no line says whose documents were shown."""


@final
class SentTally:
    """What one command stores and compares."""

    __slots__ = ("_class_name", "_pseudonym", "filtered", "ids", "subjects", "unnamed", "written")

    def __init__(self, class_name: str = "", pseudonym: Pseudonym | None = None) -> None:
        """`class_name`: the class whose values identify persons, where there is a way to name these."""
        self._class_name = class_name
        self._pseudonym = pseudonym
        self.written: dict[str, int] = {}
        self.filtered: dict[str, int] = {}
        self.subjects: dict[str, None] = {}
        """The pseudonyms of the persons whom it names, in the order in which it does."""
        self.ids: dict[str, None] = {}
        """Those of the documents that it names by their `_id`."""
        self.unnamed = 0
        """How many of its statements write documents of persons whom nobody can tell."""

    def note(self, message: bytes, edits: Sequence[ValueEdit | RangeEdit]) -> None:
        """Count edits of a plan; their values lie in `message`. Cost: O(edits)."""
        for edit in edits:
            name = edit.field_class.name
            counts = self.filtered if edit.use is Use.MATCH else self.written
            counts[name] = counts.get(name, 0) + 1
            if name == self._class_name and self._pseudonym is not None and isinstance(edit, ValueEdit):
                value = edit.value
                if value is None:
                    value = message[edit.element.value : edit.element.end]
                self.subjects[self._pseudonym(IDENTIFIER, edit.kind, value)] = None


# Names of collections come from the server and from clients, with patterns in a policy without end.
_MAX_KNOWN: Final = 1024
# No server has a longer one.
_LONGEST_NAMESPACE: Final = 255

_UNREADABLE: Final = (
    *(BsonError, InvalidEnvelope, DecryptionFailed, KeyDestroyed, UnknownKey, ContextKeysMissing),
)

_LINKING: Final = FieldClass("link", Mode.DETERMINISTIC, None)
"""Stands at the end of a path that is walked like that of a class: through arrays, to each value."""


@final
class SubjectPaths:
    """Where the documents of one collection say whose they are."""

    __slots__ = ("_tree", "domain", "identifiers", "link")

    def __init__(self, paths: list[str], domain: str, *, is_link: bool = False) -> None:
        self._tree = _tree(paths)
        names = [path.encode("utf-8", "surrogateescape") for path in paths]
        self.domain = domain
        """What their values are, as a Pseudonym takes it."""
        self.link = names[0] if is_link else b""
        """The one path, where it leads to another collection; empty where there are identifiers."""
        self.identifiers = frozenset() if is_link else frozenset(names)

    def look(
        self,
        buf: bytes,
        start: int,
        pseudonym: Pseudonym,
        open_envelope: OpenEnvelope | None,
        found: dict[str, None],
    ) -> bool:
        """Add whose the document at `start` is; False: it does not say. Cost: O(elements on the way)."""
        said = False
        try:
            walk = StoredValues(buf, self._tree, start)
            while walk.next_value():
                kind, value = walk.kind, buf[walk.value : walk.end]
                if is_envelope(kind, value):
                    if open_envelope is None:
                        continue
                    kind, value = open_envelope(value, BINARY_HEAD, len(value))
                found[pseudonym(self.domain, kind, value)] = None
                said = True
        except _UNREADABLE:  # what is wrong with a reply, others say
            return said
        return said

    def says(self, buf: bytes, start: int) -> bool:
        """Whether the document at `start` says whose it is, in clear. Cost: O(elements on the way)."""
        try:
            return StoredValues(buf, self._tree, start).next_value()
        except BsonError:
            return False


@final
class SubjectPolicy:
    """The paths of each collection, by one policy."""

    __slots__ = ("_known", "policy")

    def __init__(self, policy: PolicySet) -> None:
        self.policy = policy
        self._known: dict[str, SubjectPaths | None] = {}

    def paths_of(self, namespace: str) -> SubjectPaths | None:
        """Where its documents say whose they are; None: nowhere. Cost: one look-up, after the first time."""
        if namespace in self._known:
            return self._known[namespace]
        if len(namespace) > _LONGEST_NAMESPACE:
            return _paths_of(self.policy, namespace)
        if len(self._known) >= _MAX_KNOWN:
            self._known.clear()
        found = self._known[namespace] = _paths_of(self.policy, namespace)
        return found


def _paths_of(policy: PolicySet, namespace: str) -> SubjectPaths | None:
    subjects = policy.subjects
    if subjects is None:
        return None
    node = policy.covered(namespace)
    if node is not None:
        paths = identifiers(subjects, node)
        if paths:
            return SubjectPaths(list(paths), IDENTIFIER)
    link = subjects.link_of(namespace)
    if link is None:
        return None
    return SubjectPaths([link.source.path], str(link.target), is_link=True)


def _tree(paths: list[str], path: str = "") -> PathNode:
    """The tree of some paths, none of which leads through another."""
    if "" in paths:
        return PathNode(path, leaf=_LINKING)
    heads: dict[str, list[str]] = {}
    for each in paths:
        head, _, rest = each.partition(".")
        heads.setdefault(head, []).append(rest)
    children = {
        head.encode("utf-8", "surrogateescape"): _tree(rests, f"{path}.{head}" if path else head)
        for head, rests in heads.items()
    }
    return PathNode(path, children)


MAX_IDS: Final = 1000
"""How many `_id`s one command may name; a statement with further ones counts as one that names nobody."""

_FILTERS: Final = {
    b"find": b"filter",
    b"count": b"query",
    b"distinct": b"query",
    b"findAndModify": b"query",
    b"findandmodify": b"query",
}
_STATEMENTS: Final = {b"insert": b"documents", b"update": b"updates", b"delete": b"deletes"}
_ID: Final = b"_id"
_EQUALITIES: Final = frozenset({b"$eq", b"$in"})
_NO_VALUE: Final = frozenset({kinds.NULL, kinds.UNDEFINED, kinds.REGEX})
_MAX_ANDS: Final = 8
"""How deep `$and` is followed: what passes unplanned may be nested without end."""


class NamingPart(NamedTuple):
    """A document that is stored, or a filter."""

    namespace: str
    start: int
    """Where it begins; negative: a filter that is not there."""
    is_filter: bool


def note_named(  # noqa: PLR0913, PLR0917 - what a command is, and what is known of persons
    message: bytes,
    parsed: OpMsg,
    name: bytes,
    namespace: str,
    subjects: SubjectPolicy,
    pseudonym: Pseudonym,
    tally: SentTally,
    *,
    is_write: bool,
) -> None:
    """Add to the tally whom the command `name` names, and how many statements of a write name nobody.

    A message that nobody has validated may be unreadable: that names nobody. Cost: O(message).
    """
    try:
        statements = list(_statements(message, parsed, name, namespace))
        for each in statements:
            paths = subjects.paths_of(each.namespace)
            if paths is None and subjects.policy.covered(each.namespace) is None:
                continue  # of bulkWrite: nothing there is anybody's
            is_named = paths is not None and _note(message, each, paths, pseudonym, tally)
            tally.unnamed += is_write and not is_named
    except (BsonError, Refusal):
        tally.unnamed += is_write


def linked_target(message: bytes, parsed: OpMsg, name: bytes, stored: str, subjects: SubjectPolicy) -> str:
    """The first collection of a bulkWrite whose documents a link makes somebody's, or of another command the
    one in which its results are `stored`, if it is such a collection; empty: none.
    """
    try:
        for namespace in _targets(message, parsed) if name == b"bulkWrite" else (stored,):
            paths = subjects.paths_of(namespace) if namespace else None
            if paths is not None and paths.link:
                return namespace
    except BsonError:
        return ""
    return ""


_RESULTS: Final = (b"into", b"coll", b"replace", b"merge", b"reduce")
"""Names of the part of `$merge`, `$out` or `out` that names the collection."""


def stored_in(message: bytes, parsed: OpMsg, stages: Container[bytes]) -> str:
    """The collection in which a pipeline that ends with one of `stages`, or a mapReduce, stores its results;
    empty: in none, or nobody can tell. Cost: O(stages of the pipeline).
    """
    try:
        place = find_element(message, parsed.body, b"out")
        pipeline = find_element(message, parsed.body, b"pipeline")
        if pipeline is not None and pipeline.kind == kinds.ARRAY:
            place = None
            for stage in elements(message, pipeline.value):
                first = next(elements(message, stage.value), None) if stage.kind == kinds.OBJECT else None
                place = first if first is not None and first.name in stages else None
        database = _name_at(message, find_element(message, parsed.body, b"$db"))
        while place is not None and place.kind == kinds.OBJECT:
            parts = {each.name: each for each in elements(message, place.value)}
            database = _name_at(message, parts.get(b"db")) or database
            place = next((parts[each] for each in _RESULTS if each in parts), None)
        collection = _name_at(message, place)
    except BsonError:
        return ""
    return f"{database}.{collection}" if collection else ""


def _name_at(message: bytes, found: Element | None) -> str:
    if found is None or found.kind != kinds.STRING:
        return ""
    return string_bytes(message, found).decode("utf-8", "surrogateescape")


def _note(
    message: bytes, statement: NamingPart, paths: SubjectPaths, pseudonym: Pseudonym, tally: SentTally
) -> bool:
    """Whether a statement says whose the documents are that it reaches, or which these are."""
    if statement.is_filter:
        return statement.start >= 0 and _note_filter(message, statement, paths, pseudonym, tally, 0)
    if paths.link:
        said = paths.look(message, statement.start, pseudonym, None, tally.subjects)
    else:
        said = paths.says(message, statement.start)  # the plan's edits name these
    if said and tally.ids:
        return True  # of many, the `_id` adds nothing; of one, it says whose the document with it is
    found = find_element(message, statement.start, _ID)
    has_id = found is not None and found.kind not in _NO_VALUE
    if found is not None and has_id:
        has_id = _note_ids(message, [found], statement.namespace, pseudonym, tally)
    return said or has_id


def _note_filter(
    message: bytes,
    statement: NamingPart,
    paths: SubjectPaths,
    pseudonym: Pseudonym,
    tally: SentTally,
    depth: int,
) -> bool:
    is_named = False
    for part in elements(message, statement.start):
        if part.name == b"$and" and part.kind == kinds.ARRAY and depth < _MAX_ANDS:
            for each in elements(message, part.value):
                if each.kind == kinds.OBJECT:
                    inner = statement._replace(start=each.value)
                    is_named |= _note_filter(message, inner, paths, pseudonym, tally, depth + 1)
            continue
        is_link = bool(paths.link) and part.name == paths.link
        if not (is_link or part.name == _ID or part.name in paths.identifiers):
            continue
        values, is_bound = _equalities(message, part)
        if is_link:
            for each in values:
                tally.subjects[pseudonym(paths.domain, each.kind, message[each.value : each.end])] = None
        elif part.name == _ID and part.name not in paths.identifiers:
            is_bound &= _note_ids(message, values, statement.namespace, pseudonym, tally)
        is_named |= is_bound
    return is_named


def _note_ids(
    message: bytes, values: list[Element], namespace: str, pseudonym: Pseudonym, tally: SentTally
) -> bool:
    """Whether all of them are kept."""
    for each in values:
        if len(tally.ids) >= MAX_IDS:
            return False
        tally.ids[pseudonym(f"{namespace}._id", each.kind, message[each.value : each.end])] = None
    return True


def _equalities(message: bytes, part: Element) -> tuple[list[Element], bool]:
    """The values that a filter asks for at one path, and whether it asks for nothing else there."""
    if part.kind != kinds.OBJECT:
        is_value = part.kind not in _NO_VALUE and part.kind != kinds.ARRAY
        return ([part], True) if is_value else ([], False)
    conditions = list(elements(message, part.value))
    if conditions and not conditions[0].name.startswith(b"$"):
        return [part], True  # a document, of which all is compared
    values: list[Element] = []
    is_bound = False
    for condition in conditions:
        if condition.name not in _EQUALITIES:
            continue
        is_list = condition.kind == kinds.ARRAY and condition.name == b"$in"
        asked = list(elements(message, condition.value)) if is_list else [condition]
        found = [each for each in asked if each.kind not in _NO_VALUE and each.kind != kinds.ARRAY]
        values += found
        is_bound |= len(found) == len(asked)
    return values, is_bound


def _statements(message: bytes, parsed: OpMsg, name: bytes, namespace: str) -> Iterator[NamingPart]:
    """The documents and filters of a command that may name persons."""
    argument = _STATEMENTS.get(name)
    if argument is not None:
        for start in _documents(message, parsed, argument):
            if name == b"insert":
                yield NamingPart(namespace, start, False)
            else:
                yield _filter_in(message, start, b"q", namespace)
    elif name in _FILTERS:
        yield _filter_in(message, parsed.body, _FILTERS[name], namespace)
    elif name == b"aggregate":
        pipeline = find_element(message, parsed.body, b"pipeline")
        if pipeline is None or pipeline.kind != kinds.ARRAY:
            return
        first = next(elements(message, pipeline.value), None)
        if first is not None and first.kind == kinds.OBJECT:
            match = _filter_in(message, first.value, b"$match", namespace)
            if match.start >= 0:
                yield match
    elif name == b"bulkWrite":
        targets = list(_targets(message, parsed))
        for start in _documents(message, parsed, b"ops"):
            yield from _operation(message, start, targets)


def _operation(message: bytes, start: int, targets: list[str]) -> Iterator[NamingPart]:
    """One of bulkWrite, whose first field says what it is and has the place of its collection."""
    kind = next(elements(message, start), None)
    index = -1 if kind is None else whole_number(message, kind)
    if kind is None or not 0 <= index < len(targets):
        return
    if kind.name != b"insert":
        yield _filter_in(message, start, b"filter", targets[index])
        return
    found = find_element(message, start, b"document")
    if found is not None and found.kind == kinds.OBJECT:
        yield NamingPart(targets[index], found.value, False)


def _targets(message: bytes, parsed: OpMsg) -> Iterator[str]:
    """The collections of a bulkWrite, in their order; empty: no name."""
    for start in _documents(message, parsed, b"nsInfo"):
        found = find_element(message, start, b"ns")
        namespace = _name_at(message, found)
        yield "" if belongs_to_server(namespace) else namespace


def _documents(message: bytes, parsed: OpMsg, argument: bytes) -> list[int]:
    """Where the documents of an argument begin, which is in the body or a sequence."""
    starts: list[int] = []
    for sequence in parsed.sequences:
        if sequence.identifier == argument:
            starts += sequence_documents(message, sequence)
    inside = find_element(message, parsed.body, argument)
    if inside is not None and inside.kind == kinds.ARRAY:
        starts += [each.value for each in elements(message, inside.value) if each.kind == kinds.OBJECT]
    return starts


def _filter_in(message: bytes, start: int, name: bytes, namespace: str) -> NamingPart:
    found = find_element(message, start, name)
    is_there = found is not None and found.kind == kinds.OBJECT
    return NamingPart(namespace, found.value if found is not None and is_there else -1, True)
