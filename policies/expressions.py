"""Follow covered fields through aggregation expressions.

An expression that only forwards a covered field is fine, comparing it for equality is fine, computing on it
is refused. The answer of the analysis is the tree of what the expression yields: NOTHING, a leaf, a
sub-document with covered fields inside, or an opaque node when that is known only at run time.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from sealwire.policies.arguments import Parents, first_name, named_parts, operator_name
from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.forwarding import FORWARDING
from sealwire.policies.membership import MEMBERSHIP
from sealwire.policies.operands import match_constant
from sealwire.policies.operators import PLAIN_EXPRESSIONS
from sealwire.policies.paths import follow, has_dot, is_transparent
from sealwire.policies.plan import Plan
from sealwire.policies.rules import Rule, encrypted, family, passed, refused
from sealwire.policies.schema import NOTHING, Mode, PathNode
from sealwire.policies.trees import Scope, document_node, merge, placed, same_values
from sealwire.policies.variables import see_reference
from sealwire.wire import kinds
from sealwire.wire.raw_bson import MAX_DEPTH, Element, elements, string_bytes, validate


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
    children = {name: plan_expression(plan, item, scope, inner) for name, item in named.items()}
    for name, node in children.items():
        if has_dot(name) and node.covers:
            # MongoDB refuses it too; were it a field's name, no path could follow it
            raise Refusal(Reason.SHAPE, path=node.path, rule="a field name with a dot")
    return document_node(children)


def _string(plan: Plan, element: Element, scope: Scope) -> PathNode:
    text = string_bytes(plan.buf, element)
    if text.startswith(b"$$"):
        name, _, path = text[2:].partition(b".")
        node = scope.root if name in (b"ROOT", b"CURRENT") else _variable(plan, scope, name, element)
        return placed(node if not path else follow(node, path) or NOTHING)
    if text.startswith(b"$"):
        return placed(follow(scope.root, text[1:]) or NOTHING)
    return NOTHING


def _variable(plan: Plan, scope: Scope, name: bytes, reference: Element) -> PathNode:
    """What the innermost binding of a name yields: an operator's, a `$lookup`'s, or the command's own."""
    bound = scope.variables.get(name, plan.variables.get(name))
    if bound is None:
        see_reference(plan, name, reference)
    return bound or NOTHING


def _operator(plan: Plan, element: Element, scope: Scope, parents: Parents) -> PathNode:
    rule = OPERATORS.get(element.name)
    if rule is None:
        raise Refusal(Reason.OPERATOR, rule=operator_name(element))
    return rule.handler(plan, element, scope, parents)


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


def _arguments(plan: Plan, element: Element) -> list[Element]:
    if element.kind != kinds.ARRAY:
        return [element]
    return list(elements(plan.buf, element.value))


def _equality(plan: Plan, element: Element, scope: Scope, parents: Parents) -> PathNode:
    """`$eq` and `$ne`: two values covered alike, or a covered field and a constant, which is then covered."""
    rule = element.name.decode()
    arguments = _arguments(plan, element)
    if len(arguments) != 2:
        raise Refusal(Reason.SHAPE, rule=rule)
    inner = (*parents, element.value)
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
    if element.kind != kinds.ARRAY:
        raise Refusal(Reason.SHAPE, rule="$ifNull")
    return _one_of(plan, _arguments(plan, element), scope, (*parents, element.value))


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
    if element.kind == kinds.ARRAY:
        parts = dict(zip((b"if", b"then", b"else"), elements(plan.buf, element.value), strict=False))
    elif element.kind == kinds.OBJECT:
        parts = named_parts(plan, element.value)
    else:
        parts = {}
    if parts.keys() != {b"if", b"then", b"else"}:
        raise Refusal(Reason.SHAPE, rule="$cond")
    plan_plain_expression(plan, parts[b"if"], scope, inner)
    return _one_of(plan, [parts[b"then"], parts[b"else"]], scope, inner)


