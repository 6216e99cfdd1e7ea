"""The one scenario that every client plays: its parts, and by which steps of a program each is played.

A program may take further steps. A part that it does not play is named with the reason, and `harness.compare`
holds the two against each other: so nothing is left out in silence.
"""

from collections.abc import Iterable, Mapping
from typing import Final

SURNAMES: Final = ("find by surname", "sort by surname")
"""What the class of surnames answers because it says `ask: true`: by `/^smi/i`, and with a limit."""

PARTS: Final[Mapping[str, frozenset[str]]] = {
    "insert": frozenset({"insert", "insert a frame"}),
    "find": frozenset({"find"}),
    **{step: frozenset({step}) for step in SURNAMES},
    "update": frozenset({"update"}),
    "find and modify": frozenset({"find and modify"}),
    "aggregate": frozenset({"aggregate"}),
    "transaction": frozenset({"transaction"}),
    "change stream": frozenset({"changes"}),
    "bulk": frozenset({"bulk", "bulk and cursor"}),
    "cursor": frozenset({"cursor", "bulk and cursor"}),
    "GridFS": frozenset({"files"}),
    "error": frozenset({"duplicate"}),
}
"""For each part the steps of which one is enough."""


def absent(steps: Iterable[str]) -> frozenset[str]:
    """The parts that none of these steps plays."""
    taken = frozenset(steps)
    return frozenset(part for part, any_of in PARTS.items() if not taken & any_of)
