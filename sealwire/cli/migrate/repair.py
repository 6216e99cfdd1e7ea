"""`sealwire migrate repair`: what other versions of a deterministic class have left behind."""

from dataclasses import replace
from pathlib import Path

import click

from sealwire.cli.migrate import options
from sealwire.cli.migrate.classes import ClassKeys, ClassMove, is_deterministic, places_of, registered
from sealwire.cli.output import Manner, manner_options
from sealwire.cli.subjects import policy_argument, read_policy
from sealwire.cli.tasks import ended_in_order
from sealwire.crypto import selftest
from sealwire.policies.file.schema import PolicySet
from sealwire.sidecars.direct import Client, size_of
from sealwire.sidecars.errors import MigrationReason, Unusable
from sealwire.sidecars.migration.engine import Pace
from sealwire.sidecars.migration.job import Job, Standing
from sealwire.sidecars.migration.ledger import Ledger
from sealwire.sidecars.migration.moves import Direction
from sealwire.sidecars.migration.windows.frontiers import Standstill
from sealwire.sidecars.migration.windows.looking import Repair, would_repair
from sealwire.sidecars.migration.windows.server import MongoValues


class ClassRepair(ClassMove):
    """The repair of one class. Its job keeps others from moving the same paths."""

    __slots__ = ()

    def begin(self, *, dry_run: bool) -> Job:
        """As `ClassMove.begin`; no proxy has to follow. Raises as `stay`."""
        keys = self._keys()
        keys.stay()
        with self.site.connected() as client:
            job = self._new_job(client)
            self._refuse_obstacles(client)
            if dry_run:
                return self._work(client, keys, job, dry_run=True)
            size = sum(size_of(client, where.namespace) for where in self._places(client))
            job = replace(job, expected=size)
            Ledger(client, keys.keyring).create(job)
            return self._work(client, keys, job, dry_run=False)

    def resume(self, job: Job, *, dry_run: bool) -> Job:
        """As `ClassMove.resume`. It begins anew: what is repaired is found no more."""
        if job.standing.is_over or dry_run:
            return job
        keys = self._keys()
        keys.stay()
        with self.site.connected() as client:
            self._check(job)
            self._refuse_obstacles(client)
            ledger = Ledger(client, keys.keyring)
            return self._work(client, keys, ledger.resume(job), dry_run=False)

    def _work(self, client: Client, keys: ClassKeys, job: Job, *, dry_run: bool) -> Job:
        ledger = Ledger(client, keys.keyring)
        versions = keys.versions
        with (
            self._contexts(keys) as contexts,
            client.start_session(causal_consistency=True) as session,
            ended_in_order(),
        ):
            still = Standstill(client, session, keys.keyring, self.class_name, job.name)
            class_id = versions.new.cipher.class_id
            values = MongoValues(client, session, class_id, lambda: self._places(client))
            if dry_run:
                still.require()
                return would_repair(job, values, versions, contexts)
            with registered(client, keys, job), options.progress_bar(job) as tell:
                pace = Pace(options.throttle(client, ledger, job, self.effort).after, tell)
                done = Repair(job, versions, values, still.confirm, ledger, pace, contexts).run()
            if done.standing is Standing.DONE:
                still.end_frontier()
            return done


def _classes(policies: PolicySet, class_name: str | None, site: options.Site) -> list[str]:
    """The class that is named, or those that are stored anywhere, encrypted or in clear, and do not move.

    Raises Unusable NOT_COVERED, NOTHING.
    """
    if class_name is not None:
        if not is_deterministic(policies, class_name):
            text = f"{class_name} is no deterministic class of the policy"
            hint = "values of a random class may be of any version: sealwire migrate reencrypt POLICY CLASS"
            raise Unusable(MigrationReason.NOT_COVERED, text, hint)
        return [class_name]
    keyring = site.keys.load()
    with site.connected() as client:
        found = [
            name
            for name in keyring.active_classes
            if is_deterministic(policies, name)
            and name not in keyring.pending_classes
            and places_of(client, policies, name)
        ]
    if not found:
        text = "no deterministic class that is stored anywhere is without a pending key"
        raise Unusable(MigrationReason.NOTHING, text, "let the moves end: sealwire migrate status")
    return found


@click.command()
@policy_argument
@click.argument("class_name", metavar="[CLASS]", required=False)
@options.site_options
@options.repair_options
@manner_options
def repair(
    *,
    policy: Path,
    class_name: str | None,
    site: options.Site,
    effort: options.Effort,
    manner: Manner,
) -> None:
    """Move what other versions of deterministic classes have left behind to the version that is right.

    Joins, groups and unique indexes know a value of a deterministic class in one form. Values of another
    version are there after a restore of older data, or when a move has missed them. `verify` counts them.
    This command reads every document of CLASS, or of each deterministic class that has no pending key, and
    gives such a value the form of the active version. The application may run: an update is done only if the
    value is still the one that was read. It may be repeated.

    A document that a unique index keeps from it has a value that another document has too. It is named by id
    and path, and so is a value whose key is retired, destroyed or unknown: exit code 1.

    \b
    Examples:
      sealwire migrate repair policy.yaml --keyring keyring.json --uri-file server.uri --dry-run
      sealwire migrate repair policy.yaml nhs_number --keyring keyring.json --uri-file server.uri
      sealwire migrate repair policy.yaml nhs_number --keyring keyring.json --uri-file server.uri --json
    """
    selftest.run()
    policies = read_policy(policy)
    jobs = [
        ClassRepair(policies, name, Direction.REPAIR, site, effort).begin(dry_run=manner.dry_run)
        for name in _classes(policies, class_name, site)
    ]
    options.finish(jobs, manner)
