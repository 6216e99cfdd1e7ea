"""Follow covered fields from stage to stage of an aggregation pipeline.

Each stage takes the tree of covered paths of its input documents and gives that of its output. The stages'
rows (`stages.STAGES`) come with the walk. A stage without a row may see documents without covered fields
only.
"""

from dataclasses import replace
from typing import Final

from sealwire.policies.aggregation.server_stages import SERVER_STAGES
from sealwire.policies.aggregation.sorting import look_ahead, passed_stage, sorted_first
from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.file.schema import PER_DATABASE, PathNode
from sealwire.policies.planning import arguments
from sealwire.policies.planning.contexts import NO_FIELDS, KnownContexts
from sealwire.policies.planning.namespaces import foreign_namespaces
from sealwire.policies.planning.rules import without_row
from sealwire.policies.planning.trees import each_node
from sealwire.policies.planning.walk import Walk, check_stages
from sealwire.policies.questions.asked import Asking
from sealwire.wire import kinds
from sealwire.wire.raw_bson import Element

# mongod allows 20 pipelines inside each other (kMaxSubPipelineViewDepth), views counted.
_MAX_NESTED_PIPELINES: Final = 20

MARKER: Final = b"\x80SW"
"""How an envelope begins, with the subtype of its binary. This room imports nothing of `crypto`."""

_REPLACING: Final = frozenset({b"$replaceRoot", b"$replaceWith"})


def plan_pipeline(walk: Walk, pipeline: Element) -> PathNode:
    """Cover the constants of a pipeline over documents with the walk's covered paths.

    Returns the covered paths of what it yields. Raises Refusal, BsonError. Cost: O(elements).
    """
    if walk.pipelines > _MAX_NESTED_PIPELINES:
        raise Refusal(Reason.SHAPE, rule="nesting")
    inner = walk.in_pipeline(pipeline.value)
    node = walk.node
    is_pure = node.pure
    mixed = walk.variables.mixed if is_pure and walk.variables is not None else set[bytes]()
    tables = walk.draft.tables
    is_written = False
    contexts = walk.draft.contexts
    is_stored = contexts is not None and not walk.pipelines
    if contexts is not None and not walk.pipelines:
        contexts.read(node, is_stored=False)
    items = arguments.array_items(walk.buf, pipeline)
    walk.draft.stages += len(items)
    check_stages(walk.draft.stages)
    asking = walk.draft.asking
    before = None if asking is None else asking.before
    if asking is not None:
        items = _begin_asking(asking, inner, items)
    for item in items:
        start = arguments.document_of(item, pipeline)
        stage = arguments.only_element(walk.buf, start, "a stage")
        if is_written or (stage.name in tables.writing and walk.pipelines):
            raise Refusal(Reason.SHAPE, rule="a stage that writes, and is not the last of all")
        is_written = stage.name in tables.writing
        if contexts is not None:
            is_stored = is_stored and stage.name in tables.as_stored
            contexts.is_as_stored = is_stored
            if stage.name == b"$match" and stage.kind == kinds.OBJECT:
                contexts.source.narrow(walk.buf, stage.value)
        at = inner.within(start, node)
        node = _plan_stage(at, stage)
        is_kept = is_pure and _stays_pure(at, stage, mixed)
        is_pure = is_kept or (stage.name in _REPLACING and node.pure)
        node = node if node.pure == is_pure else replace(node, pure=is_pure)
        if contexts is not None:
            _passed(walk, contexts.source, stage)
        if asking is not None:
            asking.before = passed_stage(walk.buf, asking.before, stage)
    if asking is not None and before is not None:
        asking.before = before
    if contexts is not None:
        contexts.is_as_stored = False
    return replace(node, pure=False) if node.pure and walk.draft.makes_unknown else node


def _begin_asking(asking: Asking, walk: Walk, items: list[Element]) -> list[Element]:
    """What the first stages order by; the items as they will be, which the walk is among. Raises Refusal."""
    asking.before = replace(asking.before, start=None)
    if walk.pipelines > 1 or walk.node is not asking.tree:
        return items
    items = sorted_first(walk, items)
    asking.ahead = look_ahead(walk, items)
    if items and b"let" not in walk.draft.arguments:  # a question has no variables
        asking.before = replace(asking.before, start=items[0].start)
    return items


def _stays_pure(walk: Walk, stage: Element, mixed: set[bytes]) -> bool:
    """Whether nothing but protected documents can be behind a stage if nothing else is before it.

    `mixed`: the variables whose values may come from elsewhere. What a view's definition has in ciphertext
    stands in it past Sealwire. A stage that passed unread may have made anything. Cost: O(names, bytes).
    """
    if stage.name in walk.draft.tables.as_stored:
        return True
    if not walk.node.covers:
        return False
    buf, start, end = walk.buf, stage.start, stage.end
    made = [b"$documents\0", MARKER, *(b"$$" + name for name in mixed)]
    if any(buf.find(each, start, end) >= 0 for each in made):
        return False
    return all(
        walk.draft.around.tree(namespace).pure
        for namespace in foreign_namespaces(walk.draft, stage, walk.draft.around.database)
    )


def _passed(walk: Walk, source: KnownContexts, stage: Element) -> None:
    """Bring what is known of contexts to what holds behind a stage."""
    source.keyed = NO_FIELDS
    tables = walk.draft.tables
    leaves = stage.name in tables.as_stored or (stage.name == b"$unwind" and _adds_nothing(walk.buf, stage))
    if not leaves:
        source.is_intact = False
    if stage.name not in tables.of_one:
        source.mix()


def _adds_nothing(buf: bytes, unwind: Element) -> bool:
    """Whether an `$unwind` puts no number into a field. Of a single value, as a context is, it leaves it."""
    return unwind.kind != kinds.OBJECT or b"includeArrayIndex" not in arguments.named_parts(buf, unwind.value)


def _plan_stage(walk: Walk, stage: Element) -> PathNode:
    """The covered paths of the documents behind one stage."""
    if walk.draft.contexts is not None:
        _check_databases(walk, stage)
    in_reach = _in_reach(walk, stage)
    if in_reach is None and stage.name not in SERVER_STAGES:
        arguments.check_nested(walk.buf, stage)
        return walk.node
    rule = walk.draft.tables.stages.get(stage.name)
    if rule is None:
        known = walk.draft.tables.stages
        unknown, path = Reason.UNKNOWN_STAGE, in_reach or ""
        raise without_row(stage.name, unknown, known, reason=Reason.STAGE, path=path)
    arguments.check_arguments(walk.buf, stage, rule.signature)
    return rule.handler(walk, stage)


def _check_databases(walk: Walk, stage: Element) -> None:
    """Raises Refusal(CONTEXT) for a collection of another database, where that is the context of a class."""
    own = walk.draft.around.database
    for namespace in foreign_namespaces(walk.draft, stage, own):
        if namespace[0] == own:
            continue
        for leaf in each_node(walk.draft.around.tree(namespace), walk.draft.work):
            if leaf.leaf is not None and leaf.leaf.per == PER_DATABASE:
                raise Refusal(Reason.CONTEXT, path=leaf.path, rule=arguments.operator_name(stage))


def _in_reach(walk: Walk, stage: Element) -> str | None:
    """Something covered that a stage can see, or None: then it works as it would without a policy."""
    if walk.node.covers:
        return walk.node.path
    if walk.variables is not None and walk.variables.covered is not None:
        return walk.variables.covered.path
    return walk.draft.around.protected_in(foreign_namespaces(walk.draft, stage, walk.draft.around.database))
