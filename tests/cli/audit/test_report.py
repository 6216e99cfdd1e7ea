"""`sealwire audit report`: what it counts, and over which time."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sealwire.audit.line import Fields
from sealwire.audit.log import LogPace
from tests.audit.logs import opened
from tests.cli.runs import Run


def lines() -> Iterator[Fields]:
    for day in (1, 2, 3):
        for hour in range(day):
            time = f"2026-11-0{day}T0{hour}:00:00.000+00:00"
            yield {"event": "refused", "time": time, "user": "ann@admin", "reason": "pattern"}
            yield {"event": "login", "time": time, "user": f"bob{day}@admin"}
    yield {"event": "login-failed", "time": "2026-11-03T23:59:59.999+00:00", "reason": "code 18"}
    yield {"event": "odd", "time": "yesterday"}


@pytest.fixture(autouse=True)
def log(tmp_path: Path) -> None:
    log = opened(tmp_path, LogPace(file_bytes=1000))
    for each in lines():
        log.append([each])
    log.close()


def rows(run: Run, *options: str) -> Any:
    outcome = run("report", "audit.log", "--json", *options)
    assert outcome.code == 0
    return json.loads(outcome.out)


def test_lines_are_counted_by_event_and_user_the_most_frequent_first(run: Run) -> None:
    found = rows(run)
    assert found["rows"][0] == {"event": "refused", "user": "ann@admin", "lines": 6}
    assert found["rows"][1] == {"event": "login", "user": "bob3@admin", "lines": 3}
    assert {"event": "login-failed", "user": "-", "lines": 1} in found["rows"]
    assert (found["lines"], found["more"], found["unreadable"]) == (14, 0, 0)


def test_lines_of_a_time_and_of_events(run: Run) -> None:
    found = rows(run, "--by", "day", "--event", "refused", "--since", "2026-11-02", "--until", "2026-11-03")
    assert found["rows"] == [{"day": "2026-11-03", "lines": 3}, {"day": "2026-11-02", "lines": 2}]
    assert rows(run, "--by", "event", "--event", "login-failed", "--until", "2026-11-03")["lines"] == 1
    assert rows(run, "--event", "login-failed", "--until", "2026-11-02")["lines"] == 0
    assert rows(run, "--event", "odd")["lines"] == 1
    assert rows(run, "--event", "odd", "--since", "2020-01-01")["lines"] == 0


def test_what_is_left_out_of_a_table_and_what_cannot_be_read_is_said(run: Run, tmp_path: Path) -> None:
    with (tmp_path / "audit.log").open("ab") as file:
        file.write(b"no line\n")
    outcome = run("report", "audit.log", "--top", "1")
    assert outcome.code == 0
    assert "ann@admin" in outcome.out
    assert "and 5 more rows" in outcome.out
    assert "1 lines cannot be read" in outcome.out
    assert rows(run)["unreadable"] == 1


def test_what_makes_no_sense_is_refused(run: Run) -> None:
    assert run("report", "audit.log", "--by", "height").code == 2
    assert run("report", "audit.log", "--since", "soon").code == 2
    assert run("report", "other.log").code == 78


def test_by_class_a_line_counts_for_each_class_and_values_are_added_up(run: Run, tmp_path: Path) -> None:
    log = opened(tmp_path, LogPace(file_bytes=1000))
    for read in (1, 2):
        time = "2026-11-04T00:00:00.000+00:00"
        log.append([{"event": "command", "time": time, "read": {"a": read, "b": 1}, "written": {"a": 5}}])
    log.close()
    found = rows(run, "--by", "class", "--event", "command")["rows"]
    assert found == [
        {"class": "a", "lines": 2, "read": 3, "written": 10, "filtered": 0},
        {"class": "b", "lines": 2, "read": 2, "written": 0, "filtered": 0},
    ]
    assert rows(run, "--by", "class", "--event", "odd")["rows"][0]["class"] == "-"


def test_a_report_as_a_page(run: Run, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    assert run("report", "audit.log", "--by", "user", "--top", "2", "--html", str(page)).code == 0
    html = page.read_text(encoding="utf-8")
    assert html.count("<svg") == 2
    assert '<td>ann@admin</td><td class="number">6</td>' in html
    assert "more rows are left out" in html


def test_a_line_counts_for_what_it_stands_for(run: Run, tmp_path: Path) -> None:
    log = opened(tmp_path, LogPace(file_bytes=100_000))
    time = "2026-11-09T00:00:00.000+00:00"
    log.append([{"event": "login-failed", "time": time, "reason": "code 18", "count": 40}])
    log.append([{"event": "command", "time": time, "command": "find"}])
    log.append([{"event": "command", "time": time, "command": "find", "part": 2}])
    log.close()
    log = opened(tmp_path, LogPace(file_bytes=100_000))
    log.append([{"event": "command", "time": time, "part": 3, "read": {"z": 4}, "filtered": {"z": 1}}])
    log.close()
    found = rows(run, "--by", "class", "--since", "2026-11-09", "--event", "command")
    assert found["rows"] == [
        {"class": "-", "lines": 1, "read": 0, "written": 0, "filtered": 0},
        {"class": "z", "lines": 1, "read": 4, "written": 0, "filtered": 1},
    ]
    found = rows(run, "--by", "event", "--since", "2026-11-09")
    assert found["rows"] == [{"event": "login-failed", "lines": 40}, {"event": "command", "lines": 1}]
