"""Alerts, dashboard and the page about them agree, and Prometheus' own tool takes every expression."""

import json
import re
from collections.abc import Iterator, Mapping
from enum import Enum
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import pytest
import yaml
from grafana_foundation_sdk.cog import plugins, runtime
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import units
from grafana_foundation_sdk.models.dashboard import Dashboard

from sealwire.proxy.server.observability.metrics import Metrics
from sealwire.proxy.server.supervisor.supervisor import SupervisorMetrics
from tests.build_context import ROOT
from tests.monitored import (
    DASHBOARD,
    MONITORING,
    PAGE,
    RULES,
    alerts,
    dashboard,
    expressions,
    metrics_named,
    panels,
)
from tests.support.debian import require_program
from tests.support.rows import rows
from tests.support.runs import ran

# What is wrong with a dashboard by Grafana's own schema, as its Foundation SDK has it for Grafana 10.1.


BESIDE_THE_SCHEMA = "definition"
"""Grafana's editor shows it for a variable, and every export has it."""

plugins.register_default_plugins()
_TAKEN: dict[Any, Any] = {float: (int, float)}
_UNITS = {value for value in vars(units).values() if isinstance(value, str)}


def flaws(dashboard: Mapping[str, Any]) -> list[str]:
    """Where a key, a value, a kind of panel or a unit is none of Grafana's; empty where all is right."""
    found = Dashboard.from_json(dict(dashboard))
    written = json.loads(json.dumps(found, cls=JSONEncoder))
    return [*_lost(dashboard, written, "$"), *_odd_fields(found, "$"), *_odd_panels(dashboard["panels"])]


def _lost(given: Any, kept: Any, place: str) -> Iterator[str]:
    if isinstance(given, dict) and isinstance(kept, dict):
        for key, value in given.items():
            if key in kept:
                yield from _lost(value, kept[key], f"{place}.{key}")
            elif key != BESIDE_THE_SCHEMA:
                yield f"{place}.{key}"
    elif isinstance(given, list) and isinstance(kept, list) and len(given) == len(kept):
        for number, (one, other) in enumerate(zip(given, kept, strict=True)):
            yield from _lost(one, other, f"{place}[{number}]")
    elif given != kept:
        yield place


def _odd_fields(value: object, place: str) -> Iterator[str]:
    for name, hint in get_type_hints(type(value)).items():
        yield from _odd(getattr(value, name), hint, f"{place}.{name}")


def _odd(value: Any, hint: Any, place: str) -> Iterator[str]:
    """Where `value` is not of the type that the schema has for it."""
    origin, inner = get_origin(hint), get_args(hint)
    if hint is Any or hint is object:
        # what a panel's kind decides: the value has that kind's class
        yield from _odd_fields(value, place) if hasattr(value, "to_json") else ()
    elif origin in (Union, UnionType):
        ways = [list(_odd(value, each, place)) for each in inner]
        yield from min(ways, key=len)
    elif origin in (list, dict):
        if not isinstance(value, origin):
            yield place
            return
        parts = value.items() if origin is dict else enumerate(value)
        for key, part in parts:
            yield from _odd(part, inner[-1], f"{place}[{key}]")
    elif origin is Literal or issubclass(hint, Enum):
        if value not in (inner or [each.value for each in hint]):
            yield place
    elif not isinstance(value, _TAKEN.get(hint, hint)) or isinstance(value, bool) is not (hint is bool):
        yield place
    else:
        yield from _odd_fields(value, place)


def _odd_panels(panels: list[dict[str, Any]]) -> Iterator[str]:
    for panel in panels:
        if panel["type"] == "row":
            continue
        if runtime.panelcfg_config(panel["type"]) is None:
            yield f"{panel['title']}: {panel['type']}"
        if panel["fieldConfig"]["defaults"].get("unit", "none") not in _UNITS:
            yield f"{panel['title']}: unit"


UNIT_TESTS = ROOT / "tests" / "monitoring" / "alerts.test.yaml"
OF_TASKS = "sealwire_(backup|restore_drill|tls)_"
"""By node_exporter."""
PANEL_TYPES = {"row", "stat", "timeseries"}


