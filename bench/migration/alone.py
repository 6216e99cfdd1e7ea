"""`python -m bench.migration.alone WORK --documents N`: one job against `held`, in a process of its own.

It prints what `Figures` has as JSON. The process is the job's alone, so its memory is a job's memory; what a
command has besides, the driver and the command line, `beside` measures.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Final

from bench.migration.held import KeptFrontier, KeptNotes, Link, Wanted, linked
from bench.migration.subject import DETERMINISTIC, FIELDS, NAMESPACE, RANDOM, keyring_of, policies
from bench.routes.processes import peak_of, resident_of
from sealwire.keys.frontier.frontier import pending_version_of, version_of
from sealwire.keys.keyring.data_key import KeyState
from sealwire.sidecars.migration.engine import Runner
from sealwire.sidecars.migration.forms import WrongType
from sealwire.sidecars.migration.job import Job, Standing, Stretch
from sealwire.sidecars.migration.moves import Direction, Move
from sealwire.sidecars.migration.windows.moving import Versions
from sealwire.sidecars.migration.windows.turn import Stores, Turn

_IN_CLEAR: Final = (KeyState.ACTIVE,)
_REPLACED: Final = (KeyState.DECRYPT_ONLY, KeyState.ACTIVE)
_PENDING: Final = (KeyState.ACTIVE, KeyState.PENDING)


@dataclass(frozen=True, slots=True)
class Figures:
    """One job."""

    work: str
    documents: int
    values: int
    wall_s: float
    cpu_s: float
    """Processor time of the job."""
    server_cpu_s: float
    """That of the process that stands for the server."""
    update_cpu_s: float
    """The part of it that went into updates."""
    idle_kib: int
    """Resident before the job begins, with everything imported."""
    peak_kib: int


def measure_random(direction: Direction, link: Link, count: int) -> Figures:
    """All values of the two random classes, in one job with one worker."""
    keyring = keyring_of(_IN_CLEAR if direction is Direction.ENCRYPT else _REPLACED)
    moves = tuple(Move(NAMESPACE, name, name) for name in RANDOM)
    job = _job(direction, moves, (Stretch(NAMESPACE),))
    runner = Runner(job, link, KeptNotes(), keyring)
    return _measured(f"{direction.value} random", link, count * len(RANDOM), runner.run)


def measure_class(class_name: str, link: Link, count: int, direction: Direction) -> Figures:
    """All values of one deterministic class, from its key to its pending version."""
    keyring = keyring_of(_PENDING, to_plaintext=direction is Direction.DECRYPT)
    old, new = version_of(keyring, class_name), pending_version_of(keyring, class_name)
    if new is None:
        raise RuntimeError("no key is pending")
    versions = Versions.of_class(old, new, policies().classes[class_name])
    job = _job(direction, (Move(NAMESPACE, class_name, class_name),), ())
    stores = Stores(link, KeptFrontier(old.cipher, new.cipher), KeptNotes())
    turn = Turn(job, versions, stores, lambda: None)
    return _measured(f"{direction.value} {class_name}", link, count, turn.run)


def _measured(work: str, link: Link, values: int, run: Callable[[], Job]) -> Figures:
    pid = os.getpid()
    idle = resident_of(pid)
    wall, cpu = time.perf_counter(), time.process_time()
    job = run()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    if job.standing is not Standing.DONE or job.values != values or job.left:
        raise RuntimeError(
            f"{work}: {job.standing.value}, {job.values} values moved of {values}, left {dict(job.left)}"
        )
    busy = sum(link.busy_s.values())
    update = link.busy_s["update"]
    return Figures(work, job.documents, values, wall, cpu, busy, update, idle, peak_of(pid))


def _job(direction: Direction, moves: tuple[Move, ...], stretches: tuple[Stretch, ...]) -> Job:
    now = datetime.now(UTC).replace(microsecond=0)
    return Job("bench", direction, WrongType.REFUSE, moves, stretches, now, now)


def check(link: Link, names: tuple[str, ...], version: int, count: int) -> None:
    """See that the server holds nothing but this version. Raises RuntimeError."""
    found = link.ask("versions")
    if any(found.get(f"{name} {version}") != count for name in names):
        raise RuntimeError("the server holds another form")


def encrypt(count: int) -> Figures:
    """Plaintext of random classes to envelopes; what is deterministic is encrypted already."""
    with linked(Wanted(count, DETERMINISTIC, ())) as link:
        figures = measure_random(Direction.ENCRYPT, link, count)
        check(link, RANDOM, 1, count)
    return figures


def reencrypt(count: int) -> Figures:
    """Envelopes of random classes to their newer keys."""
    with linked(Wanted(count, FIELDS, ())) as link:
        figures = measure_random(Direction.REENCRYPT, link, count)
        check(link, RANDOM, 2, count)
    return figures


def rotate(count: int) -> Figures:
    """One of the two deterministic classes to its pending key."""
    return _turned(Direction.REENCRYPT, 2, count)


def decrypt(count: int) -> Figures:
    """The same class to plaintext."""
    return _turned(Direction.DECRYPT, 0, count)


def _turned(direction: Direction, version: int, count: int) -> Figures:
    name = DETERMINISTIC[0]
    with linked(Wanted(count, FIELDS, (name,)), name) as link:
        figures = measure_class(name, link, count, direction)
        check(link, (name,), version, count)
    return figures


WORKS: Final[dict[str, Callable[[int], Figures]]] = {
    "encrypt": encrypt,
    "reencrypt": reencrypt,
    "rotate": rotate,
    "decrypt": decrypt,
}


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description="One work of a migration against a server in memory.")
    parser.add_argument("work", choices=WORKS)
    parser.add_argument("--documents", type=int, required=True)
    arguments = parser.parse_args()
    figures = WORKS[arguments.work](arguments.documents)
    sys.stdout.write(json.dumps(asdict(figures)) + "\n")


if __name__ == "__main__":
    main()
