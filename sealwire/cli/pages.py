"""A report as one HTML page that needs nothing else: no script, no font, no address outside it.

A page has sections of texts, tables and plots, in the frame that all reports share (`files.html`), for light
and dark screens. What stands in a report was chosen by clients, servers and files: the frame escapes every
text. Sizes of plots are in units of the plot, which grows and shrinks with the page; the template writes them
as SVG. A report with a shape of its own has a template that extends the frame.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import click

from sealwire.cli.options import PATH
from sealwire.files.html.frame import render
from sealwire.keys.private_file import replace_private

WIDTH: Final = 720
_ROW: Final = 24
_LABELS: Final = 260
_AMOUNTS: Final = 70
_HEIGHT: Final = 160
_FOOT: Final = 24
_HEAD: Final = 18
_MAX_COLUMN: Final = 48


@dataclass(frozen=True, slots=True)
class PlotBar:
    """One bar: a rectangle, and what it stands for."""

    label: str
    amount: int
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Plot:
    """Some bars on an area of `WIDTH` by `height`."""

    title: str
    bars: tuple[PlotBar, ...]
    height: float
    is_upright: bool
    """Columns side by side, as over days; else rows, with a label before each."""

    @property
    def width(self) -> int:
        """How wide the whole area is."""
        return WIDTH

    @property
    def first_and_last(self) -> tuple[PlotBar, ...]:
        """The columns that are labelled: all labels would not fit."""
        return self.bars if len(self.bars) < 3 else (self.bars[0], self.bars[-1])

    @property
    def most(self) -> int:
        """The greatest amount."""
        return max((each.amount for each in self.bars), default=0)


def rows(title: str, amounts: Iterable[tuple[str, int]]) -> Plot:
    """Lying bars, one below the other, for amounts of anything. No amount is below 0."""
    found = list(amounts)
    scale = (WIDTH - _LABELS - _AMOUNTS) / max(1, max((amount for _, amount in found), default=1))
    bars = [
        PlotBar(label, amount, _LABELS, number * _ROW + 4, round(amount * scale, 1), _ROW - 8)
        for number, (label, amount) in enumerate(found)
    ]
    return Plot(title, tuple(bars), len(bars) * _ROW, is_upright=False)


def columns(title: str, amounts: Iterable[tuple[str, int]]) -> Plot:
    """Upright bars, side by side, for amounts over time. No amount is below 0."""
    found = list(amounts)
    scale = _HEIGHT / max(1, max((amount for _, amount in found), default=1))
    step = min(WIDTH / max(1, len(found)), _MAX_COLUMN)
    bars = [
        PlotBar(
            label,
            amount,
            round(number * step, 2),
            round(_HEAD + _HEIGHT - amount * scale, 1),
            round(step * 0.8, 2),
            round(amount * scale, 1),
        )
        for number, (label, amount) in enumerate(found)
    ]
    return Plot(title, tuple(bars), _HEAD + _HEIGHT + _FOOT, is_upright=True)


_FOLDER = Path(__file__).parent
_REPORT = "report.html.j2"


# ----------------------------------------- the option of every command that writes its report as a page too

html_option = click.option(
    "--html", "html", type=PATH, help="Write the report to this file as well, as a page."
)


@dataclass(frozen=True, slots=True)
class PageTable:
    """A table; numbers in it stand to the right."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str | int, ...], ...]

    @classmethod
    def of(cls, columns: Sequence[str], rows: Iterable[Iterable[str | int]]) -> "PageTable":
        """From any rows; each has as many cells as there are columns."""
        return cls(tuple(columns), tuple(tuple(row) for row in rows))


@dataclass(frozen=True, slots=True)
class PageSection:
    """A heading and what stands below it: texts, plots, then tables. Each may be left out."""

    title: str
    texts: tuple[str, ...] = ()
    plots: tuple[Plot, ...] = ()
    tables: tuple[PageTable, ...] = ()


@dataclass(frozen=True, slots=True)
class ReportPage:
    """A whole report."""

    title: str
    facts: tuple[tuple[str, str | int], ...]
    """What a reader has to know first: of what, from when to when, how much."""
    sections: tuple[PageSection, ...]


def page_html(page: ReportPage, made: datetime | None = None) -> str:
    """The page as text, to be encoded in UTF-8; `made`, by default now, stands at its end.

    Cost: O(the page), with 30 ms for the first one.
    """
    return render(_FOLDER, _REPORT, page=page, made=made or datetime.now(UTC))


def write_page(path: Path, page: ReportPage) -> None:
    """Put the page at `path`, for its owner alone, in place of what is there.

    Raises KeySettingError FILE_UNWRITABLE.
    """
    replace_private(path, page_html(page).encode("utf-8"))
