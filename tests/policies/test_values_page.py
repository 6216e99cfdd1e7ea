"""docs/values.md: each row names a test, and the test is there."""

import re

import pytest

from tests.build_context import ROOT

PAGE = (ROOT / "docs" / "values.md").read_text()
ROWS = [line for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith("| Place")]
NAMED = re.compile(r"`(test_\w+)(?:::(test_\w+))?`")


def test_the_page_has_rows() -> None:
    assert len(ROWS) > 40


@pytest.mark.parametrize("row", ROWS)
def test_a_row_names_a_test_that_is_there(row: str) -> None:
    named = NAMED.findall(row.split("|")[-2])
    assert named
    for module, function in named:
        (found,) = (ROOT / "tests" / "policies").rglob(f"{module}.py")
        text = found.read_text()
        assert f"def {function or 'test_'}" in text


def test_rows_have_one_cell_for_each_column() -> None:
    assert {row.count("|") for row in ROWS} == {5}
