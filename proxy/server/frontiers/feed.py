"""How one process follows the classes that move: its lease on the server, and the frontiers read under it.

A round is: renew the lease, with what is acknowledged; then read the frontiers; then let them count. Whoever
moves data reads the leases after it wrote a frontier, so it waits for this process, or this process has read
that frontier. While a class moves, most rounds only read, under the lease that stands: they have nothing to
tell, and a renewal is a write.

Theory of operation. `keys.frontier` has the construction, tests/keys/frontier its model.

    registered   the lease is on the server, under a name (UUID) that nobody had before
    follows      and the frontiers were read since: `Moves` knows them, and what they say is acknowledged
    lost         LEASE_S after the last renewal was sent, by the own clock; or the server's clock says that it
                 had run out; or a frontier cannot be believed. Then windows may move under what is under way:
                 no class is known any more, connections that have uses are cut, and all begins again under
                 another name. The old lease is left to run out, and holds the job up until then: what was cut
                 may still be at work on the server

A class that gets a pending key while this process follows has not moved yet, as the job waits for everyone
who is registered; so it goes on without a pause. No position is logged or counted: positions are ciphertext.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from datetime import datetime
from typing import Final, Protocol, final

from sealwire.keys.frontier.frontier import Frontier, Uses
from sealwire.keys.frontier.record import stated_documents, stated_transaction_s
from sealwire.keys.keyring.keyring import Keyring
from sealwire.policies.file.schema import FieldClass
from sealwire.proxy.server.frontiers.store import (
    HINTS,
    Document,
    Loss,
    Others,
    OwnLease,
    PendingClass,
    Renewal,
    ServerStore,
    StoreProblem,
    class_ids,
    judge,
    moves_of,
    unfollowed,
    unnamed,
)
from sealwire.proxy.server.health import Following
from sealwire.proxy.server.observability.logs import note
from sealwire.proxy.server.observability.metrics import Metrics
from sealwire.proxy.server.tasks import spawn, within
from sealwire.proxy.session.moving.moves import MAX_CURSOR_S, QUIET_TRANSACTION_S, Moves

_log = logging.getLogger("sealwire.server")

MOVING_S: Final = 0.02
PENDING_S: Final = 1.0
QUIET_S: Final = 2.0
RETRY_S: Final = 0.25
FIRST_READ_S: Final = 5.0

_STEADY: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


# The classes that move, as this process follows them: which are known or lost, and what is acknowledged.


@final
class FollowedClasses:
    """Changes one `Moves`, and remembers why. All methods are for the event loop's thread."""

    def __init__(self, moves: Moves) -> None:
        self._moves = moves
        self.seen: dict[tuple[int, int], int] = {}
        """By class id and new version: the highest generation that was read."""
        self.lost: dict[str, Loss] = {}
        self.withheld: frozenset[str] = frozenset()
        """Those of which no window may move as long as this process has its policy."""
        self.has_changed = False
        """Whether sessions have to be told. Whoever tells them takes it back."""
        self.has_begun = False
        """Whether a class is followed that was not before, which sessions have to be told first."""

    @property
    def names(self) -> tuple[str, ...]:
        """Those that move, known or lost."""
        return tuple(self._moves.classes)

    @property
    def followed(self) -> dict[str, Uses]:
        """Those that are known."""
        return {name: uses for name, uses in self._moves.classes.items() if uses is not None}

    @property
    def is_idle(self) -> bool:
        """Whether nothing can be under way that relies on a lease."""
        classes = self._moves.classes.values()
        return self._moves.is_idle and all(uses is not None and uses.is_idle for uses in classes)

    @property
    def is_moving(self) -> bool:
        """Whether data of a class moves now, as far as is known."""
        return any(
            not uses.frontier.is_over and (uses.frontier.class_id, uses.frontier.new_version) in self.seen
            for uses in self.followed.values()
        )

    def acknowledged(self, before: Mapping[int, int], unready: Collection[str] = ()) -> dict[int, int]:
        """By class id, what may be told: nothing of those that are `unready`.

        Where something meets a window it stays as it was `before`.
        """
        told: dict[int, int] = {}
        for name, uses in self.followed.items():
            if name in self.withheld or name in unready:
                continue
            class_id = uses.frontier.class_id
            generation = uses.acknowledged()
            if generation is not None:
                told[class_id] = generation
            elif class_id in before:
                told[class_id] = before[class_id]
        return told

    def follow(self, name: str, frontier: Frontier, *, is_written: bool) -> None:
        """`frontier` counts; `is_written`: a document says so."""
        if is_written:
            self.seen[frontier.class_id, frontier.new_version] = frontier.generation
        known = self._moves.classes.get(name)
        if known is None or known.frontier.generation < frontier.generation:
            self.has_changed = True
        self.has_begun |= known is None or frontier.walks_more_than(known.frontier)
        self._moves.follow(name, frontier)
        if self.lost.pop(name, Loss.NO_LEASE) is not Loss.NO_LEASE:
            note(_log, logging.INFO, "class is followed again", class_name=name)

    def endangers(self, losses: Mapping[str, Loss]) -> bool:
        """Whether losing these takes known uses with it: a cursor or transaction may use several classes."""
        is_new = any(self._moves.classes.get(name) is not None or name not in self.names for name in losses)
        return is_new and bool(self.followed)

    def lose(self, name: str, loss: Loss) -> None:
        """Its commands are refused. Logged when the reason is a new one."""
        if name not in self._moves.classes or self._moves.classes[name] is not None:
            self._moves.lose(name)
            self.has_changed = True
        if loss is Loss.NO_LEASE:
            self.lost.setdefault(name, loss)  # why it was lost before says more
        elif self.lost.get(name) is not loss:
            self.lost[name] = loss
            fields = {"class_name": name, "reason": loss.value, "hint": HINTS[loss]}
            note(_log, logging.ERROR, "class is refused", **fields)

    def lose_all(self) -> None:
        """There is no lease."""
        for name in self.names:
            self.lose(name, Loss.NO_LEASE)
        self._moves.lapse()

    def forget(self, name: str) -> None:
        """It does not move any more."""
        self._moves.forget(name)
        self.lost.pop(name, None)
        self.has_changed = True

    def forget_all_but(self, names: Collection[str]) -> None:
        """The others do not move."""
        for name in self.names:
            if name not in names:
                self.forget(name)


