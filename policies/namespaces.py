"""Which other collections a pipeline reads or writes: found without reading anything else of it.

A pipeline over documents without covered fields passes unread unless it reaches a protected collection.
"""

from dataclasses import dataclass

from sealwire.policies.arguments import named_parts, string_of
from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.plan import Plan
from sealwire.policies.schema import NOTHING, PathNode, PolicySet
from sealwire.wire.raw_bson import BsonType, Element, elements

Namespace = tuple[str, str]
"""Database and collection."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a pipeline may refer to beside its own documents."""

    policies: PolicySet
    database: str

    def tree(self, namespace: Namespace) -> PathNode:
        """The covered paths of a collection that a stage names; empty when it is not protected."""
        return self.policies.covered(".".join(namespace)) or NOTHING

    def protected_in(self, namespaces: list[Namespace]) -> str | None:
        """The first of some namespaces that is protected."""
        names = (".".join(namespace) for namespace in namespaces)
        return next((name for name in names if self.policies.covered(name) is not None), None)


# A pipeline inside a pipeline is four levels of BSON below it, and mongod stops at 200 of these.
_MAX_NESTED_PIPELINES = 50


def foreign_in_stage(plan: Plan, stage: Element, database: str, depth: int = 0) -> list[Namespace]:
    """Every collection that a stage reads or writes beside its input, in any pipeline inside it.

    Raises Refusal when pipelines are nested deeper than a server would take.
    """
    if depth > _MAX_NESTED_PIPELINES:
        raise Refusal(Reason.SHAPE, rule="nesting")
    found: list[Namespace] = []
    if stage.name in _ARGUMENTS:
        named = named_namespace(plan, stage, database)
        found.extend([named] if named is not None else [])
    if stage.name in (b"$lookup", b"$unionWith", b"$facet") and stage.kind == BsonType.OBJECT:
        for part in elements(plan.buf, stage.value):
            is_pipeline = part.name == b"pipeline" or stage.name == b"$facet"
            if is_pipeline and part.kind == BsonType.ARRAY:
                found.extend(foreign_in_pipeline(plan, part, database, depth + 1))
    return found


def foreign_in_pipeline(plan: Plan, pipeline: Element, database: str, depth: int = 0) -> list[Namespace]:
    """As `foreign_in_stage`, for every stage of a pipeline."""
    found: list[Namespace] = []
    for item in elements(plan.buf, pipeline.value):
        if item.kind == BsonType.OBJECT:
            for stage in elements(plan.buf, item.value):
                found.extend(foreign_in_stage(plan, stage, database, depth))
    return found


def named_namespace(plan: Plan, stage: Element, database: str) -> Namespace | None:
    """The collection that a stage itself names: as a string or `{db, coll}`, bare or in its argument."""
    argument = _ARGUMENTS.get(stage.name)
    target: Element | None = stage
    if stage.kind == BsonType.OBJECT and argument != b"coll":
        target = named_parts(plan, stage.value).get(argument or b"")
    if target is not None and target.kind == BsonType.OBJECT:
        parts = named_parts(plan, target.value)
        target, chosen = parts.get(b"coll"), parts.get(b"db")
        if chosen is not None and chosen.kind == BsonType.STRING:
            database = string_of(plan, chosen)
    if target is None or target.kind != BsonType.STRING:
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
