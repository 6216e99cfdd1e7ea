"""Which processes move values of a class: nothing else knows of one that was stopped and may go on.

    sealwire.workers  {_id: UUID, job, class_id, new, paths: what it moves, host, pid, started, machine,
                       seen: the server's time, waits: whom it waits for, rate: documents a second}

An update names the old form that it replaces. A process that was stopped while a class moved to a key, and
then back to plaintext, would find that form again. So each process registers before it reads the frontier,
and none begins while one of another move of the same values is registered: one of two sees the other.
"""

import os
import re
import socket
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

from bson.int64 import Int64
from pymongo.client_session import ClientSession
from pymongo.errors import PyMongoError
from pymongo.read_concern import ReadConcern

from sealwire.sidecars.direct import Client
from sealwire.sidecars.errors import JobTaken, MigrationReason, Missing, Unusable
from sealwire.sidecars.migration.job import Job
from sealwire.sidecars.migration.ledger import own_collection

WORKERS: Final = "workers"
_ENDED_STATES: Final = frozenset({"Z", "X"})
_AFTER_NAME: Final = re.compile(r".*\) ", re.DOTALL)
_STATE, _STARTED = 0, 19
"""Places in /proc/PID/stat behind the program's name, which may hold anything. See proc(5)."""


class Process(NamedTuple):
    """A process, so that another one on the same machine can tell whether it still runs."""

    host: str
    pid: int
    started: int
    """In ticks since the machine's start; 0 where nobody can say."""
    machine: str
    """The machine since its start, and the namespace in which `pid` counts; empty where nobody can say."""

    @classmethod
    def of_this_one(cls) -> "Process":
        """This process."""
        found = _stat(os.getpid())
        return cls(socket.gethostname(), os.getpid(), 0 if found is None else found[1], _machine())

    @property
    def has_ended(self) -> bool:
        """Whether it is known to have ended: only of this machine that can be known."""
        if not self.machine or self.machine != _machine():
            return False
        found = _stat(self.pid)
        return found is None or found[0] in _ENDED_STATES or found[1] != self.started


class Worker(NamedTuple):
    """A process that moves values, or has not said that it ended."""

    name: str
    """A UUID."""
    job: str
    class_id: int
    new_version: int
    paths: frozenset[str]
    process: Process
    silent_s: float = 0.0
    """How long ago it was last heard of, by the server's clock."""
    waits: tuple[str, ...] = ()
    """Whom it waited for then."""
    rate: float = 0.0
    """Documents a second that it had moved until then."""

    @property
    def place(self) -> str:
        """As an operator names it."""
        return f"{self.process.host}:{self.process.pid}"

    def is_of_another_move(self, other: "Worker") -> bool:
        """Whether they move the same values, and not between the same versions."""
        mine, theirs = (self.class_id, self.new_version), (other.class_id, other.new_version)
        return mine != theirs and (self.class_id == other.class_id or bool(self.paths & other.paths))


Registration = Callable[[Sequence[str], float], None]
"""Says that this process is at work: whom it waits for, and how many documents a second it moves.

Raises JobTaken where somebody has said that it ended.
"""


