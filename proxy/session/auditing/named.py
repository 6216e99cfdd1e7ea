"""Whom a command names: by what it stores, or by what its filters ask for equality with.

An identifier, or the value of a link, says whose a document is. So does an `_id`, to somebody who looks up
later whose document it is; then it is kept as a pseudonym, and ODMs name documents by nothing else. Filters
are looked at at their top level and inside `$and`; `$in` names each. A statement of a write whose filter says
none of these is counted: whose documents it reaches, nobody can tell. What a command shows, its reply says.
"""

from collections.abc import Iterator
from typing import Final, NamedTuple

from sealwire.policies.errors import Refusal
from sealwire.policies.file.schema import belongs_to_server
from sealwire.policies.planning.values import whole_number
from sealwire.proxy.session.auditing.settings import Pseudonym
from sealwire.proxy.session.auditing.subjects import SubjectPaths, SubjectPolicy
from sealwire.proxy.session.auditing.tally import SentTally
from sealwire.wire import kinds
from sealwire.wire.errors import BsonError
from sealwire.wire.op_msg import OpMsg, sequence_documents
from sealwire.wire.raw_bson import Element, elements, find_element, string_bytes

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
        if is_write and name == b"aggregate":
            tally.unnamed += 1  # whose documents it stores elsewhere, only they say
    except (BsonError, Refusal):
        tally.unnamed += is_write


def linked_target(message: bytes, parsed: OpMsg, subjects: SubjectPolicy) -> str:
    """The first collection of a bulkWrite whose documents a link makes somebody's; empty: none."""
    try:
        for namespace in _targets(message, parsed):
            paths = subjects.paths_of(namespace)
            if paths is not None and paths.link:
                return namespace
    except BsonError:
        return ""
    return ""


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
        name = b"" if found is None or found.kind != kinds.STRING else string_bytes(message, found)
        namespace = name.decode("utf-8", "surrogateescape")
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
