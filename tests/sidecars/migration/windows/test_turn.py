"""The move of a class: everything moves, in windows that were let go, whatever dies on the way."""

import itertools
import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from bson.binary import Binary
from hypothesis import given, settings
from hypothesis import strategies as st

from sealwire.crypto.cipher import ValueCipher
from sealwire.crypto.envelope import SUBTYPE
from sealwire.keys.frontier.frontier import AFTER_ALL, BEFORE_ALL, Form, Frontier, position_of
from sealwire.keys.frontier.record import LEASE_S, Lease
from sealwire.sidecars.errors import JobTaken, MigrationReason, Unusable
from sealwire.sidecars.migration.forms import Left
from sealwire.sidecars.migration.job import Job, Standing
from sealwire.sidecars.migration.ledger import Wish
from sealwire.sidecars.migration.windows import turn as turns
from sealwire.sidecars.migration.windows.moving import Versions
from sealwire.sidecars.migration.windows.turn import Chooser, TurnPace
from tests.sidecars.migration.doubles import Death, Fate
from tests.sidecars.migration.windows.doubles import (
    CLASS_ID,
    ENCRYPTING,
    JOINING,
    LEAVING,
    LENDER_ID,
    NEW,
    PARTING,
    PATIENTS,
    REJOINING,
    VERSIONS,
    VISITS,
    Document,
    FollowingProxy,
    HoldingProxy,
    MemoryValues,
    check_forms,
    opened,
    sealed,
)
from tests.sidecars.migration.windows.world import WAYS, World, assert_moved, clinic, moves, old_form, texts
from tests.support.reasons import raising

pytestmark = pytest.mark.usefixtures("small_windows")


@moves
@pytest.mark.parametrize("by_bytes", [False, True])
@pytest.mark.parametrize("is_sorted", [False, True])
def test_all_values_of_all_paths_move_in_windows(
    versions: Versions, *, by_bytes: bool, is_sorted: bool
) -> None:
    world = World(clinic(30, versions=versions), (), versions, by_bytes=by_bytes, is_sorted=is_sorted)
    done = world.live()
    assert_moved(world)
    assert (done.standing, done.left) == (Standing.DONE, {})
    assert done.values == 30 * 4
    assert done.expected == 60
    assert len(world.frontiers.history) > 20


def test_every_window_says_which_indexes_are_walked() -> None:
    world = World(clinic(), ())
    world.live()
    frontiers = world.frontiers.history
    assert {each.walked for each in frontiers if each.has_begun} == {frozenset({b"ward"})}


def names_of(leases: Sequence[Lease]) -> tuple[str, ...]:
    return tuple(lease.proxy for lease in leases)


def test_a_window_waits_for_every_lease_that_stands() -> None:
    slow, away = FollowingProxy("slow", slowness=3), FollowingProxy("away", stands=False, slowness=10**9)
    world = World(clinic(), [FollowingProxy("quick"), slow, away])
    held: list[tuple[str, ...]] = []
    send = world.values.update

    def update(namespace: str, updates: Sequence[bytes]) -> Any:
        assert world.frontier.is_moving
        return send(namespace, updates)

    world.values.update = update  # type: ignore[method-assign]
    world.live(pace=TurnPace(waiting=lambda leases, _waited_s: held.append(names_of(leases))))
    assert_moved(world)
    assert set(held) == {("slow",)}


def test_a_job_rests_after_its_work_and_not_after_what_it_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "PATIENCE_S", (2.0,))
    world = World(clinic(), [FollowingProxy("slow", slowness=3)])
    now_s = 0.0
    waited: list[float] = []
    rests: list[float] = []

    def wait(_leases: Sequence[Lease], waited_s: float) -> None:
        nonlocal now_s
        now_s += 0.5
        waited.append(waited_s)

    def update(namespace: str, updates: Sequence[bytes]) -> Any:
        nonlocal now_s
        now_s += 0.01
        return send(namespace, updates)

    send = world.values.update
    world.values.update = update  # type: ignore[method-assign]
    world.live(pace=TurnPace(lambda busy_s, _: rests.append(busy_s), waiting=wait, clock=lambda: now_s))
    assert {round(each, 3) for each in waited} == {0.0, 0.5}
    assert 0.0 < max(rests) < 0.1


