"""A server in a process of its own, for as many documents as are wanted: what a job asks of one, and no more.

It holds each document as bytes, by `_id` from 0, and an index of every encrypted field that a range is asked
of. Reads, ranges and conditional updates are carried out as a server does; nothing is written to a disk, no
network is in between, and no member of a replica set is waited for. What it takes for that is counted.
"""

import time
from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any, Final, NamedTuple

import bson
from bson.binary import Binary

from bench.migration.subject import NAMESPACE, keyring_of, patients, policies
from sealwire.crypto.cipher import ValueCipher
from sealwire.crypto.envelope import BINARY_HEAD, SUBTYPE, parse_header
from sealwire.keys.frontier.frontier import FIRST_GENERATION, Frontier
from sealwire.keys.frontier.record import Lease, frontier_document, parse_frontier
from sealwire.keys.keyring.data_key import KeyState
from sealwire.sidecars.migration.job import Job, serialize
from sealwire.sidecars.migration.ledger import Wish
from sealwire.sidecars.migration.server import Written
from sealwire.sidecars.migration.windows.order import ClassPaths, Range, class_paths

BATCH_DOCUMENTS: Final = 500
FOLLOWS_S: Final = 0.05
"""How often a proxy looks at a frontier while a class moves."""
_BUCKET_BYTES: Final = 15
"""Of a binary: the head of an envelope and two bytes that differ from value to value."""

Entry = tuple[int, bytes, int]
"""A length, a binary of it, and the document that has it: in the order of a server's index."""
Page = tuple[list[bytes], Entry | None]
"""Documents, and the entry behind which the next page begins; None: there is none."""


class Wanted(NamedTuple):
    """What the process is to hold."""

    documents: int
    encrypted: tuple[str, ...]
    indexed: tuple[str, ...]


class BinaryIndex:
    """Where the binaries of one field are, in MongoDB's order: by length, then by bytes."""

    def __init__(self) -> None:
        self._buckets: dict[tuple[int, bytes], list[Entry]] = {}
        self._keys: list[tuple[int, bytes]] = []

    def add(self, value: bytes, number: int) -> None:
        """Cost: O(log n), and a move of the keys behind a new bucket."""
        key = len(value), value[:_BUCKET_BYTES]
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = []
            insort(self._keys, key)
        insort(bucket, (len(value), value, number))

    def remove(self, value: bytes, number: int) -> None:
        """Raises KeyError, ValueError where it is not there."""
        self._buckets[len(value), value[:_BUCKET_BYTES]].remove((len(value), value, number))

    def page(self, low: bytes, high: bytes | None, behind: Entry | None) -> list[Entry]:
        """The next entries of a range whose ends are in it."""
        start = behind or (len(low), low, -1)
        end = None if high is None else (len(high), high)
        found: list[Entry] = []
        for place in range(bisect_left(self._keys, (start[0], start[1][:_BUCKET_BYTES])), len(self._keys)):
            for entry in self._buckets[self._keys[place]]:
                if entry <= start:
                    continue
                if (end is not None and entry[:2] > end) or len(found) == BATCH_DOCUMENTS:
                    return found
                found.append(entry)
        return found


class Held:
    """The documents, and what can be asked."""

    def __init__(self, documents: Iterable[dict[str, Any]], indexed: Sequence[str]) -> None:
        self._raws: list[bytes] = []
        self._indexes = {name: BinaryIndex() for name in indexed}
        for number, document in enumerate(documents):
            self._raws.append(bson.encode(document))
            for name, index in self._indexes.items():
                index.add(bytes(document[name]), number)

    @property
    def count(self) -> int:
        """How many documents there are."""
        return len(self._raws)

    def read(self, start: bytes, end: bytes, limit: int) -> tuple[list[bytes], bool]:
        """As `Documents.read`."""
        low = _number(start) if start else 0
        high = _number(end) if end else len(self._raws)
        return self._raws[low : min(high, low + limit)], high - low < limit

    def again(self, identities: Sequence[bytes]) -> list[bytes]:
        """As `Documents.again`."""
        return [self._raws[_number(each)] for each in identities]

    def between(self, name: str, low: bytes, high: bytes | None, behind: Entry | None) -> Page:
        """A page of a range, as a cursor's batch has it."""
        found = self._indexes[name].page(low, high, behind)
        more = found[-1] if len(found) == BATCH_DOCUMENTS else None
        return [self._raws[number] for _, _, number in found], more

    def update(self, updates: Sequence[bytes]) -> int:
        """Carry out `{q: {_id, path: {$eq}}, u: {$set}}`; how many found what they name."""
        return sum(self._update(bson.decode(each)) for each in updates)

    def _update(self, update: dict[str, Any]) -> bool:
        number = update["q"].pop("_id")
        document = bson.decode(self._raws[number])
        if any(document[name] != condition["$eq"] for name, condition in update["q"].items()):
            return False
        for name, value in update["u"]["$set"].items():
            if name in self._indexes:
                self._indexes[name].remove(bytes(document[name]), number)
                if isinstance(value, Binary):
                    self._indexes[name].add(bytes(value), number)
            document[name] = value
        self._raws[number] = bson.encode(document)
        return True

    def versions(self) -> dict[str, int]:
        """How many values of each field have which version of the key, as `field version`; 0: in clear."""
        counts: dict[str, int] = {}
        for raw in self._raws:
            for name, value in bson.decode(raw).items():
                is_envelope = isinstance(value, Binary) and value.subtype == SUBTYPE
                key = f"{name} {parse_header(value).key_version if is_envelope else 0}"
                counts[key] = counts.get(key, 0) + 1
        return counts


