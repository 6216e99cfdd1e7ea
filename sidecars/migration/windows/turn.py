"""The move of a class to its new version: windows, each chosen, written down, asked for, moved and closed."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from itertools import pairwise
from math import ceil
from typing import Final, NamedTuple, final

from sealwire.keys.errors import DamagedFile, KeysReason
from sealwire.keys.frontier.frontier import AFTER_ALL, FIRST_GENERATION, Frontier, Position, Window
from sealwire.keys.frontier.record import Lease, addresses_of
from sealwire.policies.file.stored import StoredValues
from sealwire.sidecars.direct import identity_of
from sealwire.sidecars.migration.contexts import JobContexts
from sealwire.sidecars.migration.engine import Engine, Pace, StepTaken, Stuck
from sealwire.sidecars.migration.forms import Left, WrongType
from sealwire.sidecars.migration.job import MAX_REPORTED, Job, LeftValue, Standing, Tally, now, short
from sealwire.sidecars.migration.ledger import Notes
from sealwire.sidecars.migration.server import BATCH_BYTES
from sealwire.sidecars.migration.windows.frontiers import Frontiers
from sealwire.sidecars.migration.windows.looking import FirstLook
from sealwire.sidecars.migration.windows.moving import NO_VALUE, WHOLE, Versions, WindowMover
from sealwire.sidecars.migration.windows.order import ClassPaths, Order
from sealwire.sidecars.migration.windows.server import Values, batches
from sealwire.wire.errors import BsonError

Key = tuple[str, bytes]
"""Namespace and the element `_id` of a document."""


class Chosen(NamedTuple):
    """The next window's end, and documents that it holds, by namespace: not all of them where it is large."""

    end: Position
    documents: Mapping[str, Sequence[bytes]]


class _Met(NamedTuple):
    place: Position
    """Where its first old form in the range stands."""
    raw: bytes


@dataclass(slots=True)
class _Found:
    """What a try has read."""

    met: dict[Key, _Met] = field(default_factory=dict)
    cut: Position | None = None
    """The try held more than was wanted; up to here it holds as many, and everything there was read."""
    middle: Position | None = None
    """As `cut`, but the server did not answer in order: this is only somewhere in the middle."""