def test_a_window_that_is_not_let_go_is_withdrawn_and_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "PATIENCE_S", (1.5, 2.5))
    monkeypatch.setattr(turns, "_BETWEEN_S", (0.0,))
    ticks = itertools.count()
    world = World(clinic(), [HoldingProxy("cursor", slowness=20)])
    world.live(pace=TurnPace(clock=lambda: float(next(ticks))))
    assert_moved(world)
    withdrawn = [
        one
        for one, after in pairwise(world.frontiers.history)
        if not one.window.is_empty and after.window.is_empty and not one.is_moving
    ]
    assert len(withdrawn) > 2


class EndedProxy(FollowingProxy):
    """Hears of the first window, and of nothing more for a number of looks."""

    def look(self, frontier: Frontier) -> None:
        self.slowness -= 1
        if frontier.generation <= 2 or self.slowness <= 0:
            self.acknowledged = {frontier.class_id: frontier.generation}


def test_no_window_opens_while_a_proxy_has_not_heard_that_none_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "PATIENCE_S", (1.5,))
    monkeypatch.setattr(turns, "_BETWEEN_S", (0.0,))
    monkeypatch.setattr(turns, "_LOOK_S", 3.0)
    ticks = itertools.count()
    ended = EndedProxy("ended", slowness=60)
    world = World(clinic(), [ended])
    noted: list[int] = []

    def tell(_job: Job) -> None:
        if ended.slowness > 0:
            noted.append(len(world.frontiers.history))

    world.live(pace=TurnPace(tell=tell, clock=lambda: float(next(ticks))))
    assert_moved(world)
    # the first window has moved, and the job goes on noting: nobody waits for it
    assert len(noted) > 5
    assert set(noted) == {1, 4}
    assert world.frontiers.history[noted[-1] - 1].window.is_empty


def test_patience_rises_while_windows_are_withdrawn_in_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "_BETWEEN_S", (0.0,))
    now_s = 0.0
    longest: list[float] = []

    def wait(_leases: Sequence[Lease], waited_s: float) -> None:
        nonlocal now_s
        now_s += 0.05
        if waited_s == 0.0:
            longest.append(0.0)
        longest[-1] = waited_s

    world = World(clinic(), [HoldingProxy("cursor", slowness=100)])
    world.live(pace=TurnPace(waiting=wait, clock=lambda: now_s))
    assert longest[:5] == pytest.approx([0.15, 0.15, 0.3, 0.6, 1.2], abs=0.051)


def test_a_move_is_marked_as_begun_between_its_first_frontier_and_its_first_window() -> None:
    world = World(clinic())
    world.live()
    assert world.marked_at == [1]
    again = World(clinic())
    with pytest.raises(Death):
        again.live(dies_at=12)
    assert again.frontier.has_begun
    again.live()
    assert again.marked_at == [1]


def interrupted(world: World) -> Job:
    """The job after a signal that comes while it waits for proxies."""

    def interrupt(_leases: Sequence[Lease], _waited_s: float) -> None:
        turn.stop()

    turn = world.turn(TurnPace(waiting=interrupt))
    return turn.run()


def test_a_signal_withdraws_a_window_that_does_not_move() -> None:
    world = World(clinic(), [HoldingProxy("cursor", slowness=10**9)])
    assert interrupted(world).standing is Standing.PAUSED
    frontier = world.frontier
    assert frontier.generation > 1
    assert frontier.window.is_empty


def test_no_window_opens_while_a_lease_that_was_lost_may_matter() -> None:
    world = World(clinic(), [FollowingProxy("quick")])
    world.frontiers.missing = iter([9.0, 0.002, 0.001])
    told: list[tuple[float, int]] = []
    world.live(pace=TurnPace(missing=lambda left_s: told.append((left_s, len(world.frontiers.history)))))
    # the first look, before all documents are read, lets the time count
    assert told == [(0.002, 1), (0.001, 1)]
    assert world.frontiers.missing_asked == 4
    assert world.frontier.is_over


def test_a_signal_ends_the_wait_for_lost_leases_before_a_window_opens() -> None:
    world = World(clinic())
    world.frontiers.missing = itertools.repeat(9.0)
    turn = world.turn(TurnPace(missing=lambda _left_s: turn.stop()))
    assert turn.run().standing is Standing.PAUSED
    assert [each.generation for each in world.frontiers.history] == [1]
    world.frontiers.missing = iter(())
    world.live()
    assert world.frontier.is_over


