"""Constants of a command: bind them to their variables, and cover those that meet a covered path."""

import re
from collections import Counter
from itertools import islice
from typing import Final

from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.file.ranges import NUMERIC
from sealwire.policies.file.schema import PathNode, has_dot
from sealwire.policies.planning import arguments
from sealwire.policies.planning.numbers import whole_number
from sealwire.policies.planning.plan import Use
from sealwire.policies.planning.rules import Operator
from sealwire.policies.planning.values import match, note_comparison, store
from sealwire.policies.planning.walk import Constant, Walk
from sealwire.wire import kinds
from sealwire.wire.raw_bson import MAX_DEPTH, Element, elements, string_bytes

# ---------------------------------- the arguments of an operator: where they stand, and which are written out

Place = tuple[Walk, Element]
"""An argument, and the walk at the place where it stands."""

_DOLLAR: Final = ord("$")


def arguments_of(walk: Walk, operator: Element) -> list[Place]:
    """The arguments of an operator, which may be one without brackets."""
    if operator.kind != kinds.ARRAY:
        return [(walk, operator)]
    inner = walk.inside(operator.value)
    return [(inner, item) for item in elements(walk.buf, operator.value)]


def written(walk: Walk, argument: Element) -> Place | None:
    """A constant, without `$literal` around it; None for what the server computes.

    Raises Refusal(SHAPE), BsonError. Cost: O(bytes) of a constant; else O(bytes) before the first operator,
    so that operators inside each other are not read again at each level.
    """
    if argument.kind == kinds.OBJECT:
        inside = list(elements(walk.buf, argument.value))
        if len(inside) == 1 and inside[0].name == b"$literal":
            arguments.check_nested(walk.buf, argument)
            return walk.inside(argument.value), inside[0]
    if not _is_written(walk.buf, argument, 0):
        return None
    arguments.check_nested(walk.buf, argument)
    return walk, argument


def _is_written(buf: bytes, element: Element, depth: int) -> bool:
    if depth > MAX_DEPTH:
        raise Refusal(Reason.SHAPE, rule="nesting")
    if element.kind == kinds.STRING:
        return buf[element.value + 4] != _DOLLAR
    if element.kind == kinds.ARRAY:
        return all(_is_written(buf, item, depth + 1) for item in elements(buf, element.value))
    if element.kind == kinds.OBJECT:
        return all(
            not name.startswith(b"$") and not has_dot(name) and _is_written(buf, item, depth + 1)
            for name, item in arguments.named_parts(buf, element.value).items()
        )
    return True


def known_value(walk: Walk, argument: Element) -> Element | None:
    """The value whose type is that of an argument, which `$literal` may hold; None for what is computed.

    A document or an array that is written out is known by its type alone. Cost: O(1).
    """
    if argument.kind == kinds.STRING:
        return None if walk.buf[argument.value + 4] == _DOLLAR else argument
    if argument.kind != kinds.OBJECT:
        return argument
    first = next(elements(walk.buf, argument.value), None)
    if first is None or not first.name.startswith(b"$"):
        return argument
    return first if first.name == b"$literal" else None


def converts_plainly(walk: Walk, operator: Element) -> bool:
    """Whether a `$convert` is to a type that is written out and not binary."""
    to = arguments.named_parts(walk.buf, operator.value).get(b"to") if operator.kind == kinds.OBJECT else None
    target = None if to is None else known_value(walk, to)
    if target is None:
        return False
    if target.kind == kinds.STRING:
        return string_bytes(walk.buf, target) != b"binData"
    return target.kind in NUMERIC and whole_number(walk.buf, target) != kinds.BIN_DATA


def is_null(walk: Walk, argument: Element) -> bool:
    """Whether an argument is null, as it stands or in `$literal`."""
    value = known_value(walk, argument)
    return value is not None and value.kind == kinds.NULL


