"""Bind the constants of a command to their variables, and cover those that meet a covered path."""

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.file.schema import PathNode
from sealwire.policies.planning.arguments import Parents, document_of, first_name, named_parts, printable
from sealwire.policies.planning.constants import Constant
from sealwire.policies.planning.plan import Plan
from sealwire.policies.planning.trees import Scope
from sealwire.wire import kinds
from sealwire.wire.raw_bson import MAX_DEPTH, Element, elements, string_bytes

# `$reduce`, `$map`, `$filter` and `$merge` give these a meaning of their own
_BOUND_BY_OPERATORS = frozenset({b"this", b"value", b"new"})

_NAME: Final = re.compile(rb"[a-z\x80-\xff][0-9A-Za-z_\x80-\xff]*")
_MENTION: Final = re.compile(rb"\$\$([0-9A-Za-z_\x80-\xff]+)")

MAX_MENTIONS: Final = 500_000
"""So many references to variables are counted in one message, some 50 MB of names at most."""


def is_variable_name(name: bytes) -> bool:
    """Whether a client may bind a variable of this name: a capital begins MongoDB's own, such as ROOT."""
    return _NAME.fullmatch(name) is not None


@contextmanager
def binding(scope: Scope, variables: Mapping[bytes, PathNode]) -> Iterator[None]:
    """Variables that an operator binds for one of its arguments; outside they mean what they meant.

    Cost: O(these variables), however many are bound already.
    """
    hidden = {name: scope.variables.get(name) for name in variables}
    scope.variables.update(variables)
    try:
        yield
    finally:
        for name, node in hidden.items():
            if node is None:
                del scope.variables[name]
            else:
                scope.variables[name] = node


def bind_constants(
    plan: Plan, argument: Element | None, parents: Parents, *, literal: bool = False
) -> tuple[bytes, ...]:
    """Remember the variables of `let` or `c`, before the expressions that name them; the names.

    The values of `let` are expressions that the server computes before it has a document; those of `c` are
    literal. Raises Refusal(SHAPE) for a name that MongoDB does not take, one that an outer argument has bound
    already, and a value of `let` that reads a document.
    """
    if argument is None or argument.kind == kinds.NULL:
        return ()
    found = named_parts(plan, document_of(argument, argument))
    for name, element in found.items():
        if not is_variable_name(name):
            raise Refusal(Reason.SHAPE, rule=f"a variable {printable(name)}")
        if name in plan.constants:
            raise Refusal(Reason.SHAPE, rule=f"a variable {printable(name)} twice")
        if not literal and _reads_document(plan, element, 0):
            raise Refusal(Reason.SHAPE, rule="let with a field")
        if name not in _BOUND_BY_OPERATORS:
            plan.constants[name] = Constant(element, (*parents, argument.value), literal)
    return tuple(found)


def _reads_document(plan: Plan, element: Element, depth: int) -> bool:
    """Whether an expression names a field, or the document itself."""
    if depth > MAX_DEPTH:
        raise Refusal(Reason.SHAPE, rule="nesting")
    if element.kind == kinds.STRING:
        text = string_bytes(plan.buf, element)
        name = text[2:].partition(b".")[0] if text.startswith(b"$$") else b""
        return text.startswith(b"$") and (not name or name in (b"ROOT", b"CURRENT"))
    if element.kind not in (kinds.OBJECT, kinds.ARRAY):
        return False
    for item in elements(plan.buf, element.value):
        if item.name == b"$literal":
            continue
        if item.name == b"$getField" and not _has_input(plan, item):
            return True
        if _reads_document(plan, item, depth + 1):
            return True
    return False


def _has_input(plan: Plan, operator: Element) -> bool:
    """Whether a `$getField` says what document it takes the field from."""
    if operator.kind != kinds.OBJECT or first_name(plan, operator.value).startswith(b"$"):
        return False
    return any(part.name == b"input" for part in elements(plan.buf, operator.value))


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
    Raises Refusal. Cost: O(names), and one search of the message for a plan, however often it is called.
    """
    for name in names:
        constant = plan.constants.pop(name, None)
        if constant is None or constant.node is None:
            continue
        node = constant.node
        if plan.mentions is None:
            plan.mentions = count_mentions(plan.buf)
        if plan.mentions.get(name, 0) != len(constant.covered):
            raise Refusal(Reason.COMPUTE, path=node.path, rule="a variable that is used in clear as well")
        element, parents = constant.element, constant.parents
        if constant.literal and element.kind == kinds.OBJECT:
            raise Refusal(Reason.COMPUTE, path=node.path, rule="a variable that is a document")
        element, parents = written_out(plan, element, node, "let", parents)
        if constant.stores:
            plan.store(element, node, parents)
        else:
            plan.match(element, node, parents)


def count_mentions(buf: bytes) -> dict[bytes, int]:
    """How often a message has each name of a variable. Raises Refusal(TOO_LARGE). Cost: O(bytes)."""
    counts: dict[bytes, int] = {}
    for place, match in enumerate(_MENTION.finditer(buf)):
        if place == MAX_MENTIONS:
            raise Refusal(Reason.TOO_LARGE, rule="references to variables")
        name = match[1]
        counts[name] = counts.get(name, 0) + 1
    return counts


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
