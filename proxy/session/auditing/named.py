"""Whom a command on linked documents names: by what it stores at the link, or asks for equality there.

Such values are in clear, so no plan has edits of them. Filters are looked at where the link stands at their
top level; `$in` names each. Whom a command reaches in another way, its reply shows, or nobody knows.
"""

from collections.abc import Iterator
from typing import Final

from sealwire.proxy.session.auditing.settings import Pseudonym
from sealwire.proxy.session.auditing.subjects import SubjectPaths
from sealwire.wire import kinds
from sealwire.wire.op_msg import OpMsg, sequence_documents
from sealwire.wire.raw_bson import Element, elements, find_element

_FILTERS: Final = {
    b"find": b"filter",
    b"count": b"query",
    b"distinct": b"query",
    b"findAndModify": b"query",
    b"findandmodify": b"query",
}
_STATEMENTS: Final = {b"update": b"updates", b"delete": b"deletes"}
_STORED: Final = {b"insert": b"documents"}
_EQUALITIES: Final = frozenset({b"$eq", b"$in"})
_NO_VALUE: Final = frozenset({kinds.NULL, kinds.UNDEFINED, kinds.REGEX})


def note_linked(
    message: bytes,
    parsed: OpMsg,
    name: bytes,
    paths: SubjectPaths,
    pseudonym: Pseudonym,
    found: dict[str, None],
) -> None:
    """Add whom the command `name` names by the link of its collection. Raises BsonError. Cost: O(message)."""
    for start, is_filter in _documents(message, parsed, name):
        if not is_filter:
            paths.look(message, start, pseudonym, None, found)
            continue
        for each in _equalities(message, start, paths.link):
            found[pseudonym(paths.domain, each.kind, message[each.value : each.end])] = None


def _documents(message: bytes, parsed: OpMsg, name: bytes) -> Iterator[tuple[int, bool]]:
    """Where the documents of a command lie that may name persons, and whether it is a filter."""
    body = parsed.body
    argument = _STORED.get(name) or _STATEMENTS.get(name)
    if argument is None:
        found = find_element(message, body, _FILTERS.get(name, b""))
        if found is not None and found.kind == kinds.OBJECT:
            yield found.value, True
        return
    inside = find_element(message, body, argument)
    starts: list[int] = []
    for sequence in parsed.sequences:
        if sequence.identifier == argument:
            starts += sequence_documents(message, sequence)
    if inside is not None and inside.kind == kinds.ARRAY:
        starts += [each.value for each in elements(message, inside.value) if each.kind == kinds.OBJECT]
    for start in starts:
        if name in _STORED:
            yield start, False
            continue
        query = find_element(message, start, b"q")
        if query is not None and query.kind == kinds.OBJECT:
            yield query.value, True


def _equalities(message: bytes, query: int, link: bytes) -> Iterator[Element]:
    """The values that a filter asks for at the link."""
    for part in elements(message, query):
        if part.name != link:
            continue
        if part.kind != kinds.OBJECT:
            if part.kind not in _NO_VALUE and part.kind != kinds.ARRAY:
                yield part
            continue
        for condition in elements(message, part.value):
            if condition.name not in _EQUALITIES:
                continue
            if condition.kind == kinds.ARRAY:
                yield from (each for each in elements(message, condition.value) if each.kind not in _NO_VALUE)
            elif condition.kind not in _NO_VALUE:
                yield condition
