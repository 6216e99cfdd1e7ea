"""What `sealwire migrate reencrypt` and `resume` do for a deterministic class: it moves by windows."""

import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, NoReturn

import click

from sealwire.cli.key_options import KekOptions, open_keyring_store
from sealwire.cli.migrate.definitions import class_conversions, tell_changed
from sealwire.cli.migrate.options import Effort, finish, progress_bar
from sealwire.cli.output import Manner
from sealwire.cli.server_options import required_uri
from sealwire.cli.signals import ended_in_order
from sealwire.keys.frontier.versions import ClassVersion
from sealwire.keys.kek.kek import KeyEncryptionKey
from sealwire.keys.keyring.data_key import DataKey, KeyState
from sealwire.keys.keyring.file import open_record, read_record
from sealwire.keys.keyring.keyring import Keyring
from sealwire.keys.keyring.store import KeyringStore
from sealwire.keys.keyring.turning import activate
from sealwire.keys.providers import Providers
from sealwire.policies.file.schema import Mode, PolicySet
from sealwire.sidecars.covered import covered_collections
from sealwire.sidecars.direct import Client, connected
from sealwire.sidecars.migration.definitions.conversions import Conversions
from sealwire.sidecars.migration.errors import MigrationReason, MigrationRefused
from sealwire.sidecars.migration.forms import WrongType
from sealwire.sidecars.migration.job import Job, Standing
from sealwire.sidecars.migration.ledger import Ledger, Wish
from sealwire.sidecars.migration.moves import Direction, class_at
from sealwire.sidecars.migration.planning import RIGHTS, refuse_obstacles
from sealwire.sidecars.migration.server import lag_s
from sealwire.sidecars.migration.throttle import Throttle
from sealwire.sidecars.migration.windows.frontiers import MongoFrontiers
from sealwire.sidecars.migration.windows.moving import Versions
from sealwire.sidecars.migration.windows.paths import ClassPaths, class_paths, moves_of_paths
from sealwire.sidecars.migration.windows.server import MongoValues
from sealwire.sidecars.migration.windows.turn import Stores, Turn, TurnPace

_TOLD_EACH_S: Final = 5.0


def is_deterministic(policies: PolicySet, class_name: str) -> bool:
    """Whether a class of the policy is one that moves by windows."""
    found = policies.classes.get(class_name)
    return found is not None and found.mode is Mode.DETERMINISTIC


def class_of(policies: PolicySet, job: Job) -> str | None:
    """The deterministic class that a job moves; None for a job of random classes."""
    names = {move.class_name for move in job.moves}
    name = next(iter(names), "")
    is_ours = job.direction is Direction.REENCRYPT and len(names) == 1 and is_deterministic(policies, name)
    return name if is_ours else None


