"""The job's side of `held`: the protocols of the product's jobs, over a pipe; notes and a frontier."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any, Final

from bench.migration.held import Wanted, serve
from bench.migration.subject import NAMESPACE, policies
from sealwire.crypto.cipher import ValueCipher
from sealwire.crypto.envelope import BINARY_HEAD
from sealwire.keys.frontier.frontier import FIRST_GENERATION, Frontier
from sealwire.keys.frontier.record import Lease, frontier_document, parse_frontier
from sealwire.sidecars.migration.job import Job, serialize
from sealwire.sidecars.migration.ledger import Wish
from sealwire.sidecars.migration.server import Written
from sealwire.sidecars.migration.windows.order import ClassPaths, Range, class_paths

FOLLOWS_S: Final = 0.05
"""How often a proxy looks at a frontier while a class moves."""


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
            start = b"\x10_id\0" + (_number_of(start) + 500).to_bytes(4, "little")


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


def _number_of(identity: bytes) -> int:
    return int.from_bytes(identity[5:], "little")
