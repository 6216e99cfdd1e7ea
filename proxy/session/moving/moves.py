"""The classes that move, as all sessions of one process know them, and the uses that they have under way.

A use ends with the reply to its command. Where that leaves a cursor open it ends with the cursor, and in a
transaction with that. Transactions are known from their first command on, also while nothing moves: one that
is open when a class is first followed may have stored any of its values. A connection that breaks before a
reply says nothing of what the server still does: its use is kept for `GRACE_S`, or for as long as a
transaction may last. A use that is never seen to end is given up when the server has long done so itself.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, NamedTuple, final

from sealwire.keys.frontier.frontier import (
    BEFORE_ALL,
    Frontier,
    FrontierLost,
    LeaseAwaited,
    Position,
    SnapshotOutdated,
    UseId,
    Uses,
    Window,
    WindowMet,
)

GRACE_S: Final = 10.0
"""For a command whose reply was not awaited to the end."""
MAX_CURSOR_S: Final = 1900.0
"""A cursor ends when idle for 10 minutes, and with its session after 30."""
MAX_TRANSACTION_S: Final = 120.0
"""Twice what a server grants a transaction by default (transactionLifetimeLimitSeconds)."""

QUIET_TRANSACTION_S: Final = 86_400.0
"""While nothing moves nobody has asked the server how long it grants one."""
_MAX_KEPT: Final = 65_536
_SWEEP_S: Final = 1.0
"""The clock is told each time that frontiers are read, some hundred times a second."""
_FOLDED: Final = b"\0"
"""The key of one hold for many commands; nothing else has one so short."""

Touched = Mapping[str, Iterable[Position] | None]
"""By class: the values that a command uses, None for any."""


class Snapshot(NamedTuple):
    """The documents that a transaction reads: as they were when its first command was sent."""

    starts: Mapping[str, Position]
    """By class that moved then, up to where it had."""
    moves_over: int
    """How many moves were over."""


@final
class Hold:
    """The uses of one command, until they are over."""

    __slots__ = (
        "_uses",
        "commits",
        "epoch",
        "is_brief",
        "is_outdated",
        "is_stream",
        "names_nothing",
        "outlasts_errors",
        "snapshot",
        "transaction",
    )

    def __init__(self, uses: list[tuple[Uses, UseId]], epoch: int, *, is_brief: bool = False) -> None:
        self._uses = uses
        self.epoch = epoch
        """Under which lease it began: what began under an earlier one counts no longer."""
        self.is_brief = is_brief
        """Whether it ends with the reply, though a cursor stays open."""
        self.outlasts_errors = False
        """Whether the server may go on though it sends an error: with a commit, or, where there are shards,
        with an aggregation that writes."""
        self.transaction = b""
        """The transaction with which it ends; empty outside of one."""
        self.commits = b""
        """The transaction that its command commits; empty for all others."""
        self.snapshot: Snapshot | None = None
        """The snapshot that it reads, once its first command was sent."""
        self.is_stream = False
        """Whether it is of a change stream, which drivers open again by themselves."""
        self.names_nothing = False
        """Whether it is of a change stream without a filter, which no move of any class concerns."""
        self.is_outdated = False
        """Whether a class began to move under its change stream, which may filter by a form of before."""

    @property
    def is_empty(self) -> bool:
        """Whether it holds nothing up."""
        return not self._uses

    @property
    def uses(self) -> Sequence[tuple[Uses, UseId]]:
        """Its uses."""
        return self._uses

    def joined(self, other: "Hold") -> "Hold":
        """Both, to be ended together."""
        is_brief = self.is_brief and other.is_brief
        joined = Hold(self._uses + other._uses, min(self.epoch, other.epoch), is_brief=is_brief)
        joined.transaction = self.transaction or other.transaction
        joined.snapshot = other.snapshot or self.snapshot
        return joined

    def take_in(self, uses: list[tuple[Uses, UseId]]) -> None:
        """Hold these as well, as long as the others: a class has begun to move."""
        self._uses = self._uses + uses
        self.is_outdated = self.is_stream

    def end(self) -> None:
        """They are over. A second time changes nothing."""
        for uses, use in self._uses:
            uses.end(use)
        self._uses = []


@final
class Outlasting:
    """Holds that outlast their command, by what ends them; each is given up `limit_s` after its last sign."""

    __slots__ = ("_kept", "_lost", "_now_s", "_swept_at_s", "limit_s")

    def __init__(self, limit_s: float) -> None:
        self.limit_s = limit_s
        self._now_s = self._swept_at_s = 0.0
        self._kept: dict[bytes, tuple[Hold, float]] = {}
        self._lost: dict[bytes, float] = {}

    def is_lost(self, key: bytes) -> bool:
        """Whether its uses were dropped with a lease: what it yields counts no longer.

        That is remembered for as long as the server may keep it, whether a class moves by then or not.
        """
        return key in self._lost

    def lose_one(self, key: bytes) -> None:
        """The hold under this key counts no longer."""
        self._lost[key] = self._now_s
        self._end(key)

    def keep(self, key: bytes, hold: Hold) -> None:
        """Until it is taken. Where the key has a hold already, both last."""
        present = self._kept.get(key)
        if present is not None and present[0] is not hold:
            hold = hold.joined(present[0])
        self._kept[key] = hold, self._now_s

    @property
    def is_idle(self) -> bool:
        """Whether none is kept."""
        return not self._kept

    def fold(self) -> None:
        """Where there are too many, keep one hold for all: it is given up when the last of them would be.

        So memory stays bounded, and none is forgotten. Cost: O(kept), once in `_MAX_KEPT` holds.
        """
        if len(self._kept) < _MAX_KEPT:
            return
        uses = [use for hold in self.holds() for use in hold.uses]
        self._kept = {_FOLDED: (Hold(uses, min(hold.epoch for hold in self.holds())), self._now_s)}

    def find(self, key: bytes) -> Hold | None:
        """The hold under this key, which stays."""
        kept = self._kept.get(key)
        return None if kept is None else kept[0]

    def has(self, key: bytes) -> bool:
        """Whether a hold is kept under this key."""
        return key in self._kept

    def holds(self) -> tuple[Hold, ...]:
        """All that are kept."""
        return tuple(hold for hold, _ in self._kept.values())

    def take(self, key: bytes) -> Hold | None:
        """The hold under this key, which is the caller's from now on."""
        kept = self._kept.pop(key, None)
        return None if kept is None else kept[0]

    def _end(self, key: bytes) -> None:
        hold = self.take(key)
        if hold is not None:
            hold.end()

    def lose(self) -> None:
        """Drop them all, and remember which they were. Cost: O(kept)."""
        for key in tuple(self._kept):
            self.lose_one(key)

    def tick(self, now_s: float) -> None:
        """The monotonic clock, at any time. Cost: O(kept) once in `_SWEEP_S`."""
        self._now_s = now_s
        if now_s - self._swept_at_s < _SWEEP_S:
            return
        self._swept_at_s = now_s
        for key, (_, seen_at_s) in tuple(self._kept.items()):
            if now_s - seen_at_s >= self.limit_s:
                self._end(key)
        self._lost = {key: at_s for key, at_s in self._lost.items() if now_s - at_s < self.limit_s}