def serve(connection: Connection, wanted: Wanted) -> None:
    """Answer `(method, arguments)` with what it gives and its processor time, until None comes."""
    held = Held(patients(wanted.documents, keyring_of((KeyState.ACTIVE,)), wanted.encrypted), wanted.indexed)
    if held.count != wanted.documents:
        raise RuntimeError("other documents than were wanted")
    connection.send((None, 0.0))
    while (asked := connection.recv()) is not None:
        method, arguments = asked
        began = time.process_time()
        answer = getattr(held, method)(*arguments)
        connection.send((answer, time.process_time() - began))


def _number(identity: bytes) -> int:
    """Of the element `_id`, an int32: a type byte, its name with its end, four bytes."""
    return int.from_bytes(identity[5:], "little")


class Link:
    """Asks the process; both `Documents` and `Values` of one class, in one collection."""

    def __init__(self, connection: Connection, class_name: str) -> None:
        self.busy_s: dict[str, float] = {}
        """By method, the processor time that the process took for its answers."""
        self._connection = connection
        self._class_name = class_name

    def ask(self, method: str, *arguments: object) -> Any:
        """What `held.Held` answers."""
        self._connection.send((method, arguments))
        answer, took_s = self._connection.recv()
        self.busy_s[method] = self.busy_s.get(method, 0.0) + took_s
        return answer

    def read(self, _namespace: str, start: bytes, end: bytes, limit: int) -> tuple[list[bytes], bool]:
        """As `Documents.read`."""
        raws, ended = self.ask("read", start, end, limit)
        return raws, ended

    def again(self, _namespace: str, identities: Sequence[bytes]) -> list[bytes]:
        """As `Documents.again`."""
        raws: list[bytes] = self.ask("again", list(identities))
        return raws

    def update(self, _namespace: str, updates: Sequence[bytes]) -> Written:
        """As `Documents.update` and `Values.update`."""
        return Written(self.ask("update", list(updates)))

    def places(self) -> list[ClassPaths]:
        """As `Values.places`."""
        return class_paths(policies(), [NAMESPACE], self._class_name)

    def index(self, _places: Sequence[ClassPaths]) -> None:
        """As `Values.index`: the process has them from the beginning."""

    def walked(self, _places: Sequence[ClassPaths]) -> frozenset[bytes]:
        """As `Values.walked`: there is no such index."""
        return frozenset()

    def unindex(self) -> None:
        """As `Values.unindex`."""

    def between(self, _namespace: str, path: str, within: Range) -> Iterator[bytes]:
        """As `Values.between`, page by page as a cursor reads; of ranges of envelopes."""
        low, last = (None if form is None else form.data[BINARY_HEAD:] for form in (within.low, within.last))
        behind = None
        while True:
            raws, behind = self.ask("between", path, low, last, behind)
            yield from raws
            if behind is None:
                return

    def all(self, _namespace: str) -> Iterator[bytes]:
        """As `Values.all`."""
        start = b""
        while True:
            raws, ended = self.ask("read", start, b"", 500)
            yield from raws
            if ended:
                return
            start = b"\x10_id\0" + (_number(start) + 500).to_bytes(4, "little")


@contextmanager
def linked(wanted: Wanted, class_name: str = "") -> Iterator[Link]:
    """Start the process, and end it; `class_name` is whose values move by ranges.

    Cost: some 60 us a document, and 2 KiB of its memory.
    """
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=serve, args=(theirs, wanted))
    process.start()
    theirs.close()
    try:
        ours.recv()
        yield Link(ours, class_name)
        ours.send(None)
    finally:
        ours.close()
        process.join(10)
        process.kill()


class KeptNotes:
    """A ledger in memory, which makes of a job what is stored."""

    def __init__(self) -> None:
        self.body = b""

    def save(self, job: Job) -> Wish:
        """As `Notes.save`."""
        self.body = serialize(job)
        return Wish.RUN


class KeptFrontier:
    """A frontier in memory, sealed and opened as on a server, and a proxy that looks at it by turns.

    The proxy lets go of each window `FOLLOWS_S` after it was written.
    """

    def __init__(self, old: ValueCipher, new: ValueCipher) -> None:
        self._old, self._new = old, new
        self._document: dict[str, Any] = {}
        self._generation = FIRST_GENERATION
        self._saved_at = 0.0

    def load(self) -> Frontier | None:
        """As `Frontiers.load`."""
        return parse_frontier(self._document, self._new) if self._document else None

    def expect_pending(self) -> None:
        """As `Frontiers.expect_pending`: nobody cancels it."""

    def begin(self) -> Frontier:
        """As `Frontiers.begin`."""
        frontier = Frontier(self._new.class_id, self._old.key_version, self._new.key_version)
        self.save(frontier)
        return frontier

    def save(self, frontier: Frontier) -> None:
        """As `Frontiers.save`."""
        self._document = frontier_document(frontier, self._new)
        self._generation = frontier.generation
        self._saved_at = time.perf_counter()

    def confirm(self, frontier: Frontier) -> None:
        """As `Frontiers.confirm`. Raises RuntimeError where another stands there."""
        if self.load() != frontier:
            raise RuntimeError("another frontier than was written")

    def place(self) -> str:
        """As `Frontiers.place`."""
        return "ab" * 16

    def missing_s(self, _counted: Sequence[str] | None = None, /) -> float:
        """As `Frontiers.missing_s`: none is missing."""
        return 0.0

    def leases(self) -> list[Lease]:
        """As `Frontiers.leases`."""
        has_seen = time.perf_counter() - self._saved_at >= FOLLOWS_S
        known = self._generation if has_seen else self._generation - 1
        now = datetime.now(UTC)
        return [Lease("proxy", now, now, {self._new.class_id: known})]
