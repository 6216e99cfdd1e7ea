"""Take envelopes out of the texts of errors, where a policy has roles.

A server prints the value that it could not work with: `BinData(128, 535701...)`. Such a text is no binary, so
nobody's rights are asked for it, and whoever may read nothing would see which stored values are equal. A run
of hexadecimal or base64 digits that has an envelope's beginning in it is left out, whatever class it is of.
"""

import re
from collections.abc import Iterator
from typing import Final

from sealwire.wire import kinds
from sealwire.wire.errors import BsonError, WireReason
from sealwire.wire.int32 import int32_at
from sealwire.wire.op_msg import parse_op_msg, refresh_checksum
from sealwire.wire.raw_bson import MAX_DEPTH, Element, elements
from sealwire.wire.splice import Edit, splice

_RUN: Final = re.compile(rb"[0-9A-Za-z+/_-]{6,}={0,2}")
_BEGINNING: Final = re.compile(rb"53570[12]|U1c[BC]|[FVl1]NXA[Q-Za-v]|TVw[E-L]")
"""The magic and the format (`crypto.envelope`) in hexadecimal, and in base64 behind 0, 1 and 2 bytes."""
_LEFT_OUT: Final = b"..."


def without_envelopes(message: bytes) -> bytes:
    """A reply that tells of an error, with no printed envelope in any of its strings.

    Returns the very same bytes where there is none. Raises BsonError. Cost: O(bytes).
    """
    if _BEGINNING.search(message) is None:
        return message
    body = parse_op_msg(message).body
    edits = [
        edit
        for text, parents in _strings(message, body, (0, body))
        for edit in _edits(message, text, parents)
    ]
    return refresh_checksum(splice(message, edits)) if edits else message


def _strings(
    message: bytes, start: int, parents: tuple[int, ...]
) -> Iterator[tuple[Element, tuple[int, ...]]]:
    """All strings of a document, each with the lengths above it. Raises BsonError."""
    for element in elements(message, start):
        if element.kind == kinds.STRING:
            yield element, parents
        elif element.kind in (kinds.OBJECT, kinds.ARRAY):
            if len(parents) > MAX_DEPTH:
                raise BsonError(WireReason.BSON_DEPTH, element.value)
            yield from _strings(message, element.value, (*parents, element.value))


def _edits(message: bytes, text: Element, parents: tuple[int, ...]) -> list[Edit]:
    start, length = text.value + 4, int32_at(message, text.value)
    runs = [run for run in _RUN.finditer(message, start, start + length - 1) if _BEGINNING.search(run[0])]
    return [Edit(run.start(), run.end(), _LEFT_OUT, (*parents, text.value)) for run in runs]
