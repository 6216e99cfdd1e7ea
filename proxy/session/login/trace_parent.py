"""Which trace a command belongs to, as its client says in the `comment`.

    comment: "traceparent=00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    comment: {traceparent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}

A string may say more, before or behind. The server is sent the comment as it is. What is no trace parent is
none: no word of a comment gets any further.
Source: W3C Trace Context, section 3.2.
"""

import re
from dataclasses import dataclass
from typing import Final

from sealwire.wire import kinds
from sealwire.wire.raw_bson import find_element, string_bytes

_LOOKED_AT_BYTES: Final = 1024

_PARENT: Final = re.compile(
    rb"(?<![0-9a-zA-Z-])([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?![0-9a-zA-Z])"
)


@dataclass(frozen=True, slots=True)
class TraceParent:
    """A span of the client's: ids that are not 0."""

    trace_id: int
    """128 bits."""
    span_id: int
    """64 bits."""
    is_sampled: bool
    """Whether the client keeps the trace."""


def trace_parent_in(message: bytes, body: int) -> TraceParent | None:
    """What the comment of the command at `body` says. Raises BsonError. Cost: O(elements of the body)."""
    said = find_element(message, body, b"comment")
    if said is not None and said.kind == kinds.OBJECT:
        said = find_element(message, said.value, b"traceparent")
    if said is None or said.kind != kinds.STRING:
        return None
    return _read(string_bytes(message, said)[:_LOOKED_AT_BYTES])


def _read(text: bytes) -> TraceParent | None:
    found = _PARENT.search(text)
    if found is None or found.group(1) == b"ff":
        return None
    trace_id, span_id = int(found.group(2), 16), int(found.group(3), 16)
    if not trace_id or not span_id:
        return None
    return TraceParent(trace_id, span_id, bool(int(found.group(4), 16) & 1))
