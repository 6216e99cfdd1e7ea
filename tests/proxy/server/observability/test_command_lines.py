"""What the lines of a command say, and what is left out of them."""

from typing import Any

import bson

from sealwire.audit.line import FIRST_PREVIOUS, MAX_LINE_BYTES, write_line
from sealwire.proxy.server.observability.command_lines import (
    MAX_SUBJECTS,
    persons_of,
    write_command,
    write_part,
)
from sealwire.proxy.server.observability.record_bytes import RecordBytes
from sealwire.proxy.session.effects import Done
from sealwire.proxy.session.records import UNANSWERED, CommandOutcome, CommandRecord, CommandResult


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


def test_what_is_empty_is_left_out() -> None:
    plain = CommandRecord("a.b", "insert", written={}, filtered={})
    said = {"event": "command", "namespace": "a.b", "command": "insert", "outcome": "unanswered"}
    assert line_of(Done(plain, UNANSWERED), 9.0) == said


def test_many_persons_take_several_lines_each_of_which_fits() -> None:
    persons = [f"{number:032x}" for number in range(2 * MAX_SUBJECTS + 1)]
    first = line_of(Done(record(), CommandResult(CommandOutcome.OK, subjects=tuple(persons))), 0.0)
    assert first["subjects"] == persons[:MAX_SUBJECTS]
    out = RecordBytes()
    write_part(out, record(), 2, persons[MAX_SUBJECTS : 2 * MAX_SUBJECTS])
    second = bson.decode(out.finish())
    assert (second["part"], second["command"], second["purpose"]) == (2, "find", "direct-care")
    assert second["subjects"] == persons[MAX_SUBJECTS : 2 * MAX_SUBJECTS]
    assert all(len(write_line(1, FIRST_PREVIOUS, line)) < MAX_LINE_BYTES for line in (first, second))
