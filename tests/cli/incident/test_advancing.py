"""`sealwire incident assess`, `notify`, `dismiss` and `close`."""

import json

import pytest

from tests.cli.runs import Run


@pytest.fixture(autouse=True)
def opened(config: object, run: Run) -> None:
    run("incident", "open", "--title", "x")


def state(run: Run) -> str:
    return str(json.loads(run("incident", "show", "i1", "--json").out)["state"])


def test_from_open_to_closed(run: Run) -> None:
    assert run("incident", "assess", "i1", "--risk", "high").code == 0
    assert run("incident", "notify", "i1", "--note", "IC-1").code == 0
    assert run("incident", "close", "i1", "--outcome", "narrowed").code == 0
    assert state(run) == "closed"


def test_what_is_no_risk_is_dismissed(run: Run) -> None:
    assert run("incident", "assess", "i1", "--risk", "unlikely", "--note", "on duty").code == 0
    said = json.loads(run("incident", "dismiss", "i1", "--note", "on duty", "--json").out)
    assert (said["state"], said["stage"]) == ("not-notifiable", "stopped")


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("close", "i1", "--outcome", "x"), 78),
        (("notify", "i1", "--note", "x"), 78),
        (("assess", "i1"), 2),
        (("assess", "i1", "--risk", "none"), 2),
        (("close", "i1"), 2),
        (("assess", "i9", "--risk", "high"), 66),
    ],
)
def test_what_does_not_fit_changes_nothing(run: Run, words: tuple[str, ...], code: int) -> None:
    assert run("incident", *words).code == code
    assert state(run) == "open"


def test_a_risk_is_not_dismissed_and_nothing_is_told_without_a_word(run: Run) -> None:
    run("incident", "assess", "i1", "--risk", "likely")
    assert run("incident", "dismiss", "i1", "--note", "x").code == 78
    assert run("incident", "notify", "i1").code == 78
    assert state(run) == "assessed"