class Chooser:
    """Chooses one window after the other."""

    def __init__(self, values: Values, order: Order) -> None:
        self._values = values
        self._order = order
        self._reach = order.reach()

    def choose(self, places: Sequence[ClassPaths], start: Position, wanted: int) -> Chosen:
        """The end of a window from `start`. Cost: about `wanted` documents a path, read and kept."""
        met: dict[Key, _Met] = {}
        begin, end = start, self._reach.first(start)
        while True:
            found = self._read(places, begin, end, wanted)
            shorter = min((each for each in (found.cut, found.middle) if each is not None), default=end)
            is_cut = found.cut is not None or found.middle is not None
            if shorter < end:
                end = shorter
                if found.middle is not None:
                    continue
            met |= {key: each for key, each in found.met.items() if each.place < end}
            if is_cut or len(met) * 2 >= wanted or end == AFTER_ALL:
                break
            begin, end = end, self._reach.further(end)
        if len(met) > wanted:
            # each path gave as many as are wanted of all together, and so did each try
            in_order = sorted(each.place for each in met.values())
            end = min(end, self._end_behind(in_order[: wanted + 1]))
            met = {key: each for key, each in met.items() if each.place < end}
        self._reach.learn(end, [each.place for each in met.values()])
        documents: dict[str, list[bytes]] = {}
        for (namespace, _), each in met.items():
            documents.setdefault(namespace, []).append(each.raw)
        return Chosen(end, documents)

    def _read(self, places: Sequence[ClassPaths], start: Position, end: Position, wanted: int) -> _Found:
        found = _Found()
        for each in places:
            for path in each.paths:
                met, is_whole = self._read_path(each, path, (start, end), wanted)
                for one in met:
                    key = each.namespace, identity_of(one.raw)
                    before = found.met.get(key)
                    found.met[key] = one if before is None or one.place < before.place else before
                if not is_whole:
                    self._cut(found, [one.place for one in met])
        return found

    def _cut(self, found: _Found, places: list[Position]) -> None:
        if all(one <= other for one, other in pairwise(places)):
            # the last place may go on in documents that were not read; the one before it does not
            last = self._end_behind(places)
            found.cut = last if found.cut is None else min(found.cut, last)
        else:
            middle = self._order.after(sorted(places)[len(places) // 2])
            found.middle = middle if found.middle is None else min(found.middle, middle)

    def _end_behind(self, places: list[Position]) -> Position:
        """Where the last of these begins, which are in order; behind it where all are one."""
        return places[-1] if places[-1] > places[0] else self._order.after(places[-1])

    def _read_path(
        self, where: ClassPaths, path: str, bounds: tuple[Position, Position], wanted: int
    ) -> tuple[list[_Met], bool]:
        """Documents with an old form at this path, and whether they are all."""
        met: list[_Met] = []
        size = 0
        for within in self._order.ranges(*bounds):
            for raw in self._values.between(where.namespace, path, within):
                places = old_places(raw, where, self._order, path)
                mine = [each for each in places if bounds[0] <= each < bounds[1]]
                if not mine:
                    continue
                if len(met) >= wanted or size >= BATCH_BYTES:
                    return met, False
                met.append(_Met(min(mine), raw))
                size += len(raw)
        return met, True


def old_places(raw: bytes, where: ClassPaths, order: Order, path: str) -> Iterator[Position]:
    """Where the old forms that a document has at a path stand. Raises BsonError."""
    walk = StoredValues(raw, where.tree)
    while walk.next_value():
        if path == walk.node.path:
            place = order.place(walk.kind, raw[walk.value : walk.end])
            if place is not None:
                yield place


# ----------------- finds where the next window ends, so that it holds about as many documents as are wanted


FIRST_DOCUMENTS: Final = 50
_FEWEST, _MOST = 20, 5_000
OPEN_S: Final = 0.15
"""How long a window is to be open, with what proxies take to let it go: the application waits for it."""
LEAST_MOVING_S: Final = 0.075
"""How long it moves at least, however slowly they let it go."""
_POLLS_S = (0.005, 0.01, 0.01, 0.02, 0.02, 0.05, 0.1, 0.2)
"""Between two looks at the leases. A proxy that follows a move reads the frontier about every 20 ms."""
PATIENCE_S = (0.15, 0.15, 0.3, 0.6, 1.2, 2.0)
"""A window that is not let go for so long is withdrawn: the application waits for it, perhaps with what holds
it up. The more often in a row, the longer: a class that is always in use has to move as well."""
_COUNTED_EACH_S: Final = 0.2
"""Between two looks at how many proxies have a lease."""
_LOOK_S: Final = 2.0
"""How long to wait for proxies while no window is open, before the job is noted again."""
_LARGER, _SMALLER = 1.5, 0.5
"""By how much the next window may differ: updates take now longer and now shorter."""
_BETWEEN_S = (0.1, 0.3, 1.0, 2.0, 5.0, 10.0)
"""Before a window is tried again that was withdrawn."""


@dataclass(frozen=True, slots=True)
class Stores:
    """What a turn reads and writes."""

    values: Values
    frontiers: Frontiers
    notes: Notes
    contexts: JobContexts | None = None
    """The keys of contexts, where the class has one for each."""


@dataclass(frozen=True, slots=True)
class TurnPace(Pace):
    """How a turn goes about it, and who sees what it waits for."""

    waiting: Callable[[Sequence[Lease], float], None] = lambda _leases, _waited_s: None
    """Sees the leases that the job waits for, and for how long already, at each look."""
    missing: Callable[[float], None] = lambda _left_s: None
    """Sees for how many seconds more the job waits for leases that may be missing, at each look."""
    proxies: int | None = None
    """How many addresses must have a lease before anything moves; None: as many as there are."""
    counted: Callable[[Sequence[str], int, float], None] = lambda _addresses, _proxies, _waited_s: None
    """Sees the addresses that have a lease while they are not so many, and for how long already."""


_AT_ONCE: Final = TurnPace()


class _Looked(NamedTuple):
    """What a first look at all documents found."""

    old: int
    """Documents with an old form."""
    new: int
    """Documents with a new one."""
    in_clear: tuple[LeftValue, ...]
    """Values in clear that may stay, the first MAX_REPORTED, where nothing has moved yet."""


@final
class ProxyCount:
    """Counts the Sealwires of a site by their leases."""

    def __init__(self) -> None:
        self.addresses: tuple[str, ...] = ()
        """The addresses at which a Sealwire has a lease."""
        self._together: dict[str, datetime] | None = None

    def is_steady(self, leases: Sequence[Lease]) -> bool:
        """Whether all of these were renewed after they were first seen together.

        The lease of a proxy that has ended looks current for a while, beside that of its successor.
        """
        self.addresses = tuple(addresses_of(leases))
        renewed = {lease.proxy: lease.renewed for lease in leases}
        if self._together is None or renewed.keys() != self._together.keys():
            self._together = renewed
            return False
        return all(renewed[name] > before for name, before in self._together.items())


class Turn(Engine):
    """The steps of the move of one class: its windows, and then a last sweep."""

    def __init__(
        self,
        job: Job,
        versions: Versions,
        stores: Stores,
        activate: Callable[[], object],
        pace: TurnPace = _AT_ONCE,
        mark_begun: Callable[[str], object] = lambda _place: None,
    ) -> None:
        """Both may be called again where that is done.

        activate:   makes the new version the active one
        mark_begun: writes into the keyring that values move, and the frontiers' place; called while the first
                    frontier is there, and no window was opened
        """
        super().__init__(job, stores.notes, pace, stores.values.unindex)
        self._pace: TurnPace = pace
        self._versions = versions
        self._values = stores.values
        self._frontiers = stores.frontiers
        self._contexts = stores.contexts
        self._activate = activate
        self._mark_begun = mark_begun
        self._chooser = Chooser(stores.values, versions.order(versions.old))
        self._most = _MOST if pace.most is None else pace.most
        self._wanted = min(FIRST_DOCUMENTS, self._most)
        self._indexed: list[ClassPaths] = []
        self._withdrawals = 0
        """One after the other."""
        self._waited_s = 0.0
        """For the proxies, since the last window."""

    def _steps(self) -> Iterator[StepTaken]:
        """A signal lets a window end that moves, and withdraws one that does not.

        Cost: memory of a window, up to 8 MiB a path.
        """
        frontier = self._begin()
        while not (frontier is None or frontier.is_over or self._stopped.is_set()):
            began, self._waited_s = self._pace.clock(), 0.0
            frontier, tally = self._window(frontier)
            yield StepTaken(began, partial(self._counted, tally), self._waited_s)
        if frontier is None or not frontier.is_over:
            self._end(Standing.PAUSED)
            return
        began = self._pace.clock()
        done = self._finish(frontier)
        yield StepTaken(began, lambda: done)

    # ------------------------------------------------------------------------------------ before the windows

    def _begin(self) -> Frontier | None:
        """The frontier, which every proxy follows; None where a signal came before it was written."""
        frontier = self._frontiers.load()
        if frontier is not None and frontier.is_over:
            return frontier
        self._frontiers.missing_s()  # counts from here at the latest
        places = self._values.places()
        has_begun = frontier is not None or self.job.documents > 0
        first = self._look_through(places, has_begun=has_begun)
        if frontier is None:
            # what lies in clear before anything has moved was written past Sealwire
            if first.new and (has_begun or not self._versions.new.is_plaintext):
                raise DamagedFile(
                    KeysReason.SCHEMA,
                    "values have the class's new form already, and its frontier is missing",
                    "bring the document of sealwire.frontiers back from a backup; if there never was one, "
                    "sealwire policy drift shows what was written past Sealwire",
                )
            if not self._until_counted(self._knows):
                return None
            frontier = self._frontiers.begin()
        elif not frontier.has_begun and not self._until_counted(_has_let_go(frontier)):
            return None
        noted = replace(self.job.noted(now()), expected=self.job.read + first.old)
        self._note(replace(noted, reported=first.in_clear or noted.reported))
        if not frontier.has_begun:
            self._mark_begun(self._frontiers.place())
            # what a proxy did before it followed may use any value
            self._until_all(_has_let_go(frontier))
            self._outwait_missing()
        return frontier

    def _outwait_missing(self) -> None:
        """Wait until no lease that was lost with its collection can matter, or a signal comes."""
        while not self._stopped.is_set() and (left_s := self._frontiers.missing_s()) > 0:
            self._pace.missing(left_s)
            self._stopped.wait(min(left_s, _LOOK_S))

    def _knows(self, lease: Lease) -> bool:
        """Whether a proxy has the new version: without it, it refuses the class once a frontier is there."""
        class_id = self._versions.new.cipher.class_id
        return lease.acknowledged.get(class_id) == FIRST_GENERATION

    def _until_counted(self, is_ready: Callable[[Lease], bool]) -> bool:
        """Wait for every proxy, and until there are as many as the pace says. False where a signal came."""
        began, wanted, count = self._pace.clock(), self._pace.proxies, ProxyCount()
        while self._until_all(is_ready, self._frontiers.expect_pending):
            if wanted is None:
                return True
            leases = self._frontiers.leases()
            ended = [lease for lease in leases if not lease.is_current]
            is_steady = count.is_steady(leases)
            waited_s = self._pace.clock() - began
            if len(count.addresses) != wanted:
                self._pace.counted(count.addresses, wanted, waited_s)
            elif ended:
                self._pace.waiting(ended, waited_s)
            elif is_steady and all(map(is_ready, leases)):
                self._frontiers.missing_s(count.addresses)  # counts from here for those that are new
                return True
            self._stopped.wait(_COUNTED_EACH_S)
        return False

    def _until_all(self, is_ready: Callable[[Lease], bool], check: Callable[[], None] = lambda: None) -> bool:
        """Wait for every proxy, as long as it takes and `check` raises nothing. False where a signal came."""
        while not self._stopped.is_set():
            check()
            if self._wait_for_all(is_ready, _LOOK_S):
                return True
        return False

    def _look_through(self, places: Sequence[ClassPaths], *, has_begun: bool) -> _Looked:
        """What is there. Raises Stuck for what cannot be moved, or may not stay."""
        old = new = 0
        look = FirstLook(self._versions, self._contexts)
        stuck: list[LeftValue] = []
        in_clear: list[LeftValue] = []
        for where in places:
            for raw in self._all(where):
                try:
                    seen = look.at(raw, where)
                except BsonError:
                    continue
                old += seen.has_old
                new += seen.has_new
                for each in seen.problems:
                    left = LeftValue(where.namespace, each.path, identity_of(raw), each.why)
                    if not self._may_stay(each.why, has_begun=has_begun):
                        stuck.append(left)
                    elif each.why is Left.IN_CLEAR and not has_begun and len(in_clear) < MAX_REPORTED:
                        in_clear.append(short(left))
                if len(stuck) >= MAX_REPORTED:
                    raise Stuck(stuck[:MAX_REPORTED])
        if stuck:
            raise Stuck(stuck)
        return _Looked(old, new, tuple(in_clear))

    def _all(self, where: ClassPaths) -> Iterator[bytes]:
        """All documents of a collection; the keys that open their values are searched for in batches."""
        for batch in batches(self._values.all(where.namespace)):
            if self._contexts is not None and not self._versions.old.is_plaintext:
                self._contexts.prepare_opening(batch, where.tree)
            yield from batch

    def _may_stay(self, why: Left, *, has_begun: bool = True) -> bool:
        """Once the move has begun, values in clear are those that have moved."""
        if why is Left.IN_CLEAR and has_begun:
            return True
        return why in {*NO_VALUE, Left.IN_CLEAR} and self.job.wrong_type is WrongType.SKIP

    # ------------------------------------------------------------------------------------------- one window

    def _window(self, frontier: Frontier) -> tuple[Frontier, Tally]:
        """The frontier once the next window, or the open one, is closed or withdrawn.

        It stays as it is while a proxy has not heard that no window is open: it may have ended.
        """
        opened_at = self._pace.clock()
        if frontier.window.is_empty:
            # chosen while proxies hear that the last one has closed, and what may use any value has its turn
            opened, mover = self._prepare(frontier)
            if not self._wait_for_all(_has_let_go(frontier), _LOOK_S):
                return frontier, Tally()
            opened_at = self._pace.clock()
            frontier = self._saved(opened)
        else:
            mover = self._mover(frontier.window)
        if not frontier.is_moving:
            patience_s = PATIENCE_S[min(self._withdrawals, len(PATIENCE_S) - 1)]
            if not self._wait_for_all(_has_let_go(frontier), patience_s):
                return self._withdraw(frontier), Tally()
            mover.begin()
            frontier = self._saved(frontier.moving())
        let_go_at = self._pace.clock()
        mover.move(lambda: self._frontiers.confirm(frontier))
        closed = self._saved(frontier.closed())
        self._adapt(mover.tally.documents, self._pace.clock() - let_go_at, let_go_at - opened_at)
        self._withdrawals = 0
        return closed, mover.tally

    def _prepare(self, frontier: Frontier) -> tuple[Frontier, WindowMover]:
        """The next window, which is not written yet, with the updates of documents that it holds now."""
        places = self._values.places()
        if places != self._indexed:
            self._values.index(places)
            self._indexed = places
        chosen = self._chooser.choose(places, frontier.window.start, self._wanted)
        opened = replace(frontier.opened(chosen.end), walked=self._values.walked(places))
        mover = self._mover(opened.window)
        mover.prepare(places, chosen.documents)
        return opened, mover

    def _mover(self, window: Window) -> WindowMover:
        return WindowMover(self._values, self._versions, window, self._contexts)

    def _wait_for_all(self, is_ready: Callable[[Lease], bool], patience_s: float) -> bool:
        """Whether every proxy is, after so long at most."""
        began = self._pace.clock()
        polls = iter(_POLLS_S)
        poll_s = 0.0
        try:
            while True:
                holding = [lease for lease in self._frontiers.leases() if not is_ready(lease)]
                if not holding:
                    return True
                waited_s = self._pace.clock() - began
                self._pace.waiting(holding, waited_s)
                poll_s = next(polls, poll_s)
                if waited_s >= patience_s or self._stopped.wait(min(poll_s, patience_s - waited_s)):
                    return False
        finally:
            self._waited_s += self._pace.clock() - began

    def _withdraw(self, frontier: Frontier) -> Frontier:
        """Take the window back, so that what waits for it goes on; wait before the next one."""
        withdrawn = self._saved(frontier.withdrawn())
        between_s = _BETWEEN_S[min(self._withdrawals, len(_BETWEEN_S) - 1)]
        self._stopped.wait(between_s)
        self._waited_s += between_s
        self._withdrawals += 1
        return withdrawn

    def _saved(self, frontier: Frontier) -> Frontier:
        self._frontiers.save(frontier)
        return frontier

    def _adapt(self, documents: int, moving_s: float, asked_s: float) -> None:
        """Choose how many documents the next window is to have, by how long this one was open."""
        may_move_s = max(OPEN_S - asked_s, LEAST_MOVING_S)
        factor = min(_LARGER, max(_SMALLER, may_move_s / moving_s)) if moving_s > 0 else _LARGER
        if factor < 1 or documents * 2 >= self._wanted:
            self._wanted = min(self._most, max(_FEWEST, ceil(self._wanted * factor)))

    # ------------------------------------------------------------------------------------- after the windows

    def _finish(self, frontier: Frontier) -> Job:
        """Every value that a range finds has moved; see to all others, and make the new version active."""
        mover = self._mover(WHOLE)
        for _ in mover.sweep(lambda: self._frontiers.confirm(frontier)):
            pass
        reported = tuple(map(short, mover.tally.reported))
        if any(why in NO_VALUE and not self._may_stay(why) for _, _, why in mover.tally.left):
            raise Stuck(reported)
        self._values.unindex()
        self._activate()
        done = replace(self._counted(mover.tally), standing=Standing.DONE, left=dict(mover.tally.left))
        in_clear = tuple(each for each in self.job.reported if each.why is Left.IN_CLEAR)
        return replace(done, reported=(*in_clear, *reported)[:MAX_REPORTED])

    def _counted(self, tally: Tally) -> Job:
        return self.job.counted(tally, tally.documents, now())


def _has_let_go(frontier: Frontier) -> Callable[[Lease], bool]:
    """Whether a proxy has seen it, and relies on no value of its window."""
    return lambda lease: lease.acknowledged.get(frontier.class_id, 0) >= frontier.generation
