"""How an expression operator, an accumulator or a stage takes its arguments: how many, and by which names.

Every row has one, and the walk holds each operator against it before a handler reads anything. So no handler
meets an argument that it would leave unread, where the server would have read it.
"""

from dataclasses import dataclass, replace

from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.planning.arguments import (
    is_document_literal,
    named_parts,
    one_or_more,
    operator_name,
    printable,
)
from sealwire.wire import kinds
from sealwire.wire.raw_bson import Element


@dataclass(frozen=True, slots=True)
class Names:
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
    named: tuple[Names, ...] = ()
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
            result = replace(result, named=(*result.named, Names(required, known)))
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


def check_names(buf: bytes, element: Element, *ways: Names) -> dict[bytes, Element]:
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
