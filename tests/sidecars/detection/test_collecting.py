"""What the log has of an incident is counted while it is verified, and the report says what it is worth."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from sealwire.audit.files import files_of
from sealwire.audit.verification import LogReport, read_checkpoints
from sealwire.sidecars.detection.alerts import Alert
from sealwire.sidecars.detection.breach_form import BreachReport, breach_form
from sealwire.sidecars.detection.collecting import (
    Evidence,
    FurtherLines,
    Scope,
    collect,
    require_whole,
    scope_of,
)
from sealwire.sidecars.detection.commands import moment
from sealwire.sidecars.detection.incidents import BookEntry, Incident, IncidentState, Risk
from sealwire.sidecars.detection.rules import RuleName, Urgency
from sealwire.sidecars.errors import Unsound
from tests.audit.logs import KEY, place
from tests.sidecars.detection.logs import START, append, at, line

ALL = Scope(START - timedelta(days=1), START + timedelta(days=1))
MARKER = "9434765919"
NEXT = {"connection": 8}


def lines() -> list[dict[str, Any]]:
    shown: dict[str, Any] = {"read": {"nhs_number": 3}, "documents": 3, "namespace": "clinic.patients"}
    return [
        line(0, subjects=["a" * 32, "b" * 32], subjects_unknown=1, **shown),
        line(1, subjects=["b" * 32], written={"nhs_number": 1}, glass="unconscious", **shown),
        line(2, user="bob@admin", client="10.0.0.9:1", role="clerk", glass="stated", **shown),
        line(3, "refused", reason="role"),
        line(70, "login"),
        line(3000, **shown),
        {"event": "command", "user": "ann@admin", "time": "never", "documents": 4},
        line(4, "started"),
    ]


def collected(folder: Path, scope: Scope = ALL, *, signed: bool = True) -> Evidence:
    log = LogReport()
    checkpoints = read_checkpoints(place(folder).checkpoints, KEY.verification, log) if signed else None
    return collect(files_of(place(folder).path), checkpoints, log, scope)


def alert(minutes: float, **about: str) -> Alert:
    pairs = tuple(sorted(about.items()))
    name, urgency = RuleName.BULK_READ, Urgency.CRITICAL
    return Alert(1, name, pairs, urgency, at(minutes), at(minutes + 5), 1000, 1000, 1, 3, "", at(0), None, 1)


def report(evidence: Evidence, risk: Risk | None = None, *alerts: Alert) -> BreachReport:
    incident = Incident(1, "a *list*\nof all", IncidentState.ASSESSED, START, START, None, risk, None)
    entries = [
        BookEntry(at(90), "ann", "note", "shared"),
        BookEntry(at(91), "ann", "containment", "disabled"),
    ]
    return BreachReport(incident, alerts, entries, evidence, START + timedelta(hours=2))


def test_all_lines_of_a_time_are_counted(tmp_path: Path) -> None:
    append(tmp_path, lines())
    evidence = collected(tmp_path)
    found = evidence.collected
    assert (found.lines, found.documents, found.unknown) == (6, 13, 1)
    assert found.subjects == {"a" * 32, "b" * 32}
    assert (dict(found.read), dict(found.written)) == ({"nhs_number": 9}, {"nhs_number": 1})
    assert dict(found.users) == {"ann@admin": 5, "bob@admin": 1}
    assert dict(found.glass) == {"unconscious": 1}
    assert evidence.is_proved
    require_whole(evidence)


def test_writes_that_name_nobody_are_in_the_figures_of_the_form(tmp_path: Path) -> None:
    append(tmp_path, lines())
    assert "name nobody" not in report(collected(tmp_path)).people
    append(tmp_path, [line(5, command="update", unnamed=2, affected=7), line(6, command="delete", unnamed=1)])
    evidence = collected(tmp_path)
    assert evidence.collected.unnamed == 3
    found = report(evidence)
    assert "and 3 writes that name nobody" in breach_form(found)
    assert found.document()["subjects"]["unnamed_writes"] == 3


def test_only_lines_of_the_users_or_addresses_count(tmp_path: Path) -> None:
    append(tmp_path, lines())
    bob = Scope(ALL.since, ALL.until, frozenset({"bob@admin"}))
    there = Scope(ALL.since, ALL.until, frozenset(), frozenset({"10.0.0.9"}))
    for scope in (bob, there):
        assert dict(collected(tmp_path, scope).collected.users) == {"bob@admin": 1}


def test_what_is_not_proved_is_said(tmp_path: Path) -> None:
    append(tmp_path, lines())
    unsigned = collected(tmp_path, signed=False)
    assert not unsigned.is_proved
    assert "no checkpoint was looked at" in report(unsigned).proof
    path = place(tmp_path).path
    path.write_bytes(path.read_bytes().replace(b"bob@", b"eve@"))
    changed = collected(tmp_path)
    assert not changed.is_proved
    assert report(changed).proof.startswith("UNPROVED")
    with pytest.raises(Unsound):
        require_whole(changed)


def test_lines_behind_the_last_checkpoint_are_told_of(tmp_path: Path) -> None:
    append(tmp_path, lines()[:2])
    checkpoints = {path: path.read_bytes() for path in place(tmp_path).checkpoints}
    append(tmp_path, lines()[2:4])
    for path, content in checkpoints.items():
        path.write_bytes(content)
    evidence = collected(tmp_path)
    assert (evidence.unsigned, evidence.is_proved) == (2, False)
    assert "the last 2 lines" in report(evidence).proof


def test_the_scope_is_that_of_the_alerts() -> None:
    scope = scope_of([alert(0, user="ann@admin"), alert(60, address="10.0.0.9")], START, START)
    assert scope.since == START - timedelta(hours=1)
    assert scope.until == START + timedelta(minutes=125)
    assert (scope.users, scope.addresses) == (frozenset({"ann@admin"}), frozenset({"10.0.0.9"}))
    day = scope_of([], START, START + timedelta(hours=3))
    assert (day.since, day.until) == (START - timedelta(days=1), START + timedelta(hours=3))
    assert moment(START.replace(tzinfo=None).isoformat()) == START


def test_the_document_and_the_form_have_what_is_known_and_no_value(tmp_path: Path) -> None:
    append(tmp_path, [*lines(), line(6, user="eve<script>|`x`", value=MARKER)])
    found = report(collected(tmp_path), Risk.HIGH, alert(0, user="ann@admin"))
    document, form = found.document(), breach_form(found)
    assert document["subjects"]["distinct"] == 2
    assert document["subjects"]["pseudonyms"] == ["a" * 32, "b" * 32]
    assert document["read"] == {"nhs_number": 9}
    assert document["timeline"][1]["what"].startswith("bulk-read: user ann@admin")
    for said in ("2 people", "nhs\\_number: 9 values", "disabled", "shared", "article 34", "a \\*list\\*"):
        assert said in form
    assert [head.partition(".")[0] for head in form.split("\n## ")[1:]] == [
        str(each) for each in range(1, 11)
    ]
    assert "<script>" not in form
    assert MARKER not in form + str(document)
    assert "a" * 32 not in form


def test_more_than_72_hours_ask_for_the_reasons(tmp_path: Path) -> None:
    append(tmp_path, lines())
    found = report(collected(tmp_path))
    late = BreachReport(found.incident, (), (), found.evidence, START + timedelta(hours=73))
    assert "the reasons for that" in breach_form(late)
    assert "the reasons for that" not in breach_form(found)


def test_a_line_of_several_that_is_missing_makes_people_at_least_so_many(tmp_path: Path) -> None:
    whole = [line(0, parts=2, subjects=["a" * 32]), line(0, part=2, subjects=["b" * 32])]
    append(tmp_path, whole)
    found = report(collected(tmp_path))
    assert found.people.startswith("2 people")
    assert found.document()["subjects"]["lines_missing"] == 0
    append(tmp_path, [line(1, parts=4, subjects=["c" * 32]), line(1, part=3, subjects=["d" * 32])])
    found = report(collected(tmp_path))
    assert found.people.startswith("at least 4 people")
    assert found.document()["subjects"]["lines_missing"] == 2
    assert "2 lines are missing" in found.people


@pytest.mark.parametrize(
    ("lines", "missing"),
    [
        ([], 0),
        ([{}, NEXT], 0),
        ([{"parts": 2}, {"part": 2}], 0),
        ([{"parts": 3}, {"part": 3}], 1),
        ([{"parts": 4}], 3),
        ([{"part": 3}], 2),
        ([{"parts": 2}, {"part": 2}, {"parts": 2}, {"part": 2}], 0),
        ([{"parts": 2}, NEXT | {"part": 2}], 2),
        ([{"parts": 2}, {"part": 2, "time": "12:01"}], 2),
        ([{"parts": 2}, {"part": 2, "worker": 2}], 2),
        ([{"parts": -1}, {"part": "2"}], 0),
        ([{"parts": 10**15}, {"part": 7}], 10**15 - 2),
        ([{"parts": 2}, {"part": 5}], 3),
    ],
    ids=[
        *("no line", "one each", "both", "one of three", "all others", "the first", "written twice"),
        *(
            "of another connection",
            "of another time",
            "of another worker",
            "no numbers",
            "any number",
            "beyond the last",
        ),
    ],
)
def test_missing_lines_are_counted(lines: list[dict[str, Any]], missing: int) -> None:
    further = FurtherLines()
    for each in lines:
        further.note({"time": "12:00", "client": "10.0.0.1:1", "connection": 7, "command": "find", **each})
    assert further.missing == missing
