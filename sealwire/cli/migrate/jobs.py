"""`sealwire migrate status`, `pause`, `resume` and `abort`: what becomes of a job."""

import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import click

from sealwire.cli.migrate import options
from sealwire.cli.migrate.classes import ClassMove, class_of
from sealwire.cli.migrate.definitions import conversions_of, refuse_enforced
from sealwire.cli.migrate.repair import ClassRepair
from sealwire.cli.options import (
    json_option,
    required_uri,
    server_options,
)
from sealwire.cli.output import Manner, manner_options, print_json, show_table
from sealwire.cli.subjects import policy_argument, read_policy
from sealwire.crypto import selftest
from sealwire.keys.frontier.frontier import pending_version_of, version_of
from sealwire.keys.keyring.keyring import Keyring
from sealwire.sidecars.direct import connected
from sealwire.sidecars.errors import JobTaken, MigrationReason
from sealwire.sidecars.migration.contexts import fields_of
from sealwire.sidecars.migration.job import Job, Standing, now
from sealwire.sidecars.migration.ledger import Ledger, Wish
from sealwire.sidecars.migration.moves import Direction, check_moves
from sealwire.sidecars.migration.planning import RIGHTS, refuse_obstacles
from sealwire.sidecars.migration.windows.workers import Worker, Workers

_WORKER_COLUMNS = ("process", "job", "documents", "last seen", "waits for")
_COLUMNS = ("job", "classes", "state", "documents", "values moved", "left", "last note")
_NARROW = ("last note", "values moved", "left")
"""The first that a narrow terminal does without."""
_TRIES = 10
_BETWEEN_TRIES_S = 0.5


# What `abort` says of a deterministic class whose move it ends half-way: how to go on, and how to get
# back.
#
# No move turns round: versions only rise, and a frontier too. The way back is a move of its own, once
# this one is over. docs/adr/0031 says why.

_WAYS: Final[Mapping[tuple[bool, bool], tuple[Direction, Direction | None]]] = {
    (True, False): (Direction.ENCRYPT, Direction.DECRYPT),
    (False, True): (Direction.DECRYPT, Direction.ENCRYPT),
    (False, False): (Direction.REENCRYPT, None),
}
"""By whether the old version is plaintext, and the new one: what goes on, and what then leads back."""


def ways(keyring: Keyring, job: Job) -> list[dict[str, str | None]]:
    """Commands for each class that an aborted job leaves half-way, for programs; none of a random class.

    `back` is what follows when `on` has come to its end; None between two keys, where nothing leads back.
    Raises nothing: a class in question has an active key.
    """
    if job.standing is not Standing.ABORTED:
        return []
    names = dict.fromkeys(move.class_name for move in job.moves)
    return [_way(keyring, name) for name in names if name in keyring.pending_classes]


def _way(keyring: Keyring, name: str) -> dict[str, str | None]:
    new = pending_version_of(keyring, name)
    steps = _WAYS[version_of(keyring, name).is_plaintext, new is not None and new.is_plaintext]
    on, back = (None if each is None else f"sealwire migrate {each.value} POLICY {name}" for each in steps)
    return {"class": name, "on": on, "back": back}


def way_text(way: Mapping[str, str | None]) -> str:
    """The same of one class, for people."""
    on = f"class {way['class']} stays half-way, and its answers right; to go on: {way['on']}"
    return on if way["back"] is None else f"{on}\nto get back: go on to the end, and then: {way['back']}"


@click.command()
@click.argument("job", required=False)
@options.site_options
@json_option
def status(job: str | None, site: options.Site, *, as_json: bool) -> None:
    """Show all jobs, or JOB and the values that it left.

    Below them are the processes that work on deterministic classes, and the proxies that each waits for.
    `running` is also what a job says whose process was killed: its last note then is some time ago.

    \b
    Examples:
      sealwire migrate status --keyring keyring.json --uri-file server.uri
      sealwire migrate status encrypt-1a2b3c --keyring keyring.json \\
          --uri-file server.uri --json
    """
    with site.connected() as client:
        ledger = Ledger(client, site.keys.load())
        jobs = ledger.jobs() if job is None else [ledger.load(job)[0]]
        workers = [each for each in Workers(client).listed() if job in (None, each.job)]
    if as_json:
        print_json(
            {"jobs": [options.document_of(each) for each in jobs], "workers": list(map(_worker, workers))}
        )
        return
    show_table(_COLUMNS, map(_row, jobs), narrow=_NARROW)
    if workers:
        show_table(_WORKER_COLUMNS, map(_worker_row, workers))
    if job is not None:
        options.show_left(jobs[0].refusal or jobs[0].reported)


def _row(job: Job) -> tuple[str, ...]:
    left = sum(job.left.values())
    of = max(job.expected, job.read)
    read = f"{job.read} of {of}" + (f" ({100 * job.read // of} %)" if of else "")
    noted = f"{job.updated:%Y-%m-%d %H:%M:%SZ}"
    return job.name, options.classes_of(job), job.standing.value, read, str(job.values), str(left), noted


def _worker_row(worker: Worker) -> tuple[str, ...]:
    seen = f"{worker.silent_s:.0f} s ago"
    return worker.place, worker.job, f"{worker.rate:.0f}/s", seen, "; ".join(worker.waits)


