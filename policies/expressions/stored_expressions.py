"""Follow an expression whose result a pipeline update stores at a covered path.

What ends there must be ciphertext of the path's class, or a sub-document with ciphertext at its covered
fields. So constants are covered as in `$set`, a field may be forwarded where its covered paths are the same,
and operators that choose, join or merge such values are looked into. Anything else the server would compute
in clear, and is refused.
"""

from collections.abc import Callable
from dataclasses import dataclass

from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.expressions.expressions import operator_rule, plan_expression, plan_plain_expression
from sealwire.policies.expressions.operands import arguments_of, branches_of, condition_parts, plan_number
from sealwire.policies.expressions.variables import cover_reference
from sealwire.policies.file.paths import has_dot, is_transparent
from sealwire.policies.file.schema import Mode, PathNode, leaves
from sealwire.policies.planning.arguments import (
    Parents,
    check_nested,
    first_name,
    named_parts,
    only_element,
    operator_name,
)
from sealwire.policies.planning.documents import plan_value
from sealwire.policies.planning.plan import Plan, Use
from sealwire.policies.planning.trees import Scope, same_values
from sealwire.wire import kinds
from sealwire.wire.raw_bson import MAX_DEPTH, Element, elements, string_bytes

_REMOVE = b"$$REMOVE"
_DOCUMENT_VARIABLES = (b"$ROOT.", b"$CURRENT.")


@dataclass(frozen=True, slots=True)
class Storing:
    """Where an expression stands that is stored."""

    plan: Plan
    root: PathNode
    """The covered paths of the collection: of the document that `$field` refers to."""


def plan_uncovered_expression(storing: Storing, element: Element, parents: Parents) -> None:
    """Cover an expression that is stored where no path is covered: no ciphertext may end there.

    Raises Refusal, BsonError.
    """
    found = plan_expression(storing.plan, element, Scope(storing.root), parents)
    if found.covers:
        raise Refusal(Reason.PIPELINE_UPDATE, path=found.path, rule="a copy of a covered value")
    check_nested(storing.plan, element)


def plan_stored_expression(storing: Storing, element: Element, target: PathNode, parents: Parents) -> None:
    """Cover an expression whose result is stored at `target`. Raises Refusal, BsonError.

    Cost: O(elements).
    """
    plan = storing.plan
    if len(parents) > MAX_DEPTH:
        raise Refusal(Reason.SHAPE, rule="nesting")
    _check_single(element, target, several=element.kind == kinds.ARRAY)
    if _is_random(target) and _is_constant(plan, element):
        # a random class encrypts an array or a sub-document as a whole
        plan.store(element, target, parents)
    elif element.kind == kinds.STRING and plan.buf[element.value + 4] == ord("$"):
        _reference(storing, element, target, parents)
    elif element.kind == kinds.ARRAY:
        if _is_random(target):
            raise _computed(target, element)
        for item in elements(plan.buf, element.value):
            plan_stored_expression(storing, item, target, (*parents, element.value))
    elif element.kind == kinds.OBJECT:
        if first_name(plan, element.value).startswith(b"$"):
            _operator(storing, element, target, parents)
        else:
            _object(storing, element, target, parents)
    else:
        plan_value(plan, element, target, parents, Use.STORE)


def _check_single(element: Element, target: PathNode, *, several: bool) -> None:
    """Refuse what could put several values of a class with a range at one path.

    Below the top level the field above may be an array, and then each of its elements gets the value.
    """
    is_nested = "." in target.path or (target.leaf is None and target.path != "")
    if _is_ranged(target) and (several or is_nested):
        raise _computed(target, element)


def _is_ranged(target: PathNode) -> bool:
    return any(leaf.leaf and leaf.leaf.domain for leaf in leaves(target))


_SEVERAL = frozenset({b"$concatArrays", b"$slice"})


def _is_constant(plan: Plan, element: Element) -> bool:
    """Whether an expression yields just what is written: no field, variable or operator in it."""
    check_nested(plan, element)  # bounds the depth too
    return _is_written_out(plan, element)


def _is_written_out(plan: Plan, element: Element) -> bool:
    if element.kind == kinds.STRING:
        return plan.buf[element.value + 4] != ord("$")
    if element.kind not in (kinds.OBJECT, kinds.ARRAY):
        return True
    if element.kind == kinds.ARRAY:
        return all(_is_written_out(plan, item) for item in elements(plan.buf, element.value))
    return all(
        not name.startswith(b"$") and not has_dot(name) and _is_written_out(plan, item)
        for name, item in named_parts(plan, element.value).items()
    )


def _is_random(target: PathNode) -> bool:
    return target.leaf is not None and target.leaf.mode is Mode.RANDOM


def _computed(target: PathNode, element: Element) -> Refusal:
    """The refusal of what is not known to be ciphertext of the target's class."""
    name = operator_name(element) if element.name.startswith(b"$") else ""
    return Refusal(Reason.PIPELINE_UPDATE, path=target.path, rule=name)