def steady_clock() -> float:
    """Seconds since some moment, those included in which the machine slept."""
    return time.clock_gettime(_STEADY)


class Follower(Protocol):
    """A connection."""

    def move_began(self) -> None:
        """`Moves` follows a class that it did not: what is under way may use any of its values."""

    def frontier_moved(self) -> None:
        """What `Moves` knows has changed."""

    def frontier_lost(self) -> None:
        """`Moves` has lost what it knew: cut what is under way and relies on it."""


class ContextLooks(Protocol):
    """What the feed needs of a `ContextFeed`."""

    @property
    def looked(self) -> int:
        """The number of the newest look for destroyed keys that was answered."""

    def look_again(self) -> int:
        """Look soon; the number of this look."""


class FrontierFeed:
    """Keeps one `Moves` true. All methods are for the event loop's thread."""

    def __init__(
        self,
        moves: Moves,
        live: Iterable[Follower],
        load_keys: Callable[[], Awaitable[object]],
        metrics: Metrics,
        store: ServerStore | None,
        clock: Callable[[], float] = steady_clock,
    ) -> None:
        """Without a `store` nothing is followed, and each class that moves or has moved is lost.

        live:      the connections that are open at any time
        load_keys: loads the keyring again
        """
        self._classes = FollowedClasses(moves)
        self._moves = moves
        moves.is_leased = store is not None
        moves.is_current = self._is_current
        moves.transactions.limit_s = QUIET_TRANSACTION_S
        self._others = Others()
        self._live = live
        self._load_keys = load_keys
        self._metrics = metrics
        self._store = store
        self._clock = clock
        self.contexts: ContextLooks | None = None
        """Finds keys of contexts, if there are such."""
        self._looks: dict[tuple[int, int], int] = {}
        """By class id and pending version, the first look for destroyed keys since it was loaded."""
        self._keyring = Keyring([])
        self._covered: tuple[FieldClass, ...] = ()
        self._lease = OwnLease()
        self._follows = False
        """Whether the frontiers were read under the lease that is held."""
        self._documents: dict[int, tuple[int, int]] = {}
        """By class id, how many documents its job has read, and of how many."""
        self._problem = ""
        self._alarm: asyncio.TimerHandle | None = None
        self._running: asyncio.Task[None] | None = None
        self._loading: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()
        self._was_read = asyncio.Event()

    # -- what the proxy asks ---------------------------------------------------------------------------------

    @property
    def following(self) -> Following:
        """How it stands."""
        if self._classes.lost or (self._store is not None and not self._follows):
            return Following.LOST
        return Following.OFF if self._store is None else Following.FOLLOWS

    def use_keyring(self, keyring: Keyring) -> None:
        """Another keyring counts from now on. To be called in the same step in which sessions get it."""
        self.check()
        self._keyring = keyring
        pending = moves_of(keyring)
        self._look_for_destroyed(pending)
        for name, uses in self._classes.followed.items():
            move, frontier = pending.get(name), uses.frontier
            if move is None or move.new.key_version != frontier.new_version:
                # nothing moves before this process lets a window go: a key that nothing moved to may go
                if frontier.has_begun and not self._is_active(name, frontier):
                    self._start_over()  # its keys have gone before the move was over
                self._classes.forget(name)
        for name, move in pending.items():
            if name in self._classes.names:
                continue
            if self._follows and move.key in self._classes.seen:
                self._start_over()  # the keys were gone for a while
            if self._follows:
                self._classes.follow(name, move.first, is_written=False)
            elif self._store is not None:
                self._classes.lose(name, Loss.NO_LEASE)
        self._refuse_unfollowed()
        self._withhold()
        self._tell_sessions()

    def use_policy(self, classes: Iterable[FieldClass]) -> None:
        """The classes that have a path in the policy of sessions, in the very step in which it counts."""
        self._covered = tuple(classes)
        self._refuse_unfollowed()
        self._withhold()
        self._tell_sessions()

    def _refuse_unfollowed(self) -> None:
        if self._store is None:
            refused = unfollowed(self._keyring, self._covered)
            self._classes.forget_all_but(refused)
            for name in sorted(refused):
                self._classes.lose(name, Loss.NO_SETTING)

    def _withhold(self) -> None:
        """Let no window move of a class whose values this process may take for those of another one.

        That is so where one path leaves a class, or joins it, and this process has not heard of it.
        """
        withheld = unnamed(self._keyring, frozenset(each.name for each in self._covered))
        for name in withheld - self._classes.withheld:
            hint = "give its paths the class in the policy, and reload: nothing moves before"
            note(
                _log, logging.WARNING, "policy has no path of a class that moves", class_name=name, hint=hint
            )
        if self._classes.withheld - withheld:
            self._classes.has_begun = True  # what is under way was planned by another policy
            self._moves.adopt_lasting()
        self._classes.withheld = withheld
        self._wake.set()

    def _look_for_destroyed(self, pending: Mapping[str, PendingClass]) -> None:
        """No key of a context is destroyed from now on: a look shows all that this process may still have."""
        if self.contexts is not None:
            before = self._looks
            new = {each.key for each in pending.values()} - before.keys()
            number = self.contexts.look_again() if new else 0
            self._looks = {each.key: before.get(each.key, number) for each in pending.values()}

    def _unlooked(self) -> frozenset[str]:
        """The classes with a key for each context of which this process may still have a destroyed one."""
        if self.contexts is None:
            return frozenset()
        looked, keyed = self.contexts.looked, {each.name for each in self._covered if each.per is not None}
        return frozenset(
            name
            for name, move in moves_of(self._keyring).items()
            if name in keyed and self._looks[move.key] > looked
        )

    def _is_current(self) -> bool:
        """Whether what `Moves` knows can be relied on at this very moment. Cost: one reading of the clock."""
        return self._store is None or (self._follows and self._clock() < self._lease.valid_until_s)

    def check(self) -> None:
        """About once a second: if the lease has run out, everything that relied on it ends."""
        self._moves.tick(self._clock())
        if self._lease.has_run_out(self._clock()):
            self._start_over()

    async def __aenter__(self) -> None:
        """Follow, if there is a server to ask. Cost: until it has answered, `FIRST_READ_S` at most."""
        if self._store is None:
            return
        self._running = spawn(self._run(self._store), "frontier")
        if not await within(self._was_read.wait(), FIRST_READ_S):
            note(_log, logging.WARNING, "start without frontiers: classes that move are refused")

    async def __aexit__(self, *_error: object) -> None:
        """The last connection has gone: give the lease back, unless the server may be at work for it."""
        for task in (self._running, self._loading):
            if task is not None:
                task.cancel()
        if self._alarm is not None:
            self._alarm.cancel()
        if self._store is None:
            return
        try:
            if self._lease.is_registered and self._classes.is_idle:
                await self._store.end_lease(self._lease.proxy)
        except StoreProblem as problem:
            note(_log, logging.WARNING, "frontier lease could not be given back", problem=str(problem))
        await self._store.close()

    # -- rounds ----------------------------------------------------------------------------------------------

    async def _run(self, store: ServerStore) -> None:
        while True:
            self._wake.clear()
            try:
                await self.round(store)
            except Exception as error:  # noqa: BLE001 - whatever it is, a lease that is not renewed runs out
                self._metrics.bugs.inc()
                self._problem = self._problem or type(error).__name__
                note(_log, logging.CRITICAL, "bug: frontiers could not be read", error)
            await within(self._wake.wait(), self.pause_s())

    async def round(self, store: ServerStore) -> None:
        """Renew if that is due, read, and let it count. Raises nothing that a server can cause.

        Cost: two round trips, one of them a write; or one
        """
        self.check()
        proxy, keyring, renewed = self._lease.proxy, self._keyring, None
        try:
            told = self._to_tell()
            if self._lease.is_due(told, self._clock()):
                renewed = await self._renew(store, told)
                if renewed is None:
                    return
            documents = await store.frontiers(class_ids(keyring))
            if not self._follows or set(keyring.begun.values()) - {self._others.place}:
                self._others = Others(await store.place(), await store.seen())
        except StoreProblem as problem:
            self._tell_problem(str(problem))
            self.check()
            return
        self._tell_problem("")
        self.check()
        # Another keyring may have come meanwhile: what it has was not asked for.
        if proxy == self._lease.proxy and keyring is self._keyring:
            self._remember_moves(documents, renewed)
            self._take(documents)

    async def _renew(self, store: ServerStore, told: Renewal) -> datetime | None:
        """The server's time of it; None where what was known cannot be relied on. Raises StoreProblem."""
        sent_at_s = self._clock()
        renewed = await store.renew(told, is_first=not self._lease.is_registered)
        self.check()  # it may have run out meanwhile, and commands have met that
        if told.proxy != self._lease.proxy:
            return None
        if not self._lease.renew(renewed, told, sent_at_s):
            self._start_over()
            return None
        self._set_alarm()
        return renewed

    def _to_tell(self) -> Renewal:
        acknowledged = self._classes.acknowledged(self._lease.told.acknowledged, self._unlooked())
        return Renewal(self._lease.proxy, acknowledged, dict(self._classes.seen))

    def pause_s(self) -> float:
        """How long to wait for the next round, unless something happens."""
        if self._problem or not self._follows:
            return RETRY_S
        if self._to_tell() != self._lease.told:
            return 0.0
        if self._classes.is_moving:
            return MOVING_S
        return PENDING_S if self._classes.names else QUIET_S

    def _remember_moves(self, documents: Mapping[int, Document], now: datetime | None) -> None:
        """For how long cursors and transactions may go on that began before; `now` by the server's clock.

        Where that is not known, the next renewal says it.
        """
        for document in documents.values():
            moved = document.get("confirmed")
            if isinstance(moved, datetime) and now is not None:
                age_s = (now - moved).total_seconds()
                self._moves.mark_cursors(MAX_CURSOR_S - age_s)
                self._moves.mark_snapshots(2 * stated_transaction_s(document) - age_s)
        stated = {number: stated_transaction_s(each) for number, each in documents.items()}
        if stated:
            self._moves.granted_s = 2 * max(stated.values())
        moving = {move.new.class_id for move in moves_of(self._keyring).values()}
        granted = [limit_s for number, limit_s in stated.items() if number in moving]
        self._moves.transactions.limit_s = 2 * max(granted) if granted else QUIET_TRANSACTION_S

    def _take(self, documents: Mapping[int, Document]) -> None:
        """Documents that were read under a lease that is held."""
        self._documents = {number: stated_documents(each) for number, each in documents.items()}
        answers = judge(self._keyring, documents, self._classes.seen, self._others)
        losses = {name: answer for name, answer in answers.items() if isinstance(answer, Loss)}
        endangers = self._classes.endangers(losses)
        if endangers:
            self._start_over()
        for name, loss in losses.items():
            self._classes.lose(name, loss)
        if losses and (self._loading is None or self._loading.done()):
            self._loading = spawn(self._load(), "keys for frontiers")
        self._classes.forget_all_but(answers)
        if not endangers:  # else it is read again, under the next lease
            for name, answer in answers.items():
                if isinstance(answer, Frontier):
                    self._classes.follow(name, answer, is_written=self._is_written(answer, documents))
            self._classes.has_changed = self._classes.has_changed or not self._follows
            self._follows = True
            self._was_read.set()
        self._tell_sessions()

    def _is_active(self, name: str, frontier: Frontier) -> bool:
        """Whether the keyring says that the move is over."""
        if name not in self._keyring.active_classes:
            return False
        return self._keyring.cipher_for(name).key_version >= frontier.new_version

    @staticmethod
    def _is_written(frontier: Frontier, documents: Mapping[int, Document]) -> bool:
        document = documents.get(frontier.class_id)
        return document is not None and document.get("new") == frontier.new_version

    async def _load(self) -> None:
        await self._load_keys()

    # -- the lease -------------------------------------------------------------------------------------------

    def _set_alarm(self) -> None:
        """A server that does not answer is noticed in time, whatever the rounds wait for."""
        if self._alarm is not None:
            self._alarm.cancel()
        left_s = max(self._lease.valid_until_s - self._clock(), 0.0)
        self._alarm = asyncio.get_running_loop().call_later(left_s, self.check)

    def _start_over(self) -> None:
        """Nothing that was known can be relied on. Begin again under another name."""
        if self._follows:
            note(_log, logging.WARNING, "frontier lease lost", classes=len(self._classes.names))
        self._lease.begin_again()
        self._follows = False
        self._classes.lose_all()
        for connection in tuple(self._live):
            connection.frontier_lost()
        self._tell_sessions()

    def _tell_sessions(self) -> None:
        """Sessions hear of changes, the metrics show how it stands."""
        followed = self._classes.followed
        figures = {
            name: (
                uses.frontier.generation,
                len(uses.met()),
                *self._documents.get(uses.frontier.class_id, (0, 0)),
            )
            for name, uses in followed.items()
        }
        self._metrics.frontiers.show(follows=self._follows, figures=figures)
        if self._classes.has_begun:
            self._classes.has_begun = False
            for connection in tuple(self._live):
                connection.move_began()
        if self._classes.has_changed:
            self._classes.has_changed = False
            for connection in tuple(self._live):
                connection.frontier_moved()

    def _tell_problem(self, problem: str) -> None:
        """Once when it begins, and once when it is over."""
        if problem and not self._problem:
            hint = "check frontier.uri_file, and that its user may read and write the database sealwire"
            note(_log, logging.WARNING, "frontiers cannot be read", problem=problem, hint=hint)
        elif self._problem and not problem:
            note(_log, logging.INFO, "frontiers can be read again")
        self._problem = problem