def _worker(worker: Worker) -> dict[str, Any]:
    return {
        "host": worker.process.host,
        "pid": worker.process.pid,
        "job": worker.job,
        "documents_s": round(worker.rate, 1),
        "silent_s": round(worker.silent_s, 1),
        "waits_for": list(worker.waits),
    }


@click.command()
@click.argument("process", metavar="HOST:PID")
@server_options
@manner_options
def forget_worker(process: str, uri: str, manner: Manner) -> None:
    """Say that a process which moved values of a deterministic class has ended, and will not go on.

    A process that was stopped for long could undo what a later move has done. So no later move begins while
    it is registered; `status` lists such processes. Use this only if you know that the process is gone: its
    machine is off, or its container was removed. A process that ended on this machine is noticed by itself.

    \b
    Example:
      sealwire migrate forget-worker jobs-1:4711 --uri-file server.uri
    """
    host, _, pid = process.rpartition(":")
    if not host or not pid.isdecimal():
        raise click.BadParameter("write HOST:PID, as status does", param_hint="HOST:PID")
    with connected(required_uri(uri), RIGHTS) as client:
        found = Workers(client).forget(host, int(pid), dry_run=manner.dry_run)
    text = "would be forgotten" if manner.dry_run else "forgotten"
    jobs = ", ".join(each.job for each in found)
    manner.answer(f"{process}: {text}, of {jobs}", {"workers": list(map(_worker, found))})


@click.command()
@click.argument("job")
@options.site_options
@manner_options
def pause(job: str, site: options.Site, manner: Manner) -> None:
    """Ask the process that works on JOB to end after its batch. `resume` goes on.

    \b
    Example:
      sealwire migrate pause encrypt-1a2b3c --keyring keyring.json --uri-file server.uri
    """
    with site.connected() as client:
        ledger = Ledger(client, site.keys.load())
        found, _ = ledger.load(job)
        if not found.standing.is_over and not manner.dry_run:
            ledger.ask(job, Wish.PAUSE)
    manner.answer(f"{job}: {_asked(found, manner)}", options.document_of(found))


def _asked(job: Job, manner: Manner) -> str:
    if job.standing.is_over:
        return f"is over ({job.standing.value})"
    asked = "would be asked" if manner.dry_run else "asked"
    return f"{asked} to pause; its process ends after the present batch"


@click.command()
@click.argument("job")
@options.site_options
@manner_options
def abort(job: str, site: options.Site, manner: Manner) -> None:
    """End JOB for good. What it moved stays moved, what it did not stays as it is; both can be read.

    A process that works on it ends at its next note. Of a deterministic class that is half-way then, it says
    which command goes on, and which one leads back after that.

    \b
    Example:
      sealwire migrate abort encrypt-1a2b3c --keyring keyring.json --uri-file server.uri
    """
    keys = site.keys.load()
    with site.connected() as client:
        ledger = Ledger(client, keys)
        found = ledger.load(job)[0] if manner.dry_run else _aborted(ledger, job)
    would = "would end; it is " if manner.dry_run and not found.standing.is_over else ""
    left = ways(keys, found)
    text = "\n".join((f"{job}: {would}{found.standing.value}", *map(way_text, left)))
    manner.answer(text, {**options.document_of(found), "half_way": left})


def _aborted(ledger: Ledger, name: str) -> Job:
    """The job once it is over. Raises JobTaken where its process goes on all the same."""
    ledger.ask(name, Wish.ABORT)
    for _ in range(_TRIES):
        found, _ = ledger.load(name)
        if found.standing.is_over:
            return found
        found = found.stopped(Standing.ABORTED, now())
        with suppress(JobTaken):
            # a process that works on it has made a note just now; by that it has seen the wish
            ledger.save(found)
            return found
        time.sleep(_BETWEEN_TRIES_S)
    text = f"job {name} goes on"
    raise JobTaken(MigrationReason.TAKEN, text, "see migrate status, and try again")


@click.command()
@policy_argument
@click.argument("job")
@options.site_options
@options.effort_options
@manner_options
def resume(
    *,
    policy: Path,
    job: str,
    site: options.Site,
    effort: options.Effort,
    manner: Manner,
) -> None:
    """Go on with JOB where its last note is: after a pause, a refusal, or the death of its process.

    A process that still works on it ends at its next note. POLICY must say of the paths what it said when the
    job began. The number of workers may be less than the ranges that the job was divided into.

    \b
    Examples:
      sealwire migrate resume policy.yaml encrypt-1a2b3c --keyring keyring.json \\
          --uri-file server.uri
    """
    selftest.run()
    policies = read_policy(policy)
    keys = site.keys.load()
    with site.connected() as client:
        ledger = Ledger(client, keys)
        found, _ = ledger.load(job)
        class_name = class_of(policies, found)
        if class_name is not None:
            make = ClassRepair if found.direction is Direction.REPAIR else ClassMove
            move = make(policies, class_name, found.direction, site, effort)
            options.finish([move.resume(found, dry_run=manner.dry_run)], manner)
        if not found.standing.is_over:
            check_moves(policies, found.direction, found.moves)
            refuse_obstacles(client, found.moves, fields_of(policies))
            names = [each.namespace for each in found.moves]
            refuse_enforced(client, policies, found.direction, names, is_covered=False)
            conversions_of(client, keys, found.direction, found.moves, effort.accepted).check()
            if not manner.dry_run:
                found = options.carry_on(client, ledger, keys, ledger.resume(found), effort, policies)
    options.finish([found], manner)
