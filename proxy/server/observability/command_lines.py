"""The lines of the audit log that a command leaves: one, or several where it is about many persons.

Fields that would be empty are left out. docs/operations/audit.md says what each means.
"""

from collections.abc import Iterator
from typing import Final

from sealwire.proxy.session.effects import Done
from sealwire.proxy.session.records import CommandRecord, CommandResult

MAX_SUBJECTS: Final = 1000
"""In one line: 35 of the 64 KiB that a line may have."""

EVENT: Final = "command"

_OF_EVERY_PART: Final[tuple[str, ...]] = ("namespace", "command", "purpose")

CommandFields = dict[str, str | int | list[str] | dict[str, int]]


def lines_of(done: Done, now_s: float) -> Iterator[CommandFields]:
    """What the lines say, without who it was; `now_s` by the clock that the record's time is from.

    Further lines have `part`, from 2 on, and say the persons and which command it was.
    """
    record, result = done.record, done.result
    persons: list[str] = []
    if record.subjects or result.subjects:
        persons = list(dict.fromkeys((*record.subjects, *result.subjects)))
    line: CommandFields = {"outcome": result.outcome.value}
    for name, value in _said(record, result):
        if value:
            line[name] = value
    if persons:
        line["subjects"] = persons[:MAX_SUBJECTS]
    if record.begun_s:
        line["us"] = max(0, int((now_s - record.begun_s) * 1e6))
    yield line
    if len(persons) > MAX_SUBJECTS:
        head: CommandFields = {name: line[name] for name in _OF_EVERY_PART if name in line}
        for part, start in enumerate(range(MAX_SUBJECTS, len(persons), MAX_SUBJECTS), 2):
            yield {**head, "part": part, "subjects": persons[start : start + MAX_SUBJECTS]}


def _said(record: CommandRecord, result: CommandResult) -> tuple[tuple[str, str | int | dict[str, int]], ...]:
    return (
        ("namespace", record.namespace),
        ("command", record.command),
        ("purpose", record.purpose),
        ("reason", result.reason),
        ("read", result.read),
        ("written", record.written),
        ("filtered", record.filtered),
        ("documents", result.documents),
        ("subjects_unknown", result.unknown),
        ("role", record.role),
        ("glass", record.glass),
    )
