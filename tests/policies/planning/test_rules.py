"""Names without a row: what MongoDB knows is refused with a reason, what nobody knows as a server would."""

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from bson import Code, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp
from hypothesis import given
from hypothesis import strategies as st

from sealwire.policies.aggregation.grouping import ACCUMULATORS
from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.expressions.operators import OPERATORS
from sealwire.policies.planning.arguments import NamedArguments, Signature, signature_of, signatures_in
from sealwire.policies.planning.plan import Use
from sealwire.policies.planning.rules import without_row
from sealwire.policies.planning.walk import ForeignNames
from tests.policies.signature_calls import doubled, fitting, left_in_clear, misfits
from tests.policies.support import (
    Command,
    find,
    insert,
    plan_of,
    reason,
    refusal_of,
    run,
    update,
    value_edits,
    value_of,
)
from tests.support.reasons import raising
from tests.support.rows import rows

FIND = frozenset({b"find", b"count"})


@pytest.mark.parametrize("name", [b"find", b"godinsert", b"_configsvrX", b"$_internalX"])
def test_a_name_that_somebody_knows_is_refused_for_the_reason_that_is_given(name: bytes) -> None:
    refusal = without_row(name, Reason.UNKNOWN_COMMAND, FIND, reason=Reason.COMMAND, path="a.b")
    assert (refusal.reason, refusal.path, refusal.rule) == (Reason.COMMAND, "a.b", name.decode())
    assert "mean" not in refusal.message


def test_a_name_that_nobody_knows_is_refused_as_a_server_would() -> None:
    refusal = without_row(b"fnd", Reason.UNKNOWN_COMMAND, FIND, reason=Reason.COMMAND)
    assert refusal.reason is Reason.UNKNOWN_COMMAND
    assert "no such command: 'fnd' (did you mean 'find'?)" in refusal.message


def test_names_of_another_kind_are_unknown() -> None:
    refusal = without_row(b"godinsert", Reason.UNKNOWN_STAGE, FIND, reason=Reason.STAGE)
    assert refusal.reason is Reason.UNKNOWN_STAGE


def test_a_name_of_any_length_and_bytes_is_named_in_one_line() -> None:
    refusal = without_row(b"\xff\n" * 5000, Reason.UNKNOWN_COMMAND, FIND, reason=Reason.COMMAND)
    assert refusal.message.isprintable()
    assert len(refusal.message) < 300


def _filtered(condition: object) -> Command:
    return find(condition)


def _updated(change: object) -> Command:
    return update(change)


def _piped(stage: object) -> Command:
    return run(stage)


@rows(
    "command, code, meant",
    ({"fnd": "patients"}, 59, "find"),
    ({"agregate": "wards"}, 59, "aggregate"),
    (_filtered({"nhs_number": {"$equals": "943"}}), 2, ""),
    (_filtered({"nhs_number": {"$exist": True}}), 2, "$exists"),
    (_filtered({"$adn": []}), 2, "$and"),
    (_updated({"$sett": {"nhs_number": "943"}}), 9, "$set"),
    (_updated({"$push": {"tags": {"$each": [], "$slise": 1}}}), 2, "$slice"),
    (_updated([{"$sett": {"nhs_number": "943"}}]), 40324, "$set"),
    (_piped({"$mach": {"nhs_number": "943"}}), 40324, "$match"),
    (_piped({"$set": {"x": {"$ifNul": ["$nhs_number", "943"]}}}), 168, "$ifNull"),
    (_piped({"$group": {"_id": 1, "x": {"$psh": "$nhs_number"}}}), 15952, "$push"),
)
def test_a_misspelt_name_has_the_code_of_a_server_and_a_proposal(
    command: Command, code: int, meant: str
) -> None:
    refusal = refusal_of(command)
    assert refusal.error_code.code == code
    assert (f"(did you mean '{meant}'?)" in refusal.message) == bool(meant)
    assert "943" not in refusal.message


def test_an_unknown_name_passes_where_nothing_covered_is_in_reach() -> None:
    assert plan_of({"find": "wards", "filter": {"$adn": []}}).edits == []
    assert plan_of({"aggregate": "wards", "pipeline": [{"$mach": {}}], "cursor": {}}).edits == []


