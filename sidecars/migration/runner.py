"""Carries a job on to its end, or until somebody wishes otherwise: batch by batch, with several workers."""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from statistics import median

from sealwire.keys.keyring.keyring import Keyring
from sealwire.policies.file.schema import PathNode
from sealwire.sidecars.migration.contexts import JobContexts
from sealwire.sidecars.migration.errors import JobTaken
from sealwire.sidecars.migration.forms import InCollection, Left, NewForm, WrongType, new_form
from sealwire.sidecars.migration.job import Batch, Job, LeftValue, Standing
from sealwire.sidecars.migration.ledger import Notes, Wish
from sealwire.sidecars.migration.moves import Direction, tree_of
from sealwire.sidecars.migration.patches import MAX_UPDATE_BYTES, Patch, Problem, patch_of
from sealwire.sidecars.migration.server import Documents
from sealwire.sidecars.raw_documents import identity_of
from sealwire.wire.errors import BsonError

BATCH_DOCUMENTS = 500
_NO_FIELDS: Mapping[str, bytes] = {}
_ROUNDS = 8
"""How often a document is read again that the application keeps changing."""

_STANDING = {Wish.PAUSE: Standing.PAUSED, Wish.ABORT: Standing.ABORTED}


Within = Callable[[str, Sequence[bytes]], NewForm]
"""From a namespace and a batch of its documents to what decides for their values."""


# Gives way to the application: a job works a share of the time, less of it where the server becomes
# slower.
#
# The measure is a small read of this process. Its median right after batches is compared with its median
# while the job rests: before it begins, and at the end of each rest. So what is judged is what the job
# itself does to the server, and not that the application has more or less to do than when the job began.
# While the first is more than SLOWER times the second the share shrinks; else it grows again, slowly.

SLOWER = 1.2
"""With 1.3 an application's own medians came to 1.0 to 1.4 times those at rest, with this to 1.0 to 1.2."""
NOISE_S = 0.0002
"""What a median may be above the other in any case: reads of less than a millisecond vary by as much."""
LEAST_SHARE = 0.05
LEAST_SHARE_OF_WINDOWS = 0.4
"""The share of a class that moves by windows. Commands that waited for a window go on at its end, which slows
the reads that are timed there."""
MAX_LAG_S = 10.0

_PROBES_AT_REST = 21
_PROBES_AT_WORK = 9
_PROBES_A_BATCH = 3
_SHRINK, _GROW = 0.7, 0.05
_LONGEST_WAIT_S = 5.0
"""No single wait is longer: whoever asks the job to pause does not want to wait long."""
_LAG_WAIT_S = 1.0


class Throttle:
    """Shared by the workers of a job."""

    def __init__(
        self,
        probe: Callable[[], object],
        lag_s: Callable[[], float | None],
        most: float,
        clock: Callable[[], float] = time.perf_counter,
        sleep: Callable[[float], None] = time.sleep,
        *,
        least: float = LEAST_SHARE,
    ) -> None:
        """`probe` is the small read; `most` the largest share of time, above 0 to 1, `least` the smallest."""
        self._probe = probe
        self._lag_s = lag_s
        self._most = most
        self._least = min(least, most)
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.Lock()
        self.share = most
        """The part of its time that a worker works now."""
        self._at_work: deque[float] = deque(maxlen=_PROBES_AT_WORK)
        self._at_rest: deque[float] = deque(self._measures(_PROBES_AT_REST), maxlen=_PROBES_AT_REST)

    def after(self, busy_s: float, rested_s: float = 0.0) -> None:
        """Wait as long as the share says after a batch that took `busy_s`, and longer while members lag.

        `rested_s` is how long the worker waited for others meanwhile, and asked nothing of the server.
        Workers rest together: who comes while another one rests has that long rested already.
        """
        came = self._clock()
        with self._lock:
            rested_s += self._clock() - came
            self._at_work.extend(self._measures(_PROBES_A_BATCH))
            rest = median(self._at_rest)
            if median(self._at_work) > max(rest * SLOWER, rest + NOISE_S):
                self.share = max(self._least, self.share * _SHRINK)
            else:
                self.share = min(self._most, self.share + _GROW)
            wait_s = min(_LONGEST_WAIT_S, busy_s * (1 / self.share - 1)) - rested_s
            if wait_s > 0:
                self._sleep(wait_s)
                self._at_rest.extend(self._measures(_PROBES_A_BATCH))
            lag_s = self._lag_s()
            if lag_s is not None and lag_s > MAX_LAG_S:
                self._sleep(_LAG_WAIT_S)

    def _measures(self, count: int) -> list[float]:
        return [self._measure() for _ in range(count)]

    def _measure(self) -> float:
        before = self._clock()
        self._probe()
        return self._clock() - before


