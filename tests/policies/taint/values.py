"""Values of the taint test: markers of every BSON type, constants without one, and documents as they come.

Every marker has the same four bytes in it wherever BSON puts its value, so one search finds them all.
"""

import struct
from collections.abc import Iterable
from typing import Any

from bson import (
    Code,
    DatetimeMS,
    DBRef,
    Decimal128,
    Int64,
    MaxKey,
    MinKey,
    ObjectId,
    Regex,
    Timestamp,
    encode,
)
from bson.binary import Binary
from bson.json_util import CANONICAL_JSON_OPTIONS, dumps
from bson.raw_bson import RawBSONDocument

MARK = b"tAiN"
_EIGHT = b"tAiNtEd@"

Document = dict[str, Any]


class Pairs(tuple[tuple[str, Any], ...]):
    """A document in which a name may stand twice."""

    __slots__ = ()


TEXT_MARKERS: tuple[str, ...] = ("tAiN", "tAiN", "943 tAiN 5919", "xtAiN")
_NUMBER_MARKERS: tuple[Any, ...] = (
    int.from_bytes(MARK, "little"),
    Int64(int.from_bytes(_EIGHT, "little")),
    struct.unpack("<d", _EIGHT)[0],
    Decimal128.from_bid(_EIGHT[:7] + bytes(7) + b"\x40\x30"),
)
_OTHER_MARKERS: tuple[Any, ...] = (
    DatetimeMS(int.from_bytes(_EIGHT, "little")),
    ObjectId(MARK * 3),
    Binary(MARK * 2),
    Binary(MARK * 4, 4),
    Binary(MARK, 6),
    Binary(b"SW" + MARK * 4, 0x80),
    Regex("tAiN"),
    Code("tAiN"),
    Code("x", {"y": "tAiN"}),
    Timestamp(1, int.from_bytes(MARK, "little")),
    DBRef("c", "tAiN"),
)
_NESTED_MARKERS: tuple[Any, ...] = (
    ["tAiN"],
    [["tAiN"], None],
    {"x": "tAiN"},
    {"tAiN": 1},
    {"": "tAiN"},
    {"0": "tAiN"},
    {"x.y": "tAiN"},
    {"$gt": "tAiN"},
    {"$literal": "tAiN"},
    {"$literal": ["tAiN"]},
    {"$literal": {"$eq": "tAiN"}},
    {"$each": ["tAiN"]},
    {"$eq": "tAiN", "x": 1},
    {"x": 1, "$in": ["tAiN"]},
    [{"$gt": "tAiN"}],
    Pairs((("x", 1), ("x", "tAiN"))),
)
SCALAR_MARKERS = (*_NUMBER_MARKERS, *_OTHER_MARKERS)
OTHER_MARKERS = (*TEXT_MARKERS, *_OTHER_MARKERS)
"""Scalars that are no numbers: where a number belongs, one with the marker's bytes is as good as any."""
MARKERS = (*SCALAR_MARKERS, *_NESTED_MARKERS)

_noncanonical = Decimal128.from_bid(b"\xff" * 13 + b"\xff\x70\x6c")
ZEROS: tuple[Any, ...] = (
    *(0, Int64(0), 0.0, -0.0, False),
    *(Decimal128("0"), Decimal128("-0"), Decimal128("0E+6111"), Decimal128("0E-6176"), _noncanonical),
)
"""Every way to write a number that MongoDB takes for false; the last has digits that no decimal can have."""
NUMBERS: tuple[Any, ...] = (
    *(1, 2, -1, Int64(1), 1.0, True, Decimal128("1"), Decimal128("1.0"), Decimal128("10E-1")),
    *(Int64(2**63 - 1), Int64(-(2**63)), 2**31 - 1, -(2**31), 2.0**63, 1e300, 1.5, 5e-324),
    *(float("nan"), float("inf"), float("-inf")),
    *(Decimal128("NaN"), Decimal128("sNaN"), Decimal128("Infinity"), Decimal128("-Infinity")),
    *(Decimal128("1E+6144"), Decimal128("1E-6176")),
    *ZEROS,
)
CONSTANTS: tuple[Any, ...] = (
    *("a", "b", "", 1, 2, True, None, "a", "b"),
    *(Int64(5), 1.5, Decimal128("2.5"), DatetimeMS(0), ObjectId(bytes(12)), Binary(b"x"), Regex("x")),
    *(Timestamp(0, 0), Code("x"), MinKey(), MaxKey(), [], {}, ["a"], {"x": "a"}),
)
"""A value of every BSON type that the driver encodes, without a marker."""


def wire_form(value: Any) -> Any:
    """`value` as the driver's encoder takes it, doubled names in it. Cost: O(values)."""
    kind = type(value)
    if kind is dict:
        return {name: wire_form(inner) for name, inner in value.items()}
    if kind is list:
        return [wire_form(inner) for inner in value]
    if kind is Pairs:
        return RawBSONDocument(_joined(encode({name: wire_form(inner)}) for name, inner in value))
    return value


def encoded(document: Document | Pairs) -> bytes:
    """The BSON of a document."""
    found = wire_form(document)
    return bytes(found.raw) if isinstance(found, RawBSONDocument) else encode(found)


def _joined(documents: Iterable[bytes]) -> bytes:
    inside = b"".join(document[4:-1] for document in documents)
    return struct.pack("<i", len(inside) + 5) + inside + b"\0"


def shown(value: Any) -> str:
    """Extended JSON, in which a doubled name stands twice."""
    if isinstance(value, Pairs):
        return "{" + ", ".join(f"{dumps(name)}: {shown(inner)}" for name, inner in value) + "}"
    if type(value) is dict:
        return shown(Pairs(value.items()))
    if type(value) is list:
        return "[" + ", ".join(map(shown, value)) + "]"
    return str(dumps(value, json_options=CANONICAL_JSON_OPTIONS))


def children(value: Any) -> list[tuple[str, Any]]:
    """The names and values in a document; of an array with empty names; of anything else none."""
    if type(value) is dict:
        return list(value.items())
    if isinstance(value, Pairs):
        return list(value)
    return [("", inner) for inner in value] if type(value) is list else []


def rebuilt(value: Any, parts: list[tuple[str, Any]]) -> Any:
    """A value of the same kind with other children."""
    if type(value) is list:
        return [inner for _, inner in parts]
    names = {name for name, _ in parts}
    return dict(parts) if len(names) == len(parts) else Pairs(parts)