# Values to be stored, compared and seeded by an upsert: what becomes of each type in each mode.


def stored(path: str, value: Any) -> Command:
    return insert({path: value})


def compared(path: str, value: Any) -> Command:
    return find({path: value})


def seeded(path: str, value: Any) -> Command:
    statement = {"q": {path: value}, "u": {"$set": {"x": 1}}, "upsert": True}
    return {"update": "patients", "updates": [statement]}


def edits(command: Command) -> list[tuple[Use, int, Any]]:
    plan = plan_of(command)
    return [(edit.use, edit.kind, value_of(plan, edit)) for edit in value_edits(plan)]


OBJECT_ID = ObjectId()
ANY = [
    *((2, "a"), (16, 5), (18, Int64(5)), (1, 0.5), (8, True), (5, b"x"), (7, OBJECT_ID), (13, Code("x"))),
    *((3, {"a": 1}), (4, [1, "a"]), (11, Regex("x")), (17, Timestamp(1, 1)), (19, Decimal128("5"))),
]


@pytest.mark.parametrize(("kind", "value"), ANY)
def test_a_random_class_stores_any_type_as_it_is(kind: int, value: Any) -> None:
    assert edits(stored("notes", value)) == [(Use.STORE, kind, value)]


@pytest.mark.parametrize("value", [MinKey(), MaxKey(), [None], ["a", None], Timestamp(0, 0)])
@pytest.mark.parametrize("path", ["notes", "nhs_number"])
def test_what_no_class_stores(path: str, value: Any) -> None:
    if path == "nhs_number" and isinstance(value, list):
        assert [use for use, _, _ in edits(stored(path, value))] == [Use.STORE] * (len(value) - 1)
    else:
        assert reason(stored(path, value)) is Reason.TYPE


@pytest.mark.parametrize(("kind", "value"), ANY)
def test_a_random_class_is_compared_with_nothing(kind: int, value: Any) -> None:
    del kind
    for make in (compared, seeded):
        assert refusal_of(make("notes", value)).path == "notes"


@pytest.mark.parametrize("make", [stored, compared, seeded])
@pytest.mark.parametrize("path", ["nhs_number", "notes", "visits"])
def test_null_stays_null(make: Any, path: str) -> None:
    assert edits(make(path, None)) == []


@rows(
    "path, value, kind, meant",
    ("nhs_number", "a", 2, "a"),
    ("visits", 5, 16, 5),
    ("visits", Int64(5), 16, 5),
    ("visits", 5.0, 16, 5),
    ("visits", Decimal128("5"), 16, 5),
    ("big", 5, 18, 5),
    ("ratio", 5, 1, 5.0),
)
def test_what_the_class_can_hold_is_brought_to_its_type_for_every_use(
    path: str, value: Any, kind: int, meant: Any
) -> None:
    assert edits(stored(path, value)) == [(Use.STORE, kind, meant)]
    assert edits(stored(path, [value, value])) == [(Use.STORE, kind, meant)] * 2
    assert edits(compared(path, value)) == [(Use.MATCH, kind, meant)]
    assert edits(seeded(path, value)) == [(Use.MATCH, kind, meant)]


@rows(
    "path, value, kind",
    ("nhs_number", 5, 16),
    ("nhs_number", True, 8),
    ("visits", "5", 2),
    ("visits", 5.5, 1),
    ("visits", Int64(2**31), 18),
    ("big", b"x", 5),
    ("ratio", Timestamp(1, 1), 17),
    ("born", 5, 16),
)
def test_what_the_class_cannot_hold_is_compared_in_vain_and_never_stored(
    path: str, value: Any, kind: int
) -> None:
    assert edits(compared(path, value)) == [(Use.MATCH, kind, value)]
    assert edits(compared(path, {"$in": [value, None]})) == [(Use.MATCH, kind, value)]
    assert reason(stored(path, value)) is Reason.TYPE
    assert reason(stored(path, [value])) is Reason.TYPE
    assert reason(seeded(path, value)) is Reason.TYPE


