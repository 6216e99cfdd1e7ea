"""Read the little-endian int32 of messages and documents: the one place that knows how.

`librt.strings.read_i32_le` is one machine instruction in a compiled core and the fastest call in a plain one.
There it yields a fixed-width integer, and arithmetic with one wraps around where Python's integers grow:
after an addition a length of 2147483647 would count as negative. Hence nobody else calls it.
"""

from librt.strings import read_i32_le


def int32_at(buf: bytes, offset: int) -> int:
    """The int32 at `offset`. Raises IndexError where no four bytes are, which callers rule out first."""
    value: int = read_i32_le(buf, offset)
    return value
