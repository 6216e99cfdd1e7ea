"""Pages: everything is escaped, nothing is loaded, and what was said is there."""

import re
import stat
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree

import pytest

from sealwire.cli.pages import (
    PageSection,
    PageTable,
    Plot,
    ReportPage,
    columns,
    page_html,
    rows,
    unverified,
    write_page,
)
from sealwire.files.html.frame import Tone
from sealwire.keys.errors import KeySettingError, KeysReason
from tests.support.reasons import raising

MADE = datetime(2026, 11, 27, 8, 0, tzinfo=UTC)
HOSTILE = "<script>alert('x')</script>&\"\u202e\x1b[31m"


def page(title: str = "Audit", *, cell: str = "ann@admin", plot: Plot | None = None) -> ReportPage:
    table = PageTable.of(("user", "lines"), [(cell, 3)])
    drawn = plot or rows("By user", [(cell, 3), ("bob", 0)])
    section = PageSection("By user", (f"of {cell}",), (drawn,), (table,))
    return ReportPage(title, unverified(f"lines of {cell}"), (("log", cell), ("lines", 3)), (section,))


def test_a_page_says_what_it_was_given() -> None:
    html = page_html(page(), MADE)
    assert "<title>Audit</title>" in html
    assert '<td>ann@admin</td><td class="number">3</td>' in html
    assert "Made 2026-11-27 08:00:00 UTC" in html


def test_texts_cannot_be_markup_and_hide_nothing() -> None:
    html = page_html(page(HOSTILE, cell=HOSTILE), MADE)
    assert "<script" not in html
    assert "\u202e" not in html
    assert "\x1b" not in html
    assert html.count("&lt;script&gt;") >= 6


def test_a_page_loads_and_runs_nothing() -> None:
    html = re.sub(r"/\*!.*?\*/", "", page_html(page(), MADE), flags=re.DOTALL)  # the licence of Pico
    assert "default-src 'none'" in html
    addresses = re.findall(r"(?:https?:)?//[\w.]+", html)
    assert set(addresses) == {"http://www.w3.org"}  # the name of SVG's vocabulary
    assert not re.search(r"<(?:script|link|img|iframe|object)|\s(?:href|src|on\w+)=", html)


def drawn(html: str) -> list[ElementTree.Element]:
    found = re.findall(r"<svg.*?</svg>", html, re.DOTALL)
    return [ElementTree.fromstring(each) for each in found]  # noqa: S314 - we made them


@pytest.mark.parametrize("amounts", [[("a<b", 0), ("b", 0)], [("a", 1), ("b", 10**9)], [("a", 1)] * 400])
def test_columns_stay_inside_their_drawing(amounts: list[tuple[str, int]]) -> None:
    (svg,) = drawn(page_html(page(plot=columns("p", amounts)), MADE))
    left, top, width, height = map(float, svg.attrib["viewBox"].split())
    bars = svg.findall("{*}rect")
    assert len(bars) == len(amounts)
    for bar in bars:
        x, y, across, high = (float(bar.attrib[name]) for name in ("x", "y", "width", "height"))
        assert left <= x <= x + across <= width
        assert top <= y <= y + high <= top + height


@pytest.mark.parametrize("amounts", [[("a<b", 0), ("b", 0)], [("a", 1), ("b", 10**9)], [("a", 1)] * 400])
def test_rows_are_parts_of_the_width(amounts: list[tuple[str, int]]) -> None:
    found = drawn(page_html(page(plot=rows("p", amounts)), MADE))
    assert len(found) == len(amounts)
    assert all(0 <= float(svg[0].attrib["width"].rstrip("%")) <= 100 for svg in found)


@pytest.mark.parametrize("draw", [rows, columns])
def test_a_single_amount_is_said_and_not_drawn(draw: object) -> None:
    html = page_html(page(plot=draw("p", [("clinician@admin", 54)])), MADE)  # type: ignore[operator]
    assert not drawn(html)
    assert "<p>clinician@admin: 54</p>" in html
    assert "<p>none</p>" in page_html(page(plot=draw("p", [])), MADE)  # type: ignore[operator]


def test_the_verdict_is_on_top_in_its_colour() -> None:
    html = page_html(page(), MADE)
    assert '<p class="verdict warn"><strong>lines of ann@admin, not verified' in html
    assert html.index("</h1>") < html.index('class="verdict') < html.index("<dl>")
    assert unverified("3 lines", 2).tone is Tone.ACT


def test_a_page_is_written_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    write_page(path, page())
    write_page(path, page("Again"))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert "<title>Again</title>" in path.read_text(encoding="utf-8")


def test_a_page_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    with raising(KeySettingError, KeysReason.FILE_UNWRITABLE):
        write_page(tmp_path / "missing" / "report.html", page())
