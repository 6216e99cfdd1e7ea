"""The updates of a window, and when the frontier is confirmed before them."""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import bson
import pytest
from bson.binary import Binary
from hypothesis import given
from hypothesis import strategies as st

from sealwire.crypto.envelope import SUBTYPE, binary, parse_context_header
from sealwire.keys.contexts.cache import ContextWanted
from sealwire.keys.contexts.resolver import Resolver
from sealwire.keys.contexts.shredding import announce, shred
from sealwire.keys.contexts.sqlite_store import SqliteContextStore
from sealwire.keys.errors import DamagedFile
from sealwire.keys.frontier.frontier import (
    AFTER_ALL,
    BEFORE_ALL,
    ClassVersion,
    Form,
    Frontier,
    position_of,
    position_of_plaintext,
)
from sealwire.keys.frontier.record import IN_FLIGHT_S
from sealwire.keys.keyring.data_key import DataKey, KeyState
from sealwire.keys.keyring.keyring import Keyring
from sealwire.policies.planning.contexts import context_of
from sealwire.sidecars.migration.contexts import JobContexts
from sealwire.sidecars.migration.forms import Left, WrongType
from sealwire.sidecars.migration.job import Job, Standing
from sealwire.sidecars.migration.moves import Direction
from sealwire.sidecars.migration.server import Written
from sealwire.sidecars.migration.windows.moving import WHOLE, Versions, WindowMover
from sealwire.sidecars.migration.windows.order import (
    FIRST,
    LAST,
    LONG,
    SHORTEST,
    ClassPaths,
    EnvelopeOrder,
    Place,
    class_paths,
    moves_of_paths,
)
from sealwire.sidecars.migration.windows.turn import Stores, Turn, TurnPace
from sealwire.wire import kinds
from sealwire.wire.raw_bson import find_element
from tests.keys.samples import NOW
from tests.sidecars.migration.doubles import Death, Fate, MemoryNotes
from tests.sidecars.migration.windows.doubles import (
    CLASS_ID,
    NEW,
    NHS,
    OLD,
    PATIENTS,
    PLACES,
    VERSIONS,
    VISITS,
    Document,
    FollowingProxy,
    MemoryFrontiers,
    MemoryValues,
    sealed,
)
from tests.sidecars.migration.windows.world import clinic
from tests.support.policies import policy_of


class SlowValues(MemoryValues):
    """Each update takes long, or the process is stopped meanwhile."""

    took_s = 0.0
    now_s = 1000.0

    def update(self, namespace: str, updates: Sequence[bytes]) -> Written:
        events.append("update")
        self.now_s += self.took_s
        return super().update(namespace, updates)


events: list[str] = []


@pytest.mark.parametrize(
    ("took_s", "begins", "expected"),
    [
        (0.1, True, ["update", "update", "confirm"]),
        (IN_FLIGHT_S + 0.1, True, ["update", "confirm", "update", "confirm"]),
        (0.1, False, ["confirm", "update", "update", "confirm"]),
    ],
)
def test_no_update_is_sent_long_after_the_frontier_was_confirmed(
    took_s: float, expected: list[str], *, begins: bool
) -> None:
    """One that was stopped since then may not be the one that moves the class any more."""
    events.clear()
    documents = clinic()
    values = SlowValues(documents, Fate())
    values.took_s = took_s
    mover = WindowMover(values, VERSIONS, WHOLE, clock=lambda: values.now_s)
    mover.prepare(PLACES, {name: [*map(bson.encode, each)] for name, each in documents.items()})
    if begins:
        mover.begin()
    mover.move(lambda: events.append("confirm"))
    assert events == expected


# --- a class with a key for each context is taken in: one frontier for all, and each value its context's key


