"""Follow covered fields through aggregation expressions.

An expression that only forwards a covered field is fine, comparing it for equality is fine, computing on it
is refused. The answer of the analysis is the tree of what the expression yields: NOTHING, a leaf, a
sub-document with covered fields inside, or an opaque node when that is known only at run time.
"""

from collections.abc import Callable
from functools import partial

from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.expressions.forwarding import FORWARDING
from sealwire.policies.expressions.membership import MEMBERSHIP
from sealwire.policies.expressions.operands import (
    arguments_of,
    array_of,
    branches_of,
    condition_parts,
    match_constant,
)
from sealwire.policies.expressions.operators import EXPRESSION_SIGNATURES, PLAIN_EXPRESSIONS
from sealwire.policies.expressions.variables import binding, is_variable_name, see_reference
from sealwire.policies.file.paths import follow, has_dot, is_transparent
from sealwire.policies.file.schema import NOTHING, PathNode
from sealwire.policies.planning.arguments import (
    Parents,
    document_of,
    first_name,
    named_parts,
    operator_name,
    printable,
)
from sealwire.policies.planning.plan import Plan
from sealwire.policies.planning.rules import Rule, encrypted, family, passed, refused, signed
from sealwire.policies.planning.signatures import check_arguments
from sealwire.policies.planning.trees import Scope, document_node, merge, placed, same_values
from sealwire.wire import kinds
from sealwire.wire.raw_bson import MAX_DEPTH, Element, elements, string_bytes, validate

Handler = Callable[[Plan, Element, Scope, Parents], PathNode]
"""Covers the constants among an operator's arguments and tells what it yields."""


def plan_plain_expression(plan: Plan, element: Element, scope: Scope, parents: Parents) -> None:
    """Cover an expression whose result must not be ciphertext, such as a condition. Raises Refusal."""
    node = plan_expression(plan, element, scope, parents)
    if node.covers:
        raise Refusal(Reason.COMPUTE, path=node.path)


def plan_expression(plan: Plan, element: Element, scope: Scope, parents: Parents) -> PathNode:
    """Cover the constants of an expression and tell what it yields. Raises Refusal, BsonError."""
    if len(parents) > MAX_DEPTH:
        raise Refusal(Reason.SHAPE, rule="nesting")
    if element.kind == kinds.STRING:
        return _string(plan, element, scope)
    if element.kind == kinds.ARRAY:
        inner = (*parents, element.value)
        return merge(
            [plan_expression(plan, item, scope, inner) for item in elements(plan.buf, element.value)]
        )
    if element.kind != kinds.OBJECT:
        return NOTHING
    fields = list(elements(plan.buf, element.value))
    inner = (*parents, element.value)
    if fields and fields[0].name.startswith(b"$"):
        if len(fields) != 1:
            raise Refusal(Reason.SHAPE, rule=operator_name(fields[0]))
        return _operator(plan, fields[0], scope, inner)
    named = named_parts(plan, element.value)
    if any(name.startswith(b"$") for name in named):
        # read as an operator, its arguments would mean something else
        raise Refusal(Reason.SHAPE, rule="an operator that is not alone")
    children = {name: plan_expression(plan, item, scope, inner) for name, item in named.items()}
    for name, node in children.items():
        if has_dot(name) and node.covers:
            # MongoDB refuses it too; were it a field's name, no path could follow it
            raise Refusal(Reason.SHAPE, path=node.path, rule="a field name with a dot")
    return document_node(children)


def _string(plan: Plan, element: Element, scope: Scope) -> PathNode:
    text = string_bytes(plan.buf, element)
    if text.startswith(b"$$"):
        name, dot, path = text[2:].partition(b".")
        node = scope.root if name in (b"ROOT", b"CURRENT") else _variable(plan, scope, name, element)
        return placed(_field_of(node, path) if dot else node)
    if text.startswith(b"$"):
        return placed(_field_of(scope.root, text[1:]))
    return NOTHING


def _field_of(node: PathNode, path: bytes) -> PathNode:
    """What a path leads to. Raises Refusal(SHAPE) for one that MongoDB does not take, such as `a..b`."""
    found = follow(node, path)
    if found is not None:
        return found
    for part in path.split(b"."):
        if not part or (part.startswith(b"$") and part not in _DBREF) or b"\0" in part:
            raise Refusal(Reason.SHAPE, rule="a path with an empty or an odd name")
    return NOTHING


_DBREF = frozenset({b"$ref", b"$id", b"$db"})


