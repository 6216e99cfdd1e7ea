"""The file of the rules: what is left out has a default, what contradicts itself is said with its place."""

from datetime import time
from pathlib import Path

import pytest

from sealwire.files.errors import SourceError
from sealwire.sidecars.detection.rules import (
    ALWAYS_ON,
    DEFAULTS,
    OwnPast,
    RuleName,
    Urgency,
    load_watch_settings,
    parse_watch_settings,
)
from sealwire.sidecars.errors import DetectionReason, Unusable

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
    with pytest.raises(Unusable) as caught:
        load_watch_settings(tmp_path / "alerts.yaml")
    assert caught.value.reason is DetectionReason.RULES_FILE