@dataclass(frozen=True, slots=True)
class ClassMove:
    """The move of one class, as the command line names what it needs."""

    policies: PolicySet
    class_name: str
    keyring: str
    kek: KekOptions
    uri: str

    def begin(self, delay_s: float, effort: Effort, manner: Manner) -> NoReturn:
        """Make a job and work on it; ends the process."""
        keys = self._keys(in_move=False)
        with connected(required_uri(self.uri), RIGHTS) as client:
            job = self._new_job(client)
            refuse_obstacles(client, job.moves)
            self._definitions(client, keys, effort).check()
            if not manner.dry_run:
                keys.wait_for_age(delay_s)
                ledger = Ledger(client, keys.keyring)
                ledger.create(job)
                job = self._carry_on(client, ledger, keys, job, effort, delay_s)
        finish(job, manner)

    def resume(self, job: Job, delay_s: float, effort: Effort, manner: Manner) -> NoReturn:
        """Go on with a job; ends the process."""
        if not job.standing.is_over:
            keys = self._keys(in_move=True)
            with connected(required_uri(self.uri), RIGHTS) as client:
                ledger = Ledger(client, keys.keyring)
                self._check(job)
                refuse_obstacles(client, moves_of_paths(self._places(client), self.class_name))
                self._definitions(client, keys, effort).check()
                if not manner.dry_run:
                    job = job.stopped(Standing.RUNNING, _now())
                    ledger.ask(job.name, Wish.RUN)
                    ledger.save(job)
                    job = self._carry_on(client, ledger, keys, job, effort, delay_s)
        finish(job, manner)

    def _carry_on(
        self, client: Client, ledger: Ledger, keys: "_Keys", job: Job, effort: Effort, quiet_s: float
    ) -> Job:
        definitions = self._definitions(client, keys, effort)
        definitions.widen()

        def end() -> None:
            tell_changed(definitions.narrow())
            keys.activate()

        throttle = Throttle(lambda: ledger.load(job.name), lambda: lag_s(client), effort.share)
        with client.start_session(causal_consistency=True) as session, ended_in_order():
            frontiers = MongoFrontiers(client, session, keys.versions)
            frontiers.forget_leases()
            class_id = keys.versions.new.class_id
            values = MongoValues(
                client, session, class_id, lambda: self._places(client), workers=effort.workers
            )
            with progress_bar(job) as tell:
                pace = TurnPace(throttle.after, tell, _Waiting(), quiet_s)
                return Turn(job, keys.versions, Stores(values, frontiers, ledger), end, pace).run()

    def _definitions(self, client: Client, keys: "_Keys", effort: Effort) -> Conversions:
        old, new = (
            ClassVersion(cipher, keys.keyring.is_plaintext(cipher))
            for cipher in (keys.versions.old, keys.versions.new)
        )
        return class_conversions(client, keys.keyring, self._places(client), (old, new), effort.accepted)

    def _places(self, client: Client) -> list[ClassPaths]:
        found = covered_collections(client, self.policies)
        names = [each.namespace for each in found if each.exists and each.kind != "view"]
        return class_paths(self.policies, names, self.class_name)

    def _new_job(self, client: Client) -> Job:
        """Raises MigrationRefused NOT_COVERED, NOTHING."""
        now = _now()
        moves = moves_of_paths(self._places(client), self.class_name)
        if not moves:
            text = f"no collection that exists has a path of the class {self.class_name}"
            hint = "make the collections first: it is their values that move"
            raise MigrationRefused(MigrationReason.NOTHING, text, hint)
        name = f"{Direction.REENCRYPT.value}-{now:%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"
        return Job(name, Direction.REENCRYPT, WrongType.SKIP, moves, (), now, now)

    def _check(self, job: Job) -> None:
        """See that the policy still has all paths of the job. Raises MigrationRefused POLICY_CHANGED."""
        for move in job.moves:
            found = class_at(self.policies, move.namespace, move.path)
            if found is None or found.name != self.class_name:
                text = f"the policy has another class at {move.namespace} {move.path} than when the job began"
                hint = "give the class back to the path until its values have moved"
                raise MigrationRefused(MigrationReason.POLICY_CHANGED, text, hint)

    def _keys(self, *, in_move: bool) -> "_Keys":
        providers = Providers()
        store = open_keyring_store(self.keyring, providers)
        kek = self.kek.open(providers)
        keys = open_record(read_record(store), kek, store)
        versions = _versions([key for key in keys if key.class_name == self.class_name], in_move=in_move)
        return _Keys(store, kek, keys, versions)


def _versions(mine: Sequence[DataKey], *, in_move: bool) -> tuple[DataKey, DataKey]:
    """The old and the new key of a class. `in_move`: the new one may be active already.

    Raises MigrationRefused NOTHING.
    """
    by_state = {key.state: key for key in mine}
    active, pending = by_state.get(KeyState.ACTIVE), by_state.get(KeyState.PENDING)
    if active is not None and pending is not None:
        return active, pending
    replaced = by_state.get(KeyState.DECRYPT_ONLY)
    if in_move and active is not None and replaced is not None:
        return replaced, active
    text = "no key of the class is pending: its values have nowhere to move to"
    raise MigrationRefused(MigrationReason.NOTHING, text, "make one first: sealwire keys rotate CLASS")


class _Keys:
    """The keyring, and the two versions between which the class moves."""

    def __init__(
        self,
        store: KeyringStore,
        kek: KeyEncryptionKey,
        keys: Sequence[DataKey],
        versions: tuple[DataKey, DataKey],
    ) -> None:
        self._store, self._kek = store, kek
        self._new = versions[1]
        self.keyring = Keyring(keys)
        old, new = (self.keyring.cipher_by_id(key.class_id, key.version) for key in versions)
        self.versions = Versions(old, new)

    def wait_for_age(self, age_s: float) -> None:
        """Wait until the pending key is so old that every proxy has loaded it, whether it follows or not."""
        wait_s = (self._new.created + timedelta(seconds=age_s) - datetime.now(UTC)).total_seconds()
        if wait_s > 0:
            click.echo(f"waiting {wait_s:.0f} s: every Sealwire has to load the new key first", err=True)
            time.sleep(min(wait_s, age_s))

    def activate(self) -> None:
        """Make the new key the active one; nothing where an earlier process has done it."""
        if self._new.state is KeyState.PENDING:
            activate(self._store, self._kek, self._new.class_name, datetime.now(UTC))


class _Waiting:
    """Says now and then which proxies hold a window up."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._told_at = clock()

    def __call__(self, proxies: Sequence[str]) -> None:
        now = self._clock()
        if now - self._told_at >= _TOLD_EACH_S:
            self._told_at = now
            click.echo(f"waiting for proxies to let a window go: {', '.join(proxies)}", err=True)


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)