POLICIES = policy_of("""
version: 1
classes:
  nhs_number: {mode: deterministic, type: string, key: {per: tenant}}
  beside: {mode: deterministic, type: string, key: {per: ./tenant}}
collections:
  clinic.patients: {nhs: nhs_number, kin.nhs: nhs_number}
  clinic.visits: {of.nhs: beside}
""")
ALONE = TurnPace(most=1)


def keyring(name: str) -> Keyring:
    old = DataKey(name, CLASS_ID, 1, KeyState.ACTIVE, NOW, bytes(range(64)), is_plaintext=True)
    return Keyring([old, DataKey(name, CLASS_ID, 2, KeyState.PENDING, NOW, bytes(range(64, 128)))])


class PlacedValues(MemoryValues):
    """Where one class of this policy is."""

    where: Sequence[ClassPaths] = ()

    def places(self) -> list[ClassPaths]:
        return [each for each in self.where if each.namespace in self.servers]


class World:
    """All that outlives a process; `documents` are in clear."""

    direction = Direction.ENCRYPT
    keys = staticmethod(keyring)

    def __init__(
        self,
        store: SqliteContextStore,
        documents: Mapping[str, Sequence[Document]],
        class_name: str = NHS,
        wrong_type: WrongType = WrongType.REFUSE,
        **how: bool,
    ) -> None:
        self.fate = Fate()
        self.store = store
        self.keyring = self.keys(class_name)
        self.class_name = class_name
        self.values = PlacedValues(self.stored(documents), self.fate, **how)
        self.values.where = class_paths(POLICIES, [PATIENTS, VISITS], class_name)
        self.frontiers = MemoryFrontiers(self.fate, [FollowingProxy("a")])
        is_taken_in = self.direction is Direction.ENCRYPT
        versions = (
            ClassVersion(OLD, is_plaintext=is_taken_in),
            ClassVersion(NEW, is_plaintext=not is_taken_in),
        )
        self.versions = Versions.of_class(*versions, POLICIES.classes[class_name])
        moves = moves_of_paths(self.values.where, class_name)
        self.notes = MemoryNotes(Job("job-1", self.direction, wrong_type, moves, (), NOW, NOW), self.fate)

    def stored(self, documents: Mapping[str, Sequence[Document]]) -> Mapping[str, Sequence[Document]]:
        """These documents as they are before the job."""
        return documents

    def live(self, dies_at: int | None = None, pace: TurnPace = ALONE) -> Job:
        self.fate = Fate(dies_at)
        self.values.fate = self.frontiers.fate = self.notes.fate = self.fate
        for server in self.values.servers.values():
            server.fate = self.fate
        contexts = JobContexts(self.store, self.keyring, POLICIES)
        stores = Stores(self.values, self.frontiers, self.notes, contexts)
        return Turn(self.notes.job, self.versions, stores, lambda: None, pace).run()

    def key_id(self, tenant: object) -> bytes:
        raw = bson.encode({"t": tenant})
        found = find_element(raw, 0, b"t")
        assert found is not None
        context = context_of(raw, found)
        assert context is not None
        row = Resolver(self.store).row_of(self.keyring, self.class_name, context)
        assert row is not None
        return row.key_id

    def check(self) -> None:
        """Each value has the form that the frontier says, an envelope always its own tenant's key."""
        frontier = self.frontiers.frontier
        contexts = JobContexts(self.store, self.keyring, POLICIES)
        for tenant, value in self.owned():
            is_new = isinstance(value, Binary)
            text = bytes(contexts.open(bytes(value))[1]) if is_new else bson.encode({"v": value})[7:-1]
            form = _form(frontier, position_of_plaintext(kinds.STRING, text))
            assert form is Form.MOVING or is_new == (form is Form.NEW)
            if is_new:
                assert parse_context_header(bytes(value))[1] == self.key_id(tenant)

    def owned(self) -> Iterator[tuple[object, Any]]:
        """Each value with the tenant that its document, or its element, says."""
        for each in self.values.documents().get(PATIENTS, ()):
            for value in (each.get("nhs"), *(kin.get("nhs") for kin in each.get("kin", ()))):
                if value is not None:
                    yield each.get("tenant"), value
        for each in self.values.documents().get(VISITS, ()):
            yield from ((one["tenant"], one["nhs"]) for one in each["of"])


