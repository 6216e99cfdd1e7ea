"""The stages that look the rank of a value up: every form of a value, null, and nothing else."""

from typing import Any

import pytest
from bson import Binary, decode

from sealwire.keys.frontier.frontier import StoredForm
from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.file.schema import FieldClass, Mode, PathNode, ValueType
from sealwire.policies.planning.plan import ListPlace, RangeEdit
from sealwire.policies.questions.conditions import HeldValue, Ranks
from sealwire.proxy.session.ranking import ranked
from sealwire.wire import kinds
from sealwire.wire.raw_bson import Element
from tests.policies.questions.test_conditions import value
from tests.support.reasons import raising

PLACE = Element(kinds.NULL, b"rank", 40, 40, 40)
NULL_RANK = 77


def put(ranks: Ranks, *held: tuple[Any, Any], place: ListPlace) -> bytes:
    """Of values with the form in which each is stored. The valid form of a value is the value itself."""
    field_class = FieldClass("surname", Mode.DETERMINISTIC, None)
    listed = tuple(HeldValue(value(plain), value(stored)) for plain, stored in held)
    node = PathNode("name.family", leaf=field_class)
    planned = RangeEdit([PLACE], node, field_class, listed, (0, 5), place, ranks)
    edit = ranked(planned, ranks, StoredForm)
    assert (edit.start, edit.end, edit.parents) == (40, 40, (0, 5))
    return edit.data


def stages(ranks: Ranks, *held: tuple[Any, Any], place: ListPlace = ListPlace.RANKS) -> list[dict[str, Any]]:
    """The items of the pipeline."""
    data = put(ranks, *held, place=place)
    array = b"\4all\0" + (len(data) + 5).to_bytes(4, "little") + data + b"\0"
    found: list[dict[str, Any]] = decode((len(array) + 5).to_bytes(4, "little") + array + b"\0")["all"]
    return found


def expected(chosen: list[Any], forms: list[str], numbers: list[int]) -> list[dict[str, Any]]:
    above = [{"$isArray": ["$name"]}, {"$isArray": ["$name.family"]}]
    found = {"$indexOfArray": [{"$literal": forms}, "$name.family"]}
    return [
        {"$match": {"name.family": {"$in": chosen}}},
        {"$match": {"$expr": {"$not": [{"$or": above}]}}},
        {"$addFields": {"rank": {"$arrayElemAt": [{"$literal": numbers}, found]}}},
    ]


def test_every_form_of_a_value_has_its_rank() -> None:
    found = stages(Ranks((0, 1, 1), None, True), ("b", "b"), ("a", "old"), ("c", "c"))
    assert found == expected(["a", "b", "c", "old"], ["b", "a", "old", "c"], [0, 1, 1, 1, 0])


def test_an_array_is_looked_up_as_a_whole_in_each_of_its_forms() -> None:
    found = stages(Ranks((0, 1), 2, False), (["b", None, "a"], ["b", None, "old"]), ("c", "c"))
    forms = [["b", None, "a"], ["b", None, "old"], "c"]
    place = {"$indexOfArray": [{"$literal": forms}, "$name.family"]}
    ranked_by = {"$arrayElemAt": [{"$literal": [[0], [0], 1, -1]}, place]}
    is_null = {"$eq": [{"$ifNull": ["$name.family", None]}, None]}
    assert found == [
        {"$match": {"name.family": {"$in": ["c", forms[0], forms[1], None]}}},
        {"$match": {"$expr": {"$not": [{"$or": [{"$isArray": ["$name"]}]}]}}},
        {"$addFields": {"rank": {"$cond": [is_null, 2, ranked_by]}}},
        {"$match": {"rank": {"$gte": 0}}},
    ]


def test_an_array_may_be_in_a_few_forms_only() -> None:
    held = [f"n{number}" for number in range(4)], [f"old{number}" for number in range(4)]
    with raising(Refusal, Reason.QUESTION):
        stages(Ranks((0,), None, False), held)
    assert len(stages(Ranks((0,), None, False), (held[0], held[0]))) == 4


def test_null_has_the_last_rank_in_the_list() -> None:
    found = stages(Ranks((0,), 1, False), ("b", "b"))
    assert found == expected(["b", None], ["b"], [0, 1])
    assert stages(Ranks((), 0, True)) == expected([None], [], [0])


def test_nothing_is_found_without_values() -> None:
    assert stages(Ranks((), None, False)) == expected([], [], [0])


