"""The table of docs/operations/capacity.md is what its own formulas and figures give."""

import re

import pytest

from tests.build_context import ROOT

PAGE = (ROOT / "docs" / "operations" / "capacity.md").read_text(encoding="utf-8")
AT_REST_MB, CONNECTION_KIB, UNDER_WAY_MB, LINE_BYTES = 78, 116, 256, 401
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


LARGE, ONE_AWAY, WORKERS = 100_000, 25_000, 2


def results_of_a_large_deployment() -> dict[str, str]:
    """The last cells of the table of 100,000 connections, by its first ones."""
    (table,) = re.findall(r"^\| what \| calculation \| result \|\n\|[-|]+\n((?:\|.*\n)+)", PAGE, re.M)
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    return {first: last for first, _, last in cells}


def test_the_table_of_100_000_connections_is_calculated() -> None:
    *memory, operation, cores, workers, descriptors, ports, proxies, server = (
        results_of_a_large_deployment().values()
    )
    assert memory == [f"{LARGE * kib * 1024 / 1e9:.1f} GB" for kib in (CONNECTION_KIB, 4)]
    assert operation == f"{FIND_US * 1.24:.0f} us"
    assert cores == f"{LARGE * round(FIND_US * 1.24) / 1e6}"
    assert workers == f"{float(cores) / 0.5:.0f}"
    assert descriptors.startswith(f"{LARGE * 2:,}")
    assert ports == f"{60_999 - 32_768 + 1:,}"
    assert proxies.startswith(f"{-(-LARGE // int(ports.replace(',', '')))};")
    assert server == f"{LARGE / 1e3:.0f} GB"


def test_five_proxies_are_enough_while_one_is_away() -> None:
    text = " ".join(PAGE.split())
    (supervisor,) = re.findall(rf"{WORKERS} . {AT_REST_MB} MB \+ (\d+) MB \+ 256 MB", text)
    connections = ONE_AWAY * CONNECTION_KIB * 1024 / 1e6
    memory = WORKERS * AT_REST_MB + int(supervisor) + UNDER_WAY_MB + connections
    assert f"= {memory / 1e3:.1f} GB" in text
    descriptors = 2 * ONE_AWAY + 200
    assert f"= {descriptors:,} descriptors" in text
    assert descriptors < 65_536
    assert LARGE == 4 * ONE_AWAY
