"""Operands of filter operators that hold no covered value: their shapes, and what may not stand in them."""

from collections.abc import Callable, Iterable
from typing import Final

from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.file.ranges import INT, NUMERIC
from sealwire.policies.file.schema import PathNode, ValueType, follow, has_dot
from sealwire.policies.planning.arguments import (
    check_nested,
    is_operator_document,
    one_or_more,
    operator_name,
    text_of,
)
from sealwire.policies.planning.numbers import is_true, whole_number
from sealwire.policies.planning.walk import Walk
from sealwire.wire import kinds
from sealwire.wire.raw_bson import MAX_DEPTH, Element, elements, string_bytes

BRANCHES: Final = frozenset({b"$and", b"$or", b"$nor"})
"""Operators that hold filters."""

_MISPLACED: Final = (b"$expr", b"$where")

_TYPE_NAMES: Final = b"""double string object array binData undefined objectId bool date null regex dbPointer
    javascript symbol javascriptWithScope int timestamp long decimal""".split()
_NUMBER: Final = 0
"""Stands for "number", which is four types."""
_MIN_KEY: Final = -1
TYPES: Final = {
    **{name: number for number, name in enumerate(_TYPE_NAMES, start=1)},
    b"maxKey": 127,
    b"minKey": _MIN_KEY,
    b"number": _NUMBER,
}
_TYPE_NUMBERS: Final = frozenset(TYPES.values()) - {_NUMBER}
_NUMBERS: Final = tuple(sorted(NUMERIC))


def pass_condition(buf: bytes, element: Element) -> None:
    """Check a value or operators that no covered path is compared with. Raises Refusal(OPERATOR), BsonError.

    Cost: O(bytes).
    """
    check_nested(buf, element)
    if element.kind == kinds.OBJECT and is_operator_document(buf, element):
        _refuse_branches(buf, element)
        refuse_misplaced(buf, element)


def _refuse_branches(buf: bytes, condition: Element) -> None:
    """Refuse `{field: {$or: [...]}}`, also below `$not`: only `$elemMatch` may hold filters.

    The server rejects it, when it has read conditions that were meant for other fields.
    """
    for operator in elements(buf, condition.value):
        if operator.name in BRANCHES:
            raise misplaced(operator)
        if operator.name == b"$not" and operator.kind == kinds.OBJECT:
            _refuse_branches(buf, operator)


def refuse_misplaced(buf: bytes, element: Element) -> None:
    """Refuse what names fields of the whole document in a condition on one that is not covered.

    In `{field: {$elemMatch: {$expr: ...}}}` the server rejects it, when it has read it. Raises Refusal,
    BsonError. Cost: a search in the bytes; a walk only where that finds a name.
    """
    for name in _MISPLACED:
        if buf.find(name + b"\0", element.value, element.end) >= 0:
            _walk_for_misplaced(buf, element, 0)
            return