def test_a_first_move_begins_when_as_many_addresses_have_a_lease_as_there_are() -> None:
    """Workers behind one address are one; the third Sealwire starts later."""
    places = ("a (:27018), process 1", "a (:27018), process 2", "b (:27018), process 1")
    late = FollowingProxy("late", stands=False, place="b (:27019), process 1")
    world = World(clinic(), [*(FollowingProxy(each, place=each) for each in places), late])
    told: list[tuple[tuple[str, ...], int]] = []

    def count(addresses: Sequence[str], proxies: int, _waited_s: float) -> None:
        assert world.frontiers.frontier is None
        told.append((tuple(addresses), proxies))
        late.stands = len(told) == 2

    world.live(pace=TurnPace(proxies=3, counted=count))
    assert told == [(("a (:27018)", "b (:27018)"), 3)] * 2
    assert world.frontiers.counted == [("a (:27018)", "b (:27018)", "b (:27019)")]
    assert world.activated == 1


def test_a_first_move_does_not_begin_while_there_are_more_than_were_counted() -> None:
    world = World(clinic(), [FollowingProxy("a"), FollowingProxy("b")])
    told: list[tuple[str, ...]] = []

    def count(addresses: Sequence[str], _proxies: int, _waited_s: float) -> None:
        told.append(tuple(addresses))
        turn.stop()

    turn = world.turn(TurnPace(proxies=1, counted=count))
    assert turn.run().standing is Standing.PAUSED
    assert told == [("a", "b")]
    assert world.frontiers.frontier is None
    assert world.frontiers.counted == []


@pytest.mark.parametrize("age_s", [1.0, LEASE_S + 1.0])
def test_a_proxy_that_has_ended_is_not_counted_for_one_that_is_missing(age_s: float) -> None:
    """Its last lease looks current for a while, beside that of its successor at another address."""
    ended = FollowingProxy("ended", renewed=datetime.now(UTC) - timedelta(seconds=age_s))
    world = World(clinic(), [ended, FollowingProxy("a"), FollowingProxy("b", stands=False)])
    looks = 0
    read = world.frontiers.leases

    def leases() -> list[Lease]:
        nonlocal looks
        looks += 1
        assert looks < 12 or not ended.stands
        if looks == 10:
            ended.stands, world.frontiers.proxies[2].stands = False, True
        return read()

    world.frontiers.leases = leases  # type: ignore[method-assign]
    world.live(pace=TurnPace(proxies=2))
    assert world.frontiers.counted == [("a", "b")]


def test_a_move_that_was_left_before_its_first_window_counts_again() -> None:
    world = World(clinic(), [FollowingProxy("a")])
    with pytest.raises(Death):
        world.live(dies_at=3, pace=TurnPace(proxies=1))
    frontier = world.frontier
    assert not frontier.has_begun
    world.live(pace=TurnPace(proxies=1))
    assert world.frontiers.counted == [("a",)] * 2
    assert world.activated == 1


class LateProxy(FollowingProxy):
    """Acknowledges the end of an earlier move for a number of looks: it has not loaded the new version."""

    def look(self, frontier: Frontier) -> None:
        self.slowness -= 1
        self.acknowledged = {CLASS_ID: 20 if self.slowness > 0 else frontier.generation}


@pytest.mark.parametrize("late", [LateProxy("late", slowness=9), FollowingProxy("late", slowness=9)])
def test_no_frontier_names_a_version_that_a_proxy_has_not_loaded(late: FollowingProxy) -> None:
    world = World(clinic(), [FollowingProxy("quick"), late])
    waited: list[tuple[str, ...]] = []
    begin = world.frontiers.begin

    def begin_later() -> Frontier:
        assert waited == [("late",)] * 8
        return begin()

    world.frontiers.begin = begin_later  # type: ignore[method-assign]
    world.live(pace=TurnPace(waiting=lambda leases, _waited_s: waited.append(names_of(leases))))
    assert world.frontier.is_over