def within_contexts(
    contexts: JobContexts, direction: Direction, keyring: Keyring, wrong_type: WrongType
) -> Within:
    """What decides where classes have keys for contexts: those of a batch are made in one write."""

    def within(namespace: str, raws: Sequence[bytes]) -> NewForm:
        if direction is not Direction.DECRYPT:
            contexts.prepare(namespace, raws)
        return new_form(direction, keyring, wrong_type, InCollection(contexts, namespace))

    return within


class _Refused(Exception):
    """A value of a wrong type, where the job is to stop at one. Nothing of its batch is written."""

    def __init__(self, left: Sequence[LeftValue]) -> None:
        super().__init__("a value of a wrong type")
        self.left = tuple(left)


@dataclass(slots=True)
class _Tally:
    """What comes of a batch while its rounds go on."""

    documents: int = 0
    values: int = 0
    races: int = 0


@dataclass(frozen=True, slots=True)
class Pace:
    """How a runner goes about it."""

    rest: Callable[[float], None] = lambda _busy_s: None
    """Waits after a batch, which took so many seconds."""
    tell: Callable[[Job], None] = lambda _job: None
    """Sees the job each time that it was written down."""
    batch_documents: int = BATCH_DOCUMENTS


_AT_ONCE = Pace()


class Runner:
    """One process at work on one job."""

    def __init__(  # noqa: PLR0913 - one for each thing that it needs
        self,
        job: Job,
        documents: Documents,
        notes: Notes,
        choose: NewForm,
        pace: Pace = _AT_ONCE,
        *,
        within: Within | None = None,
        fields: Mapping[str, bytes] = _NO_FIELDS,
        narrow: Callable[[], object] = lambda: None,
    ) -> None:
        """`choose` decides every value's new form; `within`, where it is given, in its stead.

        `within` is told of all documents of a batch before the first value of them. `fields` is as in
        `patch_of`. `narrow` is called before
        the job is noted as done, if no value was left; perhaps more than once.
        """
        self._within = within
        self._fields = fields
        self.job = job
        self._documents = documents
        self._notes = notes
        self._choose = choose
        self._pace = pace
        self._narrow = narrow
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._trees: Mapping[str, PathNode] = {
            namespace: tree_of(move for move in job.moves if move.namespace == namespace)
            for namespace in job.namespaces
        }

    def run(self, workers: int = 1) -> Job:
        """Work until the job is done, refused, paused or aborted; the job as it then stands.

        Raises what server and ledger raise, once all workers have stopped; the job can be resumed then.
        Cost: memory of `workers` batches of up to 24 MiB
        """
        waiting = iter([index for index, each in enumerate(self.job.stretches) if not each.done])
        with ThreadPoolExecutor(workers, "migration") as pool:
            try:
                for done in [pool.submit(self._work, waiting) for _ in range(workers)]:
                    done.result()
            finally:
                # also where a signal ends this: the pool waits for each worker's batch
                self._stopped.set()
        return self.job

    def _work(self, waiting: Iterator[int]) -> None:
        try:
            while not self._stopped.is_set():
                with self._lock:
                    index = next(waiting, None)
                if index is None:
                    return
                self._work_through(index)
        except _Refused as refused:
            self._stop(Standing.REFUSED, refused.left)
        except BaseException:
            self._stopped.set()
            raise

    def _work_through(self, index: int) -> None:
        while not self._stopped.is_set() and not self.job.stretches[index].done:
            began = time.perf_counter()
            batch = self._batch(index)
            with self._lock:
                job = self.job.after(index, batch, _now())
                if job.standing is Standing.DONE and not job.left:
                    self._narrow()
                wish = self._note(job)
            if wish is not Wish.RUN and not self.job.standing.is_over:
                self._stop(_STANDING[wish])
                return
            self._pace.rest(time.perf_counter() - began)

    def _stop(self, standing: Standing, refusal: Sequence[LeftValue] = ()) -> None:
        with self._lock:
            if not self._stopped.is_set():
                self._stopped.set()
                self._note(self.job.stopped(standing, _now(), refusal))

    def _note(self, job: Job) -> Wish:
        try:
            wish = self._notes.save(job)
        except JobTaken:
            self._stopped.set()
            raise
        self.job = job
        self._pace.tell(job)
        return wish

    def _batch(self, index: int) -> Batch:
        stretch = self.job.stretches[index]
        # one more than is wanted: the first is the one where the last batch ended
        limit = self._pace.batch_documents + bool(stretch.at)
        raws, ended = self._documents.read(stretch.namespace, stretch.at or stretch.start, stretch.end, limit)
        if stretch.at and raws and identity_of(raws[0]) == stretch.at:
            raws = raws[1:]
        tally = _Tally()
        left = list(self._move(stretch.namespace, raws, tally))
        at = identity_of(raws[-1]) if raws else b""
        return Batch(len(raws), at, tally.documents, tally.values, tally.races, tuple(left), ended)

    def _move(self, namespace: str, raws: Sequence[bytes], tally: _Tally) -> Iterator[LeftValue]:
        """Move all values of the documents; those that stay."""
        patches, left = self._patches(namespace, raws)
        wrong = [each for each in left if each.why is Left.WRONG_TYPE]
        if wrong and self.job.wrong_type is WrongType.REFUSE:
            raise _Refused(wrong)
        yield from left
        for _ in range(_ROUNDS):
            unsure, refused = self._send(namespace, patches, tally)
            yield from refused
            if not unsure:
                return
            raws = self._documents.again(namespace, [patch.identity for patch in unsure])
            # what it leaves now was left and told of before, or was written meanwhile
            patches, _ = self._patches(namespace, raws)
            tally.values += sum(patch.values for patch in unsure) - sum(patch.values for patch in patches)
        for patch in patches:
            yield LeftValue(namespace, "", patch.identity, Left.CONTENDED)

    def _patches(self, namespace: str, raws: Sequence[bytes]) -> tuple[list[Patch], list[LeftValue]]:
        tree = self._trees[namespace]
        patches: list[Patch] = []
        left: list[LeftValue] = []
        choose = self._choose if self._within is None else self._within(namespace, raws)
        for raw in raws:
            try:
                patch = patch_of(raw, tree, choose, self._fields)
            except BsonError:
                patch = Patch(identity_of(raw), b"", 0, (Problem("", Left.DAMAGED),))
            if patch.update:
                patches.append(patch)
            left += [LeftValue(namespace, each.path, patch.identity, each.why) for each in patch.problems]
        return patches, left

    def _send(
        self, namespace: str, patches: Sequence[Patch], tally: _Tally
    ) -> tuple[list[Patch], list[LeftValue]]:
        """Those to be looked at again, as some update of their command found other values; the refused."""
        unsure: list[Patch] = []
        refused: list[LeftValue] = []
        for chunk in chunks(patches):
            written = self._documents.update(namespace, [patch.update for patch in chunk])
            codes = dict(written.errors)
            refused += [
                LeftValue(namespace, "", chunk[index].identity, Left.SERVER, code)
                for index, code in codes.items()
            ]
            others = [patch for index, patch in enumerate(chunk) if index not in codes]
            tally.documents += written.matched
            if written.matched < len(others):
                tally.races += len(others) - written.matched
                unsure += others
            else:
                tally.values += sum(patch.values for patch in others)
        return unsure, refused


def chunks(patches: Sequence[Patch]) -> Iterator[list[Patch]]:
    """As many as fit into one command."""
    chunk: list[Patch] = []
    size = 0
    for patch in patches:
        if chunk and size + len(patch.update) > MAX_UPDATE_BYTES:
            yield chunk
            chunk, size = [], 0
        chunk.append(patch)
        size += len(patch.update)
    if chunk:
        yield chunk


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)
