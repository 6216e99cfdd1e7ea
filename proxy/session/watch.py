"""What is noted of a command for the log of slow ones and for traces: names, counts, times, never a value.

There is none while nobody asks: `Shared.watch` is None, and each place that would note something sees that
and goes on. All sessions share one, as they share their thread: the shell takes what was noted after each
step of a session, and gives it the clock.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, final

from sealwire.wire import kinds
from sealwire.wire.errors import BsonError
from sealwire.wire.raw_bson import find_element, string_bytes

_COMMENT: Final = b"comment\0"


# ------------------------------------ which trace a command belongs to, as its client says in the `comment`
#
# `comment` is a text such as "traceparent=00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", or a
# document with a string of that name.
#
# A string may say more, before or behind. The server is sent the comment as it is. What is no trace
# parent is none: no word of a comment gets any further. Source: W3C Trace Context, section 3.2.

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


@dataclass(frozen=True, slots=True)
class CommandNote:
    """A command as the client's side has handled it."""

    command: str
    """Its name, if it is a known one; else `other`."""
    namespace: str
    """Safe for one line of a log; empty where nobody knows it to be one."""
    planning_s: float
    """From the whole message to the plan."""
    encrypting_s: float
    """From the plan to the message that is sent."""
    values: int
    """How many of covered fields it has."""
    parent: TraceParent | None
    reason: str = ""
    """Why it was not sent; empty: it was."""


@final
class CommandWatch:
    """Takes notes of one step of one session at a time."""

    __slots__ = (
        "_began_s",
        "_clock",
        "_note",
        "_parent",
        "_planned_s",
        "_reads_parents",
        "_values",
        "opened",
    )

    def __init__(self, clock: Callable[[], float], *, reads_parents: bool = False) -> None:
        """`reads_parents`: whether comments are looked at for the client's trace."""
        self._clock = clock
        self._reads_parents = reads_parents
        self.clear()

    def clear(self) -> None:
        """A step begins."""
        self._note: CommandNote | None = None
        self._parent: TraceParent | None = None
        self._began_s = 0.0
        self._planned_s = 0.0
        self._values = 0
        self.opened = 0
        """Envelopes that were opened in replies."""

    def met(self, message: bytes, body: int, *, is_let_in: bool) -> None:
        """A command has come, whole. Whoever is not let in continues no trace: spans cost somebody."""
        self._began_s, self._planned_s, self._parent, self._values = self._clock(), 0.0, None, 0
        if self._reads_parents and is_let_in and message.find(_COMMENT) >= 0:
            try:
                self._parent = trace_parent_in(message, body)
            except BsonError:  # whoever plans the command says so to the client
                return

    def planned(self, values: int) -> None:
        """It is known what becomes of it, and how many of its values are of covered fields."""
        self._planned_s, self._values = self._clock(), values

    def sent(self, command: str, namespace: str) -> None:
        """It is about to be sent on; `command` is a label."""
        self._take(command, namespace, "")

    def denied(self, command: str, namespace: str, reason: str) -> None:
        """It is answered with an error of ours; `command` is a label."""
        self._take(command, namespace, reason)

    def taken(self) -> CommandNote | None:
        """What was noted of a command since the last call, if one was sent or denied."""
        note, self._note = self._note, None
        return note

    def _take(self, command: str, namespace: str, reason: str) -> None:
        now_s = self._clock()
        planned_s = self._planned_s or now_s
        self._note = CommandNote(
            command,
            namespace,
            planned_s - self._began_s if self._began_s else 0.0,
            now_s - planned_s,
            self._values,
            self._parent,
            reason,
        )
