"""`sealwire audit tail`: the last lines, chosen ones, and those to come."""

import json
import threading
import time
from pathlib import Path

import pytest

from sealwire.audit.line import Fields
from sealwire.audit.log import LogPace
from tests.audit.logs import event, opened, written
from tests.cli.runs import Run


def test_the_last_lines_over_files_that_were_renamed(run: Run, tmp_path: Path) -> None:
    written(tmp_path, 20, LogPace(file_bytes=1000))
    outcome = run("tail", "audit.log", "-n", "12", "--event", "refused")
    assert outcome.code == 0
    users = [line.split()[1] for line in outcome.out.splitlines()]
    assert users == [f"clerk{number}@clinic" for number in range(8, 20)]
    assert "prev" not in outcome.out


def test_lines_of_one_user_as_json(run: Run, tmp_path: Path) -> None:
    written(tmp_path, 5)
    outcome = run("tail", "audit.log", "--user", "clerk3@clinic", "--json")
    line = json.loads(outcome.out)
    assert (line["n"], line["connection"]) == (4, 3)
    assert run("tail", "audit.log", "--user", "nobody@clinic").out == ""


def test_what_is_no_line_is_passed_over(run: Run, tmp_path: Path) -> None:
    written(tmp_path, 2)
    with (tmp_path / "audit.log").open("ab") as file:
        file.write(b'{"n":7}\n{"torn')
    assert len(run("tail", "audit.log").out.splitlines()) == 3


def test_a_line_that_somebody_made_up_moves_no_cursor(run: Run, tmp_path: Path) -> None:
    log = opened(tmp_path)
    log.append([{"event": "refused\u001b[2J", "user": "a\rb", "x\u001b": "y\n"}])
    log.close()
    for words in (("tail",), ("report", "--by", "event", "--by", "user")):
        outcome = run(words[0], "audit.log", *words[1:])
        assert "refused?[2J" in outcome.out
        assert "a?b" in outcome.out
        assert not {"\u001b", "\r"} & set(outcome.out)


def test_lines_to_come_are_shown_over_files_that_are_renamed(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = opened(tmp_path, LogPace(file_bytes=600))
    log.append([event(0)])
    looks = iter(range(1, 10))
    mine, sleep = threading.get_ident(), time.sleep

    def look(seconds: float) -> None:
        if threading.get_ident() != mine:  # a driver's thread of an earlier test
            sleep(seconds)
            return
        number = next(looks, None)
        if number is None:
            raise SystemExit(130)
        log.append([event(number)])

    monkeypatch.setattr(time, "sleep", look)
    outcome = run("tail", "audit.log", "-n", "0", "-f", "--event", "refused")
    log.close()
    users = [line.split()[1] for line in outcome.out.splitlines()]
    assert users == [f"clerk{number}@clinic" for number in range(1, 10)]
    assert len(list(tmp_path.glob("audit.log.0*"))) == 2


def test_a_log_that_is_not_there(run: Run) -> None:
    assert run("tail", "audit.log").code == 78


def test_a_command_is_shown_in_brief(run: Run, tmp_path: Path) -> None:
    log = opened(tmp_path)
    fields: Fields = {"read": {"nhs": 2, "notes": 1}, "subjects": ["a", "b"], "us": 1200}
    log.append([{"event": "command", "command": "find", "outcome": "ok", **fields}])
    log.append([{"event": "command", "subjects": ["a", "b", "c"]}])
    log.close()
    shown = run("tail", "audit.log", "--event", "command").out
    assert "command  find  ok  read=nhs:2,notes:1  subjects=a,b  us=1200" in shown
    assert "subjects=(3)" in shown