def _switch(plan: Plan, element: Element, scope: Scope, parents: Parents) -> PathNode:
    if element.kind != kinds.OBJECT:
        raise Refusal(Reason.SHAPE, rule="$switch")
    results: list[PathNode | None] = []
    inner = (*parents, element.value)
    for part in elements(plan.buf, element.value):
        if part.name == b"default":
            results.append(_choice(plan, part, scope, inner))
        elif part.name == b"branches" and part.kind == kinds.ARRAY:
            results.extend(_branches(plan, part, scope, inner))
        else:
            raise Refusal(Reason.SHAPE, rule="$switch")
    return merge([node for node in results if node is not None])


def _branches(plan: Plan, element: Element, scope: Scope, parents: Parents) -> list[PathNode | None]:
    results: list[PathNode | None] = []
    for branch in elements(plan.buf, element.value):
        if branch.kind != kinds.OBJECT:
            raise Refusal(Reason.SHAPE, rule="$switch")
        inner = (*parents, element.value, branch.value)
        for part in elements(plan.buf, branch.value):
            if part.name == b"case":
                plan_plain_expression(plan, part, scope, inner)
            elif part.name == b"then":
                results.append(_choice(plan, part, scope, inner))
            else:
                raise Refusal(Reason.SHAPE, rule="$switch")
    return results


def _let(plan: Plan, element: Element, scope: Scope, parents: Parents) -> PathNode:
    if element.kind != kinds.OBJECT:
        raise Refusal(Reason.SHAPE, rule="$let")
    inner = (*parents, element.value)
    parts = named_parts(plan, element.value)
    if parts.keys() != {b"vars", b"in"} or parts[b"vars"].kind != kinds.OBJECT:
        raise Refusal(Reason.SHAPE, rule="$let")
    variables = dict(scope.variables)
    bindings = parts[b"vars"]
    for binding in named_parts(plan, bindings.value).values():
        if binding.name == b"CURRENT":
            raise Refusal(Reason.OPERATOR, rule="$let of CURRENT")
        variables[binding.name] = plan_expression(plan, binding, scope, (*inner, bindings.value))
    return plan_expression(plan, parts[b"in"], replace(scope, variables=variables), inner)


def _shape(plan: Plan, element: Element, scope: Scope, parents: Parents) -> PathNode:
    """`$size` and `$isArray` of one field: a covered array keeps its shape in deterministic mode."""
    node = plan_expression(plan, element, scope, parents)
    if node.opaque or (node.leaf is not None and node.leaf.mode is Mode.RANDOM):
        raise Refusal(Reason.COMPUTE, path=node.path, rule=element.name.decode())
    return NOTHING


def _javascript(plan: Plan, element: Element, scope: Scope, parents: Parents) -> PathNode:
    del plan, scope, parents
    raise Refusal(Reason.JAVASCRIPT, rule=element.name.decode())


def _get_field(plan: Plan, element: Element, scope: Scope, parents: Parents) -> PathNode:
    """`$getField` with a name that is written out: a field of a document, not seen through arrays."""
    name, source = element, scope.root
    if element.kind == kinds.OBJECT and not first_name(plan, element.value).startswith(b"$"):
        parts = named_parts(plan, element.value)
        if not {b"field"} <= parts.keys() <= {b"field", b"input"}:
            raise Refusal(Reason.SHAPE, rule="$getField")
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


OPERATORS: dict[bytes, Rule[Callable[[Plan, Element, Scope, Parents], PathNode]]] = {
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
    **family("$size $isArray", passed(_shape, "deterministic classes")),
    **family("$function $accumulator", refused(_javascript, Reason.JAVASCRIPT, "on any field")),
    b"$getField": passed(_get_field, "with the name written out"),
    **family("$setField $unsetField", refused(_by_name, Reason.COMPUTE, "on any field")),
    **family(PLAIN_EXPRESSIONS, refused(_compute, Reason.COMPUTE)),
}
