"""`$jsonSchema` in filters and validators: fine as long as it says nothing of covered values.

Whether a field is there, and how many there are, encryption keeps. What a schema says of a value's type or
content is passed on for fields in clear and refused for covered ones.
"""

from collections.abc import Callable
from typing import Final

from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.file.paths import follow, has_dot
from sealwire.policies.planning.arguments import check_nested, one_or_more, operator_name, text_of
from sealwire.policies.planning.values import whole_number
from sealwire.policies.planning.walk import Walk
from sealwire.wire import kinds
from sealwire.wire.raw_bson import Element


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


def _branches(walk: Walk, keyword: Element) -> None:
    inner, schemas = walk.items(keyword)
    for schema in schemas:
        plan_schema(inner, schema)


def _items(walk: Walk, keyword: Element) -> None:
    """One schema for all items, or one for each: paths see through arrays, so they are at the same node."""
    if keyword.kind == kinds.ARRAY:
        _branches(walk, keyword)
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
    **dict.fromkeys((b"allOf", b"anyOf", b"oneOf"), _branches),
    b"not": plan_schema,
    **dict.fromkeys((b"items", b"additionalItems"), _items),
    b"additionalProperties": _flag,
}