def promtool(*words: str | Path) -> None:
    program = require_program("promtool", "promtool", "--version")
    done = ran([program, *words], timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr


def test_promtool_takes_the_rules_and_the_configuration() -> None:
    promtool("check", "rules", RULES)
    for file in sorted(MONITORING.glob("prometheus*.yaml")):
        promtool("check", "config", "--syntax-only", file)


def test_every_alert_fires_on_what_it_is_for_and_none_on_a_proxy_that_is_well() -> None:
    tested = {each["name"] for each in yaml.safe_load(UNIT_TESTS.read_text(encoding="utf-8"))["tests"]}
    assert tested - {"a proxy that is well"} == set(alerts())
    promtool("test", "rules", UNIT_TESTS)


def test_promtool_takes_every_expression_of_the_dashboard(tmp_path: Path) -> None:
    records = [{"record": f"panel:{number}", "expr": expr} for number, (_, expr) in enumerate(expressions())]
    file = tmp_path / "panels.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": records}]}))
    promtool("check", "rules", file)


def test_an_alert_says_how_urgent_it_is_and_what_it_means() -> None:
    for name, rule in alerts().items():
        assert name.startswith("Sealwire")
        assert rule["labels"]["severity"] in {"page", "ticket"}
        assert set(rule["annotations"]) == {"summary", "description"}


