"""Pages: everything is escaped, nothing is loaded, and what was said is there."""

import re
import stat
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree

import pytest

from sealwire.cli.pages import PageSection, PageTable, Plot, ReportPage, columns, page_html, rows, write_page
from sealwire.keys.errors import KeySettingError, KeysReason

MADE = datetime(2026, 11, 27, 8, 0, tzinfo=UTC)
HOSTILE = "<script>alert('x')</script>&\"\u202e\x1b[31m"


def page(title: str = "Audit", *, cell: str = "ann@admin", plot: Plot | None = None) -> ReportPage:
    table = PageTable.of(("user", "lines"), [(cell, 3)])
    drawn = plot or rows("By user", [(cell, 3), ("bob", 0)])
    section = PageSection("By user", (f"of {cell}",), (drawn,), (table,))
    return ReportPage(title, (("log", cell), ("lines", 3)), (section,))


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
    html = page_html(page(), MADE)
    assert "default-src 'none'" in html
    addresses = re.findall(r"(?:https?:)?//[\w.]+", html)
    assert set(addresses) == {"http://www.w3.org"}  # the name of SVG's vocabulary
    assert not re.search(r"<(?:script|link|img|iframe|object)|\s(?:href|src|on\w+)=", html)


@pytest.mark.parametrize("draw", [rows, columns])
@pytest.mark.parametrize(
    "amounts", [[], [("a", 0)], [("a", 1), ("b", 10**9)], [(str(n), n) for n in range(400)]]
)
def test_bars_stay_inside_their_plot(draw: object, amounts: list[tuple[str, int]]) -> None:
    plot = rows("p", amounts) if draw is rows else columns("p", amounts)
    assert [each.amount for each in plot.bars] == [amount for _, amount in amounts]
    for bar in plot.bars:
        assert bar.width >= 0 <= bar.height
        assert bar.x + bar.width <= plot.width
        assert 0 <= bar.y <= bar.y + bar.height <= plot.height + 0.2


@pytest.mark.parametrize("draw", [rows, columns])
def test_plots_are_well_formed_svg(draw: object) -> None:
    amounts = [("a<b", 1), ("b", 2), ("c", 3)]
    html = page_html(page(plot=rows("p", amounts) if draw is rows else columns("p", amounts)), MADE)
    found = re.search(r"<svg.*?</svg>", html, re.DOTALL)
    assert found is not None
    tree = ElementTree.fromstring(found.group())  # noqa: S314 - we made it
    assert len(tree.findall("{*}rect")) == 3


def test_a_page_is_written_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    write_page(path, page())
    write_page(path, page("Again"))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert "<title>Again</title>" in path.read_text(encoding="utf-8")


def test_a_page_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(KeySettingError) as caught:
        write_page(tmp_path / "missing" / "report.html", page())
    assert caught.value.reason is KeysReason.FILE_UNWRITABLE