def _variable(plan: Plan, scope: Scope, name: bytes, reference: Element) -> PathNode:
    """What the innermost binding of a name yields: an operator's, a `$lookup`'s, or the command's own."""
    bound = scope.variables.get(name, plan.variables.get(name))
    if bound is None:
        see_reference(plan, name, reference)
    return bound or NOTHING


def _operator(plan: Plan, element: Element, scope: Scope, parents: Parents) -> PathNode:
    return operator_rule(plan, element).handler(plan, element, scope, parents)


def operator_rule(plan: Plan, element: Element) -> Rule[Handler]:
    """The row of an operator, whose arguments fit its signature. Raises Refusal(OPERATOR, SHAPE)."""
    rule = OPERATORS.get(element.name)
    if rule is None:
        raise Refusal(Reason.OPERATOR, rule=operator_name(element))
    check_arguments(plan, element, rule.signature)
    return rule


def _compute(plan: Plan, element: Element, scope: Scope, parents: Parents) -> PathNode:
    """An operator that needs the values themselves."""
    node = plan_expression(plan, element, scope, parents)
    if node.covers:
        raise Refusal(Reason.COMPUTE, path=node.path, rule=operator_name(element))
    return NOTHING


def _literal(plan: Plan, element: Element, scope: Scope, parents: Parents) -> PathNode:
    del scope, parents
    if element.kind in (kinds.OBJECT, kinds.ARRAY):
        validate(plan.buf, element.value, element.end)
    return NOTHING


def _equality(plan: Plan, element: Element, scope: Scope, parents: Parents) -> PathNode:
    """`$eq` and `$ne`: two values covered alike, or a covered field and a constant, which is then covered."""
    rule = element.name.decode()
    arguments, inner = arguments_of(plan, element, parents)
    left, right = (plan_expression(plan, argument, scope, inner) for argument in arguments)
    if not left.covers and not right.covers:
        return NOTHING
    both = left.covers and right.covers
    for node in (left, right):
        if node.holds_random:
            is_known = node.leaf is not None or (both and not node.opaque)
            reason = Reason.RANDOM_EQUALITY if is_known else Reason.COMPUTE
            raise Refusal(reason, path=node.path, rule=rule)
    if both:
        if not same_values(left, right):
            raise Refusal(Reason.COMPUTE, path=left.path, rule=rule)
        plan.compares = True
        return NOTHING
    covered, constant = (left, arguments[1]) if left.covers else (right, arguments[0])
    if covered.leaf is None:
        # a document in an expression is computed field by field
        raise Refusal(Reason.COMPUTE, path=covered.path, rule=rule)
    match_constant(plan, constant, covered, rule, inner)
    return NOTHING


def _if_null(plan: Plan, element: Element, scope: Scope, parents: Parents) -> PathNode:
    choices, inner = arguments_of(plan, element, parents)
    return _one_of(plan, choices, scope, inner)


def _one_of(plan: Plan, choices: list[Element], scope: Scope, parents: Parents) -> PathNode:
    """What an expression yields that yields one of these."""
    nodes = [_choice(plan, choice, scope, parents) for choice in choices]
    return merge([node for node in nodes if node is not None])


def _choice(plan: Plan, choice: Element, scope: Scope, parents: Parents) -> PathNode | None:
    """What a choice yields; None when that is of every class."""
    node = plan_expression(plan, choice, scope, parents)
    return None if is_of_every_class(plan, choice) else node


def is_of_every_class(plan: Plan, element: Element) -> bool:
    """Whether an expression yields what is stored in clear whatever the class: null, no value at all, or [].

    It sees what is written out: `null`, `[]`, `"$$REMOVE"`. Cost: O(1).
    """
    if element.kind == kinds.STRING:
        return string_bytes(plan.buf, element) == b"$$REMOVE"
    if element.kind == kinds.ARRAY:
        return next(elements(plan.buf, element.value), None) is None
    return element.kind == kinds.NULL


def _cond(plan: Plan, element: Element, scope: Scope, parents: Parents) -> PathNode:
    inner = (*parents, element.value)
    condition, then, other = condition_parts(plan, element)
    plan_plain_expression(plan, condition, scope, inner)
    return _one_of(plan, [then, other], scope, inner)


