"""Read the arguments of commands, operators and stages: the shapes that every family of them shares.

What does not have the expected shape is refused here; names that go into a refusal are made safe here.
"""

from dataclasses import dataclass, replace
from typing import Final

from sealwire.policies.errors import Reason, Refusal
from sealwire.wire import kinds
from sealwire.wire.raw_bson import Element, elements, string_bytes, validate

_NUL: Final = 0
"""A number: to look for bytes in bytes Python raises an exception inside, which takes 2,300 instructions."""

# How an expression operator, an accumulator or a stage takes its arguments: how many, and by which names.
#
# Every row has one, and the walk holds each operator against it before a handler reads anything. So no
# handler meets an argument that it would leave unread, where the server would have read it.


@dataclass(frozen=True, slots=True)
class NamedArguments:
    """One way to give arguments by name, in a document."""

    required: frozenset[bytes]
    known: frozenset[bytes]
    """The required ones and those that may be left out."""


@dataclass(frozen=True, slots=True)
class Signature:
    """The ways to give arguments that an operator takes. It is read from a notation (`signature_of`)."""

    whole: bool = False
    """The operator takes what stands beside it as it is, an array too; a document by its names, if any."""
    least: int = 1
    """The fewest arguments in an array; one that is no array stands for an array of itself."""
    most: int | None = 0
    """The most of them, None where there may be any number; 0 where they are given by name only."""
    named: tuple[NamedArguments, ...] = ()
    """The documents of arguments that the operator takes; an operator in a document's place is a value."""

    @property
    def is_positional(self) -> bool:
        """Whether arguments may stand in an array."""
        return self.most != 0


def signature_of(notation: str) -> Signature:
    """Read a signature: `2`, `2-3`, `2+`, `{input as? in}`, `x` for the whole, `|` between two ways."""
    result = Signature()
    for form in map(str.strip, notation.split("|")):
        if form == "x":
            result = replace(result, whole=True)
        elif form.startswith("{"):
            words = form.strip("{}").encode().split()
            required = frozenset(word for word in words if not word.endswith(b"?"))
            known = frozenset(word.removesuffix(b"?") for word in words)
            result = replace(result, named=(*result.named, NamedArguments(required, known)))
        elif form.endswith("+"):
            result = replace(result, least=int(form[:-1]), most=None)
        else:
            least, _, most = form.partition("-")
            result = replace(result, least=int(least), most=int(most or least))
    return result


def signatures_in(table: str) -> dict[bytes, Signature]:
    """Read lines of `notation: names of operators`, which go on where a line has no colon."""
    found: dict[bytes, Signature] = {}
    signature = Signature()
    for line in table.split("\n"):
        notation, colon, names = line.rpartition(":")
        if colon:
            signature = signature_of(notation)
        found.update(dict.fromkeys((b"$" + name for name in names.encode().split()), signature))
    return found


def check_arguments(buf: bytes, operator: Element, signature: Signature | None) -> None:
    """Hold the arguments of an operator against its signature.

    Raises Refusal(SHAPE) for too few, too many, unknown, missing and doubled ones. Cost: O(arguments).
    """
    if signature is None:
        return
    if signature.whole:
        is_named = bool(signature.named) and operator.kind == kinds.OBJECT
    else:
        is_named = not signature.is_positional or (
            bool(signature.named) and is_document_literal(buf, operator)
        )
    if is_named:
        check_names(buf, operator, *signature.named)
    if is_named or signature.whole:
        return
    count = len(one_or_more(buf, operator))
    if count < signature.least or (signature.most is not None and count > signature.most):
        raise Refusal(Reason.SHAPE, rule=f"{operator_name(operator)} with {count} arguments")


def check_names(buf: bytes, element: Element, *ways: NamedArguments) -> dict[bytes, Element]:
    """The parts of a document that has the names of one of these ways. Raises Refusal(SHAPE)."""
    if element.kind != kinds.OBJECT:
        raise Refusal(Reason.SHAPE, rule=operator_name(element))
    parts = named_parts(buf, element.value)
    if any(way.required <= parts.keys() <= way.known for way in ways):
        return parts
    for name in parts:
        if not any(name in way.known for way in ways):
            raise Refusal(Reason.SHAPE, rule=f"{operator_name(element)} with {printable(name)}")
    missing = min(ways[0].required.difference(parts), default=b"a name")
    raise Refusal(Reason.SHAPE, rule=f"{operator_name(element)} without {printable(missing)}")


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
    for before, element in enumerate(elements(buf, start)):
        parts[element.name] = element
        if len(parts) == before:  # to look for each name before takes 540 more of a find-one
            raise Refusal(Reason.SHAPE, rule=f"{operator_name(element)} twice")
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
    return one_line(name[:64].decode("utf-8", "replace"))


MAX_NAME_CHARACTERS: Final = 255
"""A namespace has at most 255 bytes (MongoDB limits)."""


def one_line(text: str, limit: int = MAX_NAME_CHARACTERS) -> str:
    """`text` with at most `limit` characters, all of them printable and encodable.

    Names come from clients: any length, control characters, and bytes that are no UTF-8.
    """
    text = text[:limit]
    return text if text.isprintable() else "".join(char if char.isprintable() else "?" for char in text)


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
    if _NUL in name:
        raise Refusal(Reason.SHAPE, rule="a name with NUL in it")
    return name.decode("utf-8", "surrogateescape")
