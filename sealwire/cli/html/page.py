"""A report as an HTML page: sections of texts, tables and plots, in the frame that all reports share.

What stands in a report was chosen by clients, servers and files: jinja2 escapes every text, and characters
that nobody can see are replaced. The page may load and run nothing: its content policy tells browsers.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from sealwire.cli.html.plots import Plot
from sealwire.keys.private_file import replace_private
from sealwire.proxy.session.replies import one_line

MAX_TEXT = 1024
"""Characters of one text."""

_REPORT = "report.html.j2"


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
    return render(_REPORT, page=page, made=made or datetime.now(UTC))


def write_page(path: Path, page: ReportPage) -> None:
    """Put the page at `path`, for its owner alone, in place of what is there.

    Raises KeySettingError FILE_UNWRITABLE.
    """
    replace_private(path, page_html(page).encode("utf-8"))


def render(template: str, **values: object) -> str:
    """A template of this folder with `values`. A name in it that is not given is an error of the program."""
    return _environment().get_template(template).render(**values)


@cache
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_seen,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def _seen(value: object) -> object:
    """Text in a form in which nothing hides; what a template wrote itself stays."""
    return one_line(value, MAX_TEXT) if isinstance(value, str) and not isinstance(value, Markup) else value
