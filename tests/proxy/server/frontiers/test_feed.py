"""A process follows frontiers: what comes first, what it acknowledges, and what it does when it lapses."""

import asyncio
import logging
from dataclasses import dataclass, field, replace
from datetime import timedelta

import pytest

from sealwire.keys.frontier.frontier import Form, Frontier, SnapshotOutdated
from sealwire.keys.frontier.record import LEASE_S
from sealwire.keys.keyring.data_key import KeyState
from sealwire.keys.keyring.keyring import Keyring
from sealwire.proxy.server.frontiers.feed import (
    MOVING_S,
    PENDING_S,
    QUIET_S,
    RETRY_S,
    FrontierFeed,
    steady_clock,
)
from sealwire.proxy.server.frontiers.store import RENEW_S
from sealwire.proxy.server.health import Following
from sealwire.proxy.server.observability.metrics import Metrics
from sealwire.proxy.session.moving.moves import Moves
from tests.proxy.server.frontiers.server import (
    BOTH_MOVING,
    CLASS,
    CLASS_ID,
    CLOSED,
    DOCUMENTS,
    FIRST,
    INSIDE,
    LEAVING,
    MOVED,
    MOVED_KEYS,
    MOVING,
    MOVING_KEYS,
    OPEN,
    OTHER,
    OTHER_ID,
    OVER,
    QUIET,
    READ,
    MemoryServer,
    MemoryStore,
    covered,
    data_key,
    document,
)
from tests.proxy.server.harness import StandingClock, soon, until

# A process that follows frontiers, with all that it works on.


@dataclass(eq=False)
class Connection:
    """Counts what it is told."""

    moved: int = 0
    lost: int = 0
    began: int = 0

    def frontier_moved(self) -> None:
        self.moved += 1

    def frontier_lost(self) -> None:
        self.lost += 1

    def move_began(self) -> None:
        self.began += 1


@dataclass
class Bench:
    """A feed with all that it works on."""

    has_store: bool = True
    store: MemoryStore = field(default_factory=MemoryStore)
    moves: Moves = field(default_factory=Moves)
    metrics: Metrics = field(default_factory=Metrics)
    clock: StandingClock = field(default_factory=StandingClock)
    connection: Connection = field(default_factory=Connection)
    loads: int = 0
    feed: FrontierFeed = field(init=False)

    def __post_init__(self) -> None:
        store = self.store if self.has_store else None
        self.feed = FrontierFeed(
            self.moves, {self.connection}, self._load_keys, self.metrics, store, self.clock
        )

    async def _load_keys(self) -> None:
        self.loads += 1

    @property
    def server(self) -> MemoryServer:
        return self.store.server

    @property
    def told(self) -> dict[str, dict[int, int]]:
        """By proxy, what the server was told."""
        return {proxy: told for proxy, (_, told) in self.server.leases.items()}

    async def rounds(self, number: int = 1) -> None:
        for _ in range(number):
            await self.feed.round(self.store)

    def later(self, seconds: float) -> None:
        """Both clocks go on."""
        self.clock.now += seconds
        self.server.later(seconds)

    def known(self, name: str = CLASS) -> Frontier | None:
        uses = self.moves.classes[name]
        return None if uses is None else uses.frontier


class Looks:
    """A store of the keys of contexts, in which somebody looks when the test says so."""

    def __init__(self) -> None:
        self.wanted = self.looked = 0

    def look_again(self) -> int:
        self.wanted += 1
        return self.wanted


async def following(keyring: Keyring = MOVING, *frontiers: Frontier) -> Bench:
    """A bench after its first rounds."""
    bench = Bench()
    for frontier in frontiers:
        bench.server.put(frontier)
    bench.feed.use_keyring(keyring)
    await bench.rounds(2)
    assert bench.feed.following is Following.FOLLOWS
    return bench


async def test_it_registers_before_it_reads() -> None:
    bench = await following()
    assert bench.store.asked[:2] == ["renew", "frontiers"]


async def test_between_renewals_it_only_reads_while_a_class_moves_and_has_something_to_tell_at_once() -> None:
    bench = await following(MOVING, CLOSED)
    bench.store.asked.clear()
    await bench.rounds(3)
    assert bench.store.asked == ["frontiers"] * 3
    bench.server.put(replace(CLOSED, generation=CLOSED.generation + 2))
    await bench.rounds()
    assert bench.feed.pause_s() == 0.0
    bench.store.asked.clear()
    await bench.rounds(2)
    assert bench.store.asked == ["renew", "frontiers", "frontiers"]
    bench.later(RENEW_S)
    bench.store.asked.clear()
    await bench.rounds(2)
    assert bench.store.asked == ["renew", "frontiers", "frontiers"]


