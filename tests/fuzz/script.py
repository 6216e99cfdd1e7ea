"""What a session is told in one run, as bytes: a list of calls that a fuzzer can change anywhere.

    call     byte act | uint16 size | size bytes          size is 0 but for bytes from a peer

Bytes that are no whole call at the end are what they would be if the script were longer.
"""

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum

_HEAD = struct.Struct("<BH")
MOST_BYTES = 0xFFFF


class Act(IntEnum):
    """One call of a session's method."""

    CLIENT = 0
    SERVER = 1
    CLIENT_EOF = 2
    SERVER_EOF = 3
    DRAIN = 4
    KEYS_LOADED = 5
    TICK = 6
    SETTINGS = 7
    MOVED = 8


@dataclass(frozen=True, slots=True)
class Call:
    """What is called, and with which bytes."""

    act: Act
    data: bytes = b""


def written_script(calls: Iterable[Call]) -> bytes:
    """The calls as bytes."""
    return b"".join(_HEAD.pack(each.act, len(each.data)) + each.data for each in calls)


def calls_of(script: bytes) -> Iterator[Call]:
    """The calls of any bytes."""
    at = 0
    while at + _HEAD.size <= len(script):
        act, size = _HEAD.unpack_from(script, at)
        at += _HEAD.size
        yield Call(Act(act % len(Act)), script[at : at + size])
        at += size
