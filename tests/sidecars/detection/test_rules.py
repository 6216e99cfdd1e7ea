"""The file of the rules: what is left out has a default, what contradicts itself is said with its place."""

import sqlite3
from datetime import UTC, datetime, time, timedelta
from pathlib import Path

import pytest

from sealwire.files.errors import SourceError
from sealwire.keys.errors import KeysError
from sealwire.sidecars.detection.observations import SLACK_S, ClockState, LogClock, moment_of
from sealwire.sidecars.detection.rules import (
    ALWAYS_ON,
    DEFAULTS,
    OwnPast,
    RuleName,
    Urgency,
    load_watch_settings,
    parse_watch_settings,
)
from sealwire.sidecars.detection.state_file import StateFile
from sealwire.sidecars.errors import DetectionReason, Unavailable, Unsound, Unusable
from tests.sidecars.detection.logs import START
from tests.support.reasons import raising

HEAD = "version: 1\naudit: {path: a.jsonl}\nstate: w.sqlite\n"


def parsed(rest: str = "") -> dict[RuleName, object]:
    return dict(parse_watch_settings((HEAD + rest).encode(), "alerts.yaml").rules)


def test_all_rules_count_but_the_one_that_needs_hours() -> None:
    assert set(parsed()) == set(RuleName) - {RuleName.OUT_OF_HOURS, RuleName.SHARE}
    assert parsed() == {name: DEFAULTS[name] for name in parsed()}
    assert set(DEFAULTS) == set(RuleName)


def test_a_rule_that_is_only_named_has_its_defaults() -> None:
    assert parsed("rules:\n  bulk-read:\n  subjects: {}\n") == parsed()


def test_jobs_have_their_bound_in_the_rules_for_reading_and_writing() -> None:
    head = HEAD + "jobs: {report: 7}\nrules:\n  subjects: {users: {report: 9}}\n  share: {sizes: {a.b: 50}}\n"
    head += '  out-of-hours: {from: "07:00", to: "19:00"}\n'
    said = parse_watch_settings(head.encode(), "alerts.yaml").rules
    assert said[RuleName.BULK_READ].threshold("nhs_number", "report") == 7
    assert said[RuleName.SUBJECTS].threshold(None, "report") == 9
    assert said[RuleName.SUBJECTS_BY_ADDRESS].users == {"report": 7}
    assert not said[RuleName.BULK_DELETE].users
    assert not said[RuleName.REFUSED].users
    assert said[RuleName.OUT_OF_HOURS].threshold(None, "report") > 10**6
    share = said[RuleName.SHARE]
    assert [share.threshold(None, None, each) for each in ("a.b", "a.c")] == [10, 20]
    assert share.threshold(None, "report", "a.b") == 7


def test_rules_are_changed_and_turned_off() -> None:
    said = parse_watch_settings(
        (
            HEAD + "rules:\n"
            "  bulk-read: {at_least: 5, window_s: 7200, urgency: notice, classes: {nhs_number: 2},"
            " users: {app: 9}}\n"
            "  subjects: {at_least: 50, factor: 2, at_most: 70}\n"
            "  new-address: {learn_days: 3}\n"
            "  refused: off\n"
            '  out-of-hours: {from: "08:00", to: "18:30", days: [sat], zone: Europe/London}\n'
        ).encode(),
        "alerts.yaml",
    ).rules
    bulk, hours = said[RuleName.BULK_READ], said[RuleName.OUT_OF_HOURS].hours
    assert (bulk.at_least, bulk.window_s, bulk.cool_down_s, bulk.urgency) == (5, 7200, 7200, Urgency.NOTICE)
    pairs = [("nhs_number", "x"), ("other", "x"), (None, None), ("nhs_number", "app")]
    found = [bulk.threshold(*pair) for pair in pairs]
    assert found == [2, 5, 5, 9]
    assert said[RuleName.SUBJECTS].past == OwnPast(2.0, 70)
    assert said[RuleName.NEW_ADDRESS].learn_s == 3 * 86_400
    assert RuleName.REFUSED not in said
    assert hours is not None
    assert (hours.begin, hours.end, hours.days, hours.zone.key) == (
        time(8),
        time(18, 30),
        frozenset({5}),
        "Europe/London",
    )


