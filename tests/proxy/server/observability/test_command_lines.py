"""What the lines of a command say, and what is left out of them."""

from sealwire.audit.line import FIRST_PREVIOUS, MAX_LINE_BYTES, write_line
from sealwire.proxy.server.observability.command_lines import MAX_SUBJECTS, lines_of
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


def test_a_line_says_what_there_is_to_say_and_no_more() -> None:
    begun = record(("b",))
    begun.begun_s = 7.0
    result = CommandResult(CommandOutcome.FAILED, "code 11000", {"nhs": 2}, 3, ("a", "b"), 1)
    (line,) = lines_of(Done(begun, result), 7.0015)
    assert line == {
        **{"namespace": "clinic.patients", "command": "find", "purpose": "direct-care"},
        **{"outcome": "failed", "reason": "code 11000", "read": {"nhs": 2}, "filtered": {"nhs": 1}},
        **{"documents": 3, "subjects_unknown": 1, "glass": "unconscious", "subjects": ["b", "a"]},
        "us": 1500,
    }


def test_what_is_empty_is_left_out() -> None:
    plain = CommandRecord("a.b", "insert", written={}, filtered={})
    (line,) = lines_of(Done(plain, UNANSWERED), 9.0)
    assert line == {"namespace": "a.b", "command": "insert", "outcome": "unanswered"}


def test_many_persons_take_several_lines_each_of_which_fits() -> None:
    persons = tuple(f"{number:032x}" for number in range(2 * MAX_SUBJECTS + 1))
    lines = list(lines_of(Done(record(), CommandResult(CommandOutcome.OK, subjects=persons)), 0.0))
    assert [line.get("part") for line in lines] == [None, 2, 3]
    assert all(line["command"] == "find" and line["purpose"] == "direct-care" for line in lines)
    said = [line["subjects"] for line in lines]
    assert [each for part in said if isinstance(part, list) for each in part] == list(persons)
    assert all(len(write_line(1, FIRST_PREVIOUS, line)) < MAX_LINE_BYTES for line in lines)