def _form(frontier: Frontier | None, position: bytes) -> Form:
    return Form.OLD if frontier is None else frontier.form(position)


def people() -> list[Document]:
    """Three tenants that all have the same numbers."""
    return [
        {"_id": number, "tenant": number % 3, "nhs": f"n{number // 3}", "kin": [{"nhs": "n1"}, {"nhs": "k"}]}
        for number in range(9)
    ]


def visits() -> list[Document]:
    return [{"_id": 1, "of": [{"tenant": tenant, "nhs": nhs} for nhs in "ab" for tenant in (1, 2, 3)]}]


Make = Callable[[SqliteContextStore], World]
WORLDS: dict[str, Make] = {
    "document": lambda store: World(store, {PATIENTS: people()}),
    "element": lambda store: World(store, {VISITS: visits()}, "beside"),
}
worlds = pytest.mark.parametrize("make", WORLDS.values(), ids=WORLDS)


@worlds
def test_each_value_comes_under_the_key_of_its_own_context(store: SqliteContextStore, make: Make) -> None:
    world = make(store)
    before = list(world.owned())
    done = world.live()
    assert (done.standing, done.left) == (Standing.DONE, {})
    world.check()
    assert all(isinstance(value, Binary) and value.subtype == SUBTYPE for _, value in world.owned())
    assert [tenant for tenant, _ in world.owned()] == [tenant for tenant, _ in before]
    by_value: dict[tuple[object, bytes], int] = {}
    for tenant, value in world.owned():
        by_value[tenant, bytes(value)] = by_value.get((tenant, bytes(value)), 0) + 1
    clear: dict[tuple[object, str], int] = {}
    for each in before:
        clear[each] = clear.get(each, 0) + 1
    # equal within a context, and never beyond it
    assert sorted(by_value.values()) == sorted(clear.values())
    assert len({value for _, value in by_value}) == len(by_value)
    assert world.store.count(CLASS_ID).wrapped_by.keys() == {2}


def die_at_each_step(make: Callable[[], World], afterwards: Callable[[World], None] = World.check) -> None:
    """A job that dies goes on, and ends well."""
    for steps in itertools.count():
        world = make()
        try:
            done = world.live(dies_at=steps)
        except Death:
            world.check()
            done = world.live()
            assert done.standing is Standing.DONE
            afterwards(world)
            continue
        break
    assert done.standing is Standing.DONE
    assert steps > 10


@worlds
def test_a_job_that_dies_at_any_step_goes_on(store: SqliteContextStore, make: Make) -> None:
    die_at_each_step(lambda: make(store))


def changed_at_first_window(world: World, change: Callable[[], None]) -> None:
    """Once the window's updates are prepared, and before it moves."""
    save = world.frontiers.save
    waiting = iter([change])

    def saved(frontier: Frontier) -> None:
        save(frontier)
        if not frontier.window.is_empty and not frontier.is_moving:
            for each in waiting:
                each()
                return

    world.frontiers.save = saved  # type: ignore[method-assign]  # others act in between


def test_a_document_that_is_another_tenant_s_by_now_gets_that_one_s_key(store: SqliteContextStore) -> None:
    """It was replaced before any proxy knew of the window, by one with an equal value, still in clear."""
    world = World(store, {PATIENTS: [{"_id": 1, "tenant": 1, "nhs": "a"}]})
    server = world.values.servers[PATIENTS]
    changed_at_first_window(world, lambda: server.replace({"_id": 1, "tenant": 2, "nhs": "a"}))
    assert world.live().standing is Standing.DONE
    ((tenant, value),) = world.owned()
    assert tenant == 2
    assert parse_context_header(bytes(value))[1] == world.key_id(2)