def table_rows(page: str, heading: str) -> list[list[str]]:
    """The cells of the tables between a heading of the second level and the next."""
    part = re.split(r"^## ", page, flags=re.M)
    (body,) = [each for each in part if each.startswith(f"{heading}\n")]
    lines = [line for line in body.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def test_the_page_says_of_every_alert_what_to_do_and_of_no_other() -> None:
    rows = table_rows(PAGE.read_text(encoding="utf-8"), "Alerts")
    told = {row[0].strip("` "): row for row in rows if row[0].startswith("`")}
    assert set(told) == set(alerts())
    for name, rule in alerts().items():
        assert told[name][1] == rule["labels"]["severity"]
        assert len(told[name][3]) > 20


def test_the_page_shows_every_panel() -> None:
    rows = table_rows(PAGE.read_text(encoding="utf-8"), "The dashboard")
    shown = [row[0] for row in rows if row[0] != "panel"]
    assert shown == [panel["title"] for panel in panels() if panel["type"] != "row"]


def test_every_figure_that_a_page_names_exists() -> None:
    families = [*Metrics().registry.collect(), *SupervisorMetrics(2).registry.collect()]
    known = {name for family in families for name in (family.name, f"{family.name}_total")}
    for page in sorted((ROOT / "docs").rglob("*.md")):
        text = page.read_text(encoding="utf-8")
        named = set(re.findall(r"`(sealwire_[a-z_]*[a-z])[`{]", text)) - known
        assert {name for name in named if not re.match(OF_TASKS, name)} == set(), page.name


def test_every_figure_is_on_the_dashboard() -> None:
    families = [*Metrics().registry.collect(), *SupervisorMetrics(2).registry.collect()]
    ours = {family.name for family in families if family.name.startswith("sealwire_")}
    shown = {name.removesuffix("_total") for name in metrics_named()}
    assert ours - shown == set()


def test_every_figure_that_is_asked_for_is_documented() -> None:
    pages = ("operations/observability.md", "operations/monitoring.md")
    text = "".join((ROOT / "docs" / page).read_text(encoding="utf-8") for page in pages)
    documented = set(re.findall(r"`(sealwire_[a-z_]+)`", text))
    ours = {name for name in metrics_named() if name.startswith("sealwire_")}
    assert ours - documented == set()


def test_the_dashboard_is_one_by_grafanas_own_schema() -> None:
    assert flaws(dashboard()) == []


def first_panel(found: dict[str, Any], kind: str) -> dict[str, Any]:
    panel: dict[str, Any] = next(each for each in found["panels"] if each["type"] == kind)
    return panel


@rows(
    "kind, path, value",
    ("stat", "options.graphMode", "bars"),
    ("stat", "options.colourMode", "value"),
    ("stat", "options.reduceOptions.calcs", "lastNotNull"),
    ("stat", "type", "stats"),
    ("stat", "gridPos.w", "6"),
    ("timeseries", "options.legend.placement", "below"),
    ("timeseries", "fieldConfig.defaults.unit", "seconds"),
    ("timeseries", "fieldConfig.defaults.custom.lineWidth", True),
    ("timeseries", "fieldConfig.defaults.thresholds.mode", "fixed"),
)
def test_what_grafana_would_not_take_is_found(kind: str, path: str, value: object) -> None:
    changed = dashboard()
    place = first_panel(changed, kind)
    *outer, last = path.split(".")
    for key in outer:
        place = place[key]
    place[last] = value
    assert flaws(changed)


@pytest.mark.parametrize("panel", panels(), ids=lambda panel: panel["title"])
def test_a_panel_has_the_shape_that_ours_have(panel: dict[str, Any]) -> None:
    assert panel["type"] in PANEL_TYPES
    place = panel["gridPos"]
    assert set(place) == {"h", "w", "x", "y"}
    assert 0 <= place["x"] <= place["x"] + place["w"] <= 24
    if panel["type"] == "row":
        assert panel["panels"] == []
        return
    assert panel["description"]
    assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    references = [target["refId"] for target in panel["targets"]]
    assert references == [chr(65 + number) for number in range(len(references))]
    assert all(target["expr"] and target["datasource"] == panel["datasource"] for target in panel["targets"])
    steps = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
    assert steps[0]["value"] is None
    assert panel["fieldConfig"]["overrides"] == []


def test_panels_have_ids_of_their_own_and_do_not_cover_each_other() -> None:
    assert len({panel["id"] for panel in panels()}) == len(panels())
    taken: set[tuple[int, int]] = set()
    for panel in panels():
        x, y, w, h = (panel["gridPos"][name] for name in ("x", "y", "w", "h"))
        cells = {(x + column, y + line) for column in range(w) for line in range(h)}
        assert not cells & taken
        taken |= cells


def test_the_dashboard_is_for_any_data_source() -> None:
    text = DASHBOARD.read_text(encoding="utf-8")
    variables = re.findall(r'"name": "(\w+)",\n +"label"', text)
    assert variables == ["datasource", "job", "instance"]
    assert set(re.findall(r"\$\{?(\w+)", text)) == {
        "datasource",
        "job",
        "instance",
        "__rate_interval",
        "__all",
    }


# The table of docs/operations/capacity.md is what its own formulas and figures give.


CAPACITY = (ROOT / "docs" / "operations" / "capacity.md").read_text(encoding="utf-8")
AT_REST_MB, CONNECTION_KIB, UNDER_WAY_MB, LINE_BYTES = 78, 116, 256, 401
FIND_US, ON_RECORD_US = 28, 46


def rows_of_the_page() -> list[list[float]]:
    (table,) = re.findall(r"^\| clients \|.*\n\|[-|]+\n((?:\|.*\n)+)", CAPACITY, re.M)
    return [
        [float(re.sub(r"[^\d.]", "", cell)) for cell in line.strip("|").split("|")]
        for line in table.splitlines()
    ]


@pytest.mark.parametrize("row", rows_of_the_page(), ids=lambda row: f"{row[0]:.0f}-{row[3]:.0f}")
def test_a_row_is_calculated_from_its_first_four_numbers(row: list[float]) -> None:
    clients, pool, rate, proxies, *told = row
    connections = clients * (pool + 2) / proxies
    memory = AT_REST_MB + connections * CONNECTION_KIB * 1024 / 1e6 + UNDER_WAY_MB
    cores, on_record = (clients * rate * cost / 1e6 / proxies for cost in (FIND_US, ON_RECORD_US))
    log = clients * rate * LINE_BYTES * 86_400 / 1e9
    expected = [round(connections), round(memory), round(cores, 2), round(on_record, 2)]
    assert told == [*expected, clients * (pool + 2), round(log)]


def test_the_figures_are_those_that_the_page_names() -> None:
    assert f"| {CONNECTION_KIB} KiB" in CAPACITY.replace("4 / 116", "116")
    assert f"{LINE_BYTES} bytes on disk" in CAPACITY
    assert f"/ {FIND_US} us" in CAPACITY
    assert f"with commands on record {ON_RECORD_US} us" in CAPACITY
    benchmarks = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    assert f"{LINE_BYTES} bytes as a line" in benchmarks
    assert "4.0 / 116.2" in benchmarks


LARGE, ONE_AWAY, WORKERS = 100_000, 25_000, 2


def results_of_a_large_deployment() -> dict[str, str]:
    """The last cells of the table of 100,000 connections, by its first ones."""
    (table,) = re.findall(r"^\| what \| calculation \| result \|\n\|[-|]+\n((?:\|.*\n)+)", CAPACITY, re.M)
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
    text = " ".join(CAPACITY.split())
    (supervisor,) = re.findall(rf"{WORKERS} . {AT_REST_MB} MB \+ (\d+) MB \+ 256 MB", text)
    connections = ONE_AWAY * CONNECTION_KIB * 1024 / 1e6
    memory = WORKERS * AT_REST_MB + int(supervisor) + UNDER_WAY_MB + connections
    assert f"= {memory / 1e3:.1f} GB" in text
    descriptors = 2 * ONE_AWAY + 200
    assert f"= {descriptors:,} descriptors" in text
    assert descriptors < 65_536
    assert LARGE == 4 * ONE_AWAY