@final
class Moves:
    """See the module. All methods are for the sessions' thread."""

    __slots__ = (
        "_committing",
        "_epoch",
        "_leaving",
        "_left",
        "_marks_until_s",
        "_moves_over",
        "_now_s",
        "_snapshots_until_s",
        "classes",
        "cursors",
        "granted_s",
        "is_current",
        "is_leased",
        "transactions",
    )

    def __init__(self) -> None:
        self.classes: dict[str, Uses | None] = {}
        """Empty while nothing moves, which is what the data path asks. None: the frontier is not known."""
        self.is_leased = False
        """Whether frontiers are followed: what relies on where values are is then sent under a lease only."""
        self.is_current: Callable[[], bool] = lambda: True
        """Whether the lease stands right now: a process that was stopped has not noticed yet."""
        self.cursors = Outlasting(MAX_CURSOR_S)
        """By cursor id, as the reply has it."""
        self.transactions = Outlasting(MAX_TRANSACTION_S)
        """By session id and transaction number, as the command has them."""
        self.granted_s = MAX_TRANSACTION_S
        """How long one may last by the last that was heard of the server, whether a class moves or not."""
        self._committing = Outlasting(MAX_TRANSACTION_S)
        """Transactions whose commit has no certain answer: it may be tried again, and may never have come."""
        self._leaving = Outlasting(GRACE_S)
        self._left = 0
        self._epoch = 0
        self._now_s = self._marks_until_s = self._snapshots_until_s = 0.0
        self._moves_over = 0

    def __repr__(self) -> str:
        return f"Moves(classes={len(self.classes)})"

    def follow(self, class_name: str, frontier: Frontier) -> None:
        """A frontier was read, under a lease that stands."""
        uses = self.classes.get(class_name)
        is_new = uses is None or frontier.walks_more_than(uses.frontier)
        if uses is None:
            self.classes[class_name] = Uses(frontier)
        else:
            uses.observe(frontier)
        if is_new:
            self.adopt_lasting()

    def lose(self, class_name: str) -> None:
        """Nobody knows where its values are: nothing that may have used them counts any more."""
        self.classes[class_name] = None
        self.lapse()

    def lapse(self) -> None:
        """The lease has run out: a class may begin to move, or windows move, under what is under way.

        The caller cuts the connections that rely on it (`Session.relies_on_lease`).
        """
        self._epoch += 1
        for outlasting in (self.cursors, self.transactions):
            outlasting.lose()

    def forget(self, class_name: str) -> None:
        """The move is over, and the keyring says so; or nothing moved, and nothing will."""
        uses = self.classes.pop(class_name, None)
        if uses is None or uses.frontier.has_begun:
            self._moves_over += 1
            self.mark_snapshots(self.granted_s)

    def begin(self, touched: Touched) -> Hold:
        """The uses of a command that is about to be sent; an empty hold where it touches nothing that moves.

        Raises WindowMet, FrontierLost; nothing is held then.
        """
        held: list[tuple[Uses, UseId]] = []
        for class_name, positions in touched.items():
            uses = self.classes[class_name]
            use = None if uses is None else uses.begin(positions)
            if uses is None or use is None:
                Hold(held, self._epoch).end()
                raise self.unknown() if uses is None else WindowMet()
            held.append((uses, use))
        return Hold(held, self._epoch)

    def snapshot(self, transaction: bytes, *, begins: bool) -> Snapshot:
        """The snapshot for the next command of a transaction; `begins`: it is the first one.

        Raises SnapshotOutdated for one that began by another process, if values may have moved since.
        """
        kept = self.transactions.find(transaction)
        if kept is not None and kept.snapshot is not None:
            return kept.snapshot
        starts = {name: uses.frontier.window.start for name, uses in self.classes.items() if uses is not None}
        if not begins and (any(starts.values()) or self._now_s < self._snapshots_until_s):
            raise SnapshotOutdated
        return Snapshot(starts, self._moves_over)

    def expect_in(self, snapshot: Snapshot, touched: Touched) -> None:
        """See that values have the form in a snapshot that they have now. Raises SnapshotOutdated."""
        if snapshot.moves_over != self._moves_over:
            raise SnapshotOutdated
        for class_name, positions in touched.items():
            uses = self.classes[class_name]
            if uses is not None:
                moved = Window(snapshot.starts.get(class_name, BEFORE_ALL), uses.frontier.window.start)
                if moved.meets(positions):
                    raise SnapshotOutdated

    def unknown(self) -> FrontierLost | LeaseAwaited:
        """The error for a command on a class of which nobody knows how far it has moved."""
        return FrontierLost() if self.is_current() else LeaseAwaited()

    @property
    def is_idle(self) -> bool:
        """Whether the server can be at work on nothing that was sent under this lease or an earlier one."""
        return all(each.is_idle for each in (self.transactions, self._committing, self._leaving))

    def adopt_lasting(self) -> None:
        """A class is followed that was not: what outlasts its command may use any value of it."""
        for outlasting in (self.cursors, self.transactions, self._committing, self._leaving):
            for hold in outlasting.holds():
                self.adopt(hold)

    def adopt(self, hold: Hold | None = None) -> Hold:
        """A command that is under way when a class is first followed may use any value of it.

        `hold` is what it has already: it holds more from now on. Without one its cursor has no mark, and is
        outdated with the first window; so what is returned then ends with the reply.
        """
        if hold is not None and hold.names_nothing:
            return hold
        uses = [(each, each.adopt()) for each in self.classes.values() if each is not None]
        if hold is None:
            return Hold(uses, self._epoch, is_brief=True)
        hold.take_in(uses)
        return hold

    def walks(self, class_name: str, message: bytes) -> bool:
        """Whether a command may lead the server along an index beside whose first field values move.

        It does not for a class that is lost, whose values it does not name: it is served. Cost: O(message).
        """
        uses = self.classes[class_name]
        if uses is None or uses.frontier.is_over:
            return False
        walked = uses.frontier.walked
        return walked is None or any(_names(message, name.rpartition(b".")[2]) for name in walked)

    @property
    def have_begun(self) -> bool:
        """Whether a value may have moved since a cursor was opened that has no mark."""
        if self._now_s < self._marks_until_s:
            return True
        return any(uses is not None and uses.frontier.has_begun for uses in self.classes.values())

    @property
    def marks_cursors(self) -> bool:
        """Whether cursors get a mark: while classes move, and until all that were opened before are gone."""
        return bool(self.classes) or self._now_s < self._marks_until_s

    def mark_cursors(self, for_s: float) -> None:
        """Values have moved: for so long from now a cursor without a mark may have been opened before."""
        self._marks_until_s = max(self._marks_until_s, self._now_s + for_s)

    def mark_snapshots(self, for_s: float) -> None:
        """Values have moved: for so long from now a transaction may read documents of before."""
        self._snapshots_until_s = max(self._snapshots_until_s, self._now_s + for_s)

    def leave(self, hold: Hold) -> None:
        """No good reply is seen: the server may be at work for a while, or a transaction go on."""
        if hold.transaction:
            self._keep_transaction(hold)
            return
        if hold.commits:
            self._committing.fold()
            self._committing.keep(hold.commits, hold)
            return
        self._left += 1
        self._leaving.keep(self._left.to_bytes(8, "big"), hold)

    def leave_unanswered(self) -> None:
        """A command was sent before anything moves, and no reply will come; one hold is for all such."""
        self._leaving.keep(_FOLDED, Hold([], self._epoch))

    def keep_for(self, hold: Hold, cursor_id: bytes) -> None:
        """The command was carried out; `cursor_id` is empty where it leaves no cursor open."""
        if hold.transaction:
            self._keep_transaction(hold)
        elif cursor_id and not hold.is_brief:
            self.cursors.keep(cursor_id, hold)
        else:
            hold.end()

    def take_transaction(self, transaction: bytes) -> Hold | None:
        """The hold of a transaction, also if its commit is tried again; it is the caller's from now on."""
        return self.transactions.take(transaction) or self._committing.take(transaction)

    def _keep_transaction(self, hold: Hold) -> None:
        if hold.epoch == self._epoch:
            self.transactions.fold()
            self.transactions.keep(hold.transaction, hold)
        else:
            self.transactions.lose_one(hold.transaction)
            hold.end()

    def tick(self, now_s: float) -> None:
        """At any time: give up what has ended. The clock goes on while the process is stopped."""
        self._now_s = now_s
        self._committing.limit_s = self.transactions.limit_s
        for outlasting in (self.cursors, self.transactions, self._committing, self._leaving):
            outlasting.tick(now_s)


def _names(message: bytes, field: bytes) -> bool:
    """Whether an element may have this name, or one that ends so: a string's content stands behind a NUL."""
    return re.search(rb"[^\0]" + re.escape(field) + rb"\0", message) is not None