async def test_a_class_is_lost_until_the_frontier_was_read() -> None:
    bench = Bench()
    bench.server.put(OPEN)
    bench.feed.use_keyring(MOVING)
    assert bench.moves.classes == {CLASS: None}
    assert bench.feed.following is Following.LOST
    await bench.rounds()
    assert bench.known() == OPEN
    assert list(bench.told.values()) == [{}]
    assert bench.feed.pause_s() == 0.0
    await bench.rounds()
    assert list(bench.told.values()) == [{CLASS_ID: OPEN.generation}]
    assert bench.feed.pause_s() == MOVING_S


async def test_without_a_document_nothing_has_moved() -> None:
    bench = await following()
    assert bench.known() == FIRST
    assert list(bench.told.values()) == [{CLASS_ID: 1}]
    assert bench.feed.pause_s() == PENDING_S


async def test_sessions_hear_once_that_a_class_is_followed_before_it_is_acknowledged() -> None:
    bench = Bench()
    bench.feed.use_keyring(MOVING)
    await bench.rounds()
    assert (bench.connection.began, list(bench.told.values())) == (1, [{}])
    bench.server.put(OPEN)
    await bench.rounds(2)
    assert bench.connection.began == 1


async def test_the_place_of_frontiers_is_looked_at_again_when_a_move_has_begun_by_the_keyring() -> None:
    """The collection was not there when this process began to follow."""
    bench = await following(MOVING, FIRST)
    bench.server.place = "ab" * 16
    begun = Keyring([replace(key, begun_in="ab" * 16 if key.version == 2 else "") for key in MOVING_KEYS])
    bench.feed.use_keyring(begun)
    await bench.rounds()
    assert bench.known() == FIRST
    bench.server.place = "cd" * 16
    del bench.server.leases[next(iter(bench.server.leases))]  # it was put back with all of its database
    bench.later(RENEW_S)
    await bench.rounds(2)
    assert bench.known() is None
    assert bench.feed.following is Following.LOST


async def test_a_database_that_is_lost_between_two_moves_keeps_no_later_one_from_beginning() -> None:
    """What was read of the earlier move says nothing of the next."""
    bench = await following(MOVING, OVER)
    bench.feed.use_keyring(MOVED)
    await bench.rounds(2)
    bench.server.leases.clear()
    bench.server.documents.clear()
    bench.later(RENEW_S)
    await bench.rounds(2)
    first, second, other = MOVED_KEYS
    third = data_key(CLASS, CLASS_ID, 3, KeyState.PENDING)
    bench.feed.use_keyring(Keyring([first, second, third, other]))
    await bench.rounds(2)
    assert bench.known() == Frontier(CLASS_ID, 2, 3, walked=None)
    assert list(bench.told.values()) == [{CLASS_ID: 1}]


async def test_a_lease_that_runs_out_while_it_is_renewed_is_lost() -> None:
    """A command that met that waits until it hears of the next one."""
    bench = await following()
    bench.clock.now += LEASE_S - 1
    bench.store.meanwhile = lambda name: bench.later(2.0 if name == "renew" else 0.0)
    await bench.rounds()
    assert (bench.connection.lost, bench.feed.following) == (1, Following.LOST)


async def test_moves_hear_at_once_of_a_lease_that_has_run_out() -> None:
    bench = await following()
    assert bench.moves.is_current()
    bench.clock.now += LEASE_S
    assert not bench.moves.is_current()


async def test_a_key_that_becomes_pending_is_followed_at_once_under_a_lease() -> None:
    bench = await following(QUIET)
    assert (bench.moves.classes, bench.feed.pause_s()) == ({}, QUIET_S)
    bench.feed.use_keyring(MOVING)
    assert bench.known() == FIRST
    assert list(bench.told.values()) == [{}]
    assert bench.connection.moved == 2  # and of the lease before that


