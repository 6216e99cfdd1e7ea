"""`sealwire audit` in a folder of its own."""

import json
import stat
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from sealwire.audit.errors import AuditFileProblem, AuditReason
from sealwire.audit.files import load_signing_key, load_verification_key
from sealwire.audit.line import Fields
from sealwire.audit.log import LogPace
from sealwire.audit.pseudonyms import load_pseudonym_key
from sealwire.cli.audit import existing_files, moment_of
from tests.audit.logs import KEY, Clock, ended, event, opened, written
from tests.cli.runs import Run
from tests.support.reasons import raising


@pytest.fixture
def begins_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    monkeypatch.chdir(tmp_path)
    return ("audit",)


def test_both_halves_are_made_and_only_the_public_one_is_shown(run: Run, tmp_path: Path) -> None:
    outcome = run("create-key", "audit.key", "--name", "clinic.example/sealwire", code=0)
    key = load_signing_key(tmp_path / "audit.key")
    assert load_verification_key(tmp_path / "audit.key.pub") == key.verification
    assert str(key.verification) in outcome.out
    secret = key.written().decode().strip().split("+", 4)[4]
    assert secret not in outcome.out + outcome.err
    assert stat.S_IMODE((tmp_path / "audit.key").stat().st_mode) == 0o600


def test_two_keys_differ(run: Run, tmp_path: Path) -> None:
    for name in ("one", "two"):
        run("create-key", name, "--name", "clinic.example/sealwire")
    assert (tmp_path / "one").read_bytes() != (tmp_path / "two").read_bytes()


def test_nothing_is_overwritten(run: Run, tmp_path: Path) -> None:
    (tmp_path / "audit.key.pub").touch()
    assert run("create-key", "audit.key", "--name", "clinic").code == 73
    assert not (tmp_path / "audit.key").exists()


def test_a_dry_run_makes_nothing(run: Run, tmp_path: Path) -> None:
    outcome = run("create-key", "audit.key", "--name", "clinic", "--dry-run", "--json")
    said = {"private": "audit.key", "public": "audit.key.pub", "dry_run": True}
    assert (outcome.code, json.loads(outcome.out)) == (0, said)
    assert not list(tmp_path.glob("audit.key*"))


def test_a_name_that_no_key_may_have(run: Run, tmp_path: Path) -> None:
    outcome = run("create-key", "audit.key", "--name", "a clinic", code=65)
    assert "hint:" in outcome.err
    assert not list(tmp_path.glob("audit.key*"))


def test_a_key_of_pseudonyms_beside_or_alone(run: Run, tmp_path: Path) -> None:
    outcome = run("create-key", "--subjects-key", "subjects.key", "--json")
    assert (outcome.code, json.loads(outcome.out)) == (0, {"dry_run": False, "subjects_key": "subjects.key"})
    written = (tmp_path / "subjects.key").read_bytes()
    assert load_pseudonym_key(tmp_path / "subjects.key").written() == written
    assert written.decode().strip()[13:] not in outcome.out
    assert run("create-key", "audit.key", "--name", "clinic", "--subjects-key", "subjects.key").code == 73
    assert not (tmp_path / "audit.key").exists()
    assert run("create-key", "audit.key", "--name", "clinic", "--subjects-key", "other.key").code == 0
    assert stat.S_IMODE((tmp_path / "other.key").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "audit.key.pub").stat().st_mode) == 0o644


def test_what_is_to_be_made_has_to_be_said(run: Run) -> None:
    assert run("create-key").code == 2
    assert run("create-key", "audit.key").code == 2


def test_the_files_of_a_log_that_is_there(tmp_path: Path) -> None:
    written(tmp_path, 1)
    assert existing_files(tmp_path / "audit.log") == [tmp_path / "audit.log"]


def test_a_log_that_is_not_there_is_named(tmp_path: Path) -> None:
    (tmp_path / "audit.log").write_text("not a log\n")
    for name in ("audit.log", "other.log"):
        with raising(AuditFileProblem, AuditReason.FILE_MISSING) as caught:
            existing_files(tmp_path / name)
        assert name in str(caught.value)


@pytest.mark.parametrize("time", [None, "tomorrow", "2026-01-02T03:04:05", 7])
def test_a_line_that_does_not_say_when_has_no_moment(time: object) -> None:
    assert moment_of({"time": time}) is None


def test_a_line_says_when_it_was_written() -> None:
    assert moment_of({"time": "2026-01-02T03:04:05+00:00"}) == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def lines() -> Iterator[Fields]:
    for day in (1, 2, 3):
        for hour in range(day):
            time = f"2026-11-0{day}T0{hour}:00:00.000+00:00"
            yield {"event": "refused", "time": time, "user": "ann@admin", "reason": "pattern"}
            yield {"event": "login", "time": time, "user": f"bob{day}@admin"}
    yield {"event": "login-failed", "time": "2026-11-03T23:59:59.999+00:00", "reason": "code 18"}
    yield {"event": "odd", "time": "yesterday"}


@pytest.fixture
def log(tmp_path: Path) -> None:
    log = opened(tmp_path, LogPace(file_bytes=1000))
    for each in lines():
        log.append([each])
    log.close()


def rows(run: Run, *options: str) -> Any:
    outcome = run("report", "audit.log", "--json", *options, code=0)
    return json.loads(outcome.out)


