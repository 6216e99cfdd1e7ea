"""The clinic with roles, on record and watched, that the demo of governance begins with."""

from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from sealwire.demo import governance_story
from sealwire.demo.governance_story import (
    GOVERNANCE_SETUP_STEPS,
    GOVERNANCE_STEPS,
    PAGES,
    POLICY,
    STEPS,
    break_glass,
    build_governance,
    keep_pages,
    readers,
    show_governance,
    tell_governance,
)
from sealwire.demo.stage import StepFailed
from sealwire.policies.file.loader import load_policy

pytestmark = pytest.mark.integration


def test_the_policy_of_the_demo_is_one() -> None:
    policy = load_policy(POLICY.encode(), "policy.yaml")
    assert policy.roles is not None
    assert policy.subjects is not None


def test_roles_decide_who_sees_what(tmp_path: Path) -> None:
    told: list[str] = []
    with build_governance(tmp_path, 100, 1948, told.append) as stage:
        assert len(told) == GOVERNANCE_SETUP_STEPS
        for step in (readers, break_glass):
            shown, holds, _ = step(stage)
            assert holds, shown
        learnt = stage.watch_log.read_text(encoding="utf-8")
    assert '"bulk-read"' not in learnt  # the filling was learnt, and is no alert


class Typist:
    """Types nothing."""

    def typed(self) -> tuple[str, ...]:
        return ("sealwire nothing",)


class World:
    """As much of a stage as steps that are replaced need."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.operator = Typist()
        self.dataset = self
        self.patients = (1, 2)

    def file(self, name: str) -> str:
        return str(self.folder / name)


def played(monkeypatch: pytest.MonkeyPatch, folder: Path, *seen: Any) -> Any:
    steps = tuple((f"step {index}", "a claim", each) for index, each in enumerate(seen))
    monkeypatch.setattr(governance_story, "STEPS", steps)
    return tell_governance(World(folder), lambda _text: None)  # type: ignore[arg-type]


def holding(_stage: object) -> Any:
    return [("who", "what")], True, "seen"


def test_there_are_as_many_steps_as_are_announced() -> None:
    assert len(STEPS) == GOVERNANCE_STEPS


def test_a_story_holds_when_every_step_does(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    story = played(monkeypatch, tmp_path, *([holding] * GOVERNANCE_STEPS))
    assert story.holds
    assert story.chapters[0].commands == ("sealwire nothing",)


def test_a_step_that_does_not_hold_is_the_last(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    story = played(monkeypatch, tmp_path, holding, lambda _stage: ([], False, "not so"), holding)
    assert [each.check.passed for each in story.chapters] == [True, False]
    assert not story.holds


def test_a_command_that_fails_is_a_failed_check(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def broken(_stage: object) -> Any:
        done: Any = type(
            "Done", (), {"stderr": "sealwire: error: no key\nsealwire: hint: x\n", "returncode": 65}
        )
        raise StepFailed("sealwire x", done)

    story = played(monkeypatch, tmp_path, broken)
    assert story.chapters[0].check.detail == "sealwire x: no key"
    assert not story.holds


def test_the_pages_stay(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / PAGES[0]).write_text("page")
    story = played(monkeypatch, tmp_path, holding)
    assert keep_pages(story, tmp_path / "kept") == (tmp_path / "kept" / PAGES[0],)


def test_a_terminal_shows_claims_commands_and_pages(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    story = played(monkeypatch, tmp_path, holding, lambda _stage: ([], False, "not so"))
    console = Console(record=True, width=100)
    show_governance(console, story, (tmp_path / "compliance.html",))
    text = console.export_text()
    for part in ("step 0", "who", "what", "$ sealwire nothing", "a claim", "FAILED", "compliance.html"):
        assert part in text
