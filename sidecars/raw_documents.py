"""Stored values as bytes, and documents made of them, for tools that hand them to a server as it has them.

No driver decodes and encodes all types without loss: deprecated ones, strings that are no UTF-8, names twice.
"""

from collections.abc import Iterable

from bson.binary import Binary

from sealwire.crypto.envelope import MAGIC, SUBTYPE
from sealwire.wire import kinds
from sealwire.wire.raw_bson import find_element

Value = tuple[int, bytes]
"""BSON type and value bytes."""


def document(*parts: bytes) -> bytes:
    """A BSON document of whole elements. Cost: one copy."""
    inside = b"".join(parts)
    return b"%b%b\0" % ((len(inside) + 5).to_bytes(4, "little"), inside)


def element(kind: int, name: bytes, value: bytes) -> bytes:
    """An element of a document."""
    return b"%c%b\0%b" % (kind, name, value)


def array(values: Iterable[Value]) -> bytes:
    """The value bytes of an array."""
    return document(*(element(kind, b"%d" % index, value) for index, (kind, value) in enumerate(values)))


def one_of(name: bytes, values: Iterable[Value]) -> bytes:
    """The element `{name: {$in: values}}` of a filter: no value is taken for an operator."""
    return element(kinds.OBJECT, name, document(element(kinds.ARRAY, b"$in", array(values))))


def is_envelope_value(value: object) -> bool:
    """Whether a value as a driver decodes it begins like an envelope. Nothing is opened."""
    return isinstance(value, Binary) and value.subtype == SUBTYPE and value.startswith(MAGIC)


def identity_of(raw: bytes) -> bytes:
    """The element `_id` of a stored document. Raises BsonError, ValueError where there is none."""
    found = find_element(raw, 0, b"_id")
    if found is None:
        raise ValueError("a stored document without _id")
    return raw[found.start : found.end]
