"""The one loop of all jobs: a step, a note of it, a rest, until nothing is left or somebody stops it.

A kind of job says only what its steps are. The engine writes each down before the next one, sees what is
wished of the job then, gives way to the application, and ends in order: by a wish, a refusal or a signal.
"""

import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from statistics import median
from typing import Final, NamedTuple

from sealwire.keys.keyring.keyring import Keyring
from sealwire.sidecars.direct import identity_of
from sealwire.sidecars.migration.contexts import JobContexts
from sealwire.sidecars.migration.forms import InCollection, Left, NewForm, WrongType, new_form
from sealwire.sidecars.migration.job import Job, LeftValue, Standing, Stretch, Tally, now
from sealwire.sidecars.migration.ledger import Notes, Wish
from sealwire.sidecars.migration.moves import Direction, trees_of
from sealwire.sidecars.migration.server import (
    BATCH_DOCUMENTS,
    NO_FIELDS,
    Documents,
    Patch,
    Problem,
    chunks,
    patch_of,
)
from sealwire.wire.errors import BsonError

_STANDING: Final = {Wish.PAUSE: Standing.PAUSED, Wish.ABORT: Standing.ABORTED}


@dataclass(frozen=True, slots=True)
class Pace:
    """How a job goes about it."""

    rest: Callable[[float, float], None] = lambda _busy_s, _waited_s: None
    """Waits after a step, at which the job worked so many seconds, and waited so many for others."""
    tell: Callable[[Job], None] = lambda _job: None
    """Sees the job each time that it was written down."""
    most: int | None = None
    """How many documents a step has at most, about; None: as many as suit it."""
    clock: Callable[[], float] = time.perf_counter


AT_ONCE: Final = Pace()


class StepTaken(NamedTuple):
    """One step, once it is taken."""

    began: float
    """By the clock of the pace."""
    after: Callable[[], Job]
    """The job after it. It is made while no other worker writes one down."""
    waited_s: float = 0.0
    """For others, since it began."""


class Stuck(Exception):
    """Values that keep a job from going on. A window that is open stays open."""

    def __init__(self, left: Sequence[LeftValue]) -> None:
        super().__init__("values that cannot be moved")
        self.left = tuple(left)


class Engine(ABC):
    """One process at work on one job."""

    def __init__(
        self, job: Job, notes: Notes, pace: Pace = AT_ONCE, abandon: Callable[[], object] = lambda: None
    ) -> None:
        """`abandon` tidies up before the job is noted as aborted."""
        self.job = job
        self._notes = notes
        self._pace = pace
        self._abandon = abandon
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._has_ended = False

    @abstractmethod
    def _steps(self) -> Iterator[StepTaken]:
        """The steps of one worker, none of which another one takes.

        They end once `_stopped` is set. Raises Stuck; the job can be resumed after whatever else it raises.
        """

    def stop(self) -> None:
        """Let `run` end as a signal does. From any thread."""
        self._stopped.set()

    def run(self, workers: int = 1) -> Job:
        """Work until the job is done, refused, paused or aborted; the job as it then stands.

        Raises what steps and ledger raise, once all workers have stopped; the job can be resumed then.
        Cost: memory of `workers` steps
        """
        with ThreadPoolExecutor(workers, "job") as pool:
            try:
                for done in [pool.submit(self._work) for _ in range(workers)]:
                    done.result()
            finally:
                # also where a signal ends this: the pool waits for each worker's step
                self._stopped.set()
        return self.job

    def _work(self) -> None:
        try:
            for step in self._steps():
                with self._lock:
                    wish = self._note(step.after())
                if self.job.standing.is_over:
                    return
                if wish is not Wish.RUN:
                    if wish is Wish.ABORT:
                        self._abandon()
                    self._end(_STANDING[wish])
                    return
                if not self._stopped.is_set():
                    busy_s = self._pace.clock() - step.began - step.waited_s
                    self._pace.rest(busy_s, step.waited_s)
        except Stuck as refused:
            self._end(Standing.REFUSED, refused.left)
        except BaseException:
            self._stopped.set()
            raise

    def _end(self, standing: Standing, refusal: Sequence[LeftValue] = ()) -> None:
        """Note that the job stops here, unless another worker has."""
        with self._lock:
            self._stopped.set()
            if not self._has_ended:
                self._has_ended = True
                self._note(self.job.stopped(standing, now(), refusal))

    def _note(self, job: Job) -> Wish:
        """Write the job down; what is wished of it. Raises JobTaken, what the driver raises."""
        wish = self._notes.save(job)
        self.job = job
        self._pace.tell(job)
        return wish


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

    def _measures(self, count: int) -> Iterator[float]:
        for _ in range(count):
            before = self._clock()
            self._probe()
            yield self._clock() - before