def is_of_every_class(buf: bytes, element: Element) -> bool:
    """Whether an expression yields what is stored in clear whatever the class: null, no value at all, or [].

    It sees what is written out: `null`, `[]`, `"$$REMOVE"`. Cost: O(1).
    """
    if element.kind == kinds.STRING:
        return string_bytes(buf, element) == b"$$REMOVE"
    if element.kind == kinds.ARRAY:
        return next(elements(buf, element.value), None) is None
    return element.kind == kinds.NULL


def array_of(node: PathNode, operator: Element) -> PathNode:
    """`node`, which is known to be an array where plaintext is one. Raises Refusal(COMPUTE)."""
    if node.is_random and not node.absent:
        raise Refusal(Reason.COMPUTE, path=node.path, rule=arguments.operator_name(operator))
    return node


def refuse_covered(node: PathNode, operator: Element) -> None:
    """Raises Refusal(COMPUTE) for an argument whose value is needed."""
    if node.covers:
        raise Refusal(Reason.COMPUTE, path=node.path, rule=arguments.operator_name(operator))


def check_array(walk: Walk, argument: Element, operator: Element) -> None:
    """Refuse an argument that is written out and neither an array nor null. Raises Refusal(SHAPE)."""
    value = known_value(walk, argument)
    if value is not None and value.kind not in (kinds.ARRAY, kinds.NULL):
        raise Refusal(
            Reason.SHAPE, rule=f"{arguments.operator_name(operator)} with another value than an array"
        )


# -------------------------------------------------------------------------------------------------- constants

_NAME: Final = re.compile(rb"[a-z\x80-\xff][0-9A-Za-z_\x80-\xff]*")
_MENTION: Final = re.compile(rb"\$\$([0-9A-Za-z_\x80-\xff]+)")

MAX_MENTIONS: Final = 500_000
"""So many references to variables are counted in one message, some 50 MB of names at most."""


def is_variable_name(name: bytes) -> bool:
    """Whether a client may bind a variable of this name: a capital begins MongoDB's own, such as ROOT."""
    return _NAME.fullmatch(name) is not None


def bind_constants(walk: Walk, argument: Element | None, *, literal: bool = False) -> Walk:
    """The walk in which expressions may name the variables of `let` or `c`; `walk` itself without any.

    The values of `let` are expressions that the server computes before it has a document; those of `c` are
    literal. Raises Refusal(SHAPE) for a name that MongoDB does not take, one that is bound around it already,
    and a value of `let` that reads a document.
    """
    if argument is None or argument.kind == kinds.NULL:
        return walk
    constants: dict[bytes, Constant] = {}
    parents = walk.path_of(argument)
    for name, element in arguments.named_parts(walk.buf, arguments.document_of(argument, argument)).items():
        if not is_variable_name(name):
            raise Refusal(Reason.SHAPE, rule=f"a variable {arguments.printable(name)}")
        if walk.variable(name) is not None:
            raise Refusal(Reason.SHAPE, rule=f"a variable {arguments.printable(name)} twice")
        if not literal:
            if _reads_document(walk.buf, element, 0):
                raise Refusal(Reason.SHAPE, rule="let with a field")
            walk.draft.makes_unknown |= _makes_unknown(walk, element)
        constants[name] = Constant(element, parents, literal=literal)
    return walk.binding({}, constants) if constants else walk


def _reads_document(buf: bytes, element: Element, depth: int) -> bool:
    """Whether an expression names a field, or the document itself."""
    if depth > MAX_DEPTH:
        raise Refusal(Reason.SHAPE, rule="nesting")
    if element.kind == kinds.STRING:
        text = string_bytes(buf, element)
        name = text[2:].partition(b".")[0] if text.startswith(b"$$") else b""
        return text.startswith(b"$") and (not name or name in (b"ROOT", b"CURRENT"))
    if element.kind not in (kinds.OBJECT, kinds.ARRAY):
        return False
    for item in elements(buf, element.value):
        if item.name == b"$literal":
            continue
        if item.name == b"$getField" and not _has_input(buf, item):
            return True
        if _reads_document(buf, item, depth + 1):
            return True
    return False


