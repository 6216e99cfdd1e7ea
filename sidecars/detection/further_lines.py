"""Commands that one line of the log cannot hold have several, and one of these may be missing.

A line that names a thousand persons would be too long, so others follow it. While the log cannot be written
some of them can be lost with the room for them, and then nobody can say whom they named.
"""

from collections.abc import Mapping
from typing import Final, final

from sealwire.sidecars.detection.observations import number_of

_OF_COMMAND: Final = ("time", "client", "connection", "worker", "command")
"""What all lines of a command have alike."""


@final
class FurtherLines:
    """Which lines there are of commands that have several. A line may be there twice."""

    __slots__ = ("_found", "_wanted")

    def __init__(self) -> None:
        self._wanted: dict[tuple[str, ...], int] = {}
        self._found: set[tuple[tuple[str, ...], int]] = set()

    def note(self, line: Mapping[str, object]) -> None:
        """Note one line: `parts` of the first says how many there are, `part` which of them another is."""
        parts, part = number_of(line, "parts"), number_of(line, "part")
        if parts or part:
            key = tuple(str(line.get(name)) for name in _OF_COMMAND)
            self._wanted[key] = max(parts, part, self._wanted.get(key, 0))
            self._found.add((key, part or 1))

    @property
    def missing(self) -> int:
        """How many lines there should be besides."""
        # none is found that is not wanted; a log that was meddled with may name any number
        return sum(self._wanted.values()) - len(self._found)