# The steps of a job of random classes: batches of documents by ranges of `_id`, with several workers.

_ROUNDS = 8
"""How often a document is read again that the application keeps changing."""


class Runner(Engine):
    """The steps of a job of random classes. Cost: memory of a batch for each worker, up to 24 MiB."""

    def __init__(  # noqa: PLR0913 - one for each thing that it needs
        self,
        job: Job,
        documents: Documents,
        notes: Notes,
        keyring: Keyring,
        pace: Pace = AT_ONCE,
        *,
        contexts: JobContexts | None = None,
        fields: Mapping[str, bytes] = NO_FIELDS,
        narrow: Callable[[], object] = lambda: None,
    ) -> None:
        """`contexts`: their keys, where a class has one for each. `fields` is as in `patch_of`.

        `narrow` is called before the job is noted as done, if no value was left; perhaps more than once.
        """
        super().__init__(job, notes, pace)
        self._keyring = keyring
        self._contexts = contexts
        self._fields = fields
        self._documents = documents
        self._narrow = narrow
        self._most = pace.most or BATCH_DOCUMENTS
        self._waiting = iter([index for index, each in enumerate(job.stretches) if not each.done])
        self._trees = trees_of(job.moves)

    def _steps(self) -> Iterator[StepTaken]:
        while (index := self._next_stretch()) is not None:
            while not self._stopped.is_set() and not self.job.stretches[index].done:
                began = self._pace.clock()
                yield StepTaken(began, partial(self._after, index, *self._batch(index)))

    def _next_stretch(self) -> int | None:
        with self._lock:
            return None if self._stopped.is_set() else next(self._waiting, None)

    def _after(self, index: int, stretch: Stretch, tally: Tally, read: int) -> Job:
        job = self.job.after(index, stretch, tally, read, now())
        if job.standing is Standing.DONE and not job.left:
            self._narrow()
        return job

    def _batch(self, index: int) -> tuple[Stretch, Tally, int]:
        """The stretch with the next batch of it done, what came of it, and how many documents it was."""
        stretch = self.job.stretches[index]
        # one more than is wanted: the first is the one where the last batch ended
        limit = self._most + bool(stretch.at)
        raws, ended = self._documents.read(stretch.namespace, stretch.at or stretch.start, stretch.end, limit)
        if stretch.at and raws and identity_of(raws[0]) == stretch.at:
            raws = raws[1:]
        tally = Tally()
        for each in self._move(stretch.namespace, raws, tally):
            tally.leave(each)
        at = identity_of(raws[-1]) if raws else stretch.at
        return replace(stretch, at=at, done=ended), tally, len(raws)

    def _move(self, namespace: str, raws: Sequence[bytes], tally: Tally) -> Iterator[LeftValue]:
        """Move all values of the documents; those that stay."""
        patches, left = self._patches(namespace, raws)
        wrong = [each for each in left if each.why is Left.WRONG_TYPE]
        if wrong and self.job.wrong_type is WrongType.REFUSE:
            raise Stuck(wrong)
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
        choose = self._choice(namespace, raws)
        for raw in raws:
            try:
                patch = patch_of(raw, tree, choose, self._fields)
            except BsonError:
                patch = Patch(identity_of(raw), b"", 0, (Problem("", Left.DAMAGED),))
            if patch.update:
                patches.append(patch)
            left += [LeftValue(namespace, each.path, patch.identity, each.why) for each in patch.problems]
        return patches, left

    def _choice(self, namespace: str, raws: Sequence[bytes]) -> NewForm:
        """The choice of each value's new form in a batch, whose keys of contexts are made in one write."""
        job, within = self.job, None
        if self._contexts is not None:
            within = InCollection(self._contexts, namespace)
            if job.direction is not Direction.DECRYPT:
                self._contexts.prepare(namespace, raws)
        return new_form(job.direction, self._keyring, job.wrong_type, within)

    def _send(
        self, namespace: str, patches: Sequence[Patch], tally: Tally
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
