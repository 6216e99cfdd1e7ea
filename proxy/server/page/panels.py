"""What a page is made of: a band on top, lines, panels of facts and tables, and what these are made from.

A panel has no markup and no address, so that what it says can be tested without a browser. The template
writes every text escaped. The watch of the audit log is a process of its own, which the proxy does not know:
whoever starts the proxy hands in what reads the watch's file.
"""

import threading
import time
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final, final

from prometheus_client.parser import text_string_to_metric_families

from sealwire.files.html.frame import Mark, Tone
from sealwire.policies.planning.arguments import one_line
from sealwire.proxy.server.config.settings import Config
from sealwire.proxy.server.health import Health
from sealwire.proxy.server.page.facts import PageFacts

MAX_SHOWN_ROWS: Final = 500
"""Rows of one table; the text below says how many there are."""
MAX_ALERTS: Final = 50
"""The newest alerts are shown."""


# Figures as /metrics has them, looked up by name, and how they have changed over the last hour.
#
# The page reads the same text as Prometheus does: with workers it is that of all of them, added up.

_TOO_HIGH: Final = 1e18
"""No proxy counts so far, and sums of what is lower are finite."""
EVERY_S: Final = 15.0
MINUTE_S: Final = 60.0
_KEPT: Final = 241
"""An hour of them."""

COMMANDS: Final = "sealwire_commands_total"
REFUSALS: Final = "sealwire_refusals_total"
WITHHELD: Final = "sealwire_decryption_failures_total"
REPLY: Final = "sealwire_command_duration_seconds"
ADDED: Final = "sealwire_command_added_duration_seconds"
MOVED: Final = "sealwire_frontier_documents_read"
KEPT_FIGURES: Final = {
    **{COMMANDS: "command", REFUSALS: "reason", WITHHELD: "failure", MOVED: "class"},
    **dict.fromkeys((f"{ADDED}_sum", f"{ADDED}_count"), ""),
}
"""Each with the label that tells its series apart."""


@final
class Readings:
    """What one text of /metrics says."""

    def __init__(self, text: str = "") -> None:
        """Raises ValueError for a text that is none. Cost: 20 us a line."""
        self._values: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                # whatever listens at the address may have written it: a label must not steer a terminal
                shown = {name: one_line(text, len(text)) for name, text in sample.labels.items()}
                value = float(sample.value)
                if not (abs(value) < _TOO_HIGH and float(shown.get("le", 0)) >= 0):
                    raise ValueError("no figure")
                self._values.setdefault(sample.name, {})[tuple(sorted(shown.items()))] = value

    def sum(self, name: str) -> float:
        """All series of a figure added up; 0 where there is none."""
        return sum(self._values.get(name, {}).values())

    def value(self, name: str) -> float | None:
        """The figure if it has one series without labels."""
        return self._values.get(name, {}).get(())

    def by_label(self, name: str, label: str) -> dict[str, float]:
        """A figure's series by the value of one label, the highest first; other labels are added up."""
        found: dict[str, float] = {}
        for labels, value in self._values.get(name, {}).items():
            key = dict(labels).get(label, "")
            found[key] = found.get(key, 0.0) + value
        return dict(sorted(found.items(), key=lambda pair: (-pair[1], pair[0])))

    def by_labels(self, name: str, *labels: str) -> dict[tuple[str, ...], float]:
        """The same by several labels."""
        return {
            tuple(dict(found).get(label, "") for label in labels): value
            for found, value in sorted(self._values.get(name, {}).items())
        }

    def buckets(self, name: str) -> dict[float, float]:
        """A histogram: by upper bound, how many were no higher. Empty where there is none."""
        return {float(bound): count for bound, count in self.by_label(f"{name}_bucket", "le").items()}


def quantile(buckets: Mapping[float, float], part: float) -> float | None:
    """The upper bound of the bucket that holds this part of a histogram; None where it is empty."""
    bounds = sorted(buckets)
    if not bounds or buckets[bounds[-1]] <= 0:
        return None
    counts = [buckets[bound] for bound in bounds]
    return bounds[min(bisect_left(counts, part * counts[-1]), len(bounds) - 1)]


@dataclass(frozen=True, slots=True)
class Moment:
    """What had been counted at some time."""

    at_s: float
    counted: Mapping[str, Mapping[str, float]]
    """The series of each figure in `KEPT_FIGURES`, by one label."""
    buckets: Mapping[float, float]
    """The histogram `REPLY`."""

    def sum(self, name: str) -> float:
        """All series of a figure added up."""
        return sum(self.counted[name].values())


