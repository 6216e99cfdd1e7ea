"""Expressions that choose between values or compare two: `$cond` and its kin, `$eq`, `$let`, `$literal`.

What is forwarded keeps its class. A constant beside values of one deterministic class is covered as one of
them, so that the result is of the class whichever is chosen.
"""

from typing import Final

from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.expressions import constants
from sealwire.policies.expressions.interpreter import check_single, infer, infer_plain, results_of
from sealwire.policies.file.schema import NOTHING, PathNode
from sealwire.policies.planning import arguments
from sealwire.policies.planning.trees import merge, same_values
from sealwire.policies.planning.values import demand_result, note_equality, plan_value, store
from sealwire.policies.planning.walk import Walk
from sealwire.wire import kinds
from sealwire.wire.raw_bson import Element

_ASK: Final = (
    "compare in the application, or write a constant beside the field, in an `$expr` of a filter whose class "
    "says `ask: true` (docs/asking.md)"
)
_BRANCH: Final = arguments.signature_of("{case then}").named


def infer_literal(walk: Walk, operator: Element) -> PathNode:
    """`$literal` yields what is written, whatever it looks like."""
    arguments.check_nested(walk.buf, operator)
    return NOTHING


def check_literal(walk: Walk, operator: Element, target: PathNode) -> None:
    """It is stored like a value in `$set`; an array puts several values at one path."""
    check_single(operator, target, several=operator.kind == kinds.ARRAY)
    plan_value(walk, operator, target)


def infer_choice(walk: Walk, operator: Element) -> PathNode:
    """What an operator yields that yields one of its results."""
    places = results_of(walk, operator)
    found = [(place, infer(*place)) for place in places]
    # null and no value are stored in clear whatever the class, so they do not make a mixture of it
    found = [(place, node) for place, node in found if not constants.is_of_every_class(walk.buf, place[1])]
    covered = next((node for _, node in found if node.covers), None)
    if covered is not None and _can_join(covered):
        alike = all(same_values(node, covered, walk.draft.work) for _, node in found if node.covers)
        stated = [_constant_of(covered, *place) for place, node in found if not node.covers]
        joined = [place for place in stated if place is not None]
        if alike and len(joined) == len(stated):
            for inner, value in joined:
                store(inner, value, covered)
            return merge([node for _, node in found if node.covers], walk.draft.work)
    return merge([node for _, node in found], walk.draft.work)


def _can_join(node: PathNode) -> bool:
    """Whether a constant may be made one of a node's values."""
    return node.leaf is not None and not node.is_random and not node.absent and node.leaf.domain is None


def _constant_of(node: PathNode, walk: Walk, result: Element) -> constants.Place | None:
    """A result that is a constant, which the class of `node` stores as it is."""
    place = constants.written(walk, result)
    if place is None or node.leaf is None or not node.leaf.stores(place[1].kind):
        return None
    return place


def cond_results(walk: Walk, operator: Element) -> list[constants.Place]:
    """`[if, then, else]`, or the same by name."""
    if operator.kind == kinds.ARRAY:
        (place, condition), *results = constants.arguments_of(walk, operator)
        infer_plain(place, condition)
        return results
    inner, parts = walk.parts(operator)
    infer_plain(inner, parts[b"if"])
    return [(inner, parts[b"then"]), (inner, parts[b"else"])]


def switch_results(walk: Walk, operator: Element) -> list[constants.Place]:
    """`{branches: [{case, then}], default}`. Raises Refusal(SHAPE) for what is no branch."""
    inner, parts = walk.parts(operator)
    listed = parts[b"branches"]
    results: list[constants.Place] = []
    for item in arguments.array_items(walk.buf, listed):
        branch = arguments.check_names(walk.buf, item, *_BRANCH)
        place = inner.inside(listed.value).inside(item.value)
        infer_plain(place, branch[b"case"])
        results.append((place, branch[b"then"]))
    if b"default" in parts:
        results.append((inner, parts[b"default"]))
    return results


def let_results(walk: Walk, operator: Element) -> list[constants.Place]:
    """`{vars, in}`: the variables keep their class."""
    inner, parts = walk.parts(operator)
    if b"CURRENT" in arguments.named_parts(walk.buf, arguments.document_of(parts[b"vars"], operator)):
        raise Refusal(Reason.OPERATOR, rule="$let of CURRENT")
    return [(inner.binding(variables_of(inner, parts[b"vars"])), parts[b"in"])]


def variables_of(walk: Walk, let: Element) -> dict[bytes, PathNode]:
    """What the variables of a `let` yield. Raises Refusal(SHAPE) for a name that MongoDB does not take."""
    inner, bindings = walk.parts(let)
    for name in bindings:
        if not constants.is_variable_name(name):
            raise Refusal(Reason.SHAPE, rule=f"a variable {arguments.printable(name)}")
    return {name: infer(inner, value) for name, value in bindings.items()}


def infer_equality(walk: Walk, operator: Element) -> PathNode:
    """`$eq` and `$ne`: two values covered alike, or a covered field and a constant, which is then covered.

    null is no covered value, so a comparison with it is one of what is there.
    """
    rule = arguments.operator_name(operator)
    left, right = constants.arguments_of(walk, operator)
    nodes = infer(*left), infer(*right)
    covered = [node for node in nodes if node.covers]
    if not covered or (len(covered) == 1 and constants.is_null(*(right if nodes[0].covers else left))):
        return NOTHING
    for node in nodes:
        if node.holds_random:
            is_known = node.leaf is not None or (len(covered) == 2 and not node.opaque)
            reason = Reason.RANDOM_EQUALITY if is_known else Reason.COMPUTE
            raise Refusal(reason, path=node.path, rule=rule)
    if len(covered) == 2:
        if not same_values(*nodes, walk.draft.work):
            raise Refusal(Reason.COMPUTE, path=nodes[0].path, rule=rule)
        note_equality(walk.draft, nodes[0], rule)
        demand_result(walk.draft, nodes[0])
        return NOTHING
    if covered[0].leaf is None:
        # a document in an expression is computed field by field
        raise Refusal(Reason.COMPUTE, path=covered[0].path, rule=rule)
    place, constant = right if nodes[0].covers else left
    constants.match_constant(place, constant, covered[0], rule)
    demand_result(walk.draft, covered[0])
    return NOTHING


def infer_order(walk: Walk, operator: Element) -> PathNode:
    """`$gt` and its kin, `$cmp`: with null they tell what is there, for no covered value is below it."""
    places = constants.arguments_of(walk, operator)
    nodes = [infer(*place) for place in places]
    covered = next((node for node in nodes if node.covers), None)
    if covered is not None and not any(constants.is_null(*place) for place in places):
        raise Refusal(Reason.COMPUTE, path=covered.path, rule=arguments.operator_name(operator), instead=_ASK)
    return NOTHING


def infer_computed(walk: Walk, operator: Element) -> PathNode:
    """An operator that needs the values themselves."""
    constants.refuse_covered(infer(walk, operator), operator)
    return NOTHING


def infer_converted(walk: Walk, operator: Element) -> PathNode:
    """`$convert`, to a type that is written out and not binary: of text a client could make an envelope."""
    if not constants.converts_plainly(walk, operator):
        raise Refusal(Reason.COMPUTE, rule="$convert to binary data, or to a type that is not written out")
    return infer_computed(walk, operator)


def infer_nothing(walk: Walk, operator: Element) -> PathNode:
    """An operator that takes no arguments, and yields nothing that is covered."""
    del walk, operator
    return NOTHING
