"""Updates given as an aggregation pipeline.

Every stage must leave a document as the policy has it: ciphertext of the right class at each covered path,
none elsewhere. So a stage is judged by the collection's own covered paths, without a look at the others: what
it keeps is as it was, what it assigns is followed by `stored_expressions`.
"""

from collections.abc import Callable

from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.expressions.stored_expressions import (
    Storing,
    plan_stored_expression,
    plan_uncovered_expression,
)
from sealwire.policies.file.paths import follow, is_transparent
from sealwire.policies.file.schema import PathNode
from sealwire.policies.planning.arguments import (
    Parents,
    array_items,
    document_of,
    first_name,
    named_parts,
    only_element,
    operator_name,
)
from sealwire.policies.planning.numbers import FLAGS
from sealwire.policies.planning.plan import Plan
from sealwire.policies.planning.rules import Rule, encrypted, family, passed
from sealwire.wire import kinds
from sealwire.wire.raw_bson import MAX_DEPTH, Element, string_bytes


def plan_update_pipeline(plan: Plan, pipeline: Element, node: PathNode, parents: Parents) -> None:
    """Cover the constants of an update's pipeline on documents with the covered paths `node`.

    Raises Refusal, BsonError. Cost: O(elements).
    """
    storing = Storing(plan, node)
    inner = (*parents, pipeline.value)
    for item in array_items(plan, pipeline):
        start = document_of(item, pipeline)
        stage = only_element(plan, start, "a stage")
        rule = STAGES.get(stage.name)
        if rule is None:
            raise Refusal(Reason.STAGE, rule=operator_name(stage))
        rule.handler(storing, stage, (*inner, start))


def _set(storing: Storing, stage: Element, parents: Parents) -> None:
    _assignments(storing, document_of(stage, stage), storing.root, parents, flags=False)


def _project(storing: Storing, stage: Element, parents: Parents) -> None:
    """Flags keep or drop what is there; anything else assigns."""
    _assignments(storing, document_of(stage, stage), storing.root, parents, flags=True)


def _assignments(
    storing: Storing, start: int, above: PathNode | None, parents: Parents, *, flags: bool
) -> None:
    """`{path: expression}`; a document of names is another way to write `{"path.name": expression}`.

    `above` is where the names begin in the covered paths, None when nothing is covered there.
    """
    plan = storing.plan
    if len(parents) > MAX_DEPTH:
        raise Refusal(Reason.SHAPE, rule="nesting")
    inner = (*parents, start)
    for name, element in named_parts(plan, start).items():
        if name.startswith(b"$"):
            raise Refusal(Reason.SHAPE, rule=operator_name(element))
        # raises below a value that is encrypted as a whole, where also a flag finds nothing to keep
        target = None if above is None else follow(above, name)
        if flags and element.kind in FLAGS:
            continue
        if target is not None and any(is_transparent(part) for part in name.split(b".")):
            # here a number is a field's name, in a filter it is also an index
            raise Refusal(Reason.PIPELINE_UPDATE, path=target.path, rule="a number in an assigned path")
        if element.kind == kinds.OBJECT and not first_name(plan, element.value).startswith(b"$"):
            _assignments(storing, element.value, target, inner, flags=flags)
        elif target is None:
            plan_uncovered_expression(storing, element, inner)
        else:
            plan_stored_expression(storing, element, target, inner)


def _unset(storing: Storing, stage: Element, parents: Parents) -> None:
    del parents
    names = [stage] if stage.kind == kinds.STRING else array_items(storing.plan, stage)
    for name in names:
        if name.kind != kinds.STRING:
            raise Refusal(Reason.SHAPE, rule="$unset")
        follow(storing.root, string_bytes(storing.plan.buf, name))


def _replace_root(storing: Storing, stage: Element, parents: Parents) -> None:
    root = only_element(storing.plan, document_of(stage, stage), "$replaceRoot")
    if root.name != b"newRoot":
        raise Refusal(Reason.SHAPE, rule="$replaceRoot")
    plan_stored_expression(storing, root, storing.root, (*parents, stage.value))


def _replace_with(storing: Storing, stage: Element, parents: Parents) -> None:
    plan_stored_expression(storing, stage, storing.root, parents)


STAGES: dict[bytes, Rule[Callable[[Storing, Element, Parents], None]]] = {
    **family("$set $addFields", encrypted(_set)),
    b"$project": encrypted(_project),
    b"$unset": passed(_unset),
    b"$replaceRoot": encrypted(_replace_root),
    b"$replaceWith": encrypted(_replace_with),
}
