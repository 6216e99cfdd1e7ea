"""How the processes of all proxies count one limit of a role together, through the database `sealwire`.

About once a second a process writes how much it has granted each user, and reads what the others have
written. Sessions compare a limit with the sum of both. What others grant between two rounds is not known yet:
each process may grant that much beyond the limit, up to its own share. While the server does not answer, each
process goes on with what it knew.

A document is the sum of ten minutes by the process's own clock, so a report may be repeated. What others
granted counts until all of its ten minutes are an hour old. After a restart a process has another name, a
UUID, and what it granted before counts as another's. Users have pseudonyms. Nothing authenticates the
documents: a user who may write the database `sealwire` can lift limits, or use them up.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Final, final
from uuid import uuid4

from sealwire.proxy.server.frontiers.store import Granted, ServerStore, StoreProblem
from sealwire.proxy.server.observability.logs import note
from sealwire.proxy.server.observability.metrics import Metrics
from sealwire.proxy.server.tasks import spawn
from sealwire.proxy.session.revealing.documents_read import pseudonym
from sealwire.proxy.session.shared import Shared

_log = logging.getLogger("sealwire.server")

REPORT_S: Final = 1.0
BUCKET_S: Final = 600
_HOUR_S: Final = 3600
_READ_AGAIN: Final = timedelta(seconds=5)
"""Writes may become visible in another order than that of their times."""

_Place = tuple[str, str, int]
"""A process, a pseudonym and a bucket."""


@final
class LimitFeed:
    """Tells the counts of one process what others have granted, and others what it has.

    All methods are for the event loop's thread.
    """

    def __init__(
        self,
        shared: Shared,
        store: ServerStore | None,
        metrics: Metrics,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Without a `store` each process counts alone."""
        self._shared = shared
        self._counts = (shared.reads, shared.comparisons)
        self._store = store
        self._metrics = metrics
        self._clock = clock
        self._process: Final = str(uuid4())
        self._own: dict[tuple[str, int], int] = {}
        """By pseudonym and bucket."""
        self._due: set[tuple[str, int]] = set()
        """What of it is not on the server yet."""
        self._others: dict[_Place, int] = {}
        self._sums: dict[str, int] = {}
        """By pseudonym, the sum over `_others`."""
        self._bucket = -1
        """In which everything was read the last time."""
        self._newest: datetime | None = None
        self._is_lost = False
        self._running: asyncio.Task[None] | None = None

    async def __aenter__(self) -> None:
        """Read what others have granted. Cost: until the server has answered."""
        if self._store is None:
            return
        for count in self._counts:
            count.unreported = {}
            count.elsewhere = self._sums
        await self.round(self._store)
        self._running = spawn(self._run(self._store), "limits")

    async def __aexit__(self, *_error: object) -> None:
        """The last connection has gone: report what it was granted."""
        if self._running is not None and self._store is not None:
            self._running.cancel()
            await self.round(self._store)

    async def _run(self, store: ServerStore) -> None:
        while True:
            await asyncio.sleep(REPORT_S)
            try:
                await self.round(store)
            except Exception as error:  # noqa: BLE001 - whatever it is, the own counts go on
                self._metrics.bugs.inc()
                note(_log, logging.CRITICAL, "bug: limits could not be shared", error)

    async def round(self, store: ServerStore) -> None:
        """Report, then read. Raises nothing that a server can cause.

        Cost: nothing if no role has a limit; one question, and one write if anything was granted
        """
        roles = self._shared.settings.policy.roles
        if roles is None or not roles.has_limits:
            return
        bucket = int(self._clock()) // BUCKET_S
        self._collect(bucket)
        if bucket != self._bucket:
            self._forget_before(bucket - _HOUR_S // BUCKET_S)
        try:
            if self._due:
                due = tuple(self._due)
                await store.report([Granted(self._process, *each, self._own[each]) for each in due])
                self._due.clear()
            since = None if bucket != self._bucket or self._newest is None else self._newest - _READ_AGAIN
            self._take(await store.granted(self._process, since), bucket)
        except StoreProblem as problem:
            self._tell_problem(str(problem))
            return
        self._bucket = bucket
        self._tell_problem("")

    def _collect(self, bucket: int) -> None:
        """What sessions have granted since the last round."""
        for count in self._counts:
            unreported, count.unreported = count.unreported or {}, {}
            for client, amount in unreported.items():
                place = pseudonym(count.kind, client), bucket
                self._own[place] = self._own.get(place, 0) + amount
                self._due.add(place)

    def _forget_before(self, oldest: int) -> None:
        self._own = {place: amount for place, amount in self._own.items() if place[1] >= oldest}
        self._due &= self._own.keys()
        self._others = {place: amount for place, amount in self._others.items() if place[2] >= oldest}
        self._sums.clear()
        for (_, who, _), amount in self._others.items():
            self._sums[who] = self._sums.get(who, 0) + amount

    def _take(self, found: Sequence[Granted], bucket: int) -> None:
        """Let what was read count."""
        for process, who, each, amount, changed in found:
            if each < bucket - _HOUR_S // BUCKET_S:
                continue
            before = self._others.get((process, who, each), 0)
            self._others[process, who, each] = amount
            self._sums[who] = self._sums.get(who, 0) + amount - before
            if changed is not None and (self._newest is None or changed > self._newest):
                self._newest = changed

    def _tell_problem(self, problem: str) -> None:
        """Once when it begins, and once when it is over."""
        if problem and not self._is_lost:
            hint = "each proxy grants whole limits until the server of frontier.uri_file answers again"
            note(_log, logging.WARNING, "limits of roles are not shared", problem=problem, hint=hint)
        elif self._is_lost and not problem:
            note(_log, logging.INFO, "limits of roles are shared again")
        self._is_lost = bool(problem)
