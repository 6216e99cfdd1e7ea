"""The order of values in clear: as MongoDB sorts them, and ranges that miss none."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import bson
import pytest
from bson.binary import Binary
from bson.decimal128 import Decimal128
from bson.int64 import Int64
from bson.objectid import ObjectId
from hypothesis import example, given
from hypothesis import strategies as st

from sealwire.crypto.envelope import CONTEXT_HEADER_BYTES, HEADER_BYTES, SUBTYPE
from sealwire.keys.contexts.shredding import announce, shred
from sealwire.keys.contexts.sqlite_store import SqliteContextStore
from sealwire.keys.frontier.frontier import (
    AFTER_ALL,
    BEFORE_ALL,
    Form,
    Position,
    StoredForm,
    position_of,
    position_of_plaintext,
)
from sealwire.keys.keyring.data_key import DataKey, KeyState
from sealwire.keys.keyring.keyring import Keyring
from sealwire.policies.file.schema import ValueType
from sealwire.sidecars.migration.contexts import JobContexts, ValueSpot
from sealwire.sidecars.migration.forms import Left, WrongType, class_value
from sealwire.sidecars.migration.job import Standing
from sealwire.sidecars.migration.moves import Direction
from sealwire.sidecars.migration.windows.order import Range
from sealwire.sidecars.migration.windows.plaintext import LONG, PlaintextOrder
from sealwire.sidecars.migration.windows.turn import TurnPace
from sealwire.wire import kinds
from tests.keys.samples import NOW
from tests.sidecars.migration.windows.doubles import (
    CLASS_ID,
    PATIENTS,
    VISITS,
    Document,
    compared,
    form_of,
    sealed,
)
from tests.sidecars.migration.windows.test_moving import POLICIES, die_at_each_step, people, visits
from tests.sidecars.migration.windows.test_moving import World as TakenIn

_DATES = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC)).map(
    lambda date: date.replace(microsecond=date.microsecond // 1000 * 1000)
)
_LONG_TEXTS = st.builds(
    lambda character, count, rest: character * count + rest,
    st.sampled_from(["a", "é", "€", "\U0001f600", "\U0010ffff", "\0"]),
    st.integers(100, 600),
    st.text(max_size=3),
)
VALUES: dict[ValueType, st.SearchStrategy[Any]] = {
    ValueType.STRING: st.text(max_size=6) | _LONG_TEXTS,
    ValueType.INT: st.integers(-(2**31), 2**31 - 1) | st.integers(-3, 3).map(float),
    ValueType.LONG: st.integers(-(2**63), 2**63 - 1).map(Int64) | st.integers(-3, 3),
    ValueType.DOUBLE: st.floats(allow_nan=False).filter(lambda number: str(number) != "-0.0")
    | st.integers(-3, 3).map(lambda number: Decimal128(str(number))),
    ValueType.DATE: _DATES,
    ValueType.OBJECT_ID: st.binary(min_size=12, max_size=12).map(ObjectId),
    ValueType.BIN_DATA: st.builds(
        Binary,
        st.binary(max_size=4) | st.integers(510, 520).map(lambda count: b"\xff" * count),
        st.sampled_from((0, 4, 5, 255)),
    ),
    ValueType.BOOL: st.booleans(),
}
types = pytest.mark.parametrize("value_type", list(ValueType), ids=[each.value for each in ValueType])


def stored(value: Any) -> StoredForm:
    form = form_of(value)
    assert form is not None
    return form


def place(order: PlaintextOrder, value: Any) -> Position:
    found = order.place(*stored(value))
    assert found is not None
    return found


def exact(order: PlaintextOrder, value: Any) -> Position:
    """As a proxy computes it."""
    form = stored(value)
    found = class_value(form.kind, form.data, order.value_type)
    assert found is not None
    return position_of_plaintext(order.value_type.kind, found)


def boundary(data: st.DataObject, order: PlaintextOrder) -> Position:
    """Where a window may begin or end."""
    chosen = data.draw(st.sampled_from(("first", "last", "at", "after")))
    if chosen in ("first", "last"):
        return BEFORE_ALL if chosen == "first" else AFTER_ALL
    found = place(order, data.draw(VALUES[order.value_type]))
    return found if chosen == "at" else order.after(found)


@types
@given(data=st.data())
def test_ranges_hold_every_value_that_lies_between(value_type: ValueType, data: st.DataObject) -> None:
    order = PlaintextOrder(value_type)
    start, end = sorted([boundary(data, order), boundary(data, order)])
    value = data.draw(VALUES[value_type])
    if not start <= exact(order, value) < end:
        return
    found = list(order.ranges(start, end))
    for by_bytes in (False, True):
        holding = [each for each in found if holds(each, stored(value), by_bytes=by_bytes)]
        assert holding
        assert by_bytes or len(holding) == 1


def holds(within: Range, form: StoredForm, *, by_bytes: bool) -> bool:
    if form.kind not in within.types:
        return False
    key = compared(form, by_bytes)
    low, last, behind = (None if each is None else compared(each, by_bytes) for each in within[1:])
    is_below = key <= last if last is not None else behind is None or key < behind
    return (low is None or key >= low) and is_below


@types
@given(data=st.data())
def test_a_place_is_a_beginning_of_the_position_and_stands_before_it(
    value_type: ValueType, data: st.DataObject
) -> None:
    order = PlaintextOrder(value_type)
    value = data.draw(VALUES[value_type])
    assert exact(order, value).startswith(place(order, value))
    assert BEFORE_ALL < place(order, value) < AFTER_ALL


@types
@given(data=st.data())
def test_behind_a_place_nothing_shares_it(value_type: ValueType, data: st.DataObject) -> None:
    order = PlaintextOrder(value_type)
    one, other = data.draw(VALUES[value_type]), data.draw(VALUES[value_type])
    assert exact(order, one) < order.after(place(order, one))
    if exact(order, one) < exact(order, other) and place(order, one) != place(order, other):
        assert order.after(place(order, one)) <= exact(order, other) or place(order, other).startswith(
            place(order, one)
        )


@given(text=st.text(max_size=300) | _LONG_TEXTS)
@example(text="\U0010ffff" * 200)
@example(text="\ud7ff" * 170 + "rest")
def test_places_of_strings_are_short_and_end_with_a_whole_character(text: str) -> None:
    order = PlaintextOrder(ValueType.STRING)
    found = place(order, text)
    behind = order.after(found)
    assert len(found) <= 513
    assert len(behind) <= 514
    assert found[1:].decode() == text[: len(found[1:].decode())]
    assert behind == AFTER_ALL or behind[1:].decode()


@pytest.mark.parametrize(
    ("value_type", "value"),
    [
        (ValueType.BOOL, True),
        (ValueType.DOUBLE, float("inf")),
        (ValueType.LONG, Int64(2**63 - 1)),
        (ValueType.OBJECT_ID, ObjectId(b"\xff" * 12)),
        (ValueType.STRING, "\U0010ffff" * 200),
    ],
)
def test_behind_the_last_value_of_a_type_is_the_end(value_type: ValueType, value: Any) -> None:
    order = PlaintextOrder(value_type)
    assert order.after(place(order, value)) == AFTER_ALL


@pytest.mark.parametrize(
    ("value_type", "value"),
    [
        (ValueType.DOUBLE, -0.0),
        (ValueType.DOUBLE, Decimal128("-0")),
        (ValueType.DOUBLE, float("nan")),
        (ValueType.INT, 5.5),
        (ValueType.INT, Int64(2**40)),
        (ValueType.INT, "5"),
        (ValueType.BOOL, 1),
        (ValueType.BIN_DATA, Binary(b"csfle", 6)),
        (ValueType.BIN_DATA, sealed("an envelope")),
        (ValueType.BIN_DATA, Binary(b"SW and no envelope", SUBTYPE)),
        (ValueType.STRING, sealed("an envelope")),
    ],
)
def test_what_is_no_value_of_the_class_has_no_place(value_type: ValueType, value: Any) -> None:
    assert PlaintextOrder(value_type).place(*stored(value)) is None


@pytest.mark.parametrize("value", [5, Int64(5), 5.0, Decimal128("5.0")])
def test_equal_numbers_stand_at_one_place(value: Any) -> None:
    order = PlaintextOrder(ValueType.INT)
    assert place(order, value) == place(order, 5)
    (within,) = order.ranges(place(order, 5), order.after(place(order, 5)))
    assert holds(within, stored(value), by_bytes=False)


def test_a_symbol_is_a_string_to_the_server() -> None:
    order = PlaintextOrder(ValueType.STRING)
    assert order.place(kinds.SYMBOL, stored("ward").data) == place(order, "ward")


def test_long_binary_data_has_no_bound() -> None:
    order = PlaintextOrder(ValueType.BIN_DATA)
    start = place(order, Binary(bytes(LONG + 5), 0))
    (within,) = order.ranges(start, AFTER_ALL)
    assert within.low is not None
    assert (len(within.low.data), within.last, within.behind) == (LONG + 6, None, None)
    short = place(order, Binary(b"\1", 3))
    for one, other in ((start, order.after(start)), (short, order.after(start))):
        found = list(order.ranges(one, other))
        assert found[-1].last is None
        assert all(len(form.data) <= LONG + 6 for each in found for form in each[1:] if form is not None)


def test_the_whole_type_is_asked_for_without_a_bound() -> None:
    (within,) = PlaintextOrder(ValueType.DATE).ranges(BEFORE_ALL, AFTER_ALL)
    assert bson.decode(within.condition) == {"$type": [9]}
    (within,) = PlaintextOrder(ValueType.BOOL).ranges(BEFORE_ALL, b"\1\1")
    assert bson.decode(within.condition) == {"$lt": True}


def test_an_empty_window_has_no_range() -> None:
    order = PlaintextOrder(ValueType.STRING)
    assert list(order.ranges(place(order, "b"), place(order, "a"))) == []


# A class with a key for each context is put back in clear, in the order of its envelopes.


def keyring(name: str) -> Keyring:
    old = DataKey(name, CLASS_ID, 1, KeyState.ACTIVE, NOW, bytes(range(64)))
    new = DataKey(name, CLASS_ID, 2, KeyState.PENDING, NOW, bytes(range(64, 128)), is_plaintext=True)
    return Keyring([old, new])


class World(TakenIn):
    """All that outlives a process; `documents` are in clear, and encrypted to begin with."""

    direction = Direction.DECRYPT
    keys = staticmethod(keyring)

    def stored(self, documents: Mapping[str, Sequence[Document]]) -> Mapping[str, Sequence[Document]]:
        self.contexts = JobContexts(self.store, self.keyring, POLICIES)
        self.plain = documents
        return {
            name: [self._encrypted(name, each, each) for each in found] for name, found in documents.items()
        }

    def _encrypted(self, namespace: str, value: Document, whole: Document) -> Document:
        """As Sealwire stores it. `value` is `whole`, or a document in it."""
        found: Document = {}
        for name, each in value.items():
            if isinstance(each, list):
                found[name] = [self._encrypted(namespace, one, whole) for one in each]
            elif name == "nhs" and isinstance(each, str):
                found[name] = self.envelope(namespace, each, value if "tenant" in value else whole)
            else:
                found[name] = each
        return found

    def envelope(self, namespace: str, text: str, document: Document) -> Binary:
        """The envelope of a value whose context a document says."""
        spot = ValueSpot(self.class_name, "of.nhs", bson.encode(document), 0)
        cipher = self.contexts.cipher_for(namespace, spot)
        assert cipher is not None
        inside = bson.encode({"v": text})[7:-1]
        return Binary(cipher.encrypt_deterministically(kinds.STRING, inside), SUBTYPE)

    def check(self) -> None:
        """Each value has the form that the frontier says of its envelope."""
        frontier = self.frontiers.frontier
        for tenant, value in self.owned():
            is_new = isinstance(value, str)
            envelope = value if not is_new else self.envelope(PATIENTS, value, {"tenant": tenant})
            form = Form.OLD if frontier is None else frontier.form(position_of(bytes(envelope)))
            assert form is Form.MOVING or is_new == (form is Form.NEW)

    def destroy(self, tenant: int) -> None:
        key_id = self.key_id(tenant)
        (row,) = self.store.find_ids([key_id])
        shred(self.store, announce(self.store, row, NOW, NOW - NOW), NOW)


Make = Callable[[SqliteContextStore], World]
WORLDS: dict[str, Make] = {
    "document": lambda store: World(store, {PATIENTS: people()}),
    "element": lambda store: World(store, {VISITS: visits()}, "beside"),
    "by bytes": lambda store: World(store, {PATIENTS: people()}, by_bytes=True),
    "in no order": lambda store: World(store, {PATIENTS: people()}, is_sorted=False),
}
worlds = pytest.mark.parametrize("make", WORLDS.values(), ids=WORLDS)


@worlds
def test_each_value_comes_back_as_it_was(store: SqliteContextStore, make: Make) -> None:
    world = make(store)
    before = world.store.count(CLASS_ID)
    done = world.live()
    assert (done.standing, done.left) == (Standing.DONE, {})
    assert world.values.documents() == world.plain
    world.check()
    assert world.store.count(CLASS_ID) == before


@worlds
def test_a_job_that_dies_at_any_step_goes_on(store: SqliteContextStore, make: Make) -> None:
    def as_before(world: TakenIn) -> None:
        assert isinstance(world, World)
        world.check()
        assert world.values.documents() == world.plain

    die_at_each_step(lambda: make(store), as_before)


@pytest.mark.usefixtures("small_windows")
def test_many_values_of_few_contexts_take_many_windows(store: SqliteContextStore) -> None:
    """Those of a context lie together, far from those of the next one."""
    documents = [
        {"_id": number, "tenant": number % 2, "nhs": "n" * (number % 3) + f"{number:03}"}
        for number in range(200)
    ]
    world = World(store, {PATIENTS: documents})
    looks = Counter[str]()
    between = world.values.between

    def counted(namespace: str, path: str, within: Range) -> Iterator[bytes]:
        looks[path] += 1
        return between(namespace, path, within)

    world.values.between = counted  # type: ignore[method-assign]  # it only counts
    assert world.live(pace=TurnPace(most=8)).standing is Standing.DONE
    assert world.values.documents()[PATIENTS] == documents
    windows = sum(each.is_moving for each in world.frontiers.history)
    assert windows >= 200 / 8
    # a search, and two passes, of a few ranges each
    assert looks["nhs"] < windows * 12


def test_no_key_is_made_and_none_searched_for_one_by_one(store: SqliteContextStore) -> None:
    world = World(store, {PATIENTS: people()})
    searches: list[int] = []
    find_ids = store.find_ids

    def counted(key_ids: Sequence[bytes]) -> object:
        searches.append(len(key_ids))
        return find_ids(key_ids)

    store.find_ids = counted  # type: ignore[assignment,method-assign]  # it only counts
    assert world.live().standing is Standing.DONE
    assert searches == [3]


def test_values_whose_key_was_destroyed_stay_and_are_told(store: SqliteContextStore) -> None:
    """No window waits for what nobody can open."""
    world = World(store, {PATIENTS: people()})
    world.destroy(1)
    done = world.live()
    assert done.standing is Standing.DONE
    assert done.left == {
        (PATIENTS, "nhs", Left.DESTROYED_KEY): 3,
        (PATIENTS, "kin.nhs", Left.DESTROYED_KEY): 6,
    }
    assert {isinstance(value, Binary) for tenant, value in world.owned() if tenant == 1} == {True}
    assert {isinstance(value, Binary) for tenant, value in world.owned() if tenant != 1} == {False}


def changed(envelope: Binary, start: int, end: int) -> Binary:
    return Binary(envelope[:start] + bytes(range(end - start)) + envelope[end:], SUBTYPE)


@pytest.mark.parametrize(
    ("start", "end", "why"),
    [
        (HEADER_BYTES, CONTEXT_HEADER_BYTES, Left.UNKNOWN_KEY),
        (CONTEXT_HEADER_BYTES, CONTEXT_HEADER_BYTES + 4, Left.DAMAGED),
    ],
)
def test_what_does_not_open_is_told_before_anything_moves_or_stays(
    store: SqliteContextStore, start: int, end: int, why: Left
) -> None:
    world = World(store, {PATIENTS: people()})
    forged = changed(world.envelope(PATIENTS, "a", {"tenant": 1}), start, end)
    world.values.servers[PATIENTS].replace({"_id": 1, "tenant": 1, "nhs": forged})
    done = world.live()
    if why is Left.UNKNOWN_KEY:
        assert [(each.path, each.document_id, each.why) for each in done.refusal] == [("nhs", "1", why)]
        assert world.frontiers.document is None
    else:
        assert (done.standing, done.left) == (Standing.DONE, {(PATIENTS, "nhs", why): 1})


def test_an_envelope_of_the_class_s_own_key_is_told_before_anything_moves(store: SqliteContextStore) -> None:
    """No filter has found it since contexts have keys, and where it stands nobody knows."""
    world = World(store, {PATIENTS: people()})
    world.values.servers[PATIENTS].replace({"_id": 1, "tenant": 1, "nhs": sealed("a")})
    done = world.live()
    assert [(each.path, each.why) for each in done.refusal] == [("nhs", Left.OTHER_CLASS)]
    assert world.frontiers.document is None


@pytest.mark.parametrize("wrong_type", [WrongType.REFUSE, WrongType.SKIP])
def test_what_lies_in_clear_already_is_told(store: SqliteContextStore, wrong_type: WrongType) -> None:
    world = World(store, {PATIENTS: people()}, wrong_type=wrong_type)
    world.values.servers[PATIENTS].replace({"_id": 1, "tenant": 1, "nhs": "clear"})
    done = world.live()
    told = done.refusal if wrong_type is WrongType.REFUSE else done.reported
    assert [(each.path, each.why) for each in told] == [("nhs", Left.IN_CLEAR)]
    assert (world.frontiers.document is None) is (wrong_type is WrongType.REFUSE)


def test_the_document_need_not_say_the_context(store: SqliteContextStore) -> None:
    """An envelope says itself whose it is."""
    world = World(store, {PATIENTS: people()})
    envelope = world.envelope(PATIENTS, "a", {"tenant": 1})
    world.values.servers[PATIENTS].replace({"_id": 1, "nhs": envelope})
    assert world.live().standing is Standing.DONE
    assert {each["_id"]: each["nhs"] for each in world.values.documents()[PATIENTS]}[1] == "a"
