"""A report as one HTML page that needs nothing else: no script, no font, no address outside it.

A page has sections of texts, tables and plots, in the frame that all reports share (`files.html`), for light
and dark screens. What stands in a report was chosen by clients, servers and files: the frame escapes every
text. A report with a shape of its own has a template that extends the frame.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import click

from sealwire.cli.options import PATH
from sealwire.files.html.frame import Mark, Tone, render
from sealwire.keys.private_file import replace_private


@dataclass(frozen=True, slots=True)
class Plot:
    """Bars, one for each amount. None is below 0. The browser scales them: no size is computed here."""

    title: str
    amounts: tuple[tuple[str, int], ...]
    is_upright: bool
    """Columns side by side, as over days; else rows, with a label before each."""

    @property
    def most(self) -> int:
        """The greatest amount, and 1 at least."""
        return max((1, *(amount for _, amount in self.amounts)))


def rows(title: str, amounts: Iterable[tuple[str, int]]) -> Plot:
    """Lying bars, one below the other, for amounts of anything."""
    return Plot(title, tuple(amounts), is_upright=False)


def columns(title: str, amounts: Iterable[tuple[str, int]]) -> Plot:
    """Upright bars, side by side, for amounts over time."""
    return Plot(title, tuple(amounts), is_upright=True)


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
    rows: tuple[tuple[str | int | Mark, ...], ...]

    @classmethod
    def of(cls, columns: Sequence[str], rows: Iterable[Iterable[str | int | Mark]]) -> "PageTable":
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
    verdict: Mark
    """What the report comes to, in one line."""
    facts: tuple[tuple[str, str | int], ...]
    """What a reader has to know first: of what, from when to when, how much."""
    sections: tuple[PageSection, ...]


def unverified(amount: str, unread: int = 0) -> Mark:
    """The verdict of a report on lines that nobody has verified: no better than that."""
    if unread:
        return Mark(f"{amount}; {unread} lines cannot be read: sealwire audit verify says where", Tone.ACT)
    return Mark(f"{amount}, not verified: sealwire audit verify does that", Tone.LOOK)


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
