"""The lines of the audit log that a command leaves: one, or several where it is about much.

Fields that would be empty are left out. docs/operations/audit.md says what each means.
"""

from collections.abc import Sequence
from itertools import chain
from typing import Final, final

from sealwire.proxy.server.observability.record_bytes import RecordBytes
from sealwire.proxy.session.effects import CommandRecord, CommandResult, Done

MAX_SUBJECTS: Final = 1000
"""In one line: 35 of the 64 KiB that a line may have."""
MAX_SHARE_BYTES: Final = 44_000
"""What persons and counts may take of one line, as a record and as JSON. The rest is for texts: where they
are shortened, as `audit_writer.records` does it, thirteen of them fit, with every character escaped."""

_COUNT_BYTES: Final = 20
"""What a count takes besides the name of its class: 16 digits, or 8 bytes."""
_PERSON_BYTES: Final = 10
"""What a person takes besides the pseudonym."""
_PSEUDONYM_CHARACTERS: Final = 32
_US: Final = 1_000_000
_NONE: Final[dict[str, int]] = {}


@final
class Share:
    """What one of several lines says of the values and persons of a command."""

    __slots__ = ("filtered", "opened", "persons", "read", "written")

    def __init__(self) -> None:
        self.read: dict[str, int] = {}
        self.opened: dict[str, int] = {}
        self.written: dict[str, int] = {}
        self.filtered: dict[str, int] = {}
        self.persons: list[str] = []

    @property
    def counts(self) -> tuple[dict[str, int], ...]:
        """By class, in the order in which a command has them."""
        return self.read, self.opened, self.written, self.filtered


def persons_of(done: Done) -> list[str]:
    """The pseudonyms of all persons whom a command is about, each once. Cost: O(persons)."""
    named, shown = done.record.subjects, done.result.subjects
    return list(dict.fromkeys((*named, *shown))) if named or shown else []


def shares_of(done: Done, persons: Sequence[str]) -> list[Share]:
    """What each line says of a command that one line cannot hold: all counts, then all persons, each once.

    All counts of a class are in one share, so whoever counts commands by class counts each once. A share
    takes MAX_SHARE_BYTES and has MAX_SUBJECTS persons, at most. Cost: O(classes + persons).
    """
    shares = [Share()]
    # what the first line says of documents; there are never so many that it has no room for them
    room = MAX_SHARE_BYTES - len(done.record.ids) * (_PSEUDONYM_CHARACTERS + _PERSON_BYTES)
    used = (done.result.read, done.result.opened or _NONE, done.record.written, done.record.filtered)
    for name in dict.fromkeys(chain.from_iterable(used)):
        size = sum(len(name) + _COUNT_BYTES for counts in used if name in counts)
        if size > room:
            shares.append(Share())
            room = MAX_SHARE_BYTES
        room -= size
        share = shares[-1]
        for counts, part in zip(used, share.counts, strict=True):
            if name in counts:
                part[name] = counts[name]
    for person in persons:
        size = len(person) + _PERSON_BYTES
        if size > room or len(shares[-1].persons) >= MAX_SUBJECTS:
            shares.append(Share())
            room = MAX_SHARE_BYTES
        room -= size
        shares[-1].persons.append(person)
    return shares


def write_command(out: RecordBytes, done: Done, now_s: float, persons: Sequence[str]) -> None:
    """Put the line of a command into `out`, but for who it was; `now_s` by the clock of the record's time.

    It may be too long for a line: then `write_share` is for it. Cost: 0.5 us in a compiled core, more with
    persons.
    """
    record, result = done.record, done.result
    _write_facts(out, done, now_s)
    _write_values(out, (result.read, result.opened or _NONE, record.written, record.filtered), persons)


def write_share(out: RecordBytes, done: Done, now_s: float, shares: Sequence[Share], part: int) -> None:
    """Put one of several lines of a command into `out`; `part` counts from 1.

    The first says what came of the command, and how many lines it has: so one that is missing is missed.
    """
    if part == 1:
        _write_facts(out, done, now_s)
        if len(shares) > 1:
            out.number(b"parts\0", len(shares))
    else:
        _write_head(out, done.record)
        out.number(b"part\0", part)
    share = shares[part - 1]
    _write_values(out, share.counts, share.persons)


def _write_facts(out: RecordBytes, done: Done, now_s: float) -> None:
    """Which command it was, and what came of it."""
    record, result = done.record, done.result
    _write_head(out, record)
    out.text(b"outcome\0", result.outcome)
    if result.reason:
        out.text(b"reason\0", result.reason)
    _write_documents(out, result)
    if record.ids:
        out.texts(b"ids\0", record.ids)
    if record.unnamed:
        out.number(b"unnamed\0", record.unnamed)
    if record.act:
        out.text(b"act\0", record.act)
    if record.database:
        out.text(b"database\0", record.database)
    if record.target:
        out.text(b"target\0", record.target)
    if record.role:
        out.text(b"role\0", record.role)
    if record.glass:
        out.text(b"glass\0", record.glass)
    if record.begun_s:
        out.number(b"us\0", max(0, int((now_s - record.begun_s) * _US)))


def _write_documents(out: RecordBytes, result: CommandResult) -> None:
    """How many documents were shown, or written."""
    if result.documents:
        out.number(b"documents\0", result.documents)
    if result.affected:
        out.number(b"affected\0", result.affected)
    if result.modified:
        out.number(b"modified\0", result.modified)
    if result.deleted:
        out.number(b"deleted\0", result.deleted)
    if result.gathered:
        out.number(b"gathered\0", result.gathered)
    if result.unknown:
        out.number(b"subjects_unknown\0", result.unknown)


def _write_values(out: RecordBytes, counts: tuple[dict[str, int], ...], persons: Sequence[str]) -> None:
    """Values by class, and whose they are."""
    read, opened, written, filtered = counts
    if read:
        out.counts(b"read\0", read)
    if opened:
        out.counts(b"opened\0", opened)
    if written:
        out.counts(b"written\0", written)
    if filtered:
        out.counts(b"filtered\0", filtered)
    if persons:
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
