"""Bind the constants of a command to their variables, and cover those that meet a covered path."""

import re
from collections.abc import Iterable

from sealwire.policies.arguments import Parents, document_of, named_parts, printable
from sealwire.policies.constants import Constant
from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.plan import Plan
from sealwire.policies.schema import PathNode
from sealwire.wire import kinds
from sealwire.wire.raw_bson import Element, elements, string_bytes

# `$reduce`, `$map`, `$filter` and `$merge` give these a meaning of their own
_BOUND_BY_OPERATORS = frozenset({b"this", b"value", b"new"})


def bind_constants(plan: Plan, argument: Element | None, parents: Parents) -> tuple[bytes, ...]:
    """Remember the variables of `let` or `c`, before the expressions that name them; the names.

    Raises Refusal(SHAPE) for one that an outer argument has bound already.
    """
    if argument is None or argument.kind == kinds.NULL:
        return ()
    found = named_parts(plan, document_of(argument, argument))
    for name, element in found.items():
        if name in plan.constants:
            raise Refusal(Reason.SHAPE, rule=f"a variable {printable(name)} twice")
        if name not in _BOUND_BY_OPERATORS:
            plan.constants[name] = Constant(element, (*parents, argument.value))
    return tuple(found)


def see_reference(plan: Plan, name: bytes, reference: Element) -> None:
    """Note that the string `reference` means the constant `name`, if there is one."""
    constant = plan.constants.get(name)
    if constant is not None:
        constant.seen.add(reference.start)


def cover_reference(plan: Plan, reference: Element, node: PathNode, *, stores: bool) -> bool:
    """Whether a string is the whole name of a constant that was seen there; it is covered for `node` then.

    Raises Refusal(COMPUTE) when it is covered for another class already.
    """
    if reference.kind != kinds.STRING:
        return False
    text = string_bytes(plan.buf, reference)
    constant = plan.constants.get(text[2:]) if text.startswith(b"$$") else None
    if constant is None or reference.start not in constant.seen:
        return False
    if constant.node is not None and constant.node.leaf != node.leaf:
        raise Refusal(Reason.COMPUTE, path=node.path, rule="a variable for two classes")
    constant.node = constant.node or node
    constant.covered.add(reference.start)
    constant.stores = constant.stores or stores
    plan.compares = plan.compares or not stores
    return True


def settle_constants(plan: Plan, names: Iterable[bytes]) -> None:
    """At the end of what these variables are for: cover their values, where expressions ask for it.

    Every place that has the name must be one of those, whatever it is: also in stages that pass unread.
    Raises Refusal. Cost: one search of the message for each covered variable.
    """
    for name in names:
        constant = plan.constants.pop(name, None)
        if constant is None or constant.node is None:
            continue
        node = constant.node
        if _mentions(plan, name) != len(constant.covered):
            raise Refusal(Reason.COMPUTE, path=node.path, rule="a variable that is used in clear as well")
        element, parents = written_out(plan, constant.element, node, "let", constant.parents)
        if constant.stores:
            plan.store(element, node, parents)
        else:
            plan.match(element, node, parents)


def _mentions(plan: Plan, name: bytes) -> int:
    """How often the message has this name of a variable, and not a longer one that begins with it."""
    return len(re.findall(rb"\$\$" + re.escape(name) + rb"(?![0-9A-Za-z_\x80-\xff])", plan.buf))


def written_out(
    plan: Plan, constant: Element, node: PathNode, rule: str, parents: Parents
) -> tuple[Element, Parents]:
    """A constant in an expression, without `$literal` around it. Raises Refusal for anything computed."""
    if constant.kind == kinds.OBJECT:
        fields = list(elements(plan.buf, constant.value))
        if len(fields) != 1 or fields[0].name != b"$literal" or fields[0].kind == kinds.OBJECT:
            raise Refusal(Reason.COMPUTE, path=node.path, rule=rule)
        return fields[0], (*parents, constant.value)
    if not _is_written_out(plan, constant):
        raise Refusal(Reason.COMPUTE, path=node.path, rule=rule)
    return constant, parents


def _is_written_out(plan: Plan, constant: Element) -> bool:
    if constant.kind == kinds.STRING:
        return plan.buf[constant.value + 4] != ord("$")
    if constant.kind == kinds.ARRAY:
        return all(_is_written_out(plan, item) for item in elements(plan.buf, constant.value))
    return constant.kind != kinds.OBJECT