class Workers:
    """Those of one server. Methods raise what the driver raises."""

    def __init__(self, client: Client) -> None:
        self._workers = own_collection(client, WORKERS, read_concern=ReadConcern("majority"))
        self._client = client

    @contextmanager
    def at_work(self, job: Job, class_id: int, new_version: int) -> Iterator[Registration]:
        """Register this process until the block is left; what the driver raised there leaves it registered.

        Raises Unusable EARLIER_WORKER while a process of another move of these values may go on.
        """
        paths = frozenset(f"{move.namespace} {move.path}" for move in job.moves)
        mine = Worker(str(uuid.uuid4()), job.name, class_id, new_version, paths, Process.of_this_one())
        written = {"$set": _document(mine), "$currentDate": {"seen": True}}
        try:
            with self._client.start_session(causal_consistency=True) as session:
                self._workers.update_one({"_id": mine.name}, written, upsert=True, session=session)
                self._refuse_others(mine, session)
            yield partial(self._show, mine)
        except PyMongoError:
            # what was sent and not answered may still be on its way
            raise
        except BaseException:
            self._take_off(mine.name)
            raise
        self._take_off(mine.name)

    def listed(self, session: ClientSession | None = None) -> list[Worker]:
        """All that may go on: those that are known to have ended are taken off."""
        found = map(_parse, self._workers.aggregate([{"$set": {"read_at": "$$NOW"}}], session=session))
        standing = []
        for each in found:
            if each is not None and each.process.has_ended:
                self._take_off(each.name)
            elif each is not None:
                standing.append(each)
        return standing

    def forget(self, host: str, pid: int, *, dry_run: bool = False) -> list[Worker]:
        """Take a process off that an operator knows to have ended; what was taken off.

        Raises Missing if none of the name is registered; Unusable EARLIER_WORKER if it still runs
        here.
        """
        named = [each for each in self.listed() if (each.process.host, each.process.pid) == (host, pid)]
        if not named:
            text = f"no process {host}:{pid} is registered"
            raise Missing(MigrationReason.MISSING, text, "sealwire migrate status names them")
        if any(each.process.machine and each.process.machine == _machine() for each in named):
            text = f"the process {pid} still runs on this machine"
            raise Unusable(MigrationReason.EARLIER_WORKER, text, "end it; it takes itself off")
        for each in () if dry_run else named:
            self._take_off(each.name)
        return named

    def _refuse_others(self, mine: Worker, session: ClientSession) -> None:
        for each in self.listed(session):
            if mine.is_of_another_move(each):
                text = (
                    f"a process of an earlier move of these values may go on: {each.place}, "
                    f"of job {each.job}, last seen {each.silent_s:.0f} s ago"
                )
                hint = f"end it; if it is gone: sealwire migrate forget-worker {each.place}"
                raise Unusable(MigrationReason.EARLIER_WORKER, text, hint)

    def _show(self, mine: Worker, waits: Sequence[str], rate: float) -> None:
        update = {"$currentDate": {"seen": True}, "$set": {"waits": list(waits), "rate": rate}}
        if not self._workers.update_one({"_id": mine.name}, update).matched_count:
            text = "somebody has said that this process ended: another one may move the class"
            hint = f"sealwire migrate resume POLICY {mine.job} goes on with it"
            raise JobTaken(MigrationReason.TAKEN, text, hint)

    def _take_off(self, name: str) -> None:
        self._workers.delete_one({"_id": name})


def _document(worker: Worker) -> dict[str, Any]:
    return {
        "job": worker.job,
        "class_id": Int64(worker.class_id),
        "new": Int64(worker.new_version),
        "paths": sorted(worker.paths),
        **worker.process._asdict(),
        "started": Int64(worker.process.started),
        "waits": [],
        "rate": 0.0,
    }


def _parse(document: Mapping[str, Any]) -> Worker | None:
    """None for a document that is none. A writer of such a document could delete it as well."""
    try:
        seen, read_at = document["seen"], document["read_at"]
        if not (isinstance(seen, datetime) and isinstance(read_at, datetime)):
            return None
        process = Process(
            _shown(document["host"]),
            int(document["pid"]),
            int(document["started"]),
            str(document["machine"]),
        )
        return Worker(
            str(document["_id"]),
            _shown(document["job"]),
            int(document["class_id"]),
            int(document["new"]),
            frozenset(map(str, document["paths"])),
            process,
            max(0.0, (read_at - seen).total_seconds()),
            tuple(map(_shown, document["waits"])),
            float(document["rate"]),
        )
    except (KeyError, TypeError, ValueError):
        return None


def _shown(text: object) -> str:
    return text if isinstance(text, str) and text.isprintable() else "?"


def _stat(pid: int) -> tuple[str, int] | None:
    """The state of a process and when it started; None where there is none."""
    try:
        fields = _AFTER_NAME.sub("", Path(f"/proc/{pid}/stat").read_text(errors="replace")).split()
        return fields[_STATE], int(fields[_STARTED])
    except (OSError, IndexError, ValueError):
        return None


def _machine() -> str:
    try:
        started = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{started} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""
