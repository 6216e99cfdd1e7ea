"""One line of the log: a JSON object in the canonical form of RFC 8785, and a newline.

Every line has its number `n`, from 0 on, and `prev`, the leaf hash of the line before it in hex (64 zeros in
line 0). So each line fixes all that come before it. Everything else is its caller's.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from sealwire.audit.canonical import MOST, encode

HASH_BYTES: Final = 32
MAX_LINE_BYTES: Final = 65_536
"""With its newline. Commands name paths and users, no documents."""

NUMBER: Final = "n"
PREVIOUS: Final = "prev"
FIRST_PREVIOUS: Final = bytes(HASH_BYTES)

Scalar = str | int | bool
Fields = Mapping[str, Scalar | list[str] | dict[str, int]]


@dataclass(frozen=True, slots=True)
class Line:
    """What a line says."""

    number: int
    previous: bytes
    fields: Mapping[str, object]
    """All of them, `n` and `prev` included."""


class NotALine(Exception):
    """Bytes are no line in canonical form."""


def write_line(number: int, previous: bytes, fields: Fields) -> bytes:
    """The bytes of a line, with its newline; `fields` is without `n` and `prev`.

    What UTF-8 cannot write is replaced. Raises ValueError for an integer of 2^53 or more, a name that is not
    ASCII, in an object inside too, and a line longer than MAX_LINE_BYTES. Cost: some 3 us.
    """
    for name, value in fields.items():
        if not _is_canonical(name, value) or (
            type(value) is dict and not all(_is_canonical(*inner) for inner in value.items())
        ):
            raise ValueError(f"{name} has no canonical form")
    text = encode({**fields, NUMBER: number, PREVIOUS: previous.hex()})
    data = text.encode("utf-8", "replace") + b"\n"
    if len(data) > MAX_LINE_BYTES:
        raise ValueError(f"a line of {len(data)} bytes")
    return data


def _is_canonical(name: str, value: object) -> bool:
    return name.isascii() and (not isinstance(value, int) or abs(value) < MOST)


def read_line(data: bytes) -> Line:
    """What the bytes of a line say; `data` ends with the newline. Raises NotALine."""
    if not data.endswith(b"\n") or len(data) > MAX_LINE_BYTES:
        raise NotALine
    try:
        fields = json.loads(data)
        canonical = isinstance(fields, dict) and encode(fields).encode() + b"\n" == data
    except (ValueError, RecursionError):
        raise NotALine from None
    if not canonical:
        raise NotALine
    number, previous = fields.get(NUMBER), fields.get(PREVIOUS)
    if type(number) is not int or number < 0 or not isinstance(previous, str):
        raise NotALine
    try:
        previous_hash = bytes.fromhex(previous)
    except ValueError:
        raise NotALine from None
    if len(previous_hash) != HASH_BYTES or previous_hash.hex() != previous:
        raise NotALine
    return Line(number, previous_hash, fields)


def leaf_hash(data: bytes) -> bytes:
    """The hash of a line with its newline, as a leaf of the tree. Source: RFC 9162 section 2.1.1."""
    return sha256(b"\0" + data).digest()