@pytest.mark.parametrize("value", [MinKey(), MaxKey()])
@pytest.mark.parametrize("make", [compared, seeded])
def test_a_key_beyond_all_values_is_compared_with_none(make: Any, value: Any) -> None:
    assert reason(make("nhs_number", value)) is Reason.TYPE


@pytest.mark.parametrize("make", [compared, seeded])
def test_no_pattern_is_compared_with_ciphertext(make: Any) -> None:
    assert reason(make("nhs_number", Regex("^a"))) is Reason.PATTERN


# -------------------------------------------------------------------------------------------------- the draft


def names() -> ForeignNames:
    found = ForeignNames(10, 50)
    for offset in (10, 20, 30):
        found.add(offset, ("clinic", "visits"))
    return found


def test_a_part_begins_with_its_first_byte_and_ends_before_its_last() -> None:
    assert [len(list(names().within(*part))) for part in ((10, 50), (10, 30), (10, 31), (11, 20))] == [
        3,
        2,
        3,
        0,
    ]


@rows("start, end, is_inside", (10, 50, True), (11, 49, True), (9, 50, False), (10, 51, False))
def test_what_was_searched_has_both_its_ends(start: int, end: int, is_inside: bool) -> None:
    assert names().spans(start, end) is is_inside


def test_a_name_that_nobody_can_tell_is_refused_where_it_stands_and_not_beside_it() -> None:
    found = names()
    found.add(40, None)
    assert len(list(found.within(10, 40))) == 3
    with raising(Refusal, Reason.SHAPE):
        list(found.within(10, 41))


# Arguments that an operator does not take are refused before it reads any, so that none leaves unread.


MARKER = "a secret beside a covered field"
LEAKING = {"$eq": ["$nhs_number", MARKER]}
ROWS = {
    **{("expression", name.decode()): rule.signature for name, rule in OPERATORS.items()},
    **{("accumulator", name.decode()): rule.signature for name, rule in ACCUMULATORS.items()},
}

# what is inside `$literal` is a value, and compares nothing
_NOT_LITERAL = sorted(row for row in ROWS if row[1] != "$literal")


def expression_in_places(expression: Any) -> Iterator[Command]:
    """Commands that have an expression in a place of each kind."""
    yield find({"$expr": expression})
    yield {"find": "patients", "projection": {"x": {"$ifNull": [expression, 1]}}}
    yield run({"$set": {"x": expression}})
    yield run({"$group": {"_id": expression, "x": {"$push": expression}}})
    yield run({"$replaceWith": {"x": [expression]}})
    for path in ("name", "nhs_number", "address", "notes"):
        yield update([{"$set": {path: expression}}])
    yield update([{"$set": {"nhs_number": {"$ifNull": [expression, None]}}}])


def accumulator_in_places(accumulator: Any) -> Iterator[Command]:
    """Commands that have an accumulator in a place of each kind."""
    yield run({"$group": {"_id": 1, "x": accumulator}})
    yield run({"$bucket": {"groupBy": "$age", "boundaries": [0, 1], "output": {"x": accumulator}}})
    yield run({"$bucketAuto": {"groupBy": "$age", "buckets": 1, "output": {"x": accumulator}}})
    yield run({"$setWindowFields": {"sortBy": {"age": 1}, "output": {"x": accumulator}}})


def commands_of(family: str, name: str, operand: Any) -> Iterator[Command]:
    in_places = expression_in_places if family == "expression" else accumulator_in_places
    return in_places({name: operand})


@pytest.mark.parametrize(("family", "name"), ROWS)
def test_what_does_not_fit_is_refused_for_its_shape(family: str, name: str) -> None:
    signature = ROWS[family, name]
    assert signature is not None
    for operand in misfits(signature, "$age"):
        for command in commands_of(family, name, operand):
            assert reason(command) is Reason.SHAPE, operand


@pytest.mark.parametrize(("family", "name"), _NOT_LITERAL)
def test_no_argument_leaves_unread_whether_it_fits_or_not(family: str, name: str) -> None:
    signature = ROWS[family, name]
    assert signature is not None
    for operand in [*misfits(signature, LEAKING), *fitting(signature, LEAKING)]:
        for command in commands_of(family, name, operand):
            with suppress(Refusal):
                assert MARKER.encode() not in left_in_clear(plan_of(command)), (operand, command)


