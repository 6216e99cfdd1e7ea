"""What `sealwire migrate encrypt`, `reencrypt`, `decrypt` and `resume` do for a deterministic class.

All its values move together, by windows, whichever of the two versions is plaintext.
"""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, NamedTuple

import click

from sealwire.cli.migrate.definitions import (
    class_conversions,
    refuse_enforced,
    tell_changed,
    versions_to_judge,
)
from sealwire.cli.migrate.options import Effort, Site, job_contexts, progress_bar, require_contexts, throttle
from sealwire.cli.tasks import ended_in_order
from sealwire.keys.frontier.frontier import ClassVersion, has_moved
from sealwire.keys.frontier.record import LEASE_S, Lease, outlived_s
from sealwire.keys.kek.kek import KeyEncryptionKey
from sealwire.keys.keyring.data_key import DataKey, KeyState
from sealwire.keys.keyring.file import KeyringWriter, open_record, read_record
from sealwire.keys.keyring.keyring import Keyring
from sealwire.keys.keyring.store import KeyringStore
from sealwire.keys.keyring.turning import activate, begin_move, rotate
from sealwire.policies.file.schema import FieldClass, Mode, PolicySet
from sealwire.sidecars.covered import stored_collections
from sealwire.sidecars.direct import Client
from sealwire.sidecars.errors import MigrationReason, Unusable
from sealwire.sidecars.migration.contexts import JobContexts
from sealwire.sidecars.migration.definitions.conversions import Conversions
from sealwire.sidecars.migration.engine import LEAST_SHARE_OF_WINDOWS
from sealwire.sidecars.migration.forms import WrongType
from sealwire.sidecars.migration.job import Job, new_job
from sealwire.sidecars.migration.ledger import Ledger
from sealwire.sidecars.migration.moves import Direction, class_at, refuse_contexts
from sealwire.sidecars.migration.windows.frontiers import (
    MongoFrontiers,
    leased_addresses,
    refuse_class_obstacles,
    transaction_lifetime_s,
)
from sealwire.sidecars.migration.windows.moving import Versions
from sealwire.sidecars.migration.windows.order import ClassPaths, class_paths, moves_of_paths
from sealwire.sidecars.migration.windows.server import MongoValues
from sealwire.sidecars.migration.windows.strays import Strays
from sealwire.sidecars.migration.windows.turn import Stores, Turn, TurnPace
from sealwire.sidecars.migration.windows.workers import Registration, Workers


class _Pair(NamedTuple):
    old: DataKey
    new: DataKey

    @property
    def direction(self) -> Direction:
        if self.new.is_plaintext:
            return Direction.DECRYPT
        return Direction.ENCRYPT if self.old.is_plaintext else Direction.REENCRYPT


