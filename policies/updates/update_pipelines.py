"""Updates given as an aggregation pipeline.

Every stage must leave a document as the policy has it: ciphertext of the right class at each covered path,
none elsewhere. So a stage is judged by the collection's own covered paths, without a look at the others: what
it keeps is as it was, what it assigns is checked by `expressions.interpreter`.
"""

from collections.abc import Callable
from typing import Final

from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.expressions.interpreter import check, check_clear
from sealwire.policies.file.schema import PathNode, follow, is_transparent
from sealwire.policies.planning import arguments
from sealwire.policies.planning.numbers import FLAGS
from sealwire.policies.planning.rules import Rule, encrypted, family, passed, without_row
from sealwire.policies.planning.values import demand_write
from sealwire.policies.planning.walk import Walk, check_stages
from sealwire.wire.raw_bson import Element


def plan_update_pipeline(walk: Walk, pipeline: Element) -> None:
    """Cover the constants of an update's pipeline on documents with the walk's covered paths.

    Raises Refusal, BsonError. Cost: O(elements).
    """
    inner, items = walk.items(pipeline)
    check_stages(len(items))
    for start in (arguments.document_of(item, pipeline) for item in items):
        stage = arguments.only_element(walk.buf, start, "a stage")
        rule = STAGES.get(stage.name)
        if rule is None:
            known = walk.draft.tables.stages
            raise without_row(stage.name, Reason.UNKNOWN_STAGE, known, reason=Reason.STAGE)
        rule.handler(inner.inside(start), stage)
    if walk.draft.makes_unknown:
        # what it makes may look like an envelope, and is stored where every reply is opened
        raise Refusal(Reason.OPERATOR, path=walk.node.path, rule="an operator that nobody knows")


def _assign(walk: Walk, stage: Element) -> None:
    """In `$project` flags keep or drop what is there; anything else assigns."""
    flags = stage.name == b"$project"
    if flags:
        demand_write(walk.draft, walk.node)  # what it does not name goes
    _assignments(walk, arguments.document_of(stage, stage), walk.node, flags=flags)


def _assignments(walk: Walk, start: int, above: PathNode | None, *, flags: bool) -> None:
    """`{path: expression}`; a document of names is another way to write `{"path.name": expression}`.

    `above` is where the names begin in the covered paths, None when nothing is covered there.
    """
    inner = walk.inside(start)
    for name, element in arguments.named_parts(walk.buf, start).items():
        if name.startswith(b"$"):
            raise Refusal(Reason.SHAPE, rule=arguments.operator_name(element))
        # raises below a value that is encrypted as a whole, where also a flag finds nothing to keep
        target = None if above is None else follow(above, name)
        if flags and element.kind in FLAGS:
            continue
        if target is not None:
            demand_write(walk.draft, target)
        if target is not None and any(is_transparent(part) for part in name.split(b".")):
            # here a number is a field's name, in a filter it is also an index
            raise Refusal(Reason.PIPELINE_UPDATE, path=target.path, rule="a number in an assigned path")
        if arguments.is_document_literal(walk.buf, element):
            _assignments(inner, element.value, target, flags=flags)
        elif target is None:
            check_clear(inner, element)
        else:
            check(inner, element, target)


def _unset(walk: Walk, stage: Element) -> None:
    for name in arguments.one_or_more(walk.buf, stage):
        target = follow(walk.node, arguments.text_of(walk.buf, name))
        if target is not None:
            demand_write(walk.draft, target)


def _replace_root(walk: Walk, stage: Element) -> None:
    demand_write(walk.draft, walk.node)
    inner, parts = walk.parts(stage)
    if parts.keys() != {b"newRoot"}:
        raise Refusal(Reason.SHAPE, rule="$replaceRoot")
    check(inner, parts[b"newRoot"], walk.node)


def _replace_with(walk: Walk, stage: Element) -> None:
    demand_write(walk.draft, walk.node)
    check(walk, stage, walk.node)


STAGES: Final[dict[bytes, Rule[Callable[[Walk, Element], None]]]] = {
    **family("$set $addFields", encrypted(_assign)),
    b"$project": encrypted(_assign),
    b"$unset": passed(_unset),
    b"$replaceRoot": encrypted(_replace_root),
    b"$replaceWith": encrypted(_replace_with),
}
