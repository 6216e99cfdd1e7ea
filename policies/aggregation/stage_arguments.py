"""The arguments of stages: documents by the names and types they have, names and numbers that decide, orders.

Ciphertext has no order, so no covered path may take part in one.
"""

from collections.abc import Callable, Mapping
from typing import Final

from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.file.ranges import NUMERIC
from sealwire.policies.file.schema import follow
from sealwire.policies.planning.arguments import (
    array_items,
    check_names,
    document_of,
    named_parts,
    only_element,
    operator_name,
    signature_of,
    text_of,
)
from sealwire.policies.planning.numbers import FLAGS, whole_number
from sealwire.policies.planning.walk import Walk
from sealwire.wire import kinds
from sealwire.wire.raw_bson import Element, elements, string_bytes

_RANGE: Final = signature_of("{step bounds unit?}").named
_BOUNDS: Final = frozenset({b"full", b"partition"})
UNITS: Final = frozenset(b"year quarter month week day hour minute second millisecond".split())

Shape = Callable[[bytes, Element, Element], None]
"""Checks an argument of the stage, or command, that comes last. Raises Refusal(SHAPE)."""


def typed(*types: int) -> Shape:
    """A value of one of these types."""

    def check(buf: bytes, argument: Element, named: Element) -> None:
        del buf
        if argument.kind not in types:
            raise Refusal(Reason.SHAPE, rule=f"{operator_name(named)} with {operator_name(argument)}")

    return check


FLAG: Final[Shape] = typed(*FLAGS)
TEXT: Final[Shape] = typed(kinds.STRING)


def shaped(known: Mapping[bytes, Shape]) -> Shape:
    """A document that has no other names than these."""

    def check(buf: bytes, argument: Element, named: Element) -> None:
        check_shapes(buf, named_parts(buf, document_of(argument, named)), named, known)

    return check


def check_shapes(
    buf: bytes, parts: Mapping[bytes, Element], named: Element, known: Mapping[bytes, Shape]
) -> None:
    """Hold the parts of a document against the names and shapes that it may have. Raises Refusal(SHAPE)."""
    for name, part in parts.items():
        if name not in known:
            raise Refusal(Reason.SHAPE, rule=f"{operator_name(named)} with {operator_name(part)}")
        known[name](buf, part, named)


def unless_null(shape: Shape) -> Shape:
    """The same, or null, which stands for an option that is not set."""

    def check(buf: bytes, argument: Element, named: Element) -> None:
        if argument.kind != kinds.NULL:
            shape(buf, argument, named)

    return check


def each(kind: int, shape: Shape) -> Shape:
    """An array of such values, or a document of them under any names: `kind` tells which."""

    def check(buf: bytes, argument: Element, named: Element) -> None:
        if argument.kind != kind:
            raise Refusal(Reason.SHAPE, rule=operator_name(named))
        for item in elements(buf, argument.value):
            shape(buf, item, named)

    return check


def at_least(buf: bytes, number: Element, least: int) -> int:
    """A whole number that is no smaller than `least`. Raises Refusal(SHAPE) for anything else."""
    found = whole_number(buf, number)
    if found < least:
        raise Refusal(Reason.SHAPE, rule=f"{operator_name(number)} of less than {least}")
    return found


def check_field_name(name: bytes, part: Element) -> None:
    """Raises Refusal(SHAPE) for a name that no field of a document can be given."""
    if not name or name.startswith(b"$") or b"." in name or b"\0" in name:
        raise Refusal(Reason.SHAPE, rule=f"a name for {operator_name(part)}")


def field_path(buf: bytes, part: Element) -> bytes:
    """A path without a dollar, such as `$unset` takes. Raises Refusal(SHAPE)."""
    path = text_of(buf, part)
    if not path or path.startswith(b"$"):
        raise Refusal(Reason.SHAPE, rule=f"a path for {operator_name(part)}")
    return path


def referred_path(buf: bytes, part: Element) -> bytes:
    """The path of `"$path"`, such as `$unwind` takes. Raises Refusal(SHAPE)."""
    text = text_of(buf, part)
    if len(text) < 2 or not text.startswith(b"$") or text.startswith(b"$$"):
        raise Refusal(Reason.SHAPE, rule=f"a path for {operator_name(part)}")
    return text[1:]


def check_range(buf: bytes, part: Element) -> None:
    """`{step, unit, bounds}` of `$densify`: numbers, dates, and words that it knows. Raises Refusal."""
    parts = check_names(buf, part, *_RANGE)
    unit, bounds = parts.get(b"unit"), parts[b"bounds"]
    is_known = parts[b"step"].kind in NUMERIC
    is_known = is_known and (unit is None or _is_word(buf, unit, UNITS))
    if bounds.kind == kinds.ARRAY:
        ends = array_items(buf, bounds)
        is_known = is_known and len(ends) == 2 and all(end.kind in NUMERIC | {kinds.DATE} for end in ends)
    else:
        is_known = is_known and _is_word(buf, bounds, _BOUNDS)
    if not is_known:
        raise Refusal(Reason.SHAPE, rule="$densify")


def _is_word(buf: bytes, part: Element, words: frozenset[bytes]) -> bool:
    return part.kind == kinds.STRING and string_bytes(buf, part) in words


def plan_sort(walk: Walk, specification: Element) -> None:
    """Refuse a sort specification that orders by a covered path. Raises Refusal(SORT), BsonError.

    A covered path that a stage has taken away has no order, and takes a direction and nothing else.
    Directions of other paths are the server's affair: none of them is a value of a document.
    """
    for key in elements(walk.buf, document_of(specification, specification)):
        plan_sort_key(walk, key)


def plan_sort_key(walk: Walk, key: Element) -> None:
    """The same of one key of it."""
    covered = None if key.name == b"$natural" else follow(walk.node, key.name)
    if covered is not None and not covered.absent:
        raise Refusal(Reason.SORT, path=covered.path, rule="sort")
    if key.kind in (kinds.OBJECT, kinds.ARRAY):
        _check_meta(walk.buf, key)
    elif covered is not None and whole_number(walk.buf, key) not in (1, -1):
        raise Refusal(Reason.SHAPE, path=covered.path, rule="a direction that is neither 1 nor -1")


def _check_meta(buf: bytes, key: Element) -> None:
    """The one document that may stand for a direction is `{$meta: "textScore"}`, which names no field."""
    meta = only_element(buf, document_of(key, key), "a sort key")
    if meta.name != b"$meta" or meta.kind != kinds.STRING:
        raise Refusal(Reason.SHAPE, rule="a sort key")
