"""Which other collections a pipeline reads or writes: found without reading anything else of it.

A pipeline over documents without covered fields passes unread unless it reaches a protected collection.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from sealwire.policies.arguments import document_of, named_parts, operator_name, string_of
from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.plan import Plan
from sealwire.policies.schema import NOTHING, PathNode
from sealwire.wire import kinds
from sealwire.wire.raw_bson import MAX_DEPTH, Element, elements

Namespace = tuple[str, str]
"""Database and collection."""


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


def foreign_namespaces(plan: Plan, element: Element, database: str, depth: int = 0) -> Iterator[Namespace]:
    """(database, collection) of every collection that a stage, or pipeline, touches beside its input.

    Found by the stages' names at any depth: stages with pipelines inside them come with every release of the
    server. Raises Refusal when such a stage does not name its collection in a known way. Cost: one search for
    each name, and a walk where one is found.
    """
    if not depth and not any(plan.buf.find(name, element.start, element.end) >= 0 for name in _ARGUMENTS):
        return
    if depth > MAX_DEPTH:
        raise Refusal(Reason.SHAPE, rule="nesting")
    if element.name in _ARGUMENTS:
        yield from _named(plan, element, database)
    if element.kind in (kinds.OBJECT, kinds.ARRAY):
        for part in elements(plan.buf, element.value):
            yield from foreign_namespaces(plan, part, database, depth + 1)


def _named(plan: Plan, stage: Element, database: str) -> Iterator[Namespace]:
    """The collections that one stage names: `"coll"`, or `coll`, `from` or `into` in any of its forms."""
    if stage.kind == kinds.STRING:
        yield database, string_of(plan, stage)
        return
    parts = named_parts(plan, document_of(stage, stage))
    chosen = parts.get(b"db")
    if chosen is not None:
        database = _name(plan, chosen)
    for key in (b"into", b"from", b"coll"):
        target = parts.get(key)
        if target is not None and target.kind == kinds.OBJECT:
            yield from _named(plan, target, database)
        elif target is not None:
            yield database, _name(plan, target)


def _name(plan: Plan, element: Element) -> str:
    if element.kind != kinds.STRING:
        raise Refusal(Reason.SHAPE, rule=operator_name(element))
    return string_of(plan, element)


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
            database = _name(plan, chosen)
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