@final
class LastHour:
    """Readings of the last hour, one every 15 seconds, taken by a thread of its own."""

    def __init__(self, render: Callable[[], bytes], clock: Callable[[], float] = time.monotonic) -> None:
        """`render` gives the text of /metrics; raises TimeoutError."""
        self._render = render
        self._clock = clock
        self._moments: deque[Moment] = deque(maxlen=_KEPT)
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._take_all, name="admin page", daemon=True)

    def start(self) -> None:
        """Take readings from now on."""
        self._thread.start()

    def close(self) -> None:
        """Take no more."""
        self._ends.set()

    def take(self) -> Readings:
        """Look now. Raises TimeoutError, ValueError."""
        readings = Readings(self._render().decode("utf-8", "replace"))
        at_s = self._clock()
        if not self._moments or at_s - self._moments[-1].at_s >= EVERY_S / 2:
            counted = {name: readings.by_label(name, label) for name, label in KEPT_FIGURES.items()}
            self._moments.append(Moment(at_s, counted, readings.buckets(REPLY)))
        return readings

    def lately(self, name: str, now: Readings) -> dict[str, float]:
        """How much each series of a figure has grown in a second over the last minute, the most first.

        Empty before there are two readings. `name` is one of KEPT_FIGURES.
        """
        then, at_s = self._minute_ago(), self._clock()
        if then is None or at_s - then.at_s < 1:
            return {}
        found = now.by_label(name, KEPT_FIGURES[name])
        before = then.counted[name]
        rates = {
            key: growth(before.get(key, 0.0), count) / (at_s - then.at_s) for key, count in found.items()
        }
        return dict(sorted(rates.items(), key=lambda pair: (-pair[1], pair[0])))

    def reply_time_s(self, now: Readings, part: float) -> float | None:
        """Within which time this part of the replies of the last minute came; None where there were none."""
        then = self._minute_ago()
        before = {} if then is None else then.buckets
        found = now.buckets(REPLY)
        return quantile({bound: count - before.get(bound, 0.0) for bound, count in found.items()}, part)

    def by_minute(self, name: str) -> tuple[int, ...]:
        """How much a figure grew in each minute of the last hour, the oldest first, as far as is known."""
        return tuple(map(round, self._grown(name)))

    def added_by_minute(self) -> tuple[int, ...]:
        """How many microseconds a command took longer in each minute, on average; 0 where none was timed."""
        pairs = zip(self._grown(f"{ADDED}_sum"), self._grown(f"{ADDED}_count"), strict=True)
        return tuple(round(1e6 * seconds / count) if count else 0 for seconds, count in pairs)

    def _minute_ago(self) -> Moment | None:
        """The newest moment that is a minute old; where there is none, the oldest that there is."""
        moments, now = tuple(self._moments), self._clock()
        old = [moment for moment in moments if now - moment.at_s >= MINUTE_S]
        return old[-1] if old else next(iter(moments), None)

    def _grown(self, name: str) -> Iterator[float]:
        moments = tuple(self._moments)
        begin = moments[0] if moments else None
        for moment in moments:
            if begin is not None and moment.at_s - begin.at_s >= MINUTE_S:
                yield growth(begin.sum(name), moment.sum(name))
                begin = moment

    def _take_all(self) -> None:
        while not self._ends.is_set():
            # what cannot be had now is told to whoever opens the page
            with suppress(TimeoutError, ValueError):
                self.take()
            self._ends.wait(EVERY_S)


def growth(before: float, after: float) -> float:
    """By how much a counter grew. One that has fallen was begun anew."""
    return after - before if after >= before else after


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
    health: Health
    readings: Readings
    hour: LastHour
    facts: PageFacts | None
    """None where no process could be asked, as during a start."""
    watched: WatchedNow | None
    """What the watch has to tell; None where none is named."""
    certificate_ends: datetime | None
    """When the admin address's own certificate ends."""
    now: datetime


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
    ) -> tuple["PanelTable", ...]:
        """One of the first MAX_SHOWN_ROWS of `rows`, and none without rows.

        `more` are known of that are not among them.
        """
        found = tuple(rows)
        left_out = max(len(found) - MAX_SHOWN_ROWS, 0) + more
        return (cls(caption, columns, found[:MAX_SHOWN_ROWS], left_out),) if found else ()


@dataclass(frozen=True, slots=True)
class Trend:
    """Amounts by minute, the oldest first, as a line. The browser scales it: no size is computed here."""

    title: str
    amounts: tuple[int, ...]
    unit: str
    newest: str
    """What it comes to now, in words."""

    @property
    def text(self) -> str:
        """What somebody is told who does not see the line."""
        if not self.amounts:
            return f"{self.title}: nothing is known yet, it takes two minutes"
        return f"{self.title}, {self.unit} by minute, the oldest first: {', '.join(map(str, self.amounts))}"


@dataclass(frozen=True, slots=True)
class Lamp:
    """A part of the band on top: how it is, and each thing to look at with the command for it, if any."""

    title: str
    state: Mark
    rows: tuple[tuple[Mark, str], ...] = ()


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
    tables: tuple[PanelTable, ...] = ()

    @property
    def noted(self) -> tuple[Mark, ...]:
        """What in it is not as it should be."""
        cells = [cell for table in self.tables for row in table.rows for cell in row]
        cells += [value for _, value in self.marks]
        return tuple(cell for cell in cells if isinstance(cell, Mark) and cell.tone is not Tone.FINE)
