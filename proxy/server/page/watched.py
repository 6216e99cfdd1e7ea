"""What the watch of the audit log has to tell, in words.

The watch is a process of its own with a file of its own, which the proxy does not know. Whoever starts the
proxy hands in what reads it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

MAX_ALERTS = 50
"""The newest that are shown."""


@dataclass(frozen=True, slots=True)
class WatchedAlert:
    """One alert, in words."""

    id: str
    rule: str
    urgency: str
    first: str
    amount: int
    about: str
    incident: str
    """Empty where it belongs to none."""


@dataclass(frozen=True, slots=True)
class WatchedIncident:
    """One incident that is not closed."""

    id: str
    title: str
    state: str
    left: str
    """How much of the 72 hours is left; empty where they do not run."""
    is_pressing: bool
    """Whether that is less than a day, or nothing."""
    taken_by: str


@dataclass(frozen=True, slots=True)
class WatchedNow:
    """What there is now, newest first; or why nobody knows."""

    alerts: tuple[WatchedAlert, ...] = ()
    incidents: tuple[WatchedIncident, ...] = ()
    problem: str = ""
    hint: str = ""


WatchReader = Callable[[Path], WatchedNow]
"""From the watch's rules file to what it has to tell. Blocks; raises nothing."""