def test_elements_that_change_places_keep_to_their_tenants(store: SqliteContextStore) -> None:
    elements = [{"tenant": tenant, "nhs": "a"} for tenant in (1, 2, 3)]
    world = World(store, {VISITS: [{"_id": 1, "of": elements}]}, "beside")
    server = world.values.servers[VISITS]
    changed_at_first_window(world, lambda: server.replace({"_id": 1, "of": elements[::-1]}))
    assert world.live().standing is Standing.DONE
    world.check()
    assert [tenant for tenant, _ in world.owned()] == [3, 2, 1]


@pytest.mark.parametrize("tenant", [None, 1.5, [1]], ids=repr)
def test_what_has_no_context_is_told_before_anything_moves(store: SqliteContextStore, tenant: object) -> None:
    world = World(store, {PATIENTS: [*people(), {"_id": 99, "tenant": tenant, "nhs": "n1"}]})
    done = world.live()
    assert done.standing is Standing.REFUSED
    assert [(each.path, each.document_id, each.why) for each in done.refusal] == [
        ("nhs", "99", Left.NO_CONTEXT)
    ]
    assert world.frontiers.document is None
    assert world.store.count(CLASS_ID).live == 0


def test_what_says_no_context_is_left_where_that_is_wished(store: SqliteContextStore) -> None:
    documents = {PATIENTS: [*people(), {"_id": 99, "nhs": "n1"}]}
    world = World(store, documents, wrong_type=WrongType.SKIP)
    done = world.live()
    assert (done.standing, done.left) == (Standing.DONE, {(PATIENTS, "nhs", Left.NO_CONTEXT): 1})
    assert [value for tenant, value in world.owned() if tenant is None] == ["n1"]
    assert sum(isinstance(value, Binary) for _, value in world.owned()) == 27


def test_a_context_whose_key_was_destroyed_holds_nothing_up(store: SqliteContextStore) -> None:
    """Its values stay in clear, and are told: no window may wait for what nobody can encrypt."""
    world = World(store, {PATIENTS: people()})
    context = bytes((kinds.LONG,)) + (1).to_bytes(8, "little")
    Resolver(world.store).find(world.keyring, [ContextWanted(NHS, context, True)])
    row = Resolver(world.store).row_of(world.keyring, NHS, context)
    assert row is not None
    shred(world.store, announce(world.store, row, NOW, NOW - NOW), NOW)
    done = world.live()
    assert done.standing is Standing.DONE
    assert done.left == {
        (PATIENTS, "nhs", Left.DESTROYED_KEY): 3,
        (PATIENTS, "kin.nhs", Left.DESTROYED_KEY): 6,
    }
    assert {isinstance(value, Binary) for tenant, value in world.owned() if tenant == 1} == {False}
    assert {isinstance(value, Binary) for tenant, value in world.owned() if tenant != 1} == {True}


def test_values_of_contexts_without_a_frontier_are_no_beginning(store: SqliteContextStore) -> None:
    world = World(store, {PATIENTS: people()})
    with pytest.raises(Death):
        world.live(dies_at=14)
    assert any(isinstance(value, Binary) for _, value in world.owned())
    world.frontiers.document = None
    with pytest.raises(DamagedFile):
        world.live()


def test_a_document_that_its_whole_array_would_make_too_large_is_told_before_anything_moves(
    store: SqliteContextStore,
) -> None:
    elements = [{"tenant": tenant, "nhs": "a", "text": "x" * (4 << 20)} for tenant in (1, 2)]
    elements += [{"tenant": 3, "nhs": "y" * (3 << 20)}]
    world = World(store, {VISITS: [{"_id": 1, "of": elements}]}, "beside")
    done = world.live()
    assert done.standing is Standing.REFUSED
    assert {each.why for each in done.refusal} == {Left.TOO_LARGE}
    assert world.frontiers.document is None


