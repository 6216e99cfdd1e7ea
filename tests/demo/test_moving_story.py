"""The clinic in plaintext that the demo of migration begins with."""

import io
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from sealwire.demo.application import Period, desks_at_work
from sealwire.demo.engine import Check
from sealwire.demo.inspection import Stored, count_stored
from sealwire.demo.moving_story import (
    KEK_NAME,
    MOVING_SETUP_STEPS,
    POLICY,
    Chapter,
    MovingStory,
    build_moving,
    checks_of,
    show_moving,
)
from sealwire.policies.file.loader import load_policy

pytestmark = pytest.mark.integration


def test_both_databases_hold_the_same_plaintext(tmp_path: Path) -> None:
    told: list[str] = []
    with build_moving(tmp_path, 100, 1948, told.append) as stage:
        with stage.databases.guarded.connect(stage.databases.administrator) as raw:
            stored = count_stored(raw, load_policy(POLICY.encode(), "policy.yaml"))
        assert stored.encrypted == 0
        assert stored.readable > 400
        keys = stage.bao.client.secrets.transit.read_key(KEK_NAME)
        assert keys["data"]["derived"] is True
        assert stage.environment["VAULT_TOKEN"] == stage.bao.root_token != ""
        guarded = stage.databases.guarded.uri(stage.databases.user, "clinic")
        patients = stage.databases.dataset.patients_file
        with desks_at_work(stage.direct_uri, guarded, patients, tmp_path) as desks:
            deadline = time.monotonic() + 30
            while desks.compared < 20 and time.monotonic() < deadline:
                time.sleep(0.05)
            assert desks.compared >= 20
            assert desks.different() == []
            assert desks.guarded.period(0).failed == 0
    assert len(told) == MOVING_SETUP_STEPS


DESK = Period(50, 0, 8.0, 120.0)
CHAPTERS = tuple(
    Chapter(title, commands, 1.5, DESK, stored, 7)
    for title, commands, stored in (
        ("plaintext", (), Stored(0, 90)),
        ("encrypted", ("sealwire migrate encrypt policy.yaml",), Stored(90, 0)),
        ("turned", ("sealwire keys rotate nhs_number",), Stored(90, 0)),
        ("shredded", ("sealwire keys shred notes MRN1",), Stored(90, 0)),
        ("back", ("sealwire migrate decrypt policy.yaml",), Stored(1, 89)),
    )
)


def held(chapters: tuple[Chapter, ...] = CHAPTERS, **seen: Any) -> list[bool]:
    facts: dict[str, Any] = {"compared": 240, "different": [], "failure": ""} | seen
    return [check.passed for check in checks_of(chapters, **facts)]


def test_a_whole_story_holds() -> None:
    assert held() == [True] * 5


def test_errors_are_told_by_kind_and_chapter() -> None:
    broken = replace(CHAPTERS[2], desk=Period(50, 3, 8.0, 120.0, ("AutoReconnect", "OperationFailure 11600")))
    chapters = (*CHAPTERS[:2], broken, *CHAPTERS[3:])
    check = checks_of(chapters, compared=240, different=[], failure="")[1]
    assert not check.passed
    assert check.detail == "3 errors: AutoReconnect while turned, OperationFailure 11600 while turned"


@pytest.mark.parametrize(
    ("place", "change", "claim"),
    [
        (2, {"desk": replace(DESK, failed=1)}, 1),
        (0, {"stored": Stored(0, 0)}, 3),
        (1, {"stored": Stored(89, 1)}, 3),
        (2, {"stored": Stored(0, 0)}, 3),
        (3, {"stored": Stored(89, 1)}, 3),
        (4, {"stored": Stored(0, 90)}, 4),
        (4, {"stored": Stored(2, 88)}, 4),
        (4, {"stored": Stored(1, 0)}, 4),
    ],
)
def test_a_claim_that_is_not_so_does_not_hold(place: int, change: dict[str, Any], claim: int) -> None:
    chapters = list(CHAPTERS)
    chapters[place] = replace(chapters[place], **change)
    assert held(tuple(chapters)) == [number != claim for number in range(5)]


def test_answers_that_differ_or_were_not_compared_do_not_hold() -> None:
    assert held(different=["find_by_number"])[2] is False
    assert held(compared=0)[2] is False


def test_a_command_that_failed_ends_the_story() -> None:
    assert held(CHAPTERS[:2], failure="sealwire migrate: no server") == [False, False, True]


def test_everything_is_shown() -> None:
    checks = (Check("all is well", True, "7"), Check("it rains", False, "it does not"))
    story = MovingStory(400, CHAPTERS, checks)
    assert not story.holds
    console = Console(file=io.StringIO(), width=120, force_terminal=False)
    show_moving(console, story)
    assert isinstance(console.file, io.StringIO)
    shown = console.file.getvalue()
    assert max(map(len, shown.splitlines())) <= 120
    for text in ("encrypted", "$ sealwire keys shred notes MRN1", "FAILED", "120", "89"):
        assert text in shown
