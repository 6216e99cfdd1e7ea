"""Answers for people or programs; nothing that a table shows is markup."""

import io
import json

import pytest
from rich.console import Console

from sealwire.cli.output import answer, show_table, with_bar


@pytest.mark.parametrize("as_json", [False, True])
def test_an_answer_is_a_text_or_a_document(capsys: pytest.CaptureFixture[str], as_json: bool) -> None:
    answer("done", {"done": True}, as_json=as_json)
    shown = capsys.readouterr().out
    assert json.loads(shown) == {"done": True} if as_json else shown == "done\n"


def test_cells_are_text_and_never_markup() -> None:
    out = io.StringIO()
    show_table(("name", "count"), [("[red]x[/]", 3)], Console(file=out, width=80, markup=False))
    assert "[red]x[/]" in out.getvalue()


def test_cells_do_not_steer_a_terminal() -> None:
    console = Console(width=120, file=io.StringIO(), markup=False)
    show_table(("name",), [("\x1b]0;title\x9b1m",)], console)
    assert console.file.getvalue().count("?]0;title?1m") == 1  # type: ignore[attr-defined]


def test_what_is_wider_than_its_column_is_not_cut() -> None:
    shown = io.StringIO()
    cells = [str(each) * 30 for each in range(8)]
    show_table([f"column {each}" for each in range(8)], [cells], Console(file=shown, width=80, markup=False))
    assert "…" not in shown.getvalue()
    assert all(shown.getvalue().count(cell[0]) >= len(cell) for cell in cells)


@pytest.mark.parametrize(
    ("width", "left_out"), [(60, {"b", "c"}), (75, {"b"}), (99, set()), (100, set()), (30, {"b", "c"})]
)
def test_a_narrow_console_shows_fewer_columns_before_it_breaks_a_word(width: int, left_out: set[str]) -> None:
    shown = io.StringIO()
    cells = {name: name * 20 for name in "abcd"}
    console = Console(file=shown, width=width, markup=False)
    show_table(list(cells), [cells.values()], console, narrow=("b", "c"))
    said = shown.getvalue().replace("\n", " ")
    assert {name for name, cell in cells.items() if said.count(name) < len(cell)} == left_out
    assert ("not shown" in said) == bool(left_out)
    assert ("a" * 20 in said) == (width > 30)


def test_a_wide_console_shows_every_column_whatever_is_in_it() -> None:
    shown = io.StringIO()
    show_table(("a", "b"), [("a" * 300, "b")], Console(file=shown, width=100, markup=False), narrow=("b",))
    assert shown.getvalue().count("a") == 301
    assert "not shown" not in shown.getvalue()


def test_every_item_is_described_before_its_step() -> None:
    seen: list[str] = []

    def describe(item: int) -> str:
        seen.append(f"about {item}")
        return str(item)

    def step(item: int) -> int:
        seen.append(f"did {item}")
        return item * 10

    assert with_bar([1, 2], 2, describe, step) == [10, 20]
    assert seen == ["about 1", "did 1", "about 2", "did 2"]