@pytest.mark.parametrize(
    ("rest", "place"),
    [
        ("rules: {bulk-raed: {}}", "4:20"),
        ("rules: {bulk-read: {at_least: 0}}", "4:31"),
        ("rules: {bulk-read: {at_most: 5}}", "4:21"),
        ("rules: {bulk-read: on}", "4:20"),
        ("rules: {bulk-read: {users: {app: many}}}", "4:34"),
        ("rules: {failed-logins: {users: {app: 3}}}", "4:25"),
        ("rules: {bulk-read: {window_s: 90}}", "4:31"),
        ("rules: {bulk-read: {window_s: 600, cool_down_s: 60}}", "4:49"),
        ("rules: {subjects: {at_least: 100, at_most: 50}}", "4:44"),
        ("rules: {subjects: {at_least: 5000}}", "4:30"),
        ("rules: {audit-gap: off}", "4:20"),
        ("rules: {out-of-hours: }", "4:22"),
        ("rules: {share: }", "4:15"),
        ("rules: {share: {sizes: {a.b: 0}}}", "4:30"),
        ("rules: {share: {at_least: 101, sizes: {a.b: 9}}}", "4:16"),
        ("jobs: {report: all}", "4:16"),
        ('rules: {out-of-hours: {from: "09:00"}}', "4:23"),
        ('rules: {out-of-hours: {from: "19:00", to: "07:00"}}', "4:43"),
        ('rules: {out-of-hours: {from: 1000, to: "19:00"}}', "4:30"),
        ('rules: {out-of-hours: {from: "7:00", to: "19:00"}}', "4:30"),
        ('rules: {out-of-hours: {from: "07:00", to: "19:00", days: []}}', "4:58"),
        ('rules: {out-of-hours: {from: "07:00", to: "19:00", zone: Mars/North}}', "4:58"),
        ('rules: {out-of-hours: {from: "07:00", to: "19:00", zone: ../../etc/passwd}}', "4:58"),
        ("tell: {webhook: {url: http://example.org/x, secret: s}}", "4:23"),
        ("tell: {webhook: {url: https://u:p@example.org/x, secret: s}}", "4:23"),
        ("tell: {webhook: {url: ftp://example.org/x, secret: s}}", "4:23"),
        ("tell: {webhook: {url: 'https://example.org:nan/', secret: s}}", "4:23"),
        ("tell: {webhook: {url: https://example.org/}}", "4:17"),
        ("tell: {command: {run: []}}", "4:23"),
        ("tell: {command: {run: [logger]}}", "4:23"),
        ("tell: {command: {run: [/bin/true], timeout_s: 0}}", "4:47"),
        ("tell: {log: maybe}", "4:13"),
        ("more: 1", "4:1"),
    ],
)
def test_what_cannot_count_is_said_with_its_place(rest: str, place: str) -> None:
    with pytest.raises(SourceError) as caught:
        parsed(rest)
    assert f"{caught.value.line}:{caught.value.column}" == place
    assert "u:p" not in str(caught.value)


def test_what_cannot_be_off_is_what_tells_of_the_watch_itself() -> None:
    for name in ALWAYS_ON:
        with pytest.raises(SourceError):
            parsed(f"rules: {{{name.value}: off}}")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
def test_a_webhook_on_this_machine_may_be_in_clear(host: str) -> None:
    text = f"tell: {{webhook: {{url: 'http://{host}:8080/x', secret: s}}, log: off}}"
    said = parse_watch_settings((HEAD + text).encode(), "alerts.yaml")
    assert said.webhook is not None
    assert not said.is_logged


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with raising(Unusable, DetectionReason.RULES_FILE):
        load_watch_settings(tmp_path / "alerts.yaml")


# The time that windows are counted by goes on as time does, whatever clocks are set to.


FAR = START + timedelta(days=900)


