"""`sealwire audit verify`: what it says, and with which exit code."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from sealwire.audit.log import LogPace
from tests.audit.logs import KEY, Clock, event, opened, written
from tests.cli.runs import Run

KEPT = ("verify", "audit.log", "--key", "key.pub", "--checkpoints", "elsewhere.checkpoints")
WITH_KEY = (*KEPT, "--max-age", "never")


@pytest.fixture(autouse=True)
def key(tmp_path: Path) -> None:
    (tmp_path / "key.pub").write_text(f"{KEY.verification}\n")


def test_a_whole_log(run: Run, tmp_path: Path) -> None:
    written(tmp_path, 20, LogPace(file_bytes=1000))
    outcome = run(*WITH_KEY)
    assert outcome.code == 0
    assert "whole; signed up to line" in outcome.out
    said = json.loads(run(*WITH_KEY, "--json").out)
    assert (said["whole"], said["lines"], said["signed"], said["flaws"]) == (True, *[said["read"]] * 2, [])
    assert len(said["files"]) > 1


@pytest.mark.parametrize(
    ("more", "hours", "code"),
    [
        ((), 47, 0),
        ((), 49, 1),
        (("--max-age", "1h"), 2, 1),
        (("--max-age", "1w"), 49, 0),
        (("--max-age", "never"), 1000, 0),
    ],
)
def test_a_log_that_was_not_signed_of_late_is_stale(
    run: Run, tmp_path: Path, more: tuple[str, ...], hours: int, code: int
) -> None:
    log = opened(tmp_path, clock=Clock(datetime.now(UTC) - timedelta(hours=hours)))
    log.append([event(0)])
    log.sign()
    log.close()
    outcome = run(*KEPT, *more)
    assert outcome.code == code
    assert ("--max-age" in outcome.out) is bool(code)
    said = json.loads(run(*KEPT, *more, "--json").out)
    assert (said["whole"], said["stale"], said["flaws"]) == (True, bool(code), [])
    assert said["signed_age_s"] // 3600 == hours


def test_an_edited_line_is_named(run: Run, tmp_path: Path) -> None:
    written(tmp_path, 5)
    path = tmp_path / "audit.log"
    path.write_bytes(path.read_bytes().replace(b"clerk2", b"clerk7"))
    outcome = run(*WITH_KEY)
    assert outcome.code == 1
    assert "audit.log:4" in outcome.out
    (flaw,) = json.loads(run(*WITH_KEY, "--json").out)["flaws"]
    assert (flaw["flaw"], flaw["file"], flaw["line"]) == ("edited", "audit.log", 4)


@pytest.mark.parametrize(
    ("first", "flaw"), [(b"no line\n", "not-a-line"), (b'{"n":0}\n', "not-a-line"), (b"", "not-a-file")]
)
def test_a_first_line_that_was_edited_or_taken_away_is_named(
    run: Run, tmp_path: Path, first: bytes, flaw: str
) -> None:
    written(tmp_path, 5)
    path = tmp_path / "audit.log"
    path.write_bytes(first + path.read_bytes().split(b"\n", 1)[1])
    outcome = run(*WITH_KEY, "--json")
    assert outcome.code == 1
    found = json.loads(outcome.out)["flaws"][0]
    assert (found["flaw"], found["file"], found["line"]) == (flaw, "audit.log", 1)


def test_a_log_that_was_emptied_or_taken_away_is_cut_off(run: Run, tmp_path: Path) -> None:
    written(tmp_path, 5)
    (tmp_path / "audit.log").write_bytes(b"")
    for _ in range(2):
        outcome = run(*WITH_KEY, "--json")
        assert outcome.code == 1
        assert json.loads(outcome.out)["flaws"][-1]["flaw"] == "cut-off"
        (tmp_path / "audit.log").unlink(missing_ok=True)


def test_the_newest_file_is_not_passed_over_where_its_first_line_was_edited(run: Run, tmp_path: Path) -> None:
    written(tmp_path, 20, LogPace(file_bytes=1000))
    (tmp_path / "audit.log.checkpoints").unlink()
    path = tmp_path / "audit.log"
    path.write_bytes(b"no line\n" + path.read_bytes().split(b"\n", 1)[1])
    outcome = run("verify", "audit.log", "--chain-only", "--json")
    assert outcome.code == 1


def test_an_end_that_was_cut_off_is_found_with_either_file_of_checkpoints(run: Run, tmp_path: Path) -> None:
    written(tmp_path, 5)
    path = tmp_path / "audit.log"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-2]))
    (tmp_path / "audit.log.checkpoints").unlink()
    assert json.loads(run(*WITH_KEY, "--json").out)["flaws"][0]["flaw"] == "cut-off"
    without = run("verify", "audit.log", "--key", "key.pub", "--json")
    assert json.loads(without.out)["flaws"][0]["flaw"] == "no-checkpoints"
    assert run("verify", "audit.log", "--chain-only").code == 0


def test_files_that_were_archived_are_missed_unless_that_is_said(run: Run, tmp_path: Path) -> None:
    written(tmp_path, 20, LogPace(file_bytes=1000))
    (tmp_path / "audit.log.000000000000000").unlink()
    assert run(*WITH_KEY).code == 1
    assert run(*WITH_KEY, "--archived").code == 0


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("verify", "audit.log"), 2),
        (("verify", "audit.log", "--key", "key.pub", "--chain-only"), 2),
        (("verify", "other.log", "--key", "key.pub"), 78),
        (("verify", "audit.log", "--key", "missing.pub"), 78),
        (("verify", "audit.log", "--key", "audit.log"), 65),
    ],
)
def test_what_cannot_be_verified(run: Run, tmp_path: Path, arguments: tuple[str, ...], code: int) -> None:
    written(tmp_path, 2)
    outcome = run(*arguments)
    assert outcome.code == code
    assert outcome.out == ""


def test_many_flaws_are_counted_and_not_all_listed(run: Run, tmp_path: Path) -> None:
    written(tmp_path, 2)
    path = tmp_path / "audit.log"
    path.write_bytes(path.read_bytes() + b"{}\n" * 1200)
    outcome = run(*WITH_KEY)
    assert outcome.code == 1
    assert "and 200 more" in outcome.out
