"""A report as an HTML page: sections of texts, tables and plots, in the frame that all reports share.

What stands in a report was chosen by clients, servers and files: the frame escapes every text.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import click

from sealwire.cli.html.plots import Plot
from sealwire.cli.options.common import PATH
from sealwire.files.html.frame import render
from sealwire.keys.private_file import replace_private

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