@pytest.mark.usefixtures("log")
def test_lines_are_counted_by_event_and_user_the_most_frequent_first(run: Run) -> None:
    found = rows(run)
    assert found["rows"][0] == {"event": "refused", "user": "ann@admin", "lines": 6}
    assert found["rows"][1] == {"event": "login", "user": "bob3@admin", "lines": 3}
    assert {"event": "login-failed", "user": "-", "lines": 1} in found["rows"]
    assert (found["lines"], found["more"], found["unreadable"]) == (14, 0, 0)


@pytest.mark.usefixtures("log")
def test_lines_of_a_time_and_of_events(run: Run) -> None:
    found = rows(run, "--by", "day", "--event", "refused", "--since", "2026-11-02", "--until", "2026-11-03")
    assert found["rows"] == [{"day": "2026-11-03", "lines": 3}, {"day": "2026-11-02", "lines": 2}]
    assert rows(run, "--by", "event", "--event", "login-failed", "--until", "2026-11-03")["lines"] == 1
    assert rows(run, "--event", "login-failed", "--until", "2026-11-02")["lines"] == 0
    assert rows(run, "--event", "odd")["lines"] == 1
    assert rows(run, "--event", "odd", "--since", "2020-01-01")["lines"] == 0


@pytest.mark.usefixtures("log")
def test_what_is_left_out_of_a_table_and_what_cannot_be_read_is_said(run: Run, tmp_path: Path) -> None:
    with (tmp_path / "audit.log").open("ab") as file:
        file.write(b"no line\n")
    outcome = run("report", "audit.log", "--top", "1", code=0)
    assert "ann@admin" in outcome.out
    assert "and 5 more rows" in outcome.out
    assert "1 lines cannot be read" in outcome.out
    assert rows(run)["unreadable"] == 1


@pytest.mark.usefixtures("log")
def test_what_makes_no_sense_is_refused(run: Run) -> None:
    assert run("report", "audit.log", "--by", "height").code == 2
    assert run("report", "audit.log", "--since", "soon").code == 2
    assert run("report", "other.log").code == 78


@pytest.mark.usefixtures("log")
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


@pytest.mark.usefixtures("log")
def test_a_report_as_a_page(run: Run, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    assert run("report", "audit.log", "--by", "user", "--top", "2", "--html", str(page)).code == 0
    html = page.read_text(encoding="utf-8")
    assert html.count("<figure>") == 2
    assert '<td>ann@admin</td><td class="number">6</td>' in html
    assert "more rows are left out" in html


@pytest.mark.usefixtures("log")
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


def test_the_last_lines_over_files_that_were_renamed(run: Run, tmp_path: Path) -> None:
    written(tmp_path, 20, LogPace(file_bytes=1000))
    outcome = run("tail", "audit.log", "-n", "12", "--event", "refused", code=0)
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


KEPT = ("verify", "audit.log", "--key", "key.pub", "--checkpoints", "elsewhere.checkpoints")
WITH_KEY = (*KEPT, "--max-age", "never")


@pytest.fixture(autouse=True)
def key(tmp_path: Path) -> None:
    (tmp_path / "key.pub").write_text(f"{KEY.verification}\n")


def test_a_whole_log(run: Run, tmp_path: Path) -> None:
    written(tmp_path, 20, LogPace(file_bytes=1000))
    outcome = run(*WITH_KEY, code=0)
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
    ended(log)
    outcome = run(*KEPT, *more, code=code)
    assert ("--max-age" in outcome.out) is bool(code)
    said = json.loads(run(*KEPT, *more, "--json").out)
    assert (said["whole"], said["stale"], said["flaws"]) == (True, bool(code), [])
    assert said["signed_age_s"] // 3600 == hours


def test_an_edited_line_is_named(run: Run, tmp_path: Path) -> None:
    written(tmp_path, 5)
    path = tmp_path / "audit.log"
    path.write_bytes(path.read_bytes().replace(b"clerk2", b"clerk7"))
    outcome = run(*WITH_KEY, code=1)
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
    outcome = run(*WITH_KEY, "--json", code=1)
    found = json.loads(outcome.out)["flaws"][0]
    assert (found["flaw"], found["file"], found["line"]) == (flaw, "audit.log", 1)


def test_a_log_that_was_emptied_or_taken_away_is_cut_off(run: Run, tmp_path: Path) -> None:
    written(tmp_path, 5)
    (tmp_path / "audit.log").write_bytes(b"")
    for _ in range(2):
        outcome = run(*WITH_KEY, "--json", code=1)
        assert json.loads(outcome.out)["flaws"][-1]["flaw"] == "cut-off"
        (tmp_path / "audit.log").unlink(missing_ok=True)


def test_the_newest_file_is_not_passed_over_where_its_first_line_was_edited(run: Run, tmp_path: Path) -> None:
    written(tmp_path, 20, LogPace(file_bytes=1000))
    (tmp_path / "audit.log.checkpoints").unlink()
    path = tmp_path / "audit.log"
    path.write_bytes(b"no line\n" + path.read_bytes().split(b"\n", 1)[1])
    run("verify", "audit.log", "--chain-only", "--json", code=1)


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
    outcome = run(*arguments, code=code)
    assert outcome.out == ""


def test_many_flaws_are_counted_and_not_all_listed(run: Run, tmp_path: Path) -> None:
    written(tmp_path, 2)
    path = tmp_path / "audit.log"
    path.write_bytes(path.read_bytes() + b"{}\n" * 1200)
    outcome = run(*WITH_KEY, code=1)
    assert "and 200 more" in outcome.out
