"""Read the arguments of commands, operators and stages: the shapes that every family of them shares.

What does not have the expected shape is refused here; names that go into a refusal are made safe here.
"""

from typing import Final

from sealwire.policies.errors import Reason, Refusal
from sealwire.wire import kinds
from sealwire.wire.raw_bson import Element, elements, string_bytes, validate


def is_operator_document(buf: bytes, element: Element) -> bool:
    """Whether a value is `{$operator: ...}`: MongoDB decides by the first name; a DBRef is a value.

    To be one, it needs both `$ref` and `$id`: without either, these are operators that no server knows.
    """
    if element.kind != kinds.OBJECT:
        return False
    name = first_name(buf, element.value)
    if not name.startswith(b"$"):
        return False
    if name not in REFERENCE:
        return True
    names = {part.name for part in elements(buf, element.value)}
    return not names.issuperset(_REFERENCE_NEEDS)


_REFERENCE_NEEDS: Final = frozenset({b"$ref", b"$id"})
REFERENCE: Final[frozenset[bytes]] = _REFERENCE_NEEDS | {b"$db"}
"""The fields of a DBRef: the only names with a dollar that a value may have."""


def first_name(buf: bytes, start: int) -> bytes:
    """The first field name of a document; empty when it has none."""
    return next((element.name for element in elements(buf, start)), b"")


def named_parts(buf: bytes, start: int) -> dict[bytes, Element]:
    """The elements of a document by name. Raises Refusal(SHAPE) when a name stands twice.

    The server may take the first of two equal names or the last: a plan made from the other one would lie.
    """
    parts: dict[bytes, Element] = {}
    for element in elements(buf, start):
        if element.name in parts:
            raise Refusal(Reason.SHAPE, rule=f"{operator_name(element)} twice")
        parts[element.name] = element
    return parts


def is_document_literal(buf: bytes, element: Element) -> bool:
    """Whether an expression is `{field: ...}` rather than `{$operator: ...}`."""
    return element.kind == kinds.OBJECT and not first_name(buf, element.value).startswith(b"$")


def given(parts: dict[bytes, Element], name: bytes) -> Element | None:
    """The argument of this name; None also for null, which drivers send for what is not set."""
    part = parts.get(name)
    return None if part is None or part.kind == kinds.NULL else part


def only_element(buf: bytes, start: int, what: str) -> Element:
    """The one element of a document that must have one. Raises Refusal(SHAPE) when it has not."""
    found = list(elements(buf, start))
    if len(found) != 1:
        raise Refusal(Reason.SHAPE, rule=f"{what} with {len(found)} fields")
    return found[0]


def array_items(buf: bytes, element: Element) -> list[Element]:
    """The items of an array argument. Raises Refusal(SHAPE) when it is not one."""
    if element.kind != kinds.ARRAY:
        raise Refusal(Reason.SHAPE, rule=operator_name(element))
    return list(elements(buf, element.value))


def one_or_more(buf: bytes, element: Element) -> list[Element]:
    """The items of an array argument; what is no array stands for an array of itself."""
    return list(elements(buf, element.value)) if element.kind == kinds.ARRAY else [element]


def document_of(element: Element, argument: Element) -> int:
    """Offset of a document argument; `argument` names it. Raises Refusal(SHAPE) when it is not one."""
    if element.kind != kinds.OBJECT:
        raise Refusal(Reason.SHAPE, rule=operator_name(argument))
    return element.value


def check_nested(buf: bytes, element: Element) -> None:
    """Check a value that is passed on unread. Raises BsonError."""
    if element.kind in (kinds.OBJECT, kinds.ARRAY):
        validate(buf, element.value, element.end)


def operator_name(element: Element) -> str:
    """The operator or argument that a refusal names. A client chose it, so it is bounded and printable."""
    return printable(element.name)


def printable(name: bytes) -> str:
    """A name from the wire, made safe for one line of a message: at most 64 printable characters."""
    text = name[:64].decode("utf-8", "replace")
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else "?" for char in text)


def readable(name: str) -> str:
    """A name from `string_of`, made safe to encode again: what was not UTF-8 becomes a question mark."""
    return name if name.isascii() else name.encode("utf-8", "replace").decode()


def text_of(buf: bytes, part: Element) -> bytes:
    """The bytes of an argument that must be a string. Raises Refusal(SHAPE) when it is not one."""
    if part.kind != kinds.STRING:
        raise Refusal(Reason.SHAPE, rule=operator_name(part))
    return string_bytes(buf, part)


def string_of(buf: bytes, element: Element) -> str:
    """A name that is a string element; what is not UTF-8 keeps its bytes as surrogates and matches nothing.

    Raises Refusal(SHAPE) for one with NUL in it: a server that reads it to there would take another.
    """
    name = string_bytes(buf, element)
    if b"\0" in name:
        raise Refusal(Reason.SHAPE, rule="a name with NUL in it")
    return name.decode("utf-8", "surrogateescape")
