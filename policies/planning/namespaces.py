"""Which other collections a pipeline reads or writes: found without reading anything else of it.

A pipeline over documents without covered fields passes unread unless it reaches a protected collection.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.file.schema import NOTHING, PathNode
from sealwire.policies.planning.arguments import named_parts, string_of
from sealwire.policies.planning.foreign_names import ForeignNames, Namespace
from sealwire.policies.planning.plan import Plan
from sealwire.wire import kinds
from sealwire.wire.raw_bson import MAX_DEPTH, Element, elements


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a pipeline may refer to beside its own documents."""

    covered: Callable[[str], PathNode | None]
    """The covered paths of what is read under a name, of a collection or a view; None when nothing is."""
    database: str

    def tree(self, namespace: Namespace) -> PathNode:
        """The covered paths of a collection that a stage names; empty when it is not protected."""
        return self.covered(".".join(namespace)) or NOTHING

    def protected_in(self, namespaces: Iterable[Namespace]) -> str | None:
        """The first of some namespaces that is protected."""
        names = (".".join(namespace) for namespace in namespaces)
        return next((name for name in names if self.covered(name) is not None), None)


def foreign_namespaces(plan: Plan, element: Element, database: str) -> Iterator[Namespace]:
    """(database, collection) of every collection that a stage, or pipeline, touches beside its input.

    Found by the stages' names at any depth: stages with pipelines inside them come with every release of the
    server. Raises Refusal when such a stage names its collection in a way that a lax server might read and
    the planner does not. Cost: a search for each name and a walk where one is found, once for all stages of
    a pipeline; then O(log names).
    """
    found = plan.foreign
    if found is None or not found.spans(element.start, element.end):
        found = plan.foreign = _search(plan, element, database)
    return found.within(element.start, element.end)


def _search(plan: Plan, element: Element, database: str) -> ForeignNames:
    found = ForeignNames(element.start, element.end)
    if not any(plan.buf.find(name, element.start, element.end) >= 0 for name in _ARGUMENTS):
        return found
    open_parts = [iter((element,))]
    while open_parts:
        part = next(open_parts[-1], None)
        if part is None:
            open_parts.pop()
            continue
        if part.name in _ARGUMENTS:
            _add_named(plan, part, part.start, database, found, len(open_parts))
        if part.kind in (kinds.OBJECT, kinds.ARRAY):
            if len(open_parts) > MAX_DEPTH:
                raise Refusal(Reason.SHAPE, rule="nesting")
            open_parts.append(elements(plan.buf, part.value))
    return found


# What stands in a name's place as one of these is no name to any server: it says no to the whole command.
_NO_NAME = frozenset({kinds.DOUBLE, kinds.INT, kinds.LONG, kinds.DECIMAL, kinds.BOOL, kinds.NULL})


def _add_named(
    plan: Plan, part: Element, offset: int, database: str, found: ForeignNames, depth: int
) -> None:
    """The collections that one stage names: `"coll"`, or `coll`, `from` or `into` in any of its forms."""
    if depth > MAX_DEPTH:
        raise Refusal(Reason.SHAPE, rule="nesting")
    if part.kind == kinds.STRING:
        found.add(offset, (database, string_of(plan, part)))
    elif part.kind == kinds.OBJECT:
        parts = named_parts(plan, part.value)
        chosen = parts.get(b"db")
        if chosen is not None and chosen.kind == kinds.STRING:
            database = string_of(plan, chosen)
        elif chosen is not None and chosen.kind not in _NO_NAME:
            found.add(offset, None)
        for key in (b"into", b"from", b"coll"):
            if key in parts:
                _add_named(plan, parts[key], offset, database, found, depth + 1)
    elif part.kind not in _NO_NAME:
        found.add(offset, None)


def named_namespace(plan: Plan, stage: Element, database: str) -> Namespace | None:
    """The collection that a stage itself names: as a string or `{db, coll}`, bare or in its argument."""
    argument = _ARGUMENTS.get(stage.name)
    target: Element | None = stage
    if stage.kind == kinds.OBJECT and argument != b"coll":
        target = named_parts(plan, stage.value).get(argument or b"")
    if target is not None and target.kind == kinds.OBJECT:
        parts = named_parts(plan, target.value)
        if target is not stage and not parts.keys() <= {b"db", b"coll"}:
            return None
        target, chosen = parts.get(b"coll"), parts.get(b"db")
        if chosen is not None:
            if chosen.kind != kinds.STRING:
                return None
            database = string_of(plan, chosen)
    if target is None or target.kind != kinds.STRING:
        return None
    return (database, string_of(plan, target))


# Where each stage names a collection; `$unionWith` and `$out` have a `coll` of their own.
_ARGUMENTS = {
    b"$lookup": b"from",
    b"$graphLookup": b"from",
    b"$merge": b"into",
    b"$unionWith": b"coll",
    b"$out": b"coll",
}