class ClassKeys:
    """A keyring that was opened, and one class of it that is to move."""

    def __init__(self, site: Site, field_class: FieldClass) -> None:
        """Raises as `open_record` does."""
        self._store: KeyringStore = site.keys.store()
        self._kek: KeyEncryptionKey = site.keys.open_kek()
        self._class_name = field_class.name
        self._field_class = field_class
        self._pair: _Pair | None = None
        self._keys: Sequence[DataKey] = self._read()

    @property
    def keyring(self) -> Keyring:
        """All keys, ready to use."""
        return Keyring(self._keys)

    @property
    def versions(self) -> Versions:
        """Between which the class moves, once `prepare` or `find` was called."""
        old, new = self._chosen
        keyring = self.keyring
        made = [
            ClassVersion(keyring.cipher_by_id(key.class_id, key.version), key.is_plaintext)
            for key in (old, new)
        ]
        # the key of a context outlives versions: what the class's own key made is named before a move begins
        is_keyed = self._field_class.per is not None and old != new
        strays = None if is_keyed else Strays(self._keys, self._field_class, made)
        return Versions.of_class(made[0], made[1], self._field_class, strays)

    def prepare(self, direction: Direction, *, rotates: bool = False, dry_run: bool) -> None:
        """See that the class can begin to move in a direction, and give it the version for it.

        To or from plaintext that is one write of the keyring; `reencrypt` finds the key that a rotation made,
        or makes it with `rotates`.
        Raises Unusable NOTHING, OTHER_MOVE, and as `turning.rotate` does.
        """
        active, pending = self._of(KeyState.ACTIVE), self._of(KeyState.PENDING)
        if active is not None and pending is not None:
            self._pair = _fitting(_Pair(active, pending), direction)
            return
        has_key = active is not None and not active.is_plaintext
        if not (rotates and has_key and direction is Direction.REENCRYPT):
            self._refuse_what_is_done(direction, active)
        to_plaintext = direction is Direction.DECRYPT
        (made,) = rotate(
            self._store,
            self._kek,
            {self._class_name: True},
            datetime.now(UTC),
            to_plaintext=to_plaintext,
            dry_run=dry_run,
        )
        if not dry_run:
            what = "plaintext" if to_plaintext else "a new key"
            text = f"class {self._class_name} has a pending version {made.version}: {what}"
            click.echo(text, err=True)
            self._keys = self._read()
            self.prepare(direction, dry_run=False)

    def _refuse_what_is_done(self, direction: Direction, active: DataKey | None) -> None:
        name = self._class_name
        if direction is Direction.REENCRYPT:
            text = "no key of the class is pending: its values have nowhere to move to"
            hint = (
                "make one first: sealwire keys rotate CLASS; if verify counts older values, sealwire migrate "
                "repair POLICY CLASS moves them"
            )
        elif active is None or active.is_plaintext is (direction is Direction.ENCRYPT):
            return
        elif direction is Direction.ENCRYPT:
            text = f"class {name} is encrypted already"
            hint = "sealwire migrate verify shows what lies in clear; sealwire policy drift, why"
        else:
            text, hint = f"class {name} is in clear already", "take its paths out of the policy"
        raise Unusable(MigrationReason.NOTHING, text, hint)

    def find(self, direction: Direction) -> None:
        """The versions of a move that has begun; the new one may be active already.

        Raises Unusable NOTHING, OTHER_MOVE.
        """
        active, pending = self._of(KeyState.ACTIVE), self._of(KeyState.PENDING)
        replaced = self._of(KeyState.DECRYPT_ONLY)
        if active is not None and pending is not None:
            self._pair = _fitting(_Pair(active, pending), direction)
        elif active is not None and replaced is not None and replaced.version < active.version:
            self._pair = _fitting(_Pair(replaced, active), direction)
        else:
            text = "no version of the class is pending: its values have nowhere to move to"
            raise Unusable(MigrationReason.NOTHING, text, "abort the job, and begin a new one")

    def stay(self) -> None:
        """Take the active version for a repair. Raises Unusable OTHER_MOVE; UnknownKey."""
        active, pending = self._of(KeyState.ACTIVE), self._of(KeyState.PENDING)
        if active is None:
            self.keyring.cipher_for(self._class_name)
            raise ValueError("the keyring has an active key that it does not list")
        if pending is not None:
            name = self._class_name
            text = f"class {name} has a pending version {pending.version}: a move takes other versions along"
            command = _Pair(active, pending).direction.value
            hint = f"let it end first: sealwire migrate {command} POLICY {name}"
            raise Unusable(MigrationReason.OTHER_MOVE, text, hint)
        self._pair = _Pair(active, active)

    @property
    def begun_in(self) -> str:
        """The place of the frontier by the keyring, if data may have begun to move to the new version."""
        return self._chosen.new.begun_in

    def mark_begun(self, place: str) -> None:
        """Write down that data moves to the new version, and where its frontier is."""
        begin_move(self._writer(), self._class_name, place)

    def activate(self) -> None:
        """Make the new version the active one; nothing where an earlier process has done it."""
        if self._chosen.new.state is KeyState.PENDING:
            activate(self._writer(), self._class_name)

    def is_still_pending(self) -> bool:
        """Whether the new version is pending in the keyring as it is now. Raises as `open_record` does."""
        new = self._chosen.new
        return any(key.ids == new.ids and key.state is KeyState.PENDING for key in self._read())

    def _writer(self) -> KeyringWriter:
        return KeyringWriter(self._store, self._kek, datetime.now(UTC))

    @property
    def _chosen(self) -> _Pair:
        if self._pair is None:
            raise ValueError("no move was chosen")
        return self._pair

    def _read(self) -> Sequence[DataKey]:
        return open_record(read_record(self._store), self._kek, self._store)

    def _of(self, state: KeyState) -> DataKey | None:
        """The newest version of the class in a state."""
        mine = [key for key in self._keys if key.class_name == self._class_name and key.state is state]
        return mine[-1] if mine else None


