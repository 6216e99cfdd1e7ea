"""Which other collections a pipeline reads or writes: found without reading anything else of it.

A pipeline over documents without covered fields passes unread unless it reaches a protected collection.
"""

from collections.abc import Iterator

from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.planning.arguments import named_parts, string_of
from sealwire.policies.planning.walk import Draft, ForeignNames, Namespace
from sealwire.wire import kinds
from sealwire.wire.raw_bson import MAX_DEPTH, Element, elements


def foreign_namespaces(draft: Draft, element: Element, database: str) -> Iterator[Namespace]:
    """(database, collection) of every collection that a stage, or pipeline, touches beside its input.

    Found by the stages' names at any depth: stages with pipelines inside them come with every release of the
    server. Raises Refusal when such a stage names its collection in a way that a lax server might read and
    the planner does not. Cost: a search for each name and a walk where one is found, once for all stages of
    a pipeline; then O(log names).
    """
    found = draft.foreign
    if found is None or not found.spans(element.start, element.end):
        found = draft.foreign = _search(draft, element, database)
    return found.within(element.start, element.end)


def _search(draft: Draft, element: Element, database: str) -> ForeignNames:
    buf, sources = draft.buf, draft.tables.sources
    found = ForeignNames(element.start, element.end)
    if not any(buf.find(name, element.start, element.end) >= 0 for name in sources):
        return found
    open_parts = [iter((element,))]
    while open_parts:
        part = next(open_parts[-1], None)
        if part is None:
            open_parts.pop()
            continue
        if part.name in sources:
            _add_named(buf, part, part.start, database, found, len(open_parts))
        if part.kind in (kinds.OBJECT, kinds.ARRAY):
            if len(open_parts) > MAX_DEPTH:
                raise Refusal(Reason.SHAPE, rule="nesting")
            open_parts.append(elements(buf, part.value))
    return found


# What stands in a name's place as one of these is no name to any server: it says no to the whole command.
_NO_NAME = frozenset({kinds.DOUBLE, kinds.INT, kinds.LONG, kinds.DECIMAL, kinds.BOOL, kinds.NULL})


def _add_named(
    buf: bytes, part: Element, offset: int, database: str, found: ForeignNames, depth: int
) -> None:
    """The collections that one stage names: `"coll"`, or `coll`, `from` or `into` in any of its forms."""
    if depth > MAX_DEPTH:
        raise Refusal(Reason.SHAPE, rule="nesting")
    if part.kind == kinds.STRING:
        found.add(offset, (database, string_of(buf, part)))
    elif part.kind == kinds.OBJECT:
        parts = named_parts(buf, part.value)
        chosen = parts.get(b"db")
        if chosen is not None and chosen.kind == kinds.STRING:
            database = string_of(buf, chosen)
        elif chosen is not None and chosen.kind not in _NO_NAME:
            found.add(offset, None)
        for key in (b"into", b"from", b"coll"):
            if key in parts:
                _add_named(buf, parts[key], offset, database, found, depth + 1)
    elif part.kind not in _NO_NAME:
        found.add(offset, None)


def named_namespace(draft: Draft, stage: Element, database: str) -> Namespace | None:
    """The collection that a stage itself names: as a string or `{db, coll}`, bare or in its argument."""
    buf, argument = draft.buf, draft.tables.sources.get(stage.name)
    target: Element | None = stage
    if stage.kind == kinds.OBJECT and argument != b"coll":
        target = named_parts(buf, stage.value).get(argument or b"")
    if target is not None and target.kind == kinds.OBJECT:
        parts = named_parts(buf, target.value)
        if target is not stage and not parts.keys() <= {b"db", b"coll"}:
            return None
        target, chosen = parts.get(b"coll"), parts.get(b"db")
        if chosen is not None:
            if chosen.kind != kinds.STRING:
                return None
            database = string_of(buf, chosen)
    if target is None or target.kind != kinds.STRING:
        return None
    return (database, string_of(buf, target))