def _reference(storing: Storing, element: Element, target: PathNode, parents: Parents) -> None:
    """`$field` or `$$variable`: fine when the same classes lie at the same paths, or when nothing is left."""
    text = string_bytes(storing.plan.buf, element)
    if text == _REMOVE:
        return
    found = plan_expression(storing.plan, element, Scope(storing.root), parents)
    if target.leaf is not None and cover_reference(storing.plan, element, target, stores=True):
        return
    is_elsewhere = text.startswith(b"$$") and not (text + b".").startswith((b"$$ROOT.", b"$$CURRENT."))
    if not same_values(found, target) or (is_elsewhere and _is_ranged(target)):
        # what a variable holds may be several values
        raise _computed(target, element)
    if _is_random(target):
        # a path that leads through an array yields many envelopes, where the class stores one
        name = text[1:]
        for variable in _DOCUMENT_VARIABLES:
            name = name.removeprefix(variable)
        if has_dot(name) or name.startswith(b"$"):
            raise _computed(target, element)


def _object(storing: Storing, element: Element, target: PathNode, parents: Parents) -> None:
    """`{field: expression, ...}`, a new sub-document."""
    plan = storing.plan
    if target.leaf is not None:
        # no class in deterministic mode takes a document, and in random mode it would be one in clear
        raise Refusal(Reason.TYPE if not _is_random(target) else Reason.PIPELINE_UPDATE, path=target.path)
    inner = (*parents, element.value)
    for name, field in named_parts(plan, element.value).items():
        if has_dot(name) or name.startswith(b"$"):
            raise Refusal(Reason.SHAPE, path=target.path, rule="a field name with a dot or dollar")
        child = target.child(name)
        if child is None and is_transparent(name):
            child = target
        if child is None:
            plan_uncovered_expression(storing, field, inner)
        else:
            plan_stored_expression(storing, field, child, inner)


def _operator(storing: Storing, element: Element, target: PathNode, parents: Parents) -> None:
    operator = only_element(storing.plan, element.value, "an expression")
    operator_rule(storing.plan, operator)
    inner = (*parents, element.value)
    listed = operator.name == b"$literal" and operator.kind == kinds.ARRAY
    _check_single(operator, target, several=listed or operator.name in _SEVERAL)
    handler = _OPERATORS.get(operator.name)
    if handler is not None:
        handler(storing, operator, target, inner)
        return
    # what the operators without a handler yield may be an array of the class's values
    _check_single(operator, target, several=True)
    found = plan_expression(storing.plan, element, Scope(storing.root), parents)
    # the class is known, whether it is an array is not: `$map` makes one, and `$let` may bind one
    if _is_random(target) or _is_ranged(target) or not same_values(found, target):
        raise _computed(target, operator)


def _literal(storing: Storing, operator: Element, target: PathNode, parents: Parents) -> None:
    plan_value(storing.plan, operator, target, parents, Use.STORE)


def _any_of(storing: Storing, operator: Element, target: PathNode, parents: Parents) -> None:
    """`$ifNull` yields one of its arguments."""
    arguments, inner = arguments_of(storing.plan, operator, parents)
    for argument in arguments:
        plan_stored_expression(storing, argument, target, inner)


def _concatenated(storing: Storing, operator: Element, target: PathNode, parents: Parents) -> None:
    """`$concatArrays`: the elements of arrays that could each be stored here, in their order."""
    if _is_random(target):
        raise _computed(target, operator)
    _any_of(storing, operator, target, parents)


def _merged(storing: Storing, operator: Element, target: PathNode, parents: Parents) -> None:
    """`$mergeObjects`: every field comes from one of sub-documents that could each be stored here."""
    if target.leaf is not None:
        raise _computed(target, operator)
    _any_of(storing, operator, target, parents)


def _slice(storing: Storing, operator: Element, target: PathNode, parents: Parents) -> None:
    """`$slice`: some elements of an array that could be stored here; the numbers are plain."""
    if _is_random(target):
        raise _computed(target, operator)
    (array, *numbers), inner = arguments_of(storing.plan, operator, parents)
    plan_stored_expression(storing, array, target, inner)
    for number in numbers:
        plan_number(plan_expression, storing.plan, number, Scope(storing.root), inner, "$slice")


def _cond(storing: Storing, operator: Element, target: PathNode, parents: Parents) -> None:
    inner = (*parents, operator.value)
    condition, then, other = condition_parts(storing.plan, operator)
    plan_plain_expression(storing.plan, condition, Scope(storing.root), inner)
    plan_stored_expression(storing, then, target, inner)
    plan_stored_expression(storing, other, target, inner)


def _switch(storing: Storing, operator: Element, target: PathNode, parents: Parents) -> None:
    branches, default = branches_of(storing.plan, operator, parents)
    for case, then, inner in branches:
        plan_plain_expression(storing.plan, case, Scope(storing.root), inner)
        plan_stored_expression(storing, then, target, inner)
    if default is not None:
        plan_stored_expression(storing, default, target, (*parents, operator.value))


_OPERATORS: dict[bytes, Callable[[Storing, Element, PathNode, Parents], None]] = {
    b"$literal": _literal,
    b"$ifNull": _any_of,
    b"$cond": _cond,
    b"$switch": _switch,
    b"$mergeObjects": _merged,
    b"$concatArrays": _concatenated,
    b"$slice": _slice,
}
