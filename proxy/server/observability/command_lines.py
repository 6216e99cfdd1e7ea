"""The lines of the audit log that a command leaves: one, or several where it is about many persons.

Fields that would be empty are left out. docs/operations/audit.md says what each means.
"""

from collections.abc import Sequence
from typing import Final

from sealwire.proxy.server.observability.record_bytes import RecordBytes
from sealwire.proxy.session.effects import Done
from sealwire.proxy.session.records import CommandRecord

MAX_SUBJECTS: Final = 1000
"""In one line: 35 of the 64 KiB that a line may have."""

_US: Final = 1_000_000


def persons_of(done: Done) -> list[str]:
    """The pseudonyms of all persons whom a command is about, each once. Cost: O(persons)."""
    named, shown = done.record.subjects, done.result.subjects
    return list(dict.fromkeys((*named, *shown))) if named or shown else []


def write_command(out: RecordBytes, done: Done, now_s: float, persons: Sequence[str]) -> None:
    """Put the line of a command into `out`, but for who it was; `now_s` by the clock of the record's time.

    It says the first MAX_SUBJECTS of `persons`. Cost: 0.5 us in a compiled core, more with persons.
    """
    record, result = done.record, done.result
    _write_head(out, record)
    out.text(b"outcome\0", result.outcome)
    if result.reason:
        out.text(b"reason\0", result.reason)
    if result.read:
        out.counts(b"read\0", result.read)
    if record.written:
        out.counts(b"written\0", record.written)
    if record.filtered:
        out.counts(b"filtered\0", record.filtered)
    if result.documents:
        out.number(b"documents\0", result.documents)
    if result.unknown:
        out.number(b"subjects_unknown\0", result.unknown)
    if record.role:
        out.text(b"role\0", record.role)
    if record.glass:
        out.text(b"glass\0", record.glass)
    if persons:
        out.texts(b"subjects\0", persons[:MAX_SUBJECTS])
    if record.begun_s:
        out.number(b"us\0", max(0, int((now_s - record.begun_s) * _US)))


def write_part(out: RecordBytes, record: CommandRecord, part: int, persons: Sequence[str]) -> None:
    """Put a further line into `out`: which command it was, and persons. `part` is 2 or more."""
    _write_head(out, record)
    out.number(b"part\0", part)
    out.texts(b"subjects\0", persons)


def _write_head(out: RecordBytes, record: CommandRecord) -> None:
    """What every line of a command says."""
    out.text(b"event\0", "command")
    if record.namespace:
        out.text(b"namespace\0", record.namespace)
    if record.command:
        out.text(b"command\0", record.command)
    if record.purpose:
        out.text(b"purpose\0", record.purpose)
