"""A queue in memory that two processes share: a worker puts records in, the audit writer takes them out.

Theory of operation. The bytes of records follow each other, around the end of the memory to its beginning.
`_HEAD` counts all bytes that were ever put in, `_TAIL` those that were taken; what lies between is waiting.
Each end changes one of them, after the bytes: so whatever is killed at whatever point leaves a queue that is
in order, with the last record in it or not. A record begins with its length, a checksum and its own
place, so that one whose bytes another processor does not see yet is taken for none, and looked at again. The
checksum is Adler-32, which takes half the time of a CRC.

The memory has no name and reaches no disk. It lasts as long as one process that has it open.
"""

import fcntl
import mmap
import os
from collections.abc import Iterator
from struct import Struct
from typing import Final, final
from zlib import adler32

SIZE_BYTES: Final = 4 << 20
"""Some 10,000 records."""
MAX_RECORD_BYTES: Final = 60_000
"""A line has to hold it, with its number and its hash (`audit.line.MAX_LINE_BYTES`)."""

_PREFIX: Final = Struct("<IIQ")
"""Length and checksum of a record, and the count of bytes before it."""
_PREFIX_BYTES: Final = _PREFIX.size
_MOST_BYTES: Final = _PREFIX_BYTES + MAX_RECORD_BYTES
_START: Final = 128
"""Where records begin, behind sixteen words."""

_HEAD: Final = 0
_TAIL: Final = 1
_SLEEPS: Final = 2
_BEAT_NS: Final = 3
_TROUBLE: Final = 4
_FAILURES: Final = 5
_BEHIND: Final = 6
_COPY_FAILURES: Final = 7


def make_memory(size: int = SIZE_BYTES) -> int:
    """A descriptor of new memory for a ring of `size` bytes; nobody can make it shorter. Raises OSError."""
    memory = os.memfd_create("sealwire-audit", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(memory, _START + size)
    fcntl.fcntl(memory, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
    return memory


class _Shared:
    """The memory and the words at its beginning. Each word is written by one of the ends, at once."""

    def __init__(self, memory: int) -> None:
        self._bytes = mmap.mmap(memory, 0)
        self.size = len(self._bytes) - _START
        """How many bytes can wait."""
        self._words = memoryview(self._bytes)[:_START].cast("Q")

    @property
    def waiting_bytes(self) -> int:
        """How much has not been taken yet."""
        return self._words[_HEAD] - self._words[_TAIL]

    def close(self) -> None:
        """Unmap the memory; the descriptor is the caller's."""
        self._words.release()
        self._bytes.close()


@final
class RingInput(_Shared):
    """The worker's end. There is one at a time: after a worker that was killed comes another."""

    def __init__(self, memory: int) -> None:
        super().__init__(memory)
        # the only end that changes it, and what it last saw of the other
        self._head, self._tail = self._words[_HEAD], self._words[_TAIL]

    def put(self, record: bytes, spare: int = 0) -> bool:
        """Add a record; False where it does not fit with `spare` bytes more. Cost: 0.3 us.

        Raises ValueError for one that no line can hold.
        """
        size = len(record)
        if size > MAX_RECORD_BYTES:
            raise ValueError(f"a record of {size} bytes")
        if not self._fits(_PREFIX_BYTES + size + spare):
            return False
        head = self._head
        data = _PREFIX.pack(size, adler32(record), head) + record
        at = head % self.size
        first = self.size - at
        if len(data) <= first:
            self._bytes[_START + at : _START + at + len(data)] = data
        else:
            self._bytes[_START + at :] = data[:first]
            self._bytes[_START : _START + len(data) - first] = data[first:]
        self._words[_HEAD] = self._head = head + len(data)
        return True

    def _fits(self, size: int) -> bool:
        """Whether so many bytes more have room. What the writer has taken counts only where there is none."""
        if self._head - self._tail + size <= self.size:
            return True
        self._tail = self._words[_TAIL]
        return self._head - self._tail + size <= self.size

    def wants_waking(self) -> bool:
        """Whether the writer sleeps; it is said once for each time."""
        if not self._words[_SLEEPS]:
            return False
        self._words[_SLEEPS] = 0
        return True

    @property
    def filled(self) -> float:
        """The part of the room that is taken, up to 1."""
        return self.waiting_bytes / self.size

    def has_room(self, spare: int = 0) -> bool:
        """Whether the longest record fits, with `spare` bytes more."""
        return self._fits(_MOST_BYTES + spare)

    @property
    def beat_ns(self) -> int:
        """When the writer last came by, on the monotonic clock."""
        return self._words[_BEAT_NS]

    @property
    def trouble(self) -> int:
        """What keeps the writer from writing, as `writer` numbers it; 0: nothing."""
        return self._words[_TROUBLE]

    @property
    def failures(self) -> int:
        """How often records of this ring could not be written."""
        return self._words[_FAILURES]

    @property
    def behind(self) -> int:
        """A bit for each copy that is behind the log, in the order of the configuration."""
        return self._words[_BEHIND]

    @property
    def copy_failures(self) -> int:
        """How often lines could not be handed to a copy, by the writers so far."""
        return self._words[_COPY_FAILURES]


@final
class RingOutput(_Shared):
    """The writer's end."""

    def __init__(self, memory: int) -> None:
        super().__init__(memory)
        self._next = self._words[_TAIL]
        """Behind the last record that was looked at."""

    def look(self, most: int) -> list[bytes]:
        """The next records, `most` at most; they stay until `taken`."""
        records: list[bytes] = []
        for record in self._from(self._next):
            records.append(record)
            self._next += _PREFIX_BYTES + len(record)
            if len(records) == most:
                break
        return records

    def taken(self) -> None:
        """Give back the room of all that was looked at."""
        self._words[_TAIL] = self._next

    def put_back(self) -> None:
        """Look at what was not taken once more."""
        self._next = self._words[_TAIL]

    def count(self) -> int:
        """How many records wait. Cost: O(records)."""
        return sum(1 for _ in self._from(self._words[_TAIL]))

    def sleep(self) -> None:
        """The worker is asked to wake the writer from now on."""
        self._words[_SLEEPS] = 1

    def wake(self) -> None:
        """The writer is awake."""
        self._words[_SLEEPS] = 0

    def beat(self, now_ns: int) -> None:
        """The writer has come by."""
        self._words[_BEAT_NS] = now_ns

    def tell(self, trouble: int) -> None:
        """What keeps the writer from writing; each time counts where something waits."""
        self._words[_TROUBLE] = trouble
        if trouble and self.waiting_bytes:
            self._words[_FAILURES] += 1

    def tell_of_copies(self, behind: int, failures: int) -> None:
        """Which copies are behind, and how often lines could not be handed over since."""
        self._words[_BEHIND] = behind
        self._words[_COPY_FAILURES] += failures

    def _from(self, at: int) -> Iterator[bytes]:
        head = self._words[_HEAD]
        while at < head:
            size, checksum, place = _PREFIX.unpack(self._read(at, _PREFIX_BYTES))
            if place != at or size > MAX_RECORD_BYTES:
                return
            record = self._read(at + _PREFIX_BYTES, size)
            if adler32(record) != checksum:
                return
            yield record
            at += _PREFIX_BYTES + size

    def _read(self, at: int, size: int) -> bytes:
        start = at % self.size
        first = self._bytes[_START + start : _START + min(start + size, self.size)]
        return first + self._bytes[_START : _START + size - len(first)] if len(first) < size else first
