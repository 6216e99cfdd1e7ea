"""The order of values in clear: as MongoDB sorts them, and ranges that miss none."""

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

from sealwire.crypto.envelope import SUBTYPE
from sealwire.keys.frontier.frontier import AFTER_ALL, BEFORE_ALL, Position, StoredForm, position_of_plaintext
from sealwire.policies.file.schema import ValueType
from sealwire.sidecars.migration.forms import class_value
from sealwire.sidecars.migration.windows.order import Range
from sealwire.sidecars.migration.windows.plaintext import LONG, PlaintextOrder
from sealwire.wire import kinds
from tests.sidecars.migration.windows.doubles import compared, form_of, sealed

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