def times(*minutes: float, live: bool = False, step_s: float = 0.0) -> tuple[list[str], list[float]]:
    """The jumps, and how far the counted time had come, in minutes."""
    clock, monotonic = LogClock(ClockState()), 50.0
    jumps, counted = [], []
    for each in minutes:
        now = START + timedelta(minutes=each) if live else FAR
        moment = START + timedelta(minutes=each)
        jumps.append(clock.advance(moment, now, monotonic, is_live=live))
        counted.append((clock.state.counted - START.timestamp()) / 60)
        monotonic += step_s
    return jumps, counted


@pytest.mark.parametrize(
    ("minutes", "jumps", "counted"),
    [
        ((0, 5, 5, 700), ["", "", "", ""], [0, 5, 5, 700]),
        ((0, 5, 4.5, 6), ["", "", "", ""], [0, 5, 5, 6]),
        ((0, 500, 0, 7), ["", "", "back", ""], [0, 500, 500, 507]),
    ],
    ids=["forward", "a small step back", "a jump back"],
)
def test_it_follows_the_lines(minutes: tuple[float, ...], jumps: list[str], counted: list[float]) -> None:
    """A jump back is said once, and time goes on from there."""
    assert times(*minutes) == (jumps, counted)


def test_while_it_is_watched_time_goes_on_no_faster_than_time_does() -> None:
    jumps, counted = times(0, 1, 600, 601, live=True, step_s=60)
    assert jumps == ["", "", "ahead", ""]
    assert counted == [0, 1, 1 + 1 + SLACK_S / 60, 2 + 1 + SLACK_S / 60]


def test_a_line_of_tomorrow_is_a_jump_when_it_is_read_later_too() -> None:
    clock = LogClock(ClockState())
    clock.advance(START, START, 0, is_live=False)
    assert clock.advance(START + timedelta(days=1), START, 0, is_live=False) == "ahead"
    assert clock.state.counted == START.timestamp() + SLACK_S


def test_a_line_without_a_time_counts_now() -> None:
    clock = LogClock(ClockState(120.0, START.timestamp()))
    assert clock.advance(None, FAR, 0, is_live=True) == ""
    assert clock.bucket == 2


@pytest.mark.parametrize("text", [None, 3, "", "noon", "2026-11-23T09:00:00", "0001-01-01T00:00:00+23:59"])
def test_what_is_no_time(text: object) -> None:
    assert moment_of(text) is None


def test_a_time_is_read_in_utc() -> None:
    assert moment_of("2026-11-23T10:00:00.000+01:00") == datetime(2026, 11, 23, 9, tzinfo=UTC)


# The state file: all or nothing, for its owner alone, and not another program's.


def write_and_fail(state: StateFile) -> None:
    with state.transaction():
        state.keep("name", "value")
        raise ValueError("x")


def test_a_transaction_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    state = StateFile(tmp_path / "s")
    with pytest.raises(ValueError, match="x"):
        write_and_fail(state)
    assert state.fact("name") is None
    with state.transaction():
        state.keep("name", "value")
        state.keep("name", "other")
    state.close()
    again = StateFile(tmp_path / "s")
    assert again.fact("name") == "other"
    again.close()
    assert (tmp_path / "s").stat().st_mode & 0o777 == 0o600


def test_what_is_not_ours_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "s"
    path.touch(0o600)
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE theirs (x)")
    other.commit()
    other.close()
    with raising(Unsound, DetectionReason.STATE_FOREIGN):
        StateFile(path)
    path.write_bytes(b"no database " * 100)
    with raising(Unsound, DetectionReason.STATE_DAMAGED):
        StateFile(path)


def test_one_that_others_may_read_is_not_used(tmp_path: Path) -> None:
    StateFile(tmp_path / "s").close()
    (tmp_path / "s").chmod(0o644)
    with pytest.raises(KeysError):
        StateFile(tmp_path / "s")


def test_one_that_is_held_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sealwire.sidecars.detection.state_file._BUSY_S", 0.01)
    one, other = StateFile(tmp_path / "s"), StateFile(tmp_path / "s")
    with one.transaction(), raising(Unavailable, DetectionReason.STATE_BUSY), other.transaction():
        pass
    one.close()
    other.close()
