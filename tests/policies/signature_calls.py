"""Operands made from an operator's signature: some that fit, and some that do not."""

from collections.abc import Iterator
from typing import Any

from bson import encode
from bson.raw_bson import RawBSONDocument

from sealwire.policies.planning.arguments import Signature
from sealwire.policies.planning.plan import Plan

_MANY = 5
"""More arguments than any operator takes that takes no number of them."""


def fitting(signature: Signature, argument: Any) -> Iterator[Any]:
    """Operands that fit, each once, with `argument` in every place."""
    if signature.whole:
        yield argument
    if signature.is_positional:
        most = _MANY if signature.most is None else signature.most
        for count in range(signature.least, most + 1):
            yield [argument] * count
        if signature.least == 1 and not signature.whole:
            yield argument
    for names in signature.named:
        for fields in dict.fromkeys((names.required, names.known)):
            yield _document(fields, argument)


def misfits(signature: Signature, argument: Any) -> Iterator[Any]:
    """Operands with too few arguments, too many, wrong names, names left out and names doubled."""
    if signature.whole:
        return
    if signature.is_positional:
        counts = {*range(signature.least), (signature.most or _MANY) + 1, _MANY + 1}
        yield from ([argument] * count for count in counts if not _takes(signature, count))
        if signature.least > 1:
            yield argument
    elif signature.named:
        yield from ([argument] * count for count in range(3))
        yield argument
        yield [_document(signature.named[0].known, argument)]
    for names in signature.named:
        yield {**_document(names.known, argument), "unheardOf": argument}
        yield {"unheardOf": argument}
        for name in sorted(names.required):
            yield _document(names.known - {name}, argument)
        for name in sorted(names.known):
            yield doubled(_document(names.known, argument), {name.decode(): argument})


def doubled(document: dict[str, Any], more: dict[str, Any]) -> RawBSONDocument:
    """A document with the fields of both, whether or not their names are the same."""
    once, again = encode(document), encode(more)
    return RawBSONDocument((len(once) + len(again) - 5).to_bytes(4, "little") + once[4:-1] + again[4:])


def left_in_clear(plan: Plan) -> bytes:
    """What a plan sends to the server, with zeros for every value that it encrypts."""
    left = bytearray(plan.buf)
    for edit in plan.edits:
        left[edit.element.value : edit.element.end] = bytes(edit.element.end - edit.element.value)
    return bytes(left)


def _takes(signature: Signature, count: int) -> bool:
    return signature.least <= count and (signature.most is None or count <= signature.most)


def _document(names: frozenset[bytes], argument: Any) -> dict[str, Any]:
    return {name.decode(): argument for name in sorted(names)}