def _walk_for_misplaced(buf: bytes, element: Element, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise Refusal(Reason.SHAPE, rule="nesting")
    for part in elements(buf, element.value):
        if part.name in _MISPLACED:
            raise misplaced(part)
        if part.kind in (kinds.OBJECT, kinds.ARRAY):
            _walk_for_misplaced(buf, part, depth + 1)


def misplaced(element: Element) -> Refusal:
    """The refusal of an operator that may stand at the top of a filter only."""
    return Refusal(Reason.OPERATOR, rule=f"{operator_name(element)} in a condition on a field")


def type_number(walk: Walk, element: Element) -> int:
    """The type that an operand of `$type` names. Raises Refusal(SHAPE) for what names none."""
    if element.kind == kinds.STRING:
        named = TYPES.get(string_bytes(walk.buf, element))
        if named is not None:
            return named
    elif (number := whole_number(walk.buf, element)) in _TYPE_NUMBERS:
        return number
    raise Refusal(Reason.SHAPE, path=walk.node.path, rule="a type that $type does not know")


def array_size(walk: Walk, element: Element) -> int:
    """The operand of `$size`. Raises Refusal(SHAPE)."""
    length = whole_number(walk.buf, element)
    if length < 0:
        raise Refusal(Reason.SHAPE, path=walk.node.path, rule="$size below zero")
    return length


def types_among(walk: Walk, element: Element) -> list[int]:
    """The types that the operand of `$type` names, "number" as one. Raises as `type_number`."""
    several = element.kind == kinds.ARRAY
    return [type_number(walk, each) for each in (elements(walk.buf, element.value) if several else [element])]


def bson_types(named: int) -> tuple[int, ...]:
    """A type that `$type` names as the bytes that begin an element; "number" is several."""
    return _NUMBERS if named == _NUMBER else (named & 0xFF,)


def stored_types(node: PathNode, asked: int) -> tuple[int, ...] | None:
    """The types to ask for in place of another one, where values of a class are stored; None: nobody can say.

    A value is stored encrypted or in clear, as its class stands, or the one or the other while that moves: so
    for the type of its class both are asked for, which is the same answer at all times. Of another type it is
    in neither form. Binary data that is asked for where a class holds none is ciphertext, and is asked for as
    MinKey is: in vain.
    """
    if asked == kinds.NULL:
        return (asked,)
    if node.leaf is None or node.leaf.value_type is None:
        return None
    own = node.leaf.kind
    meant = _NUMBERS if asked == _NUMBER else (asked,)
    if own in meant:
        return (*(kind for kind in meant if kind != kinds.BIN_DATA), kinds.BIN_DATA)
    return (_MIN_KEY,) if asked == kinds.BIN_DATA else meant


def put_types(walk: Walk, operator: Element, types: Iterable[int], name: bytes | None = None) -> None:
    """Let `$type` ask for these types; with a name, in place of an operator of another one."""
    items = b"".join(b"\x10%d\0%b" % (index, INT.pack(kind)) for index, kind in enumerate(types))
    walk.put(operator, kinds.ARRAY, INT.pack(len(items) + 5) + items + b"\0", name)


def is_least_text(walk: Walk, operator: Element) -> bool:
    """Whether it is `{$gte: ""}` on a class of strings: every string is that, in each collation."""
    node = walk.node
    return (
        operator.name == b"$gte"
        and operator.kind == kinds.STRING
        and string_bytes(walk.buf, operator) == b""
        and node.leaf is not None
        and node.leaf.value_type is ValueType.STRING
        and not node.absent
    )


def only_exists(buf: bytes, element: Element) -> Element | None:
    """The `$exists` of a condition that has nothing else; None for any other condition."""
    if element.kind != kinds.OBJECT:
        return None
    operators = list(elements(buf, element.value))
    return operators[0] if len(operators) == 1 and operators[0].name == b"$exists" else None


def exists(walk: Walk, element: Element) -> None:
    """`$exists` is answered from whether a value is there, which encryption keeps.

    The server takes any value for true or false. One that could be a stored value is not sent: what it stands
    for is put in its place. Raises Refusal(SHAPE) for a decimal that is not canonical.
    """
    flag = is_true(element.kind, walk.buf[element.value : element.end])
    if element.kind not in (kinds.BOOL, kinds.NULL):
        walk.put(element, kinds.BOOL, bytes((flag,)))


def comment(walk: Walk, element: Element) -> None:
    """`$comment` takes anything, and means nothing."""
    check_nested(walk.buf, element)


def no_document(walk: Walk, element: Element) -> None:
    """Operators at the top of a filter that take a number or a flag."""
    if element.kind in (kinds.OBJECT, kinds.ARRAY):
        raise Refusal(Reason.SHAPE, rule=operator_name(element))
    check_nested(walk.buf, element)


# ---------------------------------------------------------------------- $jsonSchema in filters and validators
#
# Whether a field is there, and how many there are, encryption keeps. What a schema says of a value's type or
# content is passed on for fields in clear and refused for covered ones.


def plan_schema(walk: Walk, element: Element) -> None:
    """Check a schema for documents with the walk's covered paths. Raises Refusal, BsonError."""
    inner, keywords = walk.parts(element)
    for keyword in keywords.values():
        rule = _KEYWORDS.get(keyword.name)
        is_beyond = walk.node.opaque or (walk.node.leaf is not None and keyword.name not in _REMARKS)
        if rule is None or is_beyond:
            raise _covered(walk, keyword)
        rule(inner, keyword)


def _covered(walk: Walk, keyword: Element) -> Refusal:
    return Refusal(Reason.OPERATOR, path=walk.node.path, rule=f"{operator_name(keyword)} of $jsonSchema")


def _remark(walk: Walk, keyword: Element) -> None:
    text_of(walk.buf, keyword)


def _names(walk: Walk, keyword: Element) -> None:
    """Names of fields or types, one or several: they speak of what is there."""
    for item in one_or_more(walk.buf, keyword):
        text_of(walk.buf, item)


def _count(walk: Walk, keyword: Element) -> None:
    whole_number(walk.buf, keyword)


def _properties(walk: Walk, keyword: Element) -> None:
    inner, schemas = walk.parts(keyword)
    for name, schema in schemas.items():
        child = follow(walk.node, name)
        if child is None:
            check_nested(walk.buf, schema)
        elif has_dot(name):
            # it reads like a covered path, and is a field's name to the server
            raise Refusal(Reason.SHAPE, path=child.path, rule="a field name with a dot")
        else:
            plan_schema(inner.at(child), schema)


def _dependencies(walk: Walk, keyword: Element) -> None:
    """Names that have to be there as well, or schemas of the whole document."""
    inner, dependencies = walk.parts(keyword)
    for dependency in dependencies.values():
        if dependency.kind == kinds.ARRAY:
            _names(inner, dependency)
        else:
            plan_schema(inner, dependency)


def _schemas(walk: Walk, keyword: Element) -> None:
    inner, schemas = walk.items(keyword)
    for schema in schemas:
        plan_schema(inner, schema)


def _items(walk: Walk, keyword: Element) -> None:
    """One schema for all items, or one for each: paths see through arrays, so they are at the same node."""
    if keyword.kind == kinds.ARRAY:
        _schemas(walk, keyword)
    elif keyword.kind != kinds.BOOL:
        plan_schema(walk, keyword)


def _flag(walk: Walk, keyword: Element) -> None:
    """Whether there may be other names. A schema for them would be one for covered fields too."""
    if keyword.kind != kinds.BOOL:
        raise _covered(walk, keyword)


_REMARKS: Final = frozenset({b"title", b"description"})

_KEYWORDS: Final[dict[bytes, Callable[[Walk, Element], None]]] = {
    **dict.fromkeys(_REMARKS, _remark),
    **dict.fromkeys((b"required", b"bsonType", b"type"), _names),
    **dict.fromkeys((b"minProperties", b"maxProperties", b"minItems", b"maxItems"), _count),
    b"properties": _properties,
    b"dependencies": _dependencies,
    **dict.fromkeys((b"allOf", b"anyOf", b"oneOf"), _schemas),
    b"not": plan_schema,
    **dict.fromkeys((b"items", b"additionalItems"), _items),
    b"additionalProperties": _flag,
}
