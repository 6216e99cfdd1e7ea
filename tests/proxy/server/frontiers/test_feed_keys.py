"""A process that follows frontiers, while its keys and its lease come and go."""

from sealwire.keys.frontier.record import LEASE_S
from sealwire.keys.keyring.keyring import Keyring
from sealwire.proxy.server.frontiers.feed import (
    Following,
)
from sealwire.proxy.server.frontiers.store import RENEW_S
from tests.proxy.server.frontiers.bench import Bench, Looks, following
from tests.proxy.server.frontiers.server import (
    CLASS,
    CLASS_ID,
    CLOSED,
    FIRST,
    INSIDE,
    MOVING,
    OPEN,
    OTHER,
    QUIET,
    covered,
)
from tests.proxy.server.harness import until


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
    assert bench.store is not None
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
    assert bench.store is not None
    bench.server.put(CLOSED)
    bench.store.meanwhile = lambda name: bench.later(LEASE_S) if name == "frontiers" else None
    await bench.rounds()
    assert bench.known() is None
    assert bench.connection.lost == 1


async def test_a_renewal_that_ends_after_the_lapse_is_not_taken_up() -> None:
    bench = await following(MOVING, OPEN)
    assert bench.store is not None

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
    assert bench.store is not None
    bench.clock.now_s += LEASE_S - 0.05
    bench.feed._set_alarm()
    bench.clock.now_s += 0.05
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
    assert bench.store is not None
    store = bench.store

    def rotate(name: str) -> None:
        if name == "frontiers":
            store.meanwhile = lambda _name: None
            bench.feed.use_keyring(MOVING)
            bench.server.documents[CLASS_ID] = {"new": "?"}

    store.meanwhile = rotate
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


async def test_one_to_which_values_have_moved_is_believed_by_nobody_to_be_cancelled() -> None:
    bench = await following(MOVING, CLOSED)
    bench.feed.use_keyring(QUIET)
    assert bench.connection.lost == 1
    await bench.rounds(2)
    assert bench.moves.classes == {CLASS: None}


async def test_nor_one_whose_move_has_been_written_down() -> None:
    bench = await following(MOVING, FIRST)
    bench.feed.use_keyring(QUIET)
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