def _makes_unknown(walk: Walk, element: Element) -> bool:
    """Whether an operator in a value, which nobody plans, may make what looks like an envelope.

    The value has been walked before, so it is no deeper than is allowed.
    """
    if element.kind not in (kinds.OBJECT, kinds.ARRAY):
        return False
    return any(
        (item.name.startswith(b"$") and _is_unread(walk.draft.tables.operators.get(item.name)))
        or (item.name == b"$convert" and not converts_plainly(walk, item))
        or (item.name != b"$literal" and _makes_unknown(walk, item))
        for item in elements(walk.buf, element.value)
    )


def _is_unread(row: Operator | None) -> bool:
    return row is None or row.reason is Reason.JAVASCRIPT


def _has_input(buf: bytes, operator: Element) -> bool:
    """Whether a `$getField` says what document it takes the field from."""
    return arguments.is_document_literal(buf, operator) and any(
        part.name == b"input" for part in elements(buf, operator.value)
    )


def match_constant(walk: Walk, constant: Element, node: PathNode, rule: str) -> None:
    """Cover a constant that covered values are compared with, here or where `let` has it. Raises Refusal."""
    if not cover_reference(walk, constant, node, stores=False):
        _cover_written(walk, constant, node, rule, stores=False)


def cover_reference(walk: Walk, reference: Element, node: PathNode, *, stores: bool) -> bool:
    """Whether a string is the whole name of a constant; it is covered for `node` then.

    Raises Refusal(COMPUTE) when it is covered for another class already.
    """
    if reference.kind != kinds.STRING:
        return False
    text = string_bytes(walk.buf, reference)
    constant = walk.variable(text[2:]) if text.startswith(b"$$") else None
    if not isinstance(constant, Constant):
        return False
    if constant.node is not None and constant.node.leaf != node.leaf:
        raise Refusal(Reason.COMPUTE, path=node.path, rule="a variable for two classes")
    constant.node = constant.node or node
    constant.covered.add(reference.start)
    constant.stores = constant.stores or stores
    if not stores:
        note_comparison(walk.draft, node)
    return True


def cover_constants(bound: Walk) -> None:
    """At the end of what `bind_constants` has bound: cover the values, where expressions ask for it.

    Every place that has the name must be one of those, whatever it is: also in stages that pass unread.
    Raises Refusal. Cost: O(names), and one search of the message for a command, however often it is called.
    """
    variables, draft = bound.variables, bound.draft
    if variables is None:
        return
    for name, constant in variables.constants.items():
        node = constant.node
        if node is None:
            continue
        if draft.mentions is None:
            draft.mentions = count_mentions(bound.buf)
        if draft.mentions.get(name, 0) != len(constant.covered):
            raise Refusal(Reason.COMPUTE, path=node.path, rule="a variable that is used in clear as well")
        if constant.literal and constant.element.kind == kinds.OBJECT:
            raise Refusal(Reason.COMPUTE, path=node.path, rule="a variable that is a document")
        walk = Walk(draft, bound.node, constant.parents, Use.MATCH)
        _cover_written(walk, constant.element, node, "let", stores=constant.stores)


def _cover_written(walk: Walk, constant: Element, node: PathNode, rule: str, *, stores: bool) -> None:
    """Cover a constant that is written out. Raises Refusal for anything computed."""
    place = written(walk, constant)
    if place is None or _holds_document(walk.buf, place[1]):
        # a document in an expression is computed field by field
        raise Refusal(Reason.COMPUTE, path=node.path, rule=rule)
    inner, value = place
    if stores:
        store(inner, value, node)
    else:
        match(inner, value, node)


def _holds_document(buf: bytes, element: Element) -> bool:
    if element.kind == kinds.ARRAY:
        return any(_holds_document(buf, item) for item in elements(buf, element.value))
    return element.kind == kinds.OBJECT


def count_mentions(buf: bytes) -> dict[bytes, int]:
    """How often a message has each name of a variable. Raises Refusal(TOO_LARGE). Cost: O(bytes)."""
    names = [found[1] for found in islice(_MENTION.finditer(buf), MAX_MENTIONS + 1)]
    if len(names) > MAX_MENTIONS:
        raise Refusal(Reason.TOO_LARGE, rule="references to variables")
    return Counter(names)
