"""A worker's end of the audit: records go into its ring, from where the writer takes them.

Nothing here waits for a disk, a lock or another process. A record is out of this process's reach once it is
in the ring, so a reply that is sent after it is never without it, whatever becomes of the worker.
"""

import logging
import os
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from typing import Final, final

from sealwire.audit.errors import AuditReason
from sealwire.proxy.server.audit_writer.records import RingEnds, shortened_record
from sealwire.proxy.server.audit_writer.ring import MAX_RECORD_BYTES, RingInput
from sealwire.proxy.server.health import Keeping
from sealwire.proxy.server.observability.audit import Origin, fields_of
from sealwire.proxy.server.observability.audit_settings import WhenFull
from sealwire.proxy.server.observability.logs import note
from sealwire.proxy.server.observability.metrics import Metrics
from sealwire.proxy.server.observability.record_bytes import RecordBytes
from sealwire.proxy.session.effects import Audit, CommandRecord, CommandResult, Done

STALLED_NS: Final = 3_000_000_000
"""The writer comes by ten times a second, if it does not write."""
STALLED: Final = "stalled"
TROUBLES: Final = ("", *(reason.value for reason in AuditReason), "unexpected")
"""What keeps the writer from writing, by the number that it puts into the rings."""

_SPARE: Final = 0.125
"""The part of the ring that is left to commands under way, and to what the proxy itself says."""
_PRESSED_ABOVE: Final = 0.5
_FREE_BELOW: Final = 0.25
_LOOK_S: Final = 0.02
_NS_IN_MS: Final = 1_000_000

_log = logging.getLogger("sealwire.audit")


# ----------------- the lines of the audit log that a command leaves: one, or several where it is about much
#
# Fields that would be empty are left out. docs/operations/audit.md says what each means.

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


@dataclass(frozen=True, slots=True)
class Shell:
    """What the sink asks of the event loop around it."""

    later: Callable[[float, Callable[[], None]], object]
    """Call something after so many seconds."""
    on_room: Callable[[], None]
    """Clients may be read again."""


