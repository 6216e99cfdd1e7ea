"""What the command makes of a story: exit codes and output, without starting anything."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from click.testing import CliRunner, Result

from sealwire.cli.exit_codes import EX_DATAERR, EX_UNAVAILABLE, exit_code
from sealwire.demo import commands as demo
from sealwire.demo.engine import Check
from sealwire.demo.story import Story
from sealwire.testbed.errors import TestbedError, TestbedReason
from tests.demo.test_story import STORY

HOLDS = replace(STORY, checks=(Check("all is well", True, "7 of 7"),))


def run(monkeypatch: pytest.MonkeyPatch, story: Story, *options: str) -> Result:
    @contextmanager
    def no_stage(*_: object) -> Iterator[None]:
        yield

    monkeypatch.setattr(demo, "build", no_stage)
    monkeypatch.setattr(demo, "tell", lambda *_: story)
    return CliRunner().invoke(demo.command, list(options))


def test_a_story_that_holds_ends_with_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    result = run(monkeypatch, HOLDS)
    assert result.exit_code == 0
    assert "all is well" in result.output


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_one_failed_check_ends_with_65_but_is_shown_first(
    monkeypatch: pytest.MonkeyPatch, options: list[str]
) -> None:
    result = run(monkeypatch, STORY, *options)
    assert result.exit_code == EX_DATAERR
    assert "it rains" in result.output


def test_too_few_patients_are_a_usage_error(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(monkeypatch, HOLDS, "--patients", "3").exit_code == 2


def test_a_part_that_does_not_start_has_its_exit_code() -> None:
    assert exit_code(TestbedError(TestbedReason.DIED, "it ended", "try again")) == EX_UNAVAILABLE
