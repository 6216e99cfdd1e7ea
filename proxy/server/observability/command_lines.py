"""The lines of the audit log that a command leaves: one, or several where it is about many persons.

Fields that would be empty are left out. docs/operations/audit.md says what each means.
"""

from collections.abc import Iterator
from typing import Final

from sealwire.proxy.session.effects import Done

MAX_SUBJECTS: Final = 1000
"""In one line: 35 of the 64 KiB that a line may have."""

EVENT: Final = "command"

CommandFields = dict[str, str | int | list[str] | dict[str, int]]


def lines_of(done: Done, now_s: float) -> Iterator[CommandFields]:
    """What the lines say, without who it was; `now_s` by the clock that the record's time is from.

    Further lines have `part`, from 2 on, and say the persons and which command it was.
    """
    record, result = done.record, done.result
    persons = list(dict.fromkeys((*record.subjects, *result.subjects)))
    named = {"namespace": record.namespace, "command": record.command, "purpose": record.purpose}
    head: CommandFields = {name: value for name, value in named.items() if value}
    more: CommandFields = {
        "reason": result.reason,
        "read": result.read,
        "written": record.written,
        "filtered": record.filtered,
        "documents": result.documents,
        "subjects_unknown": result.unknown,
        "role": record.role,
        "glass": record.glass,
        "subjects": persons[:MAX_SUBJECTS],
    }
    first = {
        **head,
        "outcome": result.outcome.value,
        **{name: value for name, value in more.items() if value},
    }
    if record.begun_s:
        first["us"] = max(0, int((now_s - record.begun_s) * 1e6))
    yield first
    for part, start in enumerate(range(MAX_SUBJECTS, len(persons), MAX_SUBJECTS), 2):
        yield {**head, "part": part, "subjects": persons[start : start + MAX_SUBJECTS]}