def _switch(plan: Plan, element: Element, scope: Scope, parents: Parents) -> PathNode:
    branches, default = branches_of(plan, element, parents)
    results: list[PathNode | None] = []
    for case, then, inner in branches:
        plan_plain_expression(plan, case, scope, inner)
        results.append(_choice(plan, then, scope, inner))
    if default is not None:
        results.append(_choice(plan, default, scope, (*parents, element.value)))
    return merge([node for node in results if node is not None])


def _let(plan: Plan, element: Element, scope: Scope, parents: Parents) -> PathNode:
    inner = (*parents, element.value)
    parts = named_parts(plan, element.value)
    bindings = parts[b"vars"]
    variables: dict[bytes, PathNode] = {}
    for name, value in named_parts(plan, document_of(bindings, element)).items():
        if name == b"CURRENT":
            raise Refusal(Reason.OPERATOR, rule="$let of CURRENT")
        if not is_variable_name(name):
            raise Refusal(Reason.SHAPE, rule=f"$let of {printable(name)}")
        variables[name] = plan_expression(plan, value, scope, (*inner, bindings.value))
    with binding(scope, variables):
        return plan_expression(plan, parts[b"in"], scope, inner)


def _shape(plan: Plan, element: Element, scope: Scope, parents: Parents) -> PathNode:
    """`$size` and `$isArray` of one field: a covered array keeps its shape in deterministic mode."""
    node = plan_expression(plan, element, scope, parents)
    array_of(node, operator_name(element))
    return NOTHING


def _javascript(plan: Plan, element: Element, scope: Scope, parents: Parents) -> PathNode:
    del plan, scope, parents
    raise Refusal(Reason.JAVASCRIPT, rule=element.name.decode())


def _no_argument(plan: Plan, element: Element, scope: Scope, parents: Parents) -> PathNode:
    del plan, element, scope, parents
    return NOTHING


def _get_field(plan: Plan, element: Element, scope: Scope, parents: Parents) -> PathNode:
    """`$getField` with a name that is written out: a field of a document, not seen through arrays."""
    name, source = element, scope.root
    if element.kind == kinds.OBJECT and not first_name(plan, element.value).startswith(b"$"):
        parts = named_parts(plan, element.value)
        name = parts[b"field"]
        if b"input" in parts:
            source = plan_expression(plan, parts[b"input"], scope, (*parents, element.value))
    text = _written_name(plan, name)
    if text is None or is_transparent(text) or has_dot(text) or source.leaf is not None:
        raise Refusal(Reason.COMPUTE, path=source.path or scope.root.path, rule="$getField")
    return placed(source if source.opaque else source.children.get(text, NOTHING))


def _written_name(plan: Plan, name: Element) -> bytes | None:
    """A string, bare or as `$literal`; None where it is computed."""
    if name.kind == kinds.OBJECT:
        inside = list(elements(plan.buf, name.value))
        if len(inside) != 1 or inside[0].name != b"$literal":
            return None
        name = inside[0]
    return string_bytes(plan.buf, name) if name.kind == kinds.STRING else None


def _by_name(plan: Plan, element: Element, scope: Scope, parents: Parents) -> PathNode:
    """`$setField` and its kin name a field by a computed string, which a plan cannot follow."""
    del plan, parents
    raise Refusal(Reason.COMPUTE, path=scope.root.path, rule=element.name.decode())


_ROWS: dict[bytes, Rule[Handler]] = {
    b"$literal": passed(_literal),
    **family("$eq $ne", encrypted(_equality, "with a constant, or a field of the same class")),
    b"$ifNull": passed(_if_null, "forwards what it is given"),
    b"$cond": passed(_cond, "forwards; its condition is an expression"),
    b"$switch": passed(_switch, "forwards; its conditions are expressions"),
    b"$let": passed(_let, "variables keep their class"),
    **{
        name: Rule(rule.verdict, partial(rule.handler, plan_expression), rule.reason, rule.note)
        for name, rule in (FORWARDING | MEMBERSHIP).items()
    },
    b"$rand": passed(_no_argument),
    **family("$size $isArray", passed(_shape, "deterministic classes")),
    **family("$function $accumulator", refused(_javascript, Reason.JAVASCRIPT, "on any field")),
    b"$getField": passed(_get_field, "with the name written out"),
    **family("$setField $unsetField", refused(_by_name, Reason.COMPUTE, "on any field")),
    **family(PLAIN_EXPRESSIONS, refused(_compute, Reason.COMPUTE)),
}

OPERATORS = signed(_ROWS, EXPRESSION_SIGNATURES)
"""Every row with the arguments that it takes: its handler finds no others."""
