"""What a page is made of: panels of facts, texts, tables and bars, and what they are made from.

A panel has no markup and no address, so that what it says can be tested without a browser. The template
writes every text escaped. The watch of the audit log is a process of its own, which the proxy does not know:
whoever starts the proxy hands in what reads the watch's file.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import Final

from sealwire.proxy.server.config.settings import Config
from sealwire.proxy.server.health import HealthView
from sealwire.proxy.server.page.facts import PageFacts
from sealwire.proxy.server.page.readings import LastHour, Readings

MAX_SHOWN_ROWS: Final = 500
"""Rows of one table; the text below says how many there are."""
MAX_ALERTS: Final = 50
"""The newest alerts are shown."""
_BARS_WIDTH: Final = 600
_BARS_HEIGHT: Final = 60


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


@dataclass(frozen=True, slots=True)
class SeenNow:
    """What the page is made from, at one moment."""

    config: Config
    health: HealthView
    readings: Readings
    hour: LastHour
    facts: PageFacts | None
    """None where no process could be asked, as during a start."""
    watched: WatchedNow | None
    """What the watch has to tell; None where none is named."""
    certificate_ends: datetime | None
    """When the admin address's own certificate ends."""
    now: datetime


class Tone(Enum):
    """How a state is to be taken; the value is the style's word for it."""

    FINE = "pass"
    LOOK = "warn"
    ACT = "fail"


@dataclass(frozen=True, slots=True)
class Mark:
    """A word that stands out. What it means is in the word; the colour only repeats it."""

    text: str
    tone: Tone


@dataclass(frozen=True, slots=True)
class Code:
    """A command for a shell, or a name that is written as it is."""

    text: str


Cell = str | int | Mark | Code


@dataclass(frozen=True, slots=True)
class PanelTable:
    """A table with a caption. The first cell of a row names the row."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    left_out: int = 0
    """Rows that are not shown."""

    @classmethod
    def of(
        cls, caption: str, columns: tuple[str, ...], rows: Iterable[tuple[Cell, ...]], more: int = 0
    ) -> "PanelTable":
        """The first MAX_SHOWN_ROWS of `rows`; `more` are known of that are not among them."""
        found = tuple(rows)
        left_out = max(len(found) - MAX_SHOWN_ROWS, 0) + more
        return cls(caption, columns, found[:MAX_SHOWN_ROWS], left_out)


@dataclass(frozen=True, slots=True)
class TrendBar:
    """A rectangle in units of the drawing."""

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Trend:
    """Amounts by minute, the oldest first, as bars."""

    title: str
    amounts: tuple[int, ...]

    @property
    def text(self) -> str:
        """What somebody is told who does not see the bars."""
        if not self.amounts:
            return f"{self.title}: nothing is known yet, it takes two minutes"
        listed = ", ".join(map(str, self.amounts))
        return f"{self.title}, the oldest first: {listed}"

    @property
    def bars(self) -> tuple[TrendBar, ...]:
        """On an area of 600 by 60."""
        step = _BARS_WIDTH / max(len(self.amounts), 20)
        scale = _BARS_HEIGHT / max(1, *self.amounts, 0)
        return tuple(
            TrendBar(
                round(place * step, 1), round(_BARS_HEIGHT - amount * scale, 1), round(step * 0.8, 1), high
            )
            for place, amount in enumerate(self.amounts)
            for high in (round(amount * scale, 1),)
        )


@dataclass(frozen=True, slots=True)
class Panel:
    """A section of the page."""

    key: str
    """Its address within the page."""
    title: str
    texts: tuple[str, ...] = ()
    marks: tuple[tuple[str, Cell], ...] = ()
    """A name and what it is, each on a line."""
    commands: tuple[tuple[str, str], ...] = ()
    """What somebody may want to know, and what to type for it."""
    trends: tuple[Trend, ...] = ()
    tables: tuple[PanelTable, ...] = ()