# The order of old forms, and the ranges between two places of it.


ORDER = EnvelopeOrder.of(OLD)

lengths = st.integers(SHORTEST, SHORTEST + 6)
places = st.one_of(
    st.sampled_from((FIRST, LAST)),
    st.builds(Place, lengths, st.one_of(st.just(0), st.integers(0, (1 << 72) - 1))),
)
envelopes = st.builds(
    lambda length, fill: ORDER.prefix + (fill * 40)[: length - 12],
    lengths,
    st.binary(min_size=1, max_size=20),
)


def place_of(envelope: bytes) -> Place:
    position = ORDER.place(kinds.BIN_DATA, binary(envelope))
    assert position is not None
    return ORDER.place_of(position)


def ranges(start: Place, end: Place) -> list[tuple[bytes, bytes | None]]:
    """First and last envelope of each range."""
    found = list(ORDER.ranges(ORDER.position(start), ORDER.position(end)))
    for each in found:
        assert each.types == (kinds.BIN_DATA,)
        assert (each.last is None) == (each.behind is None)
        if each.last is not None and each.behind is not None:
            assert int.from_bytes(each.last.data[5:], "big") + 1 == int.from_bytes(
                each.behind.data[5:], "big"
            )
    return [(each.low.data[5:], each.last and each.last.data[5:]) for each in found if each.low is not None]


def test_an_old_form_begins_with_the_prefix_of_its_order() -> None:
    form = bytes(sealed("a value"))
    assert form.startswith(ORDER.prefix)
    assert ORDER.marker == b"\x80" + ORDER.prefix
    place = place_of(form)
    assert place == Place(len(form), int.from_bytes(form[12:21], "big"))
    assert position_of(form).startswith(ORDER.position(place))
    assert ORDER.place(kinds.STRING, binary(form)) is None
    assert ORDER.place(kinds.BIN_DATA, binary(bytes(sealed("a value", NEW)))) is None


@given(place=places)
def test_a_place_is_found_again_by_its_position(place: Place) -> None:
    assert ORDER.place_of(ORDER.position(place)) == place


def test_the_first_and_the_last_are_those_of_the_frontier() -> None:
    assert (ORDER.position(FIRST), ORDER.position(LAST)) == (BEFORE_ALL, AFTER_ALL)


@given(place=places, envelope=envelopes)
def test_places_stand_as_positions_do(place: Place, envelope: bytes) -> None:
    assert (position_of(envelope) < ORDER.position(place)) == (place_of(envelope) < place)


@given(start=places, end=places, envelope=envelopes)
def test_what_lies_between_is_in_one_range_by_both_orders(start: Place, end: Place, envelope: bytes) -> None:
    found = ranges(start, end)
    if not start <= place_of(envelope) < end:
        return
    by_length = [
        each
        for each in found
        if (len(each[0]), each[0]) <= (len(envelope), envelope)
        and (each[1] is None or (len(envelope), envelope) <= (len(each[1]), each[1]))
    ]
    by_bytes = [each for each in found if each[0] <= envelope and (each[1] is None or envelope <= each[1])]
    assert len(by_length) == 1
    assert by_length[0] in by_bytes


@given(start=places, end=places)
def test_ranges_follow_on_each_other(start: Place, end: Place) -> None:
    for one, other in pairwise(ranges(start, end)):
        assert one[1] is not None
        assert (len(one[1]), one[1]) < (len(other[0]), other[0])


@pytest.mark.parametrize("end", [LAST, Place(LONG + 2)])
def test_beyond_a_long_form_there_is_no_bound(end: Place) -> None:
    assert ranges(Place(60), end) == [(ORDER.prefix.ljust(60, b"\0"), None)]


def test_an_empty_window_has_no_range() -> None:
    assert ranges(Place(40, 5), Place(40)) == []