def _fitting(pair: _Pair, direction: Direction) -> _Pair:
    if pair.direction is not direction:
        name = pair.new.class_name
        text = f"class {name} is moving from version {pair.old.version} to version {pair.new.version}"
        hint = f"let it end first: sealwire migrate {pair.direction.value} POLICY {name}"
        raise Unusable(MigrationReason.OTHER_MOVE, text, hint)
    return pair


# --------------------- between which versions of its keyring a deterministic class moves, in each direction


_TOLD_EACH_S: Final = 5.0
_LONG_S: Final = 1.0
"""A shorter wait for proxies is as it should be, and nobody is told."""
_MISSING: Final = "what a proxy without a lease began may still be carried out"


def is_deterministic(policies: PolicySet, class_name: str) -> bool:
    """Whether a class of the policy is one that moves by windows."""
    found = policies.classes.get(class_name)
    return found is not None and found.mode is Mode.DETERMINISTIC


def class_of(policies: PolicySet, job: Job) -> str | None:
    """The deterministic class that a job moves; None for a job of random classes."""
    names = {move.class_name for move in job.moves}
    name = next(iter(names), "")
    return name if len(names) == 1 and is_deterministic(policies, name) else None


def places_of(client: Client, policies: PolicySet, class_name: str) -> list[ClassPaths]:
    """Where a deterministic class is stored, in collections that exist. Raises what the driver raises."""
    names = [each.namespace for each in stored_collections(client, policies)]
    return class_paths(policies, names, class_name)


def require_count(client: Client, keyring: Keyring, field_class: FieldClass, proxies: int | None) -> None:
    """See that the first move of a class knows how many Sealwires there are: a later one needs no number.

    A Sealwire without `frontier.uri_file` refuses a class that has moved. Raises Unusable PROXIES.
    """
    name = field_class.name
    has_begun = name in keyring.begun or has_moved(keyring, name, is_keyed=field_class.per is not None)
    if proxies is None and not has_begun:
        text = f"class {name} has never moved: a Sealwire without frontier.uri_file would not notice its move"
        seen = ", ".join(leased_addresses(client)) or "none"
        hint = (
            "see that every Sealwire of the site has frontier.uri_file, count their addresses, and add "
            f"--proxies N; workers behind one address are one; addresses with a lease now: {seen}"
        )
        raise Unusable(MigrationReason.PROXIES, text, hint)


def require_leases(client: Client, proxies: int | None) -> None:
    """See that as many addresses have a lease as there are Sealwires, before a timer makes a pending key.

    A Sealwire without a lease refuses the class from then on, and nobody looks on. Raises Unusable
    PROXIES.
    """
    seen = leased_addresses(client)
    if proxies is not None and len(seen) != proxies:
        text = f"{len(seen)} addresses have a lease now, and --proxies says {proxies}"
        hint = f"start those that are missing, or mend --proxies; with a lease: {', '.join(seen) or 'none'}"
        raise Unusable(MigrationReason.PROXIES, text, hint)


def refuse_encrypting(wrong_type: WrongType) -> None:
    """Values of a wrong type cannot go into a deterministic class. Raises Unusable WRONG_TYPE."""
    if wrong_type is WrongType.ENCRYPT:
        text = "a deterministic class has one type: values of another one cannot be encrypted as they are"
        hint = "mend them, leave them (--wrong-type skip), or give the field a random class"
        raise Unusable(MigrationReason.WRONG_TYPE, text, hint)