@final
class RingAudit:
    """Puts what the sessions report into a ring."""

    def __init__(
        self,
        ends: RingEnds,
        metrics: Metrics,
        shell: Shell,
        when_full: WhenFull = WhenFull.FAIL_CLOSED,
        always: Mapping[str, object] | None = None,
        copies: Sequence[str] = (),
    ) -> None:
        """`always`: what every line bears, such as the worker's number; `copies`: their names."""
        self.is_pressed = False
        self._ring = RingInput(ends.memory)
        self._spare = int(self._ring.size * _SPARE)
        self._spare_of_parts = 2 * self._spare
        self._wake = ends.wake
        self._metrics = metrics
        self._shell = shell
        self._blocks = when_full is WhenFull.BLOCK
        said = RecordBytes()
        for name, value in (always or {}).items():
            said.field(name, value)
        self._always = said.body()
        self._late: deque[bytes] = deque()
        """Records of the proxy itself that did not fit."""
        self._counted = self._ring.failures
        self._counted_copies = self._ring.copy_failures
        self._copies = copies
        metrics.audit_queue_limit_bytes.set(self._ring.size)

    @property
    def keeping(self) -> Keeping:
        """What becomes of lines."""
        if self.is_full:
            return Keeping.FULL
        return Keeping.WAITING if self._writer_trouble else Keeping.KEPT

    @property
    def is_full(self) -> bool:
        """Whether no command that is to be recorded may begin."""
        return not self._ring.has_room(self._spare) or bool(self._late)

    @property
    def trouble(self) -> str:
        """What keeps the writer from writing, or which copies are behind; empty: nothing."""
        behind = self._ring.behind
        late = (name for place, name in enumerate(self._copies) if behind >> place & 1)
        return self._writer_trouble or " ".join(f"behind {name}" for name in late)

    @property
    def _writer_trouble(self) -> str:
        number = self._ring.trouble
        if number:
            return TROUBLES[number]
        return STALLED if time.monotonic_ns() - self._ring.beat_ns > STALLED_NS else ""

    def write(self, record: Audit | Done, origin: Origin) -> bool:
        """Keep one record, or those of one command; False where they do not fit. Cost: 1 us."""
        if isinstance(record, Audit):
            return self._put(self._written(record.event, fields_of(record, origin)), self._spare)
        persons = persons_of(record)
        if len(persons) <= MAX_SUBJECTS:
            out = self._begun(origin, time.time_ns())
            write_command(out, record, time.perf_counter(), persons)
            line = out.finish()
            if len(line) <= MAX_RECORD_BYTES:
                return self._put(line, 0)
        return self._write_shares(record, origin, persons)

    def _write_shares(self, record: Done, origin: Origin, persons: Sequence[str]) -> bool:
        """Keep a command that one line cannot hold, in several of the same time."""
        shares = shares_of(record, persons)
        now_ns, now_s = time.time_ns(), time.perf_counter()
        for part in range(1, len(shares) + 1):
            out = self._begun(origin, now_ns)
            write_share(out, record, now_s, shares, part)
            # however many persons one command names: the others' commands may begin all the same
            if not self._put(out.finish(), 0 if part == 1 else self._spare_of_parts):
                return False
        return True

    def say(self, event: str, **fields: str | int) -> None:
        """Keep what happened to the proxy itself, beyond the bound too: these are few."""
        written = self._written(event, fields)
        if self._late or not self._put(written, 0):
            self._late.append(written)

    def tick(self) -> None:
        """Put in what did not fit, and count what the writer tells."""
        while self._late and self._put(self._late[0], 0):
            self._late.popleft()
        failures = self._ring.failures
        self._metrics.audit_failures.inc(failures - self._counted)
        self._counted = failures
        self._metrics.audit_queue_bytes.set(self._ring.waiting_bytes)
        age_s = (time.monotonic_ns() - self._ring.beat_ns) / 1e9 if self._ring.beat_ns else 0.0
        self._metrics.audit_writer_age.set(max(age_s, 0.0))
        copy_failures = self._ring.copy_failures
        self._metrics.audit_copy_failures.inc(copy_failures - self._counted_copies)
        self._counted_copies = copy_failures

    def close(self) -> None:
        """Nothing follows; who started the writer sees to it that it writes what lies in the ring."""
        self.tick()
        if self._late:
            note(_log, logging.ERROR, "audit lines lost", lines=len(self._late))
        self._ring.close()

    def _begun(self, origin: Origin, now_ns: int) -> RecordBytes:
        """A record that says when it is, and whose."""
        out = RecordBytes()
        out.number(b"time\0", now_ns // _NS_IN_MS)
        out.elements(self._always)
        out.elements(origin.elements)
        return out

    def _written(self, event: str, fields: Mapping[str, object]) -> bytes:
        out = RecordBytes()
        out.number(b"time\0", time.time_ns() // _NS_IN_MS)
        out.elements(self._always)
        for name, value in ({"event": event, **fields}).items():
            out.field(name, value)
        return out.finish()

    def _put(self, record: bytes, spare: int) -> bool:
        ring = self._ring
        if len(record) > MAX_RECORD_BYTES:
            # a client may name what is longer than a line; that must not keep it off the record
            record = shortened_record(record)
        if not ring.put(record, spare):
            return False
        if ring.wants_waking():
            # full: it is awake; broken: nobody is there to wake
            with suppress(OSError):
                os.write(self._wake, b"\0")
        if self._blocks and not self.is_pressed and ring.filled > _PRESSED_ABOVE:
            self.is_pressed = True
            self._shell.later(_LOOK_S, self._look_for_room)
        return True

    def _look_for_room(self) -> None:
        if self._ring.filled > _FREE_BELOW:
            self._shell.later(_LOOK_S, self._look_for_room)
        else:
            self.is_pressed = False
            self._shell.on_room()
