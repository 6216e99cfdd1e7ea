"""Options of the commands that work on a job, and how one is carried on and shown."""

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NoReturn

import click
from rich.progress import (
    BarColumn,
    ProgressColumn,
    Task,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from sealwire.cli import key_options, options
from sealwire.cli.exit_codes import EX_NO
from sealwire.cli.migrate.definitions import conversions_of, tell_changed
from sealwire.cli.output import Manner, progress, show_table
from sealwire.cli.tasks import ended_in_order
from sealwire.keys.errors import KeySettingError, KeysReason
from sealwire.keys.frontier.record import MOST_TRANSACTION_S
from sealwire.keys.keyring.keyring import Keyring
from sealwire.keys.keyring.store import parse_place
from sealwire.keys.providers import Providers
from sealwire.policies.file.schema import PolicySet
from sealwire.sidecars.direct import Client, connected
from sealwire.sidecars.migration.contexts import JobContexts, fields_of
from sealwire.sidecars.migration.engine import LEAST_SHARE, Pace, Runner, Throttle
from sealwire.sidecars.migration.forms import Left
from sealwire.sidecars.migration.job import Job, LeftValue, Standing
from sealwire.sidecars.migration.ledger import Ledger
from sealwire.sidecars.migration.planning import RIGHTS
from sealwire.sidecars.migration.server import BATCH_DOCUMENTS, MongoDocuments, lag_s

proxies_option = click.option(
    "--proxies",
    type=click.IntRange(0),
    metavar="N",
    help="For the first move of a deterministic class: how many Sealwires the site has, all of them with "
    "frontier.uri_file. Workers behind one address are one. Nothing moves before so many have a lease.",
)


@dataclass(frozen=True, slots=True)
class Effort:
    """How hard a job works, and what it may cost."""

    workers: int = 1
    """How many ranges of `_id` are worked through at once; a deterministic class has one."""
    share: float = 1.0
    batch: int = BATCH_DOCUMENTS
    contexts: str | None = None
    """The store of the keys of contexts."""
    accepted: tuple[str, ...] = ()
    """Indexes, validators and views that may lose their meaning."""
    transaction_s: float | None = None
    """How long a transaction may last on the server, if the operator says so."""
    proxies: int | None = None
    """How many Sealwires the site has, for the first move of a deterministic class."""
    until: datetime | None = None
    """When the move of a deterministic class pauses, if it is not over."""


share_option = click.option(
    "--share",
    type=click.FloatRange(0.01, 1.0),
    default=1.0,
    show_default=True,
    help="The most of its time that a worker works; less where the server becomes slower.",
)
lifetime_option = click.option(
    "--transaction-lifetime",
    "transaction_s",
    type=click.FloatRange(1, MOST_TRANSACTION_S),
    metavar="SECONDS",
    help="Of a deterministic class: how long a transaction may last. For a server that does not say so: "
    "a mongos, or one that denies getParameter. The longer of both counts.",
)
_EFFORT = (
    click.option(
        "--workers",
        type=click.IntRange(1, 16),
        default=1,
        show_default=True,
        help="Ranges of _id that are worked through at once. A deterministic class has one.",
    ),
    share_option,
    click.option(
        "--batch",
        type=click.IntRange(1, 10_000),
        default=BATCH_DOCUMENTS,
        show_default=True,
        help="Documents between two notes of how far it is.",
    ),
    key_options.contexts_option("The store of the keys of contexts, where a class has a key for each."),
    click.option(
        "--accept",
        "accepted",
        multiple=True,
        metavar="NAME",
        help="An index, view or `validator` that may lose its meaning; plan names them. May be repeated.",
    ),
    lifetime_option,
)
# Both give the command `effort: Effort`.
effort_options = options.settings("effort", Effort, proxies_option, *_EFFORT)
repair_options = options.settings("effort", Effort, *_EFFORT)


@dataclass(frozen=True, slots=True)
class Site:
    """The keyring, its key-encryption key and the server, which are opened when they are asked for."""

    keys: key_options.KeyringOptions
    uri: str
    """Empty where nobody named one."""

    def connected(self) -> AbstractContextManager[Client]:
        """A client of the server. Raises as `connected`; a usage error without a server."""
        return connected(options.required_uri(self.uri), RIGHTS)


# Gives the command `site: Site`.
site_options = options.settings("site", Site, key_options.keys_options, options.server_options)


def throttle(
    client: Client, ledger: Ledger, job: Job, effort: Effort, least: float = LEAST_SHARE
) -> Throttle:
    """What gives way to the application; its small read is that of the job."""
    return Throttle(lambda: ledger.load(job.name), lambda: lag_s(client), effort.share, least=least)


def carry_on(
    client: Client, ledger: Ledger, keyring: Keyring, job: Job, effort: Effort, policies: PolicySet
) -> Job:
    """Work on a job until it ends or is stopped; with a bar. Raises what `Runner.run` and `widen` raise.

    Raises KeySettingError CONTEXTS where it needs keys of contexts, and their store is not named.
    """
    definitions = conversions_of(client, keyring, job.direction, job.moves, effort.accepted)
    definitions.widen()
    require_contexts(effort, policies, [move.class_name for move in job.moves])
    with job_contexts(effort, keyring, policies) as contexts, ended_in_order(), progress_bar(job) as tell:
        pace = Pace(throttle(client, ledger, job, effort).after, tell, effort.batch)
        runner = Runner(
            job,
            MongoDocuments(client),
            ledger,
            keyring,
            pace,
            contexts=contexts,
            fields=fields_of(policies),
            narrow=lambda: tell_changed(definitions.narrow()),
        )
        return runner.run(effort.workers)


@contextmanager
def job_contexts(effort: Effort, keyring: Keyring, policies: PolicySet) -> Iterator[JobContexts | None]:
    """The keys of contexts; None where their store is not named. A file is made where there is none.

    Raises as `Providers.context_store`.
    """
    if effort.contexts is None:
        yield None
        return
    with closing(Providers().context_store(parse_place(effort.contexts), create=True)) as store:
        yield JobContexts(store, keyring, policies)


def require_contexts(effort: Effort, policies: PolicySet, class_names: Iterable[str]) -> None:
    """Raises KeySettingError CONTEXTS where a class has keys for contexts, and their store is not named."""
    classes = [policies.classes.get(name) for name in class_names]
    keyed = next((each for each in classes if each is not None and each.per is not None), None)
    if keyed is not None and effort.contexts is None:
        text = f"class {keyed.name} has a key for each context"
        raise KeySettingError(KeysReason.CONTEXTS, text, "name their store: --contexts PATH|vault:MOUNT/PATH")


def finish(jobs: Sequence[Job], manner: Manner) -> NoReturn:
    """Show how jobs ended that came one after the other, and exit: 1 where not all was moved.

    For programs, several are a list. A job of a dry run was never begun.
    """
    if manner.as_json:
        documents = [document_of(job) for job in jobs]
        manner.answer("", documents[0] if len(jobs) == 1 else {"jobs": documents})
    else:
        for job in jobs:
            _show(job, manner)
    is_whole = all(job.standing is Standing.DONE and not job.left for job in jobs)
    is_intention = manner.dry_run and not any(job.standing.is_over for job in jobs)
    sys.exit(0 if is_whole or is_intention else EX_NO)


def _show(job: Job, manner: Manner) -> None:
    if manner.dry_run and not job.standing.is_over:
        rows = ((move.namespace, move.path, move.class_name) for move in job.moves)
        title = f"would {job.direction.value}; about {job.expected} documents"
        show_table(("collection", "path", "class"), rows, title=title)
        return
    click.echo(
        f"{job.name}: {job.standing.value}; {job.values} values of {job.documents} documents moved, "
        f"{job.read} read, {sum(job.left.values())} values left"
    )
    show_left(job.refusal or job.reported)
    if not job.standing.is_over:
        click.echo(f"go on with it: sealwire migrate resume POLICY {job.name}")


def show_left(values: tuple[LeftValue, ...]) -> None:
    """A table of values that were left; nothing where there are none."""
    if values:
        rows = ((each.namespace, each.path, each.document_id, _why(each)) for each in values)
        show_table(("collection", "path", "document", "left because"), rows)


def document_of(job: Job) -> dict[str, Any]:
    """A job for programs."""
    return {
        "job": job.name,
        "direction": job.direction.value,
        "state": job.standing.value,
        "created": job.created.isoformat(),
        "updated": job.updated.isoformat(),
        "moves": [
            {"namespace": m.namespace, "path": m.path, "class": m.class_name or None} for m in job.moves
        ],
        "documents": {"expected": job.expected, "read": job.read, "changed": job.documents},
        "values": job.values,
        "races": job.races,
        "left": documents_of_left(job.left),
        "reported": list(map(_left, job.reported)),
        "refusal": list(map(_left, job.refusal)),
    }


def documents_of_left(left: Mapping[tuple[str, str, Left], int]) -> list[dict[str, Any]]:
    """How many values were left, for programs."""
    return [
        {"namespace": namespace, "path": path or None, "reason": why.value, "values": count}
        for (namespace, path, why), count in left.items()
    ]


def _left(each: LeftValue) -> dict[str, Any]:
    return {
        "namespace": each.namespace,
        "path": each.path or None,
        "document": each.document_id,
        "reason": each.why.value,
        "code": each.code or None,
    }


def _why(each: LeftValue) -> str:
    return f"{each.why.value} {each.code}" if each.code else each.why.value


class _Left(ProgressColumn):
    """How many documents are left, and how many are read in a second."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.remaining or 0:.0f} left, {task.speed or 0:.0f}/s")


def classes_of(job: Job) -> str:
    """The classes that a job moves."""
    return ", ".join(sorted({move.class_name for move in job.moves} - {""}))


@contextmanager
def progress_bar(job: Job) -> Iterator[Callable[[Job], None]]:
    """A bar over the documents that there were at the beginning: classes, percentage, and what is left."""
    text, part = TextColumn("{task.description}", markup=False), TaskProgressColumn()
    with progress(text, BarColumn(), part, _Left(), TimeRemainingColumn()) as bars:
        name = f"{classes_of(job)} ({job.name})"
        task = bars.add_task(name, total=max(job.expected, job.read), completed=job.read)
        yield lambda now: bars.update(task, completed=now.read, total=max(now.expected, now.read))
