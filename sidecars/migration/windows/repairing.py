"""Moves what other versions of a deterministic class have left behind, while the class itself does not move.

Every proxy stores and looks for the one form that is right, so nothing waits, and no window is needed: each
update is done only where exactly the bytes stand that were read. Work may be repeated from the beginning.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

from sealwire.sidecars.migration.contexts import JobContexts
from sealwire.sidecars.migration.engine import Engine, Pace, Step
from sealwire.sidecars.migration.job import MAX_REPORTED, Job, LeftValue, Standing, Tally, short
from sealwire.sidecars.migration.ledger import Notes
from sealwire.sidecars.migration.windows.looking import FirstLook
from sealwire.sidecars.migration.windows.moving import WHOLE, Versions, WindowMover
from sealwire.sidecars.migration.windows.server import Values
from sealwire.sidecars.raw_documents import identity_of
from sealwire.wire.errors import BsonError


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


class Repair(Engine):
    """The steps of a repair: work until nothing is left that can be moved."""

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
        super().__init__(job, notes, pace)
        self._before = job
        self._mover = WindowMover(values, versions, WHOLE, contexts)
        self._confirm = confirm

    def _steps(self) -> Iterator[Step]:
        tally = self._mover.tally
        began = self._pace.clock()
        for read in self._mover.sweep(self._confirm):
            yield Step(began, partial(self._counted, tally, read))
            if self._stopped.is_set():
                self._end(Standing.PAUSED)
                return
            began = self._pace.clock()
        done = replace(self._counted(tally, 0), standing=Standing.DONE, left=dict(tally.left))
        yield Step(began, lambda: replace(done, reported=tuple(map(short, tally.reported))))

    def _counted(self, tally: Tally, read: int) -> Job:
        """A tally counts from the beginning of the sweep on."""
        before = replace(self._before, revision=self.job.revision, read=self.job.read)
        return before.counted(tally, read)