def test_a_list_that_leads_in_another_stage_is_not_there_twice() -> None:
    held = [(f"n{number:04}", f"n{number:04}") for number in range(1001)]
    for amount, is_listed in ((3, True), (1000, True), (1001, False)):
        ranks = Ranks(tuple(range(amount)), None, True)
        both = stages(ranks, *held[:amount])
        following = stages(ranks, *held[:amount], place=ListPlace.FOLLOWING)
        leading = put(ranks, *held[:amount], place=ListPlace.LEADING)
        led = decode((len(leading) + 5).to_bytes(4, "little") + leading + b"\0")
        assert [{"$match": led}] * is_listed + following == both
        assert bool(led) is is_listed


def computed(expression: Any, stored: Any) -> Any:
    """An expression as the server computes it, for a document whose field has this value."""
    if expression == "$name.family":
        return stored
    if not isinstance(expression, dict):
        return expression
    ((name, given),) = expression.items()
    if name == "$literal":
        return given
    if name == "$cond":
        return computed(given[1] if computed(given[0], stored) else given[2], stored)
    if name == "$switch":
        found = (each["then"] for each in given["branches"] if computed(each["case"], stored))
        return computed(next(found, given["default"]), stored)
    if name == "$type":
        return "binData" if isinstance(stored, bytes) else "another"
    if name == "$ifNull":
        return given[1] if stored is None else stored
    if name == "$binarySize":
        return len(stored)
    left, right = (computed(each, stored) for each in given)
    if name == "$indexOfArray":
        return left.index(right) if right in left else -1
    if name == "$arrayElemAt":
        return left[right]
    return bytes(left) < bytes(right) if name == "$lt" else left == right


@pytest.mark.parametrize("nulls", [NULL_RANK, None])
@pytest.mark.parametrize("is_cut", [False, True])
@pytest.mark.parametrize("amount", [3, 13, 200, 1500])
def test_long_lists_are_halved(amount: int, is_cut: bool, nulls: int | None) -> None:
    """And many values are chosen by their ranks: of all values more than a hundred."""
    forms = [Binary(number.to_bytes(20 + number % 3, "little"), 128) for number in range(amount)]
    held = [(f"n{number:04}", form) for number, form in enumerate(forms)]
    found = stages(Ranks(tuple(range(amount)), nulls, is_cut), *held)
    place = next(place for place, stage in enumerate(found) if "$addFields" in stage)
    match, chosen = found[0], found[place + 1 :]
    expression = found[place]["$addFields"]["rank"]
    for number, (plain, form) in enumerate(held):
        assert computed(expression, form) == computed(expression, plain) == number
    is_listed = "name.family" in match["$match"]
    assert is_listed is (amount < (500 if is_cut else 50))
    assert chosen == ([] if is_listed else [{"$match": {"rank": {"$gte": 0}}}])
    unlisted = -1 if nulls is None else nulls
    assert computed(expression, None) == (0 if is_listed and nulls is None else unlisted)
    if not is_listed:
        assert computed(expression, "other") == computed(expression, Binary(b"a" * 21, 128)) == -1
        assert computed(expression, ["n0001"]) == -1
    assert ("$lt" in str(expression)) is (amount > 50)


def test_binary_data_of_several_kinds_is_looked_up_one_by_one() -> None:
    forms = [Binary(bytes([number]), 128 if number else 0) for number in range(50)]
    *_, added = stages(Ranks(tuple(range(50)), None, False), *[(form, form) for form in forms])
    assert [computed(added["$addFields"]["rank"], form) for form in forms] == list(range(50))
    assert "$lt" not in str(added)


def test_what_is_in_clear_and_of_another_type_has_no_other_form() -> None:
    def valid(kind: int, data: bytes) -> StoredForm:
        assert kind == kinds.STRING, "it would be refused"
        return StoredForm(kind, data + b"!")

    field_class = FieldClass("surname", Mode.DETERMINISTIC, ValueType.STRING)
    listed = (HeldValue(value(5), value(5)), HeldValue(value("a"), value("a")))
    planned = RangeEdit(
        [PLACE], PathNode("a", leaf=field_class), field_class, listed, (0, 5), ListPlace.RANKS
    )
    edit = ranked(planned, Ranks((0, 1), None, is_cut=False), valid)
    assert edit.data.count(value("a")[1] + b"!") == 2
    assert edit.data.count(b"\x102\0" + value(5)[1]) == 1  # in the `$match`, behind both forms of the text
    assert edit.data.count(b"\x100\0" + value(5)[1]) == 1  # among the ranked forms
