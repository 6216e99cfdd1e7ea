"""`sealwire incident list`, `alerts` and `show`."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.cli.runs import Outcome, Run
from tests.sidecars.detection.logs import append, line

Watched = Callable[[], Outcome]


def test_alerts_are_listed_until_somebody_has_seen_them(watched: Watched, run: Run) -> None:
    watched()
    found = json.loads(run("incident", "alerts", "--json").out)
    assert {alert["rule"] for alert in found} == {"bulk-read", "subjects"}
    assert "bulk-read" in run("incident", "alerts").out
    assert run("incident", "acknowledge", "a1").code == 0
    assert [alert["id"] for alert in json.loads(run("incident", "alerts", "--json").out)] == ["a2"]
    assert len(json.loads(run("incident", "alerts", "--all", "--json").out)) == 2


@pytest.mark.parametrize(("hours", "code", "stage"), [(1, 0, "running"), (50, 1, "soon"), (80, 1, "overdue")])
def test_a_list_says_what_is_left_and_fails_where_it_is_little(
    config: object, run: Run, hours: int, code: int, stage: str
) -> None:
    aware = (datetime.now(UTC) - timedelta(hours=hours)).isoformat()
    assert run("incident", "open", "--title", "a list", "--aware", aware).code == 0
    done = run("incident", "list", "--json")
    (incident,) = json.loads(done.out)["incidents"]
    assert (done.code, incident["stage"], incident["id"]) == (code, stage, "i1")
    shown = run("incident", "list")
    assert (shown.code, "a list" in shown.out) == (code, True)


def test_an_incident_is_shown_with_its_alerts(watched: Watched, run: Run) -> None:
    watched()
    run("incident", "open", "--alert", "a1")
    run("incident", "note", "i1", "shared\x1b[31m account")
    text = run("incident", "show", "i1")
    assert (text.code, "a1" in text.out, "\x1b" in text.out) == (0, True, False)
    said = json.loads(run("incident", "show", "1", "--json").out)
    assert [alert["id"] for alert in said["alerts"]] == ["a1"]
    assert [entry["kind"] for entry in said["entries"]] == ["opened", "note"]


def test_names_that_clients_chose_do_nothing_to_a_terminal(config: Path, run: Run) -> None:
    odd = "eve\x1b]0;title\x07\u202e@admin"
    append(config.parent, [line(3, user=odd, read={"nhs_number\x1b[2J": 5000})])
    run("watch", config, "--once")
    run("incident", "open", *(word for number in (1, 2, 3) for word in ("--alert", f"a{number}")))
    for words in (("alerts", "--all"), ("show", "i1"), ("report", "i1"), ("list",)):
        text = run("incident", *words).out
        assert not {letter for letter in text if letter in "\x1b\x07\u202e"}


def test_what_is_not_told_is_listed(watched: Watched, config: object, run: Run) -> None:
    watched()
    assert json.loads(run("incident", "list", "--json").out)["untold"] == {}


def test_what_is_not_there(config: object, run: Run) -> None:
    assert run("incident", "show", "i9").code == 66
    assert run("incident", "list", "--config", "/no/such/file").code == 78