_DEEP: st.SearchStrategy[Any] = st.recursive(
    st.sampled_from([LEAKING, "$age", 1, None, [], {}]),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.sampled_from(["a", "$eq", "input", "if", "in"]), inner, max_size=3),
        st.sampled_from(_NOT_LITERAL).flatmap(
            lambda row: st.sampled_from([*_some(ROWS[row], "$age"), *_some(ROWS[row], LEAKING)]).map(
                lambda operand: {row[1]: operand}
            )
        ),
        st.tuples(inner, inner).map(lambda pair: doubled({"x": pair[0]}, {"x": pair[1]})),
    ),
    max_leaves=5,
)


def _some(signature: Signature | None, argument: Any) -> list[Any]:
    assert signature is not None
    return [*misfits(signature, argument), *fitting(signature, argument)]


@given(st.sampled_from(_NOT_LITERAL), _DEEP, st.integers(0, 30))
def test_no_argument_leaves_unread_however_deep_it_stands(
    row: tuple[str, str], argument: Any, place: int
) -> None:
    operands = _some(ROWS[row], argument)
    for command in commands_of(*row, operands[place % len(operands)]):
        with suppress(Refusal):
            assert MARKER.encode() not in left_in_clear(plan_of(command))


@rows(
    "expression",
    # the one that was found: the fourth argument passed unread
    {"$cond": [{"$eq": ["$a", 1]}, True, False, LEAKING]},
    {"$switch": {"branches": [{"case": True, "then": 1, "else": LEAKING}]}},
    {"$switch": {"branches": [doubled({"case": True, "then": 1}, {"then": LEAKING})]}},
    {"$switch": doubled({"branches": []}, {"branches": [{"case": LEAKING, "then": 1}]})},
    {"$let": {"vars": doubled({"n": 1}, {"n": LEAKING}), "in": 1}},
    {"$rand": {"x": LEAKING}},
)
def test_an_argument_too_many_is_refused_wherever_it_stands(expression: Any) -> None:
    for command in expression_in_places(expression):
        assert reason(command) is Reason.SHAPE


def test_an_operator_beside_other_fields_is_refused() -> None:
    expression = {"a": 1, "$eq": ["$nhs_number", MARKER]}
    assert reason(find({"$expr": expression})) is Reason.SHAPE
    assert reason(run({"$group": {"_id": expression}})) is Reason.SHAPE
    assert reason(update([{"$set": {"name": {"x": expression}}}])) is Reason.SHAPE


def test_one_argument_may_stand_without_its_array() -> None:
    alone: list[Any] = [{"$abs": "$age"}, {"$abs": ["$age"]}, {"$size": [["a"]]}, {"$year": {"date": "$x"}}]
    for expression in alone:
        assert plan_of(find({"$expr": {"$eq": [expression, 1]}})).edits == []


def test_the_notation_says_how_many_and_which() -> None:
    assert signature_of("2") == Signature(least=2, most=2)
    assert signature_of("2-3") == Signature(least=2, most=3)
    assert signature_of("0+") == Signature(least=0, most=None)
    assert signature_of("x") == Signature(whole=True)
    assert signature_of("{}") == Signature(named=(NamedArguments(frozenset(), frozenset()),))
    by_name = NamedArguments(frozenset({b"in"}), frozenset({b"in", b"as"}))
    assert signature_of("3 | {in as?}") == Signature(least=3, most=3, named=(by_name,))
    table = signatures_in("1: a b\n   c\n2: d")
    assert table == {**dict.fromkeys((b"$a", b"$b", b"$c"), signature_of("1")), b"$d": signature_of("2")}


@rows(
    "argument, named",
    ({"input": [], "in": 1, "unheardOf": 1}, "unheardOf"),
    ({"input": []}, "in"),
    ({"in": 1}, "input"),
)
def test_a_refusal_says_which_argument_is_too_many_or_missing(argument: Any, named: str) -> None:
    pipeline = [{"$set": {"x": {"$map": argument}}}]
    refusal = refusal_of(run(*pipeline))
    assert refusal.reason is Reason.SHAPE
    assert refusal.rule.split()[-1] == named
