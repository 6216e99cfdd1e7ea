"""`sealwire incident open`, `acknowledge` and `note`."""

import json
from collections.abc import Callable

import pytest

from tests.cli.runs import Outcome, Run


def test_an_incident_of_alerts_has_their_words(watched: Callable[[], Outcome], run: Run) -> None:
    watched()
    said = json.loads(run("incident", "open", "--alert", "a1", "--alert", "2", "--json").out)
    assert "user ann@admin" in said["title"]
    assert (said["id"], said["state"], said["risk"]) == ("i1", "open", None)
    assert json.loads(run("incident", "alerts", "--json").out) == []


def test_one_without_alerts_needs_a_title(config: object, run: Run) -> None:
    assert run("incident", "open").code == 2
    assert run("incident", "open", "--title", "laptop lost").out.startswith("i1: open")
    assert run("incident", "open", "--alert", "a7").code == 66


@pytest.mark.parametrize("aware", ["tomorrow", "2999-01-01", "10:00"])
def test_one_is_not_aware_in_the_future_or_of_no_time(config: object, run: Run, aware: str) -> None:
    assert run("incident", "open", "--title", "x", "--aware", aware).code == 2


def test_somebody_takes_it_on(config: object, run: Run) -> None:
    run("incident", "open", "--title", "x")
    assert run("incident", "acknowledge", "i1").code == 0
    assert json.loads(run("incident", "show", "i1", "--json").out)["acknowledged"] is not None
    assert run("incident", "acknowledge", "i2").code == 66
    assert run("incident", "acknowledge", "a2").code == 66
    assert run("incident", "acknowledge", "7").code == 2
    assert run("incident", "acknowledge", "a0").code == 2


def test_a_note_has_a_text(config: object, run: Run) -> None:
    run("incident", "open", "--title", "x")
    assert run("incident", "note", "i1", "seen", "--kind", "containment").code == 0
    assert run("incident", "note", "i1", "  ").code == 2
    assert run("incident", "note", "i1", "x" * 5000).code == 2
    assert run("incident", "note", "i9", "seen").code == 66
