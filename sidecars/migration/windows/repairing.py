"""Moves what other versions of a deterministic class have left behind, while the class itself does not move.

Every proxy stores and looks for the one form that is right, so nothing waits, and no window is needed: each
update is done only where exactly the bytes stand that were read. Work may be repeated from the beginning.
"""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime

from sealwire.sidecars.migration.contexts import JobContexts
from sealwire.sidecars.migration.job import MAX_REPORTED, Job, LeftValue, Standing, short
from sealwire.sidecars.migration.ledger import Notes, Wish
from sealwire.sidecars.migration.runner import Pace
from sealwire.sidecars.migration.windows.looking import FirstLook
from sealwire.sidecars.migration.windows.moving import WHOLE, Stuck, Tally, Versions, WindowMover
from sealwire.sidecars.migration.windows.server import Values
from sealwire.sidecars.raw_documents import identity_of
from sealwire.wire.errors import BsonError

_STANDING = {Wish.PAUSE: Standing.PAUSED, Wish.ABORT: Standing.ABORTED}


class _Ended(Exception):
    """Somebody wishes it, or a signal came."""

    def __init__(self, standing: Standing) -> None:
        super().__init__(standing.value)
        self.standing = standing


def would_repair(job: Job, values: Values, versions: Versions, contexts: JobContexts | None = None) -> Job:
    """The job with how many documents it would change, and those that it could not. Changes nothing.

    Raises what the driver raises. Cost: reads all documents
    """
    look = FirstLook(versions, contexts)
    expected = 0
    reported: list[LeftValue] = []
    for where in values.places():
        for raw in values.all(where.namespace):
            try:
                seen = look.at(raw, where)
            except BsonError:
                continue
            expected += seen.has_old
            for each in seen.problems[: MAX_REPORTED - len(reported)]:
                reported.append(short(LeftValue(where.namespace, each.path, identity_of(raw), each.why)))
    return replace(job, expected=expected, reported=tuple(reported))


class Repair:
    """One process at work on one class."""

    def __init__(  # noqa: PLR0913, PLR0917 - one for each thing that it needs
        self,
        job: Job,
        versions: Versions,
        values: Values,
        confirm: Callable[[], None],
        notes: Notes,
        pace: Pace,
        contexts: JobContexts | None = None,
    ) -> None:
        """`versions` are one and the same; `confirm` sees that nothing moves the class, behind a barrier."""
        self.job = job
        self._before = job
        self._mover = WindowMover(values, versions, WHOLE, contexts)
        self._confirm = confirm
        self._notes = notes
        self._pace = pace
        self._stopped = threading.Event()
        self._batch_began = 0.0

    def run(self) -> Job:
        """Work until nothing is left that can be moved, or somebody wishes otherwise; the job as it then is.

        Raises what `confirm`, the ledger and the driver raise; the job can be resumed then.
        """
        with ThreadPoolExecutor(1, "repair") as pool:
            try:
                pool.submit(self._run).result()
            finally:
                # also where a signal ends this: the pool waits for the batch
                self._stopped.set()
        return self.job

    def _run(self) -> None:
        tally = self._mover.tally
        self._batch_began = time.perf_counter()
        try:
            self._mover.sweep(self._confirm, self._step)
        except _Ended as ended:
            self._note(self.job.stopped(ended.standing, _now()))
        except Stuck as stuck:
            self._note(self.job.stopped(Standing.REFUSED, _now(), stuck.left))
        else:
            done = replace(self._counted(tally, 0), standing=Standing.DONE, left=dict(tally.left))
            self._note(replace(done, reported=tuple(map(short, tally.reported))))

    def _step(self, read: int) -> None:
        wish = self._note(self._counted(self._mover.tally, read))
        if wish is not Wish.RUN:
            raise _Ended(_STANDING[wish])
        if self._stopped.is_set():
            raise _Ended(Standing.PAUSED)
        self._pace.rest(time.perf_counter() - self._batch_began)
        self._batch_began = time.perf_counter()

    def _counted(self, tally: Tally, read: int) -> Job:
        before = self._before
        return replace(
            self.job.noted(_now()),
            read=self.job.read + read,
            documents=before.documents + tally.documents,
            values=before.values + tally.values,
            races=before.races + tally.races,
        )

    def _note(self, job: Job) -> Wish:
        wish = self._notes.save(job)
        self.job = job
        self._pace.tell(job)
        return wish


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)