@dataclass(frozen=True, slots=True)
class ClassMove:
    """The move of one class, as the command line names what it needs."""

    policies: PolicySet
    class_name: str
    direction: Direction
    site: Site
    effort: Effort
    wrong_type: WrongType = WrongType.SKIP
    rotates: bool = False
    """Whether a re-encryption makes the key that it moves to, if none is pending, as the calendar asks."""

    def begin(self, *, dry_run: bool) -> Job:
        """Make a job and work on it; the job as it then is."""
        refuse_encrypting(self.wrong_type)
        keys = self._keys()
        with self.site.connected() as client:
            job = self._new_job(client)
            judged = versions_to_judge(keys.keyring, self.class_name, self.direction)
            self._check_server(client, keys, judged)
            keys.prepare(self.direction, rotates=self.rotates, dry_run=True)
            require_count(client, keys.keyring, self._field_class, self.effort.proxies)
            if self.rotates:
                require_leases(client, self.effort.proxies)
            if dry_run:
                return job
            keys.prepare(self.direction, rotates=self.rotates, dry_run=False)
            ledger = Ledger(client, keys.keyring)
            with registered(client, keys, job) as seat:
                ledger.create(job)
                return self._carry_on(client, ledger, keys, job, seat)

    def resume(self, job: Job, *, dry_run: bool) -> Job:
        """Go on with a job; the job as it then is."""
        if job.standing.is_over:
            return job
        refuse_contexts(self.policies, self.class_name, self.direction)
        keys = self._keys()
        keys.find(self.direction)
        with self.site.connected() as client:
            self._check(job)
            self._check_server(client, keys, keys.versions[:2])
            require_count(client, keys.keyring, self._field_class, self.effort.proxies)
            if dry_run:
                return job
            ledger = Ledger(client, keys.keyring)
            with registered(client, keys, job) as seat:
                return self._carry_on(client, ledger, keys, ledger.resume(job), seat)

    def _check_server(
        self, client: Client, keys: ClassKeys, versions: tuple[ClassVersion, ClassVersion]
    ) -> None:
        """See that the collections and the server let the class move. Raises Unusable."""
        self._refuse_obstacles(client)
        transaction_lifetime_s(client, self.effort.transaction_s)
        self._definitions(client, keys, versions).check()

    def _carry_on(self, client: Client, ledger: Ledger, keys: ClassKeys, job: Job, seat: Registration) -> Job:
        effort = self.effort
        definitions = self._definitions(client, keys, keys.versions[:2])
        definitions.widen()

        def end() -> None:
            tell_changed(definitions.narrow())
            keys.activate()

        versions = keys.versions
        ciphers = versions.old.cipher, versions.new.cipher
        transaction_s = transaction_lifetime_s(client, effort.transaction_s)
        with (
            self._contexts(keys) as contexts,
            client.start_session(causal_consistency=True) as session,
            ended_in_order(),
            progress_bar(job) as tell,
        ):
            frontiers = MongoFrontiers(
                client,
                session,
                ciphers,
                is_pending=keys.is_still_pending,
                transaction_s=transaction_s,
                begun_in=keys.begun_in,
            )
            frontiers.forget_leases()
            values = MongoValues(client, session, ciphers[1].class_id, lambda: self._places(client))

            def told(job: Job) -> None:
                tell(job)
                frontiers.documents = job.read, max(job.expected, job.read)

            shown = ShownMove(job, seat, transaction_s, told)
            pace = TurnPace(
                throttle(client, ledger, job, effort, LEAST_SHARE_OF_WINDOWS).after,
                shown.job,
                waiting=shown.waiting,
                missing=shown.missing,
                proxies=self.effort.proxies,
                counted=shown.counted,
            )
            stores = Stores(values, frontiers, ledger, contexts)
            turn = Turn(job, versions, stores, end, pace, keys.mark_begun)
            with _stopped_at(effort.until, turn.stop):
                return turn.run()

    def _contexts(self, keys: ClassKeys) -> AbstractContextManager[JobContexts | None]:
        """The keys of contexts, where the class has one for each."""
        if self._field_class.per is None:
            return nullcontext()
        return job_contexts(self.effort, keys.keyring, self.policies)

    def _definitions(
        self, client: Client, keys: ClassKeys, versions: tuple[ClassVersion, ClassVersion]
    ) -> Conversions:
        return class_conversions(client, keys.keyring, self._places(client), versions, self.effort.accepted)

    def _places(self, client: Client) -> list[ClassPaths]:
        return places_of(client, self.policies, self.class_name)

    def _refuse_obstacles(self, client: Client) -> None:
        places = self._places(client)
        refuse_class_obstacles(client, places, self.direction, self._field_class)
        names = [where.namespace for where in places]
        refuse_enforced(client, self.policies, self.direction, names, is_covered=True)

    def _new_job(self, client: Client) -> Job:
        """Raises Unusable NOT_COVERED, NOTHING."""
        moves = moves_of_paths(self._places(client), self.class_name)
        if not moves:
            text = f"no collection that exists has a path of the class {self.class_name}"
            hint = "make the collections first: it is their values that move"
            raise Unusable(MigrationReason.NOTHING, text, hint)
        return new_job(self.direction, self.wrong_type, moves)

    def _check(self, job: Job) -> None:
        """See that the policy still has all paths of the job. Raises Unusable POLICY_CHANGED."""
        for move in job.moves:
            found = class_at(self.policies, move.namespace, move.path)
            if found is None or found.name != self.class_name:
                text = f"the policy has another class at {move.namespace} {move.path} than when the job began"
                hint = "give the class back to the path until its values have moved"
                raise Unusable(MigrationReason.POLICY_CHANGED, text, hint)

    @property
    def _field_class(self) -> FieldClass:
        return self.policies.classes[self.class_name]

    def _keys(self) -> ClassKeys:
        """Raises Unusable UNLIKE where a class has one key with another and is not like it.

        Raises KeySettingError CONTEXTS as `require_contexts`.
        """
        require_contexts(self.effort, self.policies, [self.class_name])
        keys = ClassKeys(self.site, self._field_class)
        unlike = " and ".join(self.policies.unlike(keys.keyring.shared_keys))
        if unlike:
            text = f"two classes have one key in the keyring, and the policy's {unlike} may not"
            hint = "both have to be deterministic, of one type and range, and without keys for contexts"
            raise Unusable(MigrationReason.UNLIKE, text, hint)
        return keys