def test_a_key_cancelled_while_proxies_are_waited_for_ends_the_job(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = itertools.count()
    world = World(clinic(), [FollowingProxy("without it", slowness=10**9)])
    world.frontiers.cancelled_after = 3
    with raising(Unusable, MigrationReason.NOTHING):
        world.live(pace=TurnPace(clock=lambda: float(next(ticks))))
    assert world.frontiers.frontier is None


def test_a_signal_before_every_proxy_has_the_new_version_leaves_no_frontier() -> None:
    world = World(clinic(), [FollowingProxy("never", slowness=10**9)])
    assert interrupted(world).standing is Standing.PAUSED
    assert world.frontiers.frontier is None


@pytest.mark.parametrize("versions", [JOINING, REJOINING], ids=["join", "rejoin"])
def test_what_joins_has_the_very_envelopes_of_the_lender(versions: Versions) -> None:
    lender = ValueCipher(bytes(range(64, 128)), LENDER_ID, 6)
    world = World(clinic(20, versions=versions), (), versions)
    wanted = {each["_id"]: sealed(opened(each["nhs"]), lender) for each in world.values.documents()[PATIENTS]}
    world.live()
    assert {each["_id"]: each["nhs"] for each in world.values.documents()[PATIENTS]} == wanted


@pytest.mark.parametrize("versions", [LEAVING, PARTING], ids=["leave", "part"])
def test_what_leaves_takes_no_value_of_the_lender_along(versions: Versions) -> None:
    """The lender has values in the same documents, with the same envelopes."""
    documents = {
        name: [{**each, "o": old_form(versions)("943")} for each in found]
        for name, found in clinic(20, versions=versions).items()
    }
    world = World(documents, (), versions)
    assert world.live().standing is Standing.DONE
    for each in world.values.documents()[PATIENTS]:
        assert each["o"] == old_form(versions)("943")
        assert each["nhs"] != each["o"]


@moves
def test_a_process_may_die_before_any_step(versions: Versions) -> None:
    whole = World(clinic(4, versions=versions), (), versions)
    whole.live()
    steps = whole.fate.steps
    assert steps > 30
    for dies_at in range(steps):
        world = World(clinic(4, versions=versions), [FollowingProxy("one", slowness=2)], versions)
        before = texts(world.values.documents())
        with pytest.raises(Death):
            world.live(dies_at)
        world.check()
        assert texts(world.values.documents()) == before
        assert world.live().standing is Standing.DONE
        assert_moved(world, before)


@settings(deadline=None, max_examples=25)
@given(
    names=st.lists(st.text(max_size=40), max_size=25),
    cuts=st.lists(st.integers(0, 40), max_size=6),
    versions=st.sampled_from(tuple(WAYS.values())),
    by_bytes=st.booleans(),
    is_sorted=st.booleans(),
)
def test_values_of_any_length_move_however_often_it_dies(
    names: list[str], cuts: list[int], versions: Versions, *, by_bytes: bool, is_sorted: bool
) -> None:
    stored = old_form(versions)
    patients = [
        {"_id": number, "nhs": [stored(each) for each in names[number::3]], "kin": {"nhs": stored(name)}}
        for number, name in enumerate(names)
    ]
    world = World(
        {PATIENTS: patients, VISITS: []},
        [FollowingProxy("one")],
        versions,
        by_bytes=by_bytes,
        is_sorted=is_sorted,
    )
    for dies_at in cuts:
        try:
            world.live(dies_at)
        except Death:
            world.check()
    world.live()
    assert_moved(world)


def test_what_the_application_writes_meanwhile_has_the_valid_form_and_stays() -> None:
    world = World(clinic(30))
    before = texts(world.values.documents())
    patients = world.values.servers[PATIENTS]
    added: list[Document] = []
    send = world.values.update

    def update(namespace: str, updates: Sequence[bytes]) -> Any:
        frontier = world.frontier
        for number, text in enumerate(("a", "1234567890", "x" * 70)):
            key = 1000 + 10 * len(added) + number
            form = frontier.form(position_of(bytes(sealed(text))))
            if form is not Form.MOVING and len(added) < 60:
                document = {"_id": key, "nhs": sealed(text, NEW if form is Form.NEW else VERSIONS.old.cipher)}
                patients.replace(document)
                added.append({"_id": key, "nhs": text})
        return send(namespace, updates)

    world.values.update = update  # type: ignore[method-assign]
    world.live()
    before[PATIENTS] += added
    before[PATIENTS].sort(key=lambda each: each["_id"])
    assert_moved(world, before)


def test_a_change_between_reading_and_moving_is_not_overwritten() -> None:
    world = World({PATIENTS: [{"_id": 1, "nhs": sealed("old")}], VISITS: []})
    patients = world.values.servers[PATIENTS]
    save = world.frontiers.save

    def change_then_save(frontier: Any) -> None:
        if not frontier.window.is_empty:
            patients.replace({"_id": 1, "nhs": sealed("other")})
        save(frontier)

    world.frontiers.save = change_then_save  # type: ignore[method-assign]
    done = world.live()
    assert_moved(world, {PATIENTS: [{"_id": 1, "nhs": "other"}], VISITS: []})
    assert done.races == 1


def test_many_documents_of_one_value_move_in_one_window() -> None:
    visits = [{"_id": number, "who": sealed("the same")} for number in range(100)]
    world = World({PATIENTS: [], VISITS: visits})
    world.live()
    assert_moved(world)


def test_a_document_that_the_server_refuses_stops_the_move_and_keeps_the_window() -> None:
    world = World(clinic())
    world.values.servers[VISITS].codes = {3: 121}
    done = world.live()
    assert done.standing is Standing.REFUSED
    assert [(each.namespace, each.document_id, each.code) for each in done.refusal] == [(VISITS, "3", 121)]
    frontier = world.frontier
    assert not frontier.window.is_empty
    world.check()
    world.values.servers[VISITS].codes = {}
    assert world.live().standing is Standing.DONE
    assert_moved(world)


def test_a_damaged_envelope_is_left_and_reported_and_holds_nothing_up() -> None:
    damaged = Binary(bytes(sealed("a"))[:-1] + b"\0", SUBTYPE)
    world = World({PATIENTS: [{"_id": 1, "nhs": damaged}, {"_id": 2, "nhs": sealed("b")}]})
    done = world.live()
    assert (done.standing, done.left) == (Standing.DONE, {(PATIENTS, "nhs", Left.DAMAGED): 1})
    assert world.activated == 1


def test_a_pause_comes_between_two_windows() -> None:
    world = World(clinic(40))
    world.notes.wish = Wish.PAUSE
    paused = world.live()
    assert paused.standing is Standing.PAUSED
    frontier = world.frontier
    assert frontier.window.is_empty
    assert not frontier.is_over
    world.check()
    world.notes.wish = Wish.RUN
    world.live()
    assert_moved(world)


def test_the_second_of_two_processes_ends_the_first() -> None:
    world = World(clinic(40))
    taken = World(clinic(40))

    def other(_job: Job) -> None:
        taken.notes.body = world.notes.body

    first = taken.turn(TurnPace(tell=other))
    world.notes.save(world.notes.job.noted(world.notes.job.updated))
    world.notes.save(world.notes.job.noted(world.notes.job.updated))
    with pytest.raises(JobTaken):
        first.run()
    check_forms(taken.frontiers.frontier, taken.values.documents())


def test_what_reached_the_paths_past_sealwire_is_moved_at_the_end() -> None:
    world = World(clinic())
    world.live()
    world.values.servers[PATIENTS].replace({"_id": 77, "nhs": [[sealed("restored")]]})
    body = world.notes.job.stopped(Standing.RUNNING, world.notes.job.updated)
    world.notes.save(body)
    before = texts(world.values.documents())
    world.live()
    world.values.indexes.clear()
    assert_moved(world, before)
    frontier = world.frontier
    assert (frontier.class_id, frontier.window.start) == (CLASS_ID, AFTER_ALL)


def test_a_first_window_that_was_cut_too_short_is_made_longer() -> None:
    # in no order, a try is cut in its middle; where that leaves too little no width is known yet
    for seed in range(40):
        names = [f"{number:09d}" for number in range(60)]
        random.Random(seed).shuffle(names)
        visits = [{"_id": number, "who": sealed(name)} for number, name in enumerate(names)]
        values = MemoryValues({VISITS: visits}, Fate(), is_sorted=False)
        chosen = Chooser(values, VERSIONS.order(VERSIONS.old)).choose(values.places(), BEFORE_ALL, 20)
        assert 10 <= sum(map(len, chosen.documents.values())) <= 60


def test_a_window_holds_as_many_of_all_paths_together_as_are_wanted() -> None:
    names = [f"{number:09d}" for number in range(60)]
    visits = [{"_id": number, "who": sealed(name)} for number, name in enumerate(names)]
    patients = [{"_id": number, "nhs": sealed(name)} for number, name in enumerate(names)]
    values = MemoryValues({PATIENTS: patients, VISITS: visits}, Fate())
    chooser, start, counts = Chooser(values, VERSIONS.order(VERSIONS.old)), BEFORE_ALL, []
    while start != AFTER_ALL:
        chosen = chooser.choose(values.places(), start, 20)
        counts.append(sum(map(len, chosen.documents.values())))
        start = chosen.end
    assert sum(counts) == 120
    assert max(counts) <= 20


def test_long_values_that_share_their_beginning_move_together() -> None:
    long = [f"{'é' * 400}{number:04d}" for number in range(30)]
    visits = [{"_id": number, "who": text} for number, text in enumerate([*long, "a", "ö", "é" * 255])]
    world = World({PATIENTS: [], VISITS: visits}, (), ENCRYPTING)
    world.live()
    assert_moved(world)
    assert all(len(each.window.start) < 600 for each in world.frontiers.history)
