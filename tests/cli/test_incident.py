"""A watched log, and the commands about it."""

import json
import re
import signal
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from sealwire.keys.private_file import writer_lock
from sealwire.proxy.server.page.panels import WatchedNow
from sealwire.sidecars.detection.watched import read_watch
from sealwire.sidecars.detection.watcher import AuditWatch
from tests.audit.logs import place
from tests.cli.runs import Outcome, Run
from tests.sidecars.detection.logs import append, line, source

Watched = Callable[[], Outcome]


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of the rules for a log of a clerk who has read far too much."""
    path = tmp_path / "alerts.yaml"
    path.write_bytes(source(tmp_path))
    shown: dict[str, Any] = {"read": {"nhs_number": 1200}, "documents": 1200, "namespace": "clinic.patients"}
    people = [f"{number:032x}" for number in range(100)]
    append(tmp_path, [line(0, "login"), line(1, subjects=people, **shown), line(2, "refused", reason="role")])
    monkeypatch.setenv("SEALWIRE_WATCH_CONFIG", str(path))
    return path


@pytest.fixture
def watched(config: Path, run: Run) -> Watched:
    """Has the log read to its end."""
    return lambda: run("watch", config, "--once")


@pytest.fixture
def opened(config: object, run: Run) -> None:
    run("incident", "open", "--title", "x")


def state(run: Run) -> str:
    return str(json.loads(run("incident", "show", "i1", "--json").out)["state"])


@pytest.mark.usefixtures("opened")
def test_from_open_to_closed(run: Run) -> None:
    assert run("incident", "assess", "i1", "--risk", "high").code == 0
    assert run("incident", "notify", "i1", "--note", "IC-1").code == 0
    assert run("incident", "close", "i1", "--outcome", "narrowed").code == 0
    assert state(run) == "closed"


@pytest.mark.usefixtures("opened")
def test_what_is_no_risk_is_dismissed(run: Run) -> None:
    assert run("incident", "assess", "i1", "--risk", "unlikely", "--note", "on duty").code == 0
    said = json.loads(run("incident", "dismiss", "i1", "--note", "on duty", "--json").out)
    assert (said["state"], said["stage"]) == ("not-notifiable", "stopped")


@pytest.mark.usefixtures("opened")
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


@pytest.mark.usefixtures("opened")
def test_a_risk_is_not_dismissed_and_nothing_is_told_without_a_word(run: Run) -> None:
    run("incident", "assess", "i1", "--risk", "likely")
    assert run("incident", "dismiss", "i1", "--note", "x").code == 78
    assert run("incident", "notify", "i1").code == 78
    assert state(run) == "assessed"


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


def test_an_incident_or_alert_that_is_not_there(config: object, run: Run) -> None:
    assert run("incident", "show", "i9").code == 66
    assert run("incident", "list", "--config", "/no/such/file").code == 78


def test_an_incident_of_alerts_has_their_words(watched: Watched, run: Run) -> None:
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


@pytest.fixture
def incident(watched: Watched, run: Run) -> str:
    watched()
    run("incident", "open", "--alert", "a1", "--alert", "a2")
    return "i1"


def test_it_has_what_whose_and_by_whom(incident: str, run: Run, tmp_path: Path) -> None:
    page, form = tmp_path / "report.html", tmp_path / "form.md"
    done = run("incident", "report", incident, "--html", page, "--form", form, "--json")
    said = json.loads(done.out)
    assert (done.code, said["proof"]["proved"]) == (0, True)
    assert (said["subjects"]["distinct"], said["read"]) == (100, {"nhs_number": 1200})
    assert said["scope"]["users"] == ["ann@admin"]
    told = " ".join(each["what"] for each in said["timeline"])
    assert re.search(r"\bcommand \(\d+\)", told), told
    assert not re.search(r"\d command\b", told)
    assert "100 people" in form.read_text()
    assert "100 people" in page.read_text()
    for path in (page, form):
        assert path.stat().st_mode & 0o777 == 0o600
    assert "100 people" in run("incident", "report", incident).out


def test_other_lines_may_be_asked_for(incident: str, run: Run) -> None:
    def lines(*words: str) -> int:
        return int(json.loads(run("incident", "report", incident, "--json", *words).out)["lines"])

    assert lines() == 3
    assert lines("--since", "2026-11-23T09:01:30") == 1
    assert lines("--everybody", "--until", "2026-11-23T09:00") == 1
    assert run("incident", "report", incident, "--since", "2026-11-24", "--until", "2026-11-23").code == 2


def test_a_report_on_a_log_that_is_not_whole_says_so(incident: str, run: Run, tmp_path: Path) -> None:
    path, page = place(tmp_path).path, tmp_path / "report.html"
    path.write_bytes(path.read_bytes().replace(b"ann@", b"eve@"))
    done = run("incident", "report", incident, "--html", page)
    assert (done.code, page.exists()) == (65, False)
    done = run("incident", "report", incident, "--html", page, "--unproved")
    assert (done.code, "UNPROVED" in done.out, "UNPROVED" in page.read_text()) == (1, True, True)


def test_what_is_not_there(incident: str, run: Run, tmp_path: Path) -> None:
    assert run("incident", "report", "i9").code == 66
    assert run("incident", "report", incident, "--form", tmp_path / "no" / "form").code != 0
    place(tmp_path).path.unlink()
    assert run("incident", "report", incident).code == 78


def test_alerts_and_incidents_are_told_until_seen(watched: Watched, config: Path, run: Run) -> None:
    watched()
    aware = (datetime.now(UTC) - timedelta(hours=60)).isoformat()
    run("incident", "open", "--alert", "a1", "--title", "bulk read", "--aware", aware)
    told = read_watch(config)
    assert told.problem == ""
    assert {each.rule for each in told.alerts} == {"bulk-read"}
    (incident,) = told.incidents
    assert (incident.id, incident.title, incident.state) == ("i1", "bulk read", "open")
    assert incident.is_pressing
    assert incident.left
    for each in told.alerts:
        run("incident", "acknowledge", each.id)
    assert read_watch(config).alerts == ()


def test_a_watch_that_has_not_begun_is_told_and_no_file_is_made(config: Path) -> None:
    before = sorted(config.parent.iterdir())
    assert read_watch(config).problem == "it has not begun"
    assert sorted(config.parent.iterdir()) == before


def test_what_cannot_be_read_is_told_in_its_place(watched: Watched, config: Path, tmp_path: Path) -> None:
    watched()
    state = next(tmp_path.rglob("*.sqlite"))
    state.write_bytes(b"no database at all" * 100)
    told = read_watch(config)
    assert told == WatchedNow(problem=told.problem, hint=told.hint)
    assert told.problem
    assert told.hint
    config.write_text("version: 9")
    assert str(config) in read_watch(config).problem
    config.unlink()
    assert read_watch(config).problem


# `sealwire watch` as its user sees it.


@pytest.fixture
def watch_config(tmp_path: Path) -> Path:
    path = tmp_path / "alerts.yaml"
    path.write_bytes(source(tmp_path))
    append(tmp_path, [line(0, read={"nhs_number": 1200})])
    return path


def test_it_reads_to_the_end_once_and_tells(watch_config: Path, run: Run) -> None:
    done = run("watch", watch_config, "--once")
    (alert,) = map(json.loads, done.out.splitlines())
    assert (done.code, alert["rule"], alert["amount"]) == (0, "bulk-read", 1200)
    assert run("watch", watch_config, "--once").out == ""


def test_what_was_learnt_is_not_told(watch_config: Path, run: Run) -> None:
    assert run("watch", watch_config, "--learn").out == ""
    assert run("watch", watch_config, "--once").out == ""


def test_it_says_whether_the_file_can_be_used(watch_config: Path, run: Run) -> None:
    done = run("watch", watch_config, "--check")
    assert (done.code, done.out) == (0, "30 rules, 1 channels: can be used\n")
    watch_config.write_bytes(source(watch_config.parent, "bulk-read: {at_least: none}"))
    assert run("watch", watch_config, "--check").code == 78


def test_two_do_not_watch_with_one_state(watch_config: Path, run: Run) -> None:
    with writer_lock(watch_config.parent / "watch.sqlite"):
        assert run("watch", watch_config, "--once").code == 69


def test_a_command_that_fails_is_said_and_tried_again(watch_config: Path, run: Run) -> None:
    watch_config.write_bytes(source(watch_config.parent, tell="log: off\n  command: {run: [/bin/false]}"))
    for _ in range(2):
        done = run("watch", watch_config, "--once")
        said = json.loads(done.out)
        assert (done.code, said["event"], said["channel"]) == (1, "alert-not-told", "command")


@pytest.mark.parametrize(
    ("tell", "code"),
    [("webhook: {url: https://example.org/, secret: /no/such/secret}", 78), ("log: perhaps", 78)],
)
def test_what_the_file_names_has_to_be_there(watch_config: Path, run: Run, tell: str, code: int) -> None:
    watch_config.write_bytes(source(watch_config.parent, tell=tell))
    assert run("watch", watch_config, "--check").code == code


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_in_order(
    watch_config: Path, run: Run, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    former = signal.getsignal(number)
    ended: list[bool] = []

    def until_stopped(_watch: AuditWatch, stop: threading.Event) -> None:
        signal.raise_signal(number)
        ended.append(stop.is_set())

    monkeypatch.setattr(AuditWatch, "run", until_stopped)
    done = run("watch", watch_config)
    said = json.loads(done.out)
    assert (done.code, said["event"], ended) == (0, "watching", [True])
    left = datetime.fromisoformat(said["learning_until"]) - datetime.now(UTC)
    assert timedelta(days=6) < left <= timedelta(days=7)
    assert signal.getsignal(number) is former


def test_one_thing_at_a_time(watch_config: Path, run: Run) -> None:
    assert run("watch", watch_config, "--once", "--learn").code == 2
