"""Which lines raise an alert, and that each is counted once."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from sealwire.audit.following import LogFollower
from sealwire.proxy.session.replies import FAILURES
from sealwire.sidecars.detection.alerts import MOST_NAMED, Alerts
from sealwire.sidecars.detection.judging import Judge, read_place
from sealwire.sidecars.detection.observations import HARMLESS, NO_KEY
from sealwire.sidecars.detection.rules import DELETES, RuleName
from sealwire.sidecars.detection.state_file import StateFile
from sealwire.sidecars.errors import Unsound
from tests.audit.logs import KEY, place
from tests.sidecars.detection.clinic import person
from tests.sidecars.detection.logs import START, Clocks, append, at, judged, line, names, settings

Lines = list[dict[str, Any]]
DAY = 24 * 60


def shows(minutes: float, amount: int, user: str = "ann@admin", **more: Any) -> dict[str, Any]:
    return line(minutes, user=user, read={"nhs_number": amount}, documents=amount, **more)


def test_many_small_reads_are_one_alert_with_who_and_which_class(tmp_path: Path) -> None:
    (alert,) = judged(tmp_path, [shows(each / 10, 100) for each in range(30)])
    assert (alert.rule, dict(alert.about)) == (
        RuleName.BULK_READ,
        {"class": "nhs_number", "user": "ann@admin"},
    )
    assert alert.amount == 3000
    assert alert.times >= 1


@pytest.mark.parametrize(
    "lines",
    [
        [shows(each * 20, 900) for each in range(5)],
        [shows(0, 999)],
        [shows(0, 600, user=user) for user in ("ann@admin", "bob@admin")],
        [line(0, read={"nhs_number": 900, "birthday": 900})],
        [line(0, read={"nhs_number": "9434765919"}, written={"nhs_number": 10_000})],
        [line(0, "undecryptable", reason="WindowMet") for _ in range(50)],
        [line(0, event="started", user=""), {"event": "command"}, {"event": "x", "time": 3}],
    ],
    ids=["slowly", "fewer", "by two", "of two classes", "no number", "passing", "nothing"],
)
def test_what_is_below_the_threshold_is_none(tmp_path: Path, lines: Lines) -> None:
    assert judged(tmp_path, lines) == []


@pytest.mark.parametrize("names", [0, 50_000])
@pytest.mark.parametrize("at_once", [1, 3, 5000])
def test_it_does_not_matter_how_lines_come_and_how_many_names_are_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: int, names: int
) -> None:
    monkeypatch.setattr("sealwire.sidecars.detection.judging._MOST_NAMES", names)
    lines = [shows(each * 2.5, 250) for each in range(12)]
    (alert,) = judged(tmp_path, lines, at_once=at_once)
    assert (alert.rule, alert.amount) == (RuleName.BULK_READ, 1250)


def test_after_the_cool_down_it_is_another_one(tmp_path: Path) -> None:
    lines = [shows(minutes, 1000) for minutes in (0, 30, 59, 61, 90)]
    first, second = judged(tmp_path, lines)
    assert (first.times, second.times) == (3, 2)
    assert (first.first, first.last, second.first) == (at(0), at(59), at(61))


def test_what_has_become_ten_times_as_much_is_told_again(tmp_path: Path) -> None:
    amounts = enumerate((1000, 1000, 1000, 9000, 9000))
    lines = [line(minutes, read={"nhs_number": amount}) for minutes, amount in amounts]
    assert [alert.amount for alert in judged(tmp_path, lines)] == [3000, 21_000]


def test_classes_have_thresholds_of_their_own(tmp_path: Path) -> None:
    rules = "bulk-read: {classes: {nhs_number: 50}}"
    assert names(judged(tmp_path, [shows(0, 50), line(0, read={"birthday": 50})], rules)) == ["bulk-read"]


def writes(minutes: float, command: str, user: str = "ann@admin", **more: Any) -> dict[str, Any]:
    return line(minutes, user=user, command=command, **more)


def of_people(minutes: float, first: int, many: int, user: str = "ann@admin") -> dict[str, Any]:
    return line(minutes, user=user, subjects=[person(each) for each in range(first, first + many)])


CASES: list[tuple[str, Lines]] = [
    ("bulk-lookup", [line(0, filtered={"nhs_number": 2000})]),
    ("bulk-documents", [line(0, documents=5000)]),
    ("refused", [line(each / 10, "refused", reason="role") for each in range(20)]),
    ("refused", [line(each / 10, "refused", user="", reason="sort") for each in range(20)]),
    ("failed-logins", [line(each / 10, "login-failed", user="", reason="18") for each in range(10)]),
    ("failed-logins", [line(0, "login-failed", user="", reason="18", count=10)]),
    ("undecryptable", [line(0, "undecryptable", reason="DecryptionFailed") for _ in range(5)]),
    ("undecryptable", [line(0, "undecryptable", reason="SomethingNew") for _ in range(5)]),
    ("unknown-keys", [line(0, "undecryptable", reason="UnknownKey")]),
    ("unknown-keys", [line(0, "undecryptable", reason="KeyRetired")]),
    ("plaintext", [line(0, "plaintext", namespace="clinic.patients", path="nhs_number")]),
    ("break-glass", [line(0, glass="unconscious"), line(0, "break-glass", reason="unconscious")]),
    ("subjects", [line(each / 10, subjects=[person(each)]) for each in range(80)]),
    ("subjects", [line(0, subjects_unknown=80)]),
    ("opened", [line(each, documents=1, opened={"nhs_number": 100}) for each in range(2)]),
    ("opened-day", [line(each * 90, documents=1, opened={"nhs_number": 100}) for each in range(6)]),
    ("gathered", [line(0, documents=2, opened={"state": 2}, gathered=500)]),
    ("bulk-write", [writes(each, "update", affected=1000, modified=500) for each in range(4)]),
    ("bulk-write", [writes(each, "insert", affected=500) for each in range(4)]),
    ("bulk-write", [writes(0, "bulkWrite", affected=2000, modified=1)]),
    ("bulk-write-day", [writes(each * 120, "insert", affected=1000) for each in range(5)]),
    ("bulk-delete", [writes(each, "delete", affected=50) for each in range(4)]),
    ("bulk-delete", [writes(0, "bulkWrite", affected=300, deleted=200)]),
    ("bulk-delete-day", [writes(each * 120, "delete", affected=100) for each in range(5)]),
    ("bulk-delete-by-address", [writes(1, "delete", f"u{each}", affected=50) for each in range(10)]),
    ("bulk-write-by-address", [writes(1, "insert", f"u{each}", affected=500) for each in range(10)]),
    ("subjects-by-address", [of_people(1, each * 15, 15, f"u{each}") for each in range(20)]),
    ("subjects-day", [of_people(each * 70, each * 50, 50) for each in range(5)]),
    ("destruction", [writes(0, "dropDatabase", act="destruction", database="clinic")]),
    ("administration", [writes(0, "createUser", act="administration", database="admin", target="eve")]),
    ("out-of-hours", [shows(14 * 60, 200)]),
    ("out-of-hours", [shows(5 * DAY, 200)]),
    ("out-of-hours", [{"event": "command", "user": "ann@admin", "read": {"nhs_number": 200}}]),
    ("clock", [line(0, "refused"), line(-90, "refused")]),
    ("clock", [line(0, "refused"), line(100 * DAY, "refused")]),
]


@pytest.mark.parametrize(("name", "lines"), CASES)
def test_each_rule_finds_what_it_is_about(tmp_path: Path, name: str, lines: Lines) -> None:
    rules = 'out-of-hours: {from: "07:00", to: "19:00"}'
    assert names(judged(tmp_path, lines, rules)) == [name]


@pytest.mark.parametrize(("event", "found"), [("command", []), ("break-glass", ["break-glass"])])
def test_a_reason_that_is_only_stated_breaks_no_glass_where_there_are_roles(
    tmp_path: Path, event: str, found: list[str]
) -> None:
    assert names(judged(tmp_path, [line(0, event, glass="unconscious", role="clerk")])) == found


def test_an_update_that_changes_nothing_is_no_bulk_write(tmp_path: Path) -> None:
    assert judged(tmp_path, [writes(0, "update", affected=100_000)]) == []


def test_an_act_is_told_with_its_place_and_command(tmp_path: Path) -> None:
    lines = [writes(0, "dropDatabase", act="destruction", database="clinic")]
    (alert,) = judged(tmp_path, lines)
    assert (dict(alert.about), alert.detail) == ({"namespace": "clinic", "user": "ann@admin"}, "dropDatabase")


def test_alerts_that_need_what_is_usual_are_marked_while_it_is_learnt(tmp_path: Path) -> None:
    lines = [of_people(0, 0, 80), of_people(2 * DAY, 100, 80), of_people(7 * DAY, 200, 80)]
    assert [(each.rule.value, each.urgency.value) for each in judged(tmp_path, lines)] == [
        *(("subjects", "learning"), ("subjects", "learning"), ("subjects", "critical")),
    ]


def test_until_when_it_learns_counts_from_the_first_line(tmp_path: Path) -> None:
    said, week = settings(tmp_path), timedelta(days=7)
    state = StateFile(said.state)
    later = START + timedelta(days=30)
    assert Judge(state, said.rules, ()).learns_until(later) == later + week
    state.close()
    judged(tmp_path, [of_people(0, 0, 1)])
    state = StateFile(said.state)
    judge = Judge(state, said.rules, ())
    until = judge.learns_until(START)
    assert until is not None
    assert abs(until - START - week) < timedelta(minutes=2)
    assert judge.learns_until(until) is None
    assert Judge(state, {}, ()).learns_until(START) is None
    state.close()


def test_what_is_an_alert_whatever_is_usual_is_one_while_it_is_learnt_too(tmp_path: Path) -> None:
    lines = [of_people(0, 0, 80), of_people(5, 80, 920)]
    found = [(each.rule.value, each.urgency.value) for each in judged(tmp_path, lines)]
    assert ("subjects", "learning") in found
    assert ("subjects", "critical") in found


def test_rules_that_need_nothing_usual_alarm_from_the_first_line_on(tmp_path: Path) -> None:
    found = judged(tmp_path, [writes(0, "delete", affected=2004)])
    assert {each.rule for each in found} == set(DELETES)
    assert {each.urgency.value for each in found} == {"critical"}


def test_how_long_is_learnt_is_a_setting(tmp_path: Path) -> None:
    lines = [line(0), of_people(DAY, 0, 80)]
    (alert,) = judged(tmp_path, lines, "subjects: {learn_days: 1}")
    assert alert.urgency.value == "critical"


def test_the_same_people_count_once(tmp_path: Path) -> None:
    lines = [line(each / 10, subjects=[person(each % 49), person(0)]) for each in range(500)]
    assert judged(tmp_path, lines) == []


def test_what_is_usual_for_a_user_is_none_and_three_times_that_is(tmp_path: Path) -> None:
    rules = "subjects: {at_least: 20, factor: 3}"

    def hour(day: int, people: int) -> Lines:
        return [line(day * DAY + each / 100, subjects=[person(each)]) for each in range(people)]

    past = [each for day in range(4) for each in hour(day, 19)]
    assert judged(tmp_path, past, rules) == []
    assert judged(tmp_path, hour(5, 57), rules) == []
    (alert,) = judged(tmp_path, hour(6, 58), rules)
    assert (alert.threshold, alert.amount) == (58, 58)


def test_a_user_may_have_a_threshold_of_his_own(tmp_path: Path) -> None:
    rules = "subjects: {at_least: 50, at_most: 50, users: {app@admin: 70}}\n"
    rules += "  bulk-read: {users: {app@admin: 5000}}"
    lines = [line(each / 10, user="app@admin", subjects=[person(each)]) for each in range(69)]
    assert judged(tmp_path, [*lines, shows(7, 4999, "app@admin")], rules) == []
    (alert,) = judged(tmp_path, [line(8, user="app@admin", subjects=[person(99)])], rules)
    assert (alert.threshold, alert.amount) == (70, 70)


def test_who_reads_a_little_more_each_day_comes_to_the_bound(tmp_path: Path) -> None:
    rules = "subjects: {at_least: 20, factor: 3, at_most: 60}"
    lines = [
        line(day * DAY + each / 100, subjects=[person(each)])
        for day in range(30)
        for each in range(min(19 + day * 5, 61))
    ]
    assert "subjects" in names(judged(tmp_path, lines, rules))


def test_a_new_address_is_told_of_after_some_days(tmp_path: Path) -> None:
    lines = [
        line(0, "login"),
        line(10, "login", client="10.0.0.2:1"),
        line(15 * DAY, "login", client="10.0.0.2:9"),
        line(15 * DAY + 1, "login", user="bob@admin", client="10.0.0.3:1"),
        line(15 * DAY + 2, "login", client="[2001:db8::1]:5"),
        line(15 * DAY + 3, "login", client="[2001:db8::2]:5"),
    ]
    (alert,) = judged(tmp_path, lines)
    assert dict(alert.about) == {"address": "2001:db8::/64", "user": "ann@admin"}


@pytest.mark.parametrize(
    ("own", "since", "found"),
    [(2, 0, []), (1, 0, ["new-address"]), (2, 9 * DAY, ["new-address"])],
    ids=["known to others", "goes nowhere", "new to others too"],
)
def test_whoever_roams_may_come_from_where_others_come_from(
    tmp_path: Path, own: int, since: int, found: list[str]
) -> None:
    lines = [line(each, "login", client=f"10.0.0.{each}:1") for each in range(own)]
    lines += [
        line(since + 9, "login", user="bob@admin", client="10.0.0.9:1"),
        line(15 * DAY, "login", client="10.0.0.9:1"),
    ]
    assert names(judged(tmp_path, lines)) == found


def grouped(minutes: float, **more: Any) -> dict[str, Any]:
    return line(minutes, command="aggregate", namespace="clinic.patients", **more)


@pytest.mark.parametrize(
    ("lines", "amounts"),
    [
        ([grouped(0, documents=2, subjects_unknown=2, gathered=60)], [60]),
        ([grouped(each * 20, subjects=[person(1), person(each + 2)]) for each in range(59)], [60]),
        ([grouped(each, documents=30) for each in range(2)], [60]),
        ([grouped(each * 60, subjects=[person(1)]) for each in range(20)] * 3, []),
        ([grouped(0, documents=59, subjects_unknown=59, gathered=59)], []),
        ([line(0, documents=60, namespace="clinic.visits")], []),
    ],
    ids=["gathered", "people", "nobody looks", "one again and again", "less", "of no known size"],
)
def test_a_share_of_a_collection_needs_its_size(tmp_path: Path, lines: Lines, amounts: list[int]) -> None:
    rules = "share: {sizes: {clinic.patients: 300}}\n  subjects-day: off"
    found = judged(tmp_path, sorted(lines, key=lambda each: str(each["time"])), rules)
    assert [alert.threshold for alert in found if alert.rule is RuleName.SHARE] == [60] * len(amounts)
    assert names(found) == ["share"] * len(amounts)


def test_what_a_job_does_has_a_bound_of_its_own_and_no_part_in_sums_by_address(tmp_path: Path) -> None:
    jobs = "report@admin: 2000"
    lines = [shows(0, 1999, "report@admin", subjects_unknown=1999), writes(1, "insert", affected=1)]
    assert judged(tmp_path, lines, jobs=jobs) == []
    lines = [shows(DAY + 5, 2000, "report@admin"), writes(DAY + 6, "delete", "report@admin", affected=1500)]
    found = judged(tmp_path, lines, jobs=jobs)
    deleted = {each.value for each in DELETES}
    assert set(names(found)) == {"bulk-read", "bulk-documents"} | deleted


def test_amounts_in_the_learning_days_become_usual_up_to_the_bound(tmp_path: Path) -> None:
    lines = [of_people(day * DAY, 0, 300) for day in range(5)]
    found = judged(tmp_path, [*lines, of_people(8 * DAY, 0, 900), of_people(9 * DAY, 0, 901)])
    told = [(each.rule.value, each.threshold) for each in found if each.urgency.value == "critical"]
    assert sorted(told) == [("subjects", 901), ("subjects-day", 901)]


def test_a_clock_set_back_opens_no_gap(tmp_path: Path) -> None:
    lines = [shows(0, 400), shows(-500, 400), shows(-499, 400)]
    assert names(judged(tmp_path, lines)) == ["clock", "bulk-read"]


def test_a_clock_set_ahead_does_not_empty_the_windows(tmp_path: Path) -> None:
    append(tmp_path, [shows(0, 600)])
    said, clocks = settings(tmp_path), Clocks(START)
    state = StateFile(said.state)
    follower, judge = LogFollower(said.place, KEY.verification), Judge(state, said.rules, ())
    judge.take(follower.look(), follower.position, clocks, is_live=True)
    clocks.forward(seconds=5)
    # the machine's own clock was set too
    clocks.wall = START.replace(hour=20)
    append(tmp_path, [shows(11 * 60, 600)])
    judge.take(follower.look(), follower.position, clocks, is_live=True)
    assert names(Alerts(state).latest(9, only_open=True)) == ["bulk-read", "clock"]
    state.close()


def test_a_night_without_lines_is_no_jump(tmp_path: Path) -> None:
    append(tmp_path, [shows(0, 1)])
    said, clocks = settings(tmp_path), Clocks(START)
    state = StateFile(said.state)
    follower, judge = LogFollower(said.place, KEY.verification), Judge(state, said.rules, ())
    for hours in (0, 12, 60):
        clocks.wall, clocks.monotonic = START, 1000.0
        clocks.forward(hours=hours)
        append(tmp_path, [shows(hours * 60, 1)])
        judge.take(follower.look(), follower.position, clocks, is_live=hours > 0)
    assert Alerts(state).latest(9, only_open=True) == []
    state.close()


def test_a_log_that_is_changed_is_an_alert(tmp_path: Path) -> None:
    append(tmp_path, [shows(0, 1), shows(1, 1), shows(2, 1)])
    path = place(tmp_path).path
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:2], lines[3]]))
    said = settings(tmp_path)
    state = StateFile(said.state)
    follower, judge = LogFollower(said.place, KEY.verification), Judge(state, said.rules, ())
    judge.take(follower.look(), follower.position, Clocks(), is_live=False)
    found = Alerts(state).latest(9, only_open=True)
    assert {dict(alert.about)["flaw"] for alert in found} == {"missing"}
    state.close()


class _Killed(BaseException):
    pass


def test_one_that_is_killed_at_any_point_neither_loses_nor_doubles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    append(tmp_path, [shows(each, 400) for each in range(6)])
    said = settings(tmp_path)
    statements = 0
    killed_at = 1

    def kill(name: str) -> None:
        run = getattr(StateFile, name)

        def killed(state: StateFile, statement: str, *values: Any) -> Any:
            nonlocal statements
            statements += 1
            if statements == killed_at:
                raise _Killed
            return run(state, statement, *values)

        monkeypatch.setattr(StateFile, name, killed)

    is_over = False
    while not is_over:
        state = StateFile(said.state)
        follower = LogFollower(said.place, KEY.verification, read_place(state))
        judge = Judge(state, said.rules, ("told",))
        new = follower.look(2)
        statements = 0
        kill("run")
        kill("run_many")
        try:
            judge.take(new, follower.position, Clocks(), is_live=False)
            is_over = new.is_end
            killed_at = 1
        except _Killed:
            killed_at += 1
        monkeypatch.undo()
        state.close()
    state = StateFile(said.state)
    (alert,) = Alerts(state).latest(9, only_open=True)
    assert (alert.amount, alert.times) == (2400, 4)
    assert Alerts(state).untold() == {"told": {"waiting": 1}}
    state.close()


def test_alerts_of_one_rule_are_not_told_without_end(tmp_path: Path) -> None:
    lines = [
        line(0, "login-failed", user="", client=f"10.0.{each // 250}.{each % 250}:1")
        for each in range(2 * MOST_NAMED)
        for _ in range(10)
    ]
    found = judged(tmp_path, lines)
    assert len(found) == MOST_NAMED + 1
    assert found[-1].times == MOST_NAMED


def test_one_that_learns_tells_of_the_log_alone(tmp_path: Path) -> None:
    append(tmp_path, [shows(0, 5000), line(-90, "refused")])
    said = settings(tmp_path)
    state = StateFile(said.state)
    follower = LogFollower(said.place, KEY.verification)
    judge = Judge(state, said.rules, (), is_learning=True)
    judge.take(follower.look(), follower.position, Clocks(), is_live=False)
    assert names(Alerts(state).latest(9, only_open=True)) == ["clock"]
    state.close()


@pytest.mark.parametrize("text", ["", "{", "[1,2]", "[1,2,3,4,5]", '["a",1,1,"zz",[]]', "null"])
def test_a_place_that_nobody_wrote_is_said(tmp_path: Path, text: str) -> None:
    state = StateFile(tmp_path / "watch.sqlite")
    state.keep("place", text)
    with pytest.raises(Unsound):
        read_place(state)
    state.keep("clock", text.replace("1,2]", "1]"))
    with pytest.raises(Unsound):
        Judge(state, {}, ())
    state.close()


def test_reasons_are_those_that_the_proxy_gives() -> None:
    assert {error.__name__ for error in FAILURES} >= NO_KEY | HARMLESS | {"DecryptionFailed"}


def test_why_the_glass_was_broken_stays_in_the_log(tmp_path: Path) -> None:
    lines = [
        line(0, "break-glass", glass="Mrs Smith unconscious", reason="Mrs Smith"),
        line(1, glass="Smith"),
    ]
    (alert,) = judged(tmp_path, lines)
    assert "Smith" not in str(alert.document())


def test_no_value_and_no_name_of_odd_length_gets_into_an_alert(tmp_path: Path) -> None:
    lines = [line(0, "plaintext", namespace="x" * 5000, path="p", value="9434765919")]
    (alert,) = judged(tmp_path, lines)
    assert "9434765919" not in str(alert.document())
    assert len(dict(alert.about)["namespace"]) == 256


def test_what_is_too_much_to_be_kept_is_dropped_and_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sealwire.sidecars.detection.judging.MAX_ROWS", 20)
    monkeypatch.setattr("sealwire.sidecars.detection.judging.MAX_ADDRESSES", 20)
    lines = [
        line(each, user=f"u{each}@admin", subjects=[person(each)], subjects_unknown=1) for each in range(40)
    ]
    (alert,) = judged(tmp_path, lines, at_once=10)
    assert alert.rule is RuleName.LIMITS
    state = StateFile(tmp_path / "watch.sqlite")
    for table in ("sums", "people", "addresses"):
        assert state.rows(f"SELECT count(*) FROM {table}")[0][0] <= 30  # noqa: S608 - constants
    state.close()


def test_what_no_window_reaches_any_more_is_forgotten(tmp_path: Path) -> None:
    judged(tmp_path, [line(0, subjects=[person(1)], read={"nhs_number": 1})])
    judged(tmp_path, [line(40 * DAY, event="started")])
    state = StateFile(tmp_path / "watch.sqlite")
    for table in ("sums", "people", "days"):
        assert state.rows(f"SELECT * FROM {table}") == []  # noqa: S608 - constants
    state.close()