@contextmanager
def _stopped_at(until: datetime | None, stop: Callable[[], None]) -> Iterator[None]:
    """Calls `stop` at a time, or never if the block is left before."""
    if until is None:
        yield
        return
    timer = threading.Timer(max(0.0, (until - datetime.now(UTC)).total_seconds()), stop)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def registered(client: Client, keys: ClassKeys, job: Job) -> AbstractContextManager[Registration]:
    """The registration of this process, before it reads anything that it goes by. Raises as `at_work`."""
    new = keys.versions.new.cipher
    return Workers(client).at_work(job, new.class_id, new.key_version)


class ShownMove:
    """Shows how far a job is, and whom it waits for: on the terminal, and in its process's registration."""

    def __init__(
        self,
        job: Job,
        seat: Registration,
        transaction_s: float,
        tell: Callable[[Job], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`tell` moves the bar."""
        self._seat = seat
        self._transaction_s = transaction_s
        self._tell = tell
        self._clock = clock
        self._began_with, self._began_at = job.documents, clock()
        self._rate = 0.0
        self._told_at = self._noted_at = clock()
        self._waits: tuple[str, ...] = ()

    def job(self, job: Job) -> None:
        """Sees the job each time that it was written down. Raises JobTaken; what the driver raises."""
        self._tell(job)
        self._rate = (job.documents - self._began_with) / max(self._clock() - self._began_at, 1.0)
        self._note(())

    def waiting(self, leases: Sequence[Lease], waited_s: float) -> None:
        """Sees whom it waits for. Raises as `job`."""
        waits = tuple(holder(lease, self._transaction_s) for lease in leases)
        self._wait(waits, "waiting for proxies to follow the move, or to let a window go", waited_s)

    def counted(self, addresses: Sequence[str], proxies: int, waited_s: float) -> None:
        """Sees which proxies have a lease, if they are not as many as there are. Raises as `job`."""
        if len(addresses) < proxies:
            text = f"{len(addresses)} of {proxies} proxies have a lease"
        else:
            text = f"{len(addresses)} proxies have leases, and --proxies says {proxies}"
        self._wait((f"{text}: {', '.join(addresses) or 'none'}",), "waiting", waited_s)

    def missing(self, left_s: float) -> None:
        """Sees for how long something may matter of which no lease tells. Raises as `job`."""
        if not self._waits:
            click.echo(f"waiting {left_s:.0f} s: {_MISSING}", err=True)
        self._note((f"{_MISSING}: for {left_s:.0f} s more",))

    def _wait(self, waits: tuple[str, ...], what: str, waited_s: float) -> None:
        if waited_s < _LONG_S:
            return
        self._note(waits)
        now = self._clock()
        if now - self._told_at >= _TOLD_EACH_S:
            self._told_at = now
            click.echo(f"{what}: {'; '.join(waits)}", err=True)

    def _note(self, waits: tuple[str, ...]) -> None:
        now = self._clock()
        if bool(waits) != bool(self._waits) or now - self._noted_at >= _TOLD_EACH_S:
            self._waits, self._noted_at = waits, now
            self._seat(waits, self._rate)


def holder(lease: Lease, transaction_s: float) -> str:
    """A proxy that a job waits for, as people know it; of one that has ended, how long it still counts."""
    name = lease.place or lease.proxy
    age_s = (lease.read_at - lease.renewed).total_seconds()
    if age_s <= LEASE_S:
        return name
    left_s = max(0.0, outlived_s(transaction_s) - age_s)
    return f"{name}, which has ended or is cut off and did not give its lease back: for {left_s:.0f} s more"
