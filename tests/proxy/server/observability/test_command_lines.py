"""What the lines of a command say, and what is left out of them."""

from typing import Any

import bson
from hypothesis import given
from hypothesis import strategies as st

from sealwire.audit.line import FIRST_PREVIOUS, MAX_LINE_BYTES, write_line
from sealwire.proxy.server.observability.command_lines import (
    MAX_SHARE_BYTES,
    MAX_SUBJECTS,
    persons_of,
    shares_of,
    write_command,
    write_share,
)
from sealwire.proxy.server.observability.record_bytes import RecordBytes
from sealwire.proxy.session.effects import UNANSWERED, CommandOutcome, CommandRecord, CommandResult, Done


def record(subjects: tuple[str, ...] = ()) -> CommandRecord:
    return CommandRecord(
        "clinic.patients",
        "find",
        written={},
        filtered={"nhs": 1},
        subjects=subjects,
        purpose="direct-care",
        glass="unconscious",
    )


def line_of(done: Done, now_s: float) -> dict[str, Any]:
    out = RecordBytes()
    write_command(out, done, now_s, persons_of(done))
    return bson.decode(out.finish())


def test_a_line_says_what_there_is_to_say_and_no_more() -> None:
    begun = record(("b",))
    begun.begun_s = 7.0
    result = CommandResult(CommandOutcome.FAILED, "code 11000", {"nhs": 2}, 3, ("a", "b"), 1)
    assert line_of(Done(begun, result), 7.0015) == {
        **{"event": "command", "namespace": "clinic.patients", "command": "find", "purpose": "direct-care"},
        **{"outcome": "failed", "reason": "code 11000", "read": {"nhs": 2}, "filtered": {"nhs": 1}},
        **{"documents": 3, "subjects_unknown": 1, "glass": "unconscious", "subjects": ["b", "a"]},
        "us": 1500,
    }


def test_an_act_says_of_which_database_and_about_whom() -> None:
    act = CommandRecord("", "createUser", written={}, filtered={}, act="administration", database="admin")
    act.target = "eve"
    assert line_of(Done(act, CommandResult(CommandOutcome.OK)), 9.0) == {
        **{"event": "command", "command": "createUser", "outcome": "ok", "act": "administration"},
        **{"database": "admin", "target": "eve"},
    }


def test_a_write_says_how_many_documents_it_was_about() -> None:
    write = CommandRecord("a.b", "update", written={}, filtered={})
    said = line_of(Done(write, CommandResult(CommandOutcome.OK, affected=9, modified=7, deleted=2)), 9.0)
    assert (said["affected"], said["modified"], said["deleted"]) == (9, 7, 2)


def test_what_is_empty_is_left_out() -> None:
    plain = CommandRecord("a.b", "insert", written={}, filtered={})
    said = {"event": "command", "namespace": "a.b", "command": "insert", "outcome": "unanswered"}
    assert line_of(Done(plain, UNANSWERED), 9.0) == said


def test_ids_take_room_of_the_first_line_alone() -> None:
    persons, keys = (tuple(f"{kind}{number:031x}" for number in range(1000)) for kind in "ab")
    sent = CommandRecord("a.b", "delete", written={}, filtered={}, subjects=persons, ids=keys, unnamed=3)
    lines = lines_of(Done(sent, CommandResult(CommandOutcome.OK, affected=1003)))
    assert (lines[0]["ids"], lines[0]["unnamed"]) == (list(keys), 3)
    assert not any("ids" in line or "unnamed" in line for line in lines[1:])
    assert [person for line in lines for person in line.get("subjects", ())] == list(persons)
    assert all(len(write_line(1, FIRST_PREVIOUS, line)) < MAX_LINE_BYTES for line in lines)


def lines_of(done: Done) -> list[dict[str, Any]]:
    shares = shares_of(done, persons_of(done))
    found = []
    for part in range(1, len(shares) + 1):
        out = RecordBytes()
        write_share(out, done, 0.0, shares, part)
        found.append(bson.decode(out.finish()))
    return found


def test_many_persons_take_several_lines_each_of_which_fits() -> None:
    persons = [f"{number:032x}" for number in range(2 * MAX_SUBJECTS + 1)]
    first, second, third = lines_of(Done(record(), CommandResult(CommandOutcome.OK, subjects=tuple(persons))))
    assert (first["subjects"], first["parts"], "part" in first) == (persons[:MAX_SUBJECTS], 3, False)
    assert (second["part"], second["command"], second["purpose"]) == (2, "find", "direct-care")
    assert second["subjects"] == persons[MAX_SUBJECTS : 2 * MAX_SUBJECTS]
    assert (third["part"], third["subjects"]) == (3, persons[-1:])
    assert all(len(write_line(1, FIRST_PREVIOUS, line)) < MAX_LINE_BYTES for line in (first, second))


@given(
    st.lists(st.dictionaries(st.integers(0, 3000), st.integers(1, 2**53 - 1)), min_size=3, max_size=3),
    st.integers(0, 2500),
    st.integers(1, 63),
)
def test_whatever_a_command_counts_is_in_its_lines_once_and_each_fits(
    counts: list[dict[int, int]], amount: int, width: int
) -> None:
    by_class = [{f"{name:_>{width}}"[:63]: count for name, count in each.items()} for each in counts]
    read, written, filtered = by_class
    persons = tuple(f"{number:032x}" for number in range(amount))
    sent = CommandRecord("a.b", "find", written=written, filtered=filtered, subjects=persons)
    lines = lines_of(Done(sent, CommandResult(CommandOutcome.OK, read=read, documents=7)))
    assert [person for line in lines for person in line.get("subjects", ())] == list(persons)
    for name, wanted in (("read", read), ("written", written), ("filtered", filtered)):
        said = [item for line in lines for item in line.get(name, {}).items()]
        assert (dict(said), len(said)) == (wanted, len(wanted))
    classes = [
        set().union(*(line.get(each, {}) for each in ("read", "written", "filtered"))) for line in lines
    ]
    assert sum(map(len, classes)) == len(set().union(*classes))
    assert [line.get("documents") for line in lines] == [7, *[None] * (len(lines) - 1)]
    names = {"read", "written", "filtered", "subjects"}
    for line in lines:
        share = {name: value for name, value in line.items() if name in names}
        assert len(bson.encode(share)) < MAX_SHARE_BYTES + 100
