"""The table of docs/operations/capacity.md is what its own formulas and figures give."""

import re

import pytest

from tests.build_context import ROOT

PAGE = (ROOT / "docs" / "operations" / "capacity.md").read_text(encoding="utf-8")
AT_REST_MB, CONNECTION_KIB, UNDER_WAY_MB, LINE_BYTES = 55, 116, 256, 401
FIND_US, ON_RECORD_US = 28, 46


def rows() -> list[list[float]]:
    (table,) = re.findall(r"^\| clients \|.*\n\|[-|]+\n((?:\|.*\n)+)", PAGE, re.M)
    return [
        [float(re.sub(r"[^\d.]", "", cell)) for cell in line.strip("|").split("|")]
        for line in table.splitlines()
    ]


@pytest.mark.parametrize("row", rows(), ids=lambda row: f"{row[0]:.0f}-{row[3]:.0f}")
def test_a_row_is_calculated_from_its_first_four_numbers(row: list[float]) -> None:
    clients, pool, rate, proxies, *told = row
    connections = clients * (pool + 2) / proxies
    memory = AT_REST_MB + connections * CONNECTION_KIB * 1024 / 1e6 + UNDER_WAY_MB
    cores, on_record = (clients * rate * cost / 1e6 / proxies for cost in (FIND_US, ON_RECORD_US))
    log = clients * rate * LINE_BYTES * 86_400 / 1e9
    expected = [round(connections), round(memory), round(cores, 2), round(on_record, 2)]
    assert told == [*expected, clients * (pool + 2), round(log)]


def test_the_figures_are_those_that_the_page_names() -> None:
    assert f"| {CONNECTION_KIB} KiB" in PAGE.replace("4 / 116", "116")
    assert f"{LINE_BYTES} bytes on disk" in PAGE
    assert f"/ {FIND_US} us" in PAGE
    assert f"with commands on record {ON_RECORD_US} us" in PAGE
    benchmarks = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    assert f"{LINE_BYTES} bytes as a line" in benchmarks
    assert "4.0 / 116.2" in benchmarks