async def test_a_window_is_acknowledged_when_nothing_meets_it() -> None:
    bench = await following(MOVING, FIRST)
    hold = bench.moves.begin({CLASS: [INSIDE]})
    assert hold is not None
    bench.server.put(OPEN)
    await bench.rounds(2)
    assert bench.known() == OPEN
    assert list(bench.told.values()) == [{CLASS_ID: FIRST.generation}]
    assert bench.metrics.value("sealwire_frontier_waited_for", **{"class": CLASS}) == 1
    assert bench.metrics.value("sealwire_frontier_documents_read", **{"class": CLASS}) == READ
    assert bench.metrics.value("sealwire_frontier_documents", **{"class": CLASS}) == DOCUMENTS
    assert bench.feed.pause_s() == MOVING_S
    hold.end()
    assert bench.feed.pause_s() == 0.0
    await bench.rounds()
    assert list(bench.told.values()) == [{CLASS_ID: OPEN.generation}]


async def test_no_window_moves_while_the_policy_does_not_name_the_class_that_leaves_another(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It may take the values of the one for those of the other."""
    bench = Bench()
    bench.feed.use_policy([covered("lender")])
    bench.feed.use_keyring(LEAVING)
    await bench.rounds(3)
    (told,) = bench.told.values()
    assert told == {}
    assert [each.message for each in caplog.records].count("policy has no path of a class that moves") == 1
    began = bench.connection.began
    bench.feed.use_policy([covered("lender"), covered(CLASS)])
    assert bench.connection.began == began + 1  # what is under way may use any value
    await bench.rounds(2)
    (told,) = bench.told.values()
    assert told == {CLASS_ID: 1}
    bench.feed.use_policy([covered("lender")])
    await bench.rounds(2)
    (told,) = bench.told.values()
    assert told == {}


async def test_sessions_hear_of_changes_only() -> None:
    bench = await following(MOVING, OPEN)
    before = bench.connection.moved
    await bench.rounds(3)
    assert bench.connection.moved == before
    bench.server.put(CLOSED)
    await bench.rounds()
    assert bench.connection.moved == before + 1
    uses = bench.moves.classes[CLASS]
    assert uses is not None
    assert uses.frontier.form(INSIDE) is Form.NEW


async def test_what_is_over_is_looked_at_less_often_and_then_forgotten() -> None:
    bench = await following(MOVING, OVER)
    assert bench.feed.pause_s() == PENDING_S
    bench.feed.use_keyring(MOVED)
    assert bench.moves.classes == {}
    await bench.rounds()
    assert (bench.feed.pause_s(), bench.connection.lost) == (QUIET_S, 0)
    assert list(bench.told.values()) == [{}]


async def test_a_server_that_does_not_answer_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "sealwire.server")
    bench = await following(MOVING, OPEN)
    bench.store.is_down = True
    await bench.rounds(3)
    assert bench.feed.pause_s() == RETRY_S
    assert bench.known() == OPEN
    bench.later(LEASE_S)
    await bench.rounds(2)
    assert bench.known() is None
    bench.store.is_down = False
    await bench.rounds(2)
    assert bench.known() == OPEN
    events = [record.getMessage() for record in caplog.records]
    assert events == ["frontiers cannot be read", "frontier lease lost", "frontiers can be read again"]


async def test_a_damaged_frontier_costs_the_lease_once(caplog: pytest.LogCaptureFixture) -> None:
    bench = await following(BOTH_MOVING, OPEN, Frontier(OTHER_ID, 1, 2, 3))
    bench.server.documents[CLASS_ID] = document(OPEN) | {"generation": 5}
    await bench.rounds()
    assert bench.moves.classes == {CLASS: None, OTHER: None}
    assert bench.connection.lost == 1
    await bench.rounds(3)
    assert (bench.known(), bench.connection.lost) == (None, 1)
    assert bench.known(OTHER) == Frontier(OTHER_ID, 1, 2, 3)
    assert bench.feed.following is Following.LOST
    refused = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert len(refused) == 1
    await until(lambda: bench.loads > 0)
    bench.server.put(CLOSED)
    await bench.rounds()
    assert bench.known() == CLOSED
    assert bench.metrics.value("sealwire_frontier_generation", **{"class": CLASS}) == CLOSED.generation


async def test_no_position_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    marked = replace(OPEN, window=replace(OPEN.window, end=b"\0marked position"))
    bench = await following(MOVING, marked)
    bench.later(LEASE_S)
    bench.feed.check()
    bench.server.documents[CLASS_ID] = document(marked) | {"old": 2}
    await bench.rounds(2)
    assert caplog.records
    shown = caplog.text + repr([vars(record) for record in caplog.records])
    assert "marked" not in shown + bench.metrics.render().decode()


async def test_a_frontier_that_vanishes_is_lost() -> None:
    bench = await following(MOVING, OPEN)
    bench.server.documents.clear()
    await bench.rounds(2)
    assert bench.known() is None
    bench.server.put(FIRST)
    await bench.rounds(2)
    assert bench.known() is None


def test_without_a_server_every_class_that_moves_is_lost(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench(has_store=False)
    bench.feed.use_keyring(QUIET)
    assert (bench.feed.following, bench.moves.classes) == (Following.OFF, {})
    bench.feed.use_keyring(MOVING)
    assert (bench.feed.following, bench.moves.classes) == (Following.LOST, {CLASS: None})
    assert "class is refused" in caplog.text
    bench.feed.use_keyring(MOVED)
    assert (bench.feed.following, bench.moves.classes) == (Following.OFF, {})  # no path has the class


def test_without_a_server_a_class_that_has_moved_stays_lost(caplog: pytest.LogCaptureFixture) -> None:
    """Else an older copy of the keyring would not be noticed where nobody sees frontiers."""
    bench = Bench(has_store=False)
    bench.feed.use_policy([covered(CLASS), covered(OTHER)])
    bench.feed.use_keyring(QUIET)
    assert (bench.feed.following, bench.moves.classes) == (Following.OFF, {})
    for keyring in (MOVING, MOVED):
        bench.feed.use_keyring(keyring)
        assert (bench.feed.following, bench.moves.classes) == (Following.LOST, {CLASS: None})
    assert [each.message for each in caplog.records].count("class is refused") == 1
    bench.feed.use_policy([covered(OTHER)])
    assert (bench.feed.following, bench.moves.classes) == (Following.OFF, {})
    bench.feed.use_policy([covered(CLASS)])
    assert (bench.feed.following, bench.moves.classes) == (Following.LOST, {CLASS: None})


async def test_with_a_server_a_class_that_has_moved_is_served() -> None:
    bench = Bench()
    bench.feed.use_policy([covered(CLASS)])
    bench.feed.use_keyring(MOVED)
    await bench.rounds(2)
    assert (bench.feed.following, bench.moves.classes) == (Following.FOLLOWS, {})


async def test_it_runs_by_itself_and_gives_its_lease_back() -> None:
    bench = Bench()
    bench.feed.use_keyring(MOVING)
    async with bench.feed:
        assert bench.known() == FIRST
        bench.server.put(OPEN)
        bench.feed.use_keyring(MOVING)
        await until(lambda: list(bench.told.values()) == [{CLASS_ID: OPEN.generation}])
    assert (bench.told, bench.store.is_closed) == ({}, True)


async def test_a_lease_under_which_something_may_go_on_runs_out_by_itself() -> None:
    bench = Bench()
    bench.feed.use_keyring(MOVING)
    async with bench.feed:
        assert bench.moves.begin({CLASS: None}) is not None
    assert len(bench.told) == 1
    assert bench.store.is_closed


async def test_a_lease_that_cannot_be_given_back_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench()
    async with bench.feed:
        bench.store.is_down = True
    assert "could not be given back" in caplog.text
    assert bench.store.is_closed


async def test_a_start_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sealwire.proxy.server.frontiers.feed.FIRST_READ_S", 0.05)
    bench = Bench()
    bench.store.is_down = True
    bench.feed.use_keyring(MOVING)

    async def start() -> None:
        async with bench.feed:
            assert bench.known() is None

    await soon(start())


async def test_without_a_server_there_is_nothing_to_wait_for() -> None:
    bench = Bench(has_store=False)
    async with bench.feed:
        assert bench.feed.following is Following.OFF


async def test_a_bug_is_counted_and_the_rounds_go_on(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench()

    def fail_once(_name: str) -> None:
        bench.store.meanwhile = lambda _name: None
        raise ZeroDivisionError

    bench.store.meanwhile = fail_once
    async with bench.feed:
        assert bench.metrics.value("sealwire_bugs_total") == 1
        assert bench.feed.following is Following.FOLLOWS
    assert "bug: frontiers could not be read" in caplog.text


def test_the_clock_goes_on() -> None:
    assert 0 < steady_clock() <= steady_clock()


async def test_an_unused_event_loop_is_not_kept_busy() -> None:
    """A round a pause, and no more."""
    bench = Bench()
    bench.feed.use_keyring(QUIET)
    async with bench.feed:
        await asyncio.sleep(0.1)
        assert bench.store.asked == ["renew", "frontiers", "place", "seen"]


async def test_a_new_process_knows_how_recently_values_have_moved() -> None:
    """A transaction that another process began may read documents of before."""
    bench = Bench()
    bench.feed.use_keyring(MOVED)
    moved = {"confirmed": bench.server.now - timedelta(seconds=30), "transaction_s": 60.0}
    bench.server.documents[CLASS_ID] = document(OVER) | moved
    await bench.rounds()
    assert bench.moves.classes == {}
    bench.moves.snapshot(b"own", begins=True)
    with pytest.raises(SnapshotOutdated):
        bench.moves.snapshot(b"another's", begins=False)
    bench.later(2 * 60.0 - 30 - 1)
    bench.feed.check()
    with pytest.raises(SnapshotOutdated):
        bench.moves.snapshot(b"another's", begins=False)
    bench.later(1)
    bench.feed.check()
    bench.moves.snapshot(b"another's", begins=False)


# ----------------------------------------------------------------------------------------------------
# A process that follows frontiers, while its keys and its lease come and go.


async def test_after_a_lapse_it_begins_again_under_another_name() -> None:
    bench = await following(MOVING, OPEN)
    (first,) = bench.told
    bench.later(LEASE_S)
    bench.feed.check()
    assert bench.moves.classes == {CLASS: None}
    assert bench.connection.lost == 1
    assert bench.metrics.value("sealwire_frontier_lease") == 0
    assert bench.feed.following is Following.LOST
    bench.server.put(CLOSED)
    await bench.rounds()
    second = next(proxy for proxy in bench.told if proxy != first)
    assert bench.told == {first: {CLASS_ID: OPEN.generation}, second: {}}
    assert bench.known() == CLOSED
    await bench.rounds()
    assert bench.told[second] == {CLASS_ID: CLOSED.generation}
    assert bench.metrics.value("sealwire_frontier_lease") == 1
    assert bench.metrics.value("sealwire_frontier_generation", **{"class": CLASS}) == CLOSED.generation


async def test_a_lease_lasts_from_the_moment_before_its_renewal() -> None:
    bench = await following(MOVING, OPEN)
    bench.store.meanwhile = lambda name: bench.later(LEASE_S - 1) if name == "renew" else None
    bench.later(RENEW_S)
    await bench.rounds()
    bench.store.meanwhile = lambda _name: None
    assert bench.known() == OPEN
    bench.later(1.0)
    bench.feed.check()
    assert bench.known() is None


async def test_an_answer_that_comes_after_the_lapse_counts_for_nothing() -> None:
    bench = await following(MOVING, OPEN)
    bench.server.put(CLOSED)
    bench.store.meanwhile = lambda name: bench.later(LEASE_S) if name == "frontiers" else None
    await bench.rounds()
    assert bench.known() is None
    assert bench.connection.lost == 1


async def test_a_renewal_that_ends_after_the_lapse_is_not_taken_up() -> None:
    bench = await following(MOVING, OPEN)

    def lapse(name: str) -> None:
        if name == "renew":
            bench.later(LEASE_S)
            bench.feed.check()

    bench.store.meanwhile = lapse
    bench.later(RENEW_S)
    await bench.rounds()
    assert bench.store.asked[-1] == "renew"
    assert bench.known() is None


async def test_the_alarm_rings_while_the_server_keeps_the_round_waiting() -> None:
    bench = await following(MOVING, OPEN)
    bench.clock.now += LEASE_S - 0.05
    bench.feed._set_alarm()
    bench.clock.now += 0.05
    await until(lambda: bench.known() is None)


async def test_a_lease_that_was_deleted_is_not_made_again() -> None:
    bench = await following(MOVING, OPEN)
    (first,) = bench.told
    bench.server.leases.clear()
    bench.later(RENEW_S)
    await bench.rounds()
    assert (bench.known(), bench.told) == (None, {})
    await bench.rounds()
    assert first not in bench.told
    assert bench.known() == OPEN


async def test_the_servers_clock_counts_where_the_own_stood_still() -> None:
    bench = await following(MOVING, OPEN)
    bench.server.later(LEASE_S)
    bench.later(RENEW_S)
    await bench.rounds()
    assert (bench.known(), bench.connection.lost) == (None, 1)


async def test_a_move_to_an_unknown_key_has_the_keyring_loaded() -> None:
    bench = await following(QUIET)
    bench.server.put(OPEN)
    await bench.rounds()
    assert bench.moves.classes == {CLASS: None}
    await until(lambda: bench.loads == 1)
    bench.feed.use_keyring(MOVING)
    assert bench.known() is None
    await bench.rounds()
    assert bench.known() == OPEN


async def test_what_was_read_for_another_keyring_counts_for_nothing() -> None:
    bench = await following(QUIET)

    def rotate(name: str) -> None:
        if name == "frontiers":
            bench.store.meanwhile = lambda _name: None
            bench.feed.use_keyring(MOVING)
            bench.server.documents[CLASS_ID] = {"new": "?"}

    bench.store.meanwhile = rotate
    await bench.rounds()
    assert bench.known() == FIRST


async def test_keys_that_are_given_up_end_everything() -> None:
    bench = await following(MOVING, OPEN)
    (first,) = bench.told
    bench.feed.use_keyring(Keyring([]))
    assert bench.moves.classes == {}
    assert bench.connection.lost == 1
    bench.feed.use_keyring(MOVING)
    assert bench.known() is None
    await bench.rounds(2)
    assert bench.known() == OPEN
    assert bench.told[first] == {CLASS_ID: OPEN.generation}
    assert len(bench.told) == 2


async def test_keys_that_come_back_under_the_same_lease_are_read_first() -> None:
    bench = await following(MOVING, OPEN)
    bench.feed.use_keyring(Keyring([]))
    await bench.rounds()
    bench.feed.use_keyring(MOVING)
    assert bench.known() is None
    await bench.rounds()
    assert bench.known() == OPEN


async def test_a_pending_key_that_is_cancelled_takes_nothing_with_it() -> None:
    bench = await following(MOVING)
    hold = bench.moves.begin({CLASS: [INSIDE]})
    told = bench.told
    bench.feed.use_keyring(QUIET)
    assert bench.moves.classes == {}
    await bench.rounds(2)
    assert (bench.connection.lost, bench.feed.following) == (0, Following.FOLLOWS)
    assert bench.told.keys() == told.keys()
    assert list(bench.told.values()) == [{}]
    assert hold is not None
    hold.end()
    # and pending again
    bench.feed.use_keyring(MOVING)
    await bench.rounds(2)
    assert bench.known() == FIRST
    assert bench.connection.lost == 0


@pytest.mark.parametrize(("frontier", "lost"), [(CLOSED, 1), (FIRST, 0)], ids=["moved", "written down"])
async def test_one_whose_move_has_begun_is_believed_by_nobody_to_be_cancelled(
    frontier: Frontier, lost: int
) -> None:
    bench = await following(MOVING, frontier)
    bench.feed.use_keyring(QUIET)
    assert bench.connection.lost == lost
    await bench.rounds(2)
    assert bench.moves.classes == {CLASS: None}


def keyed_bench() -> tuple[Bench, Looks]:
    bench, looks = Bench(), Looks()
    bench.feed.contexts = looks
    bench.feed.use_policy([covered(CLASS, per=b"tenant"), covered(OTHER)])
    bench.feed.use_keyring(QUIET)
    return bench, looks


async def test_a_version_is_acknowledged_after_a_look_for_destroyed_keys_that_began_later() -> None:
    bench, looks = keyed_bench()
    await bench.rounds(2)
    assert looks.wanted == 0
    bench.feed.use_keyring(MOVING)
    await bench.rounds(2)
    assert looks.wanted == 1
    assert list(bench.told.values()) == [{}]
    looks.looked = 1
    assert bench.feed.pause_s() == 0.0
    await bench.rounds()
    assert list(bench.told.values()) == [{CLASS_ID: FIRST.generation}]
    bench.feed.use_keyring(MOVING)
    assert looks.wanted == 1


async def test_a_process_that_starts_looks_before_it_acknowledges_a_version() -> None:
    bench, looks = keyed_bench()
    bench.feed.use_keyring(MOVING)
    bench.server.put(FIRST)
    await bench.rounds(2)
    assert list(bench.told.values()) == [{}]
    looks.looked = looks.wanted
    await bench.rounds()
    assert list(bench.told.values()) == [{CLASS_ID: FIRST.generation}]


async def test_a_class_without_keys_for_contexts_waits_for_no_look() -> None:
    bench, _looks = keyed_bench()
    bench.feed.use_policy([covered(CLASS), covered(OTHER, per=b"tenant")])
    bench.feed.use_keyring(MOVING)
    await bench.rounds(2)
    assert list(bench.told.values()) == [{CLASS_ID: FIRST.generation}]
