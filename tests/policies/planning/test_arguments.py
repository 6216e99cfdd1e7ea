"""Arguments that an operator does not take are refused before it reads any, so that none leaves unread."""

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealwire.policies.aggregation.grouping import ACCUMULATORS
from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.expressions.operators import OPERATORS
from sealwire.policies.planning.arguments import Names, Signature, signature_of, signatures_in
from tests.policies.signature_calls import doubled, fitting, left_in_clear, misfits
from tests.policies.support import Command, plan_of, reason, refusal_of

MARKER = "a secret beside a covered field"
LEAKING = {"$eq": ["$nhs_number", MARKER]}
ROWS = {
    **{("expression", name.decode()): rule.signature for name, rule in OPERATORS.items()},
    **{("accumulator", name.decode()): rule.signature for name, rule in ACCUMULATORS.items()},
}

# what is inside `$literal` is a value, and compares nothing
_NOT_LITERAL = sorted(row for row in ROWS if row[1] != "$literal")


def aggregate(*stages: Any) -> Command:
    return {"aggregate": "patients", "pipeline": list(stages), "cursor": {}}


def update(*stages: Any) -> Command:
    return {"update": "patients", "updates": [{"q": {}, "u": list(stages)}]}


def expression_in_places(expression: Any) -> Iterator[Command]:
    """Commands that have an expression in a place of each kind."""
    yield {"find": "patients", "filter": {"$expr": expression}}
    yield {"find": "patients", "projection": {"x": {"$ifNull": [expression, 1]}}}
    yield aggregate({"$set": {"x": expression}})
    yield aggregate({"$group": {"_id": expression, "x": {"$push": expression}}})
    yield aggregate({"$replaceWith": {"x": [expression]}})
    for path in ("name", "nhs_number", "address", "notes"):
        yield update({"$set": {path: expression}})
    yield update({"$set": {"nhs_number": {"$ifNull": [expression, None]}}})


def accumulator_in_places(accumulator: Any) -> Iterator[Command]:
    """Commands that have an accumulator in a place of each kind."""
    yield aggregate({"$group": {"_id": 1, "x": accumulator}})
    yield aggregate({"$bucket": {"groupBy": "$age", "boundaries": [0, 1], "output": {"x": accumulator}}})
    yield aggregate({"$bucketAuto": {"groupBy": "$age", "buckets": 1, "output": {"x": accumulator}}})
    yield aggregate({"$setWindowFields": {"sortBy": {"age": 1}, "output": {"x": accumulator}}})


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


@pytest.mark.parametrize(
    "expression",
    [
        # the one that was found: the fourth argument passed unread
        {"$cond": [{"$eq": ["$a", 1]}, True, False, LEAKING]},
        {"$switch": {"branches": [{"case": True, "then": 1, "else": LEAKING}]}},
        {"$switch": {"branches": [doubled({"case": True, "then": 1}, {"then": LEAKING})]}},
        {"$switch": doubled({"branches": []}, {"branches": [{"case": LEAKING, "then": 1}]})},
        {"$let": {"vars": doubled({"n": 1}, {"n": LEAKING}), "in": 1}},
        {"$rand": {"x": LEAKING}},
    ],
)
def test_an_argument_too_many_is_refused_wherever_it_stands(expression: Any) -> None:
    for command in expression_in_places(expression):
        assert reason(command) is Reason.SHAPE


def test_an_operator_beside_other_fields_is_refused() -> None:
    expression = {"a": 1, "$eq": ["$nhs_number", MARKER]}
    assert reason({"find": "patients", "filter": {"$expr": expression}}) is Reason.SHAPE
    assert reason(aggregate({"$group": {"_id": expression}})) is Reason.SHAPE
    assert reason(update({"$set": {"name": {"x": expression}}})) is Reason.SHAPE


def test_one_argument_may_stand_without_its_array() -> None:
    alone: list[Any] = [{"$abs": "$age"}, {"$abs": ["$age"]}, {"$size": [["a"]]}, {"$year": {"date": "$x"}}]
    for expression in alone:
        assert plan_of({"find": "patients", "filter": {"$expr": {"$eq": [expression, 1]}}}).edits == []


def test_the_notation_says_how_many_and_which() -> None:
    assert signature_of("2") == Signature(least=2, most=2)
    assert signature_of("2-3") == Signature(least=2, most=3)
    assert signature_of("0+") == Signature(least=0, most=None)
    assert signature_of("x") == Signature(whole=True)
    assert signature_of("{}") == Signature(named=(Names(frozenset(), frozenset()),))
    by_name = Names(frozenset({b"in"}), frozenset({b"in", b"as"}))
    assert signature_of("3 | {in as?}") == Signature(least=3, most=3, named=(by_name,))
    table = signatures_in("1: a b\n   c\n2: d")
    assert table == {**dict.fromkeys((b"$a", b"$b", b"$c"), signature_of("1")), b"$d": signature_of("2")}


@pytest.mark.parametrize(
    ("argument", "named"),
    [({"input": [], "in": 1, "unheardOf": 1}, "unheardOf"), ({"input": []}, "in"), ({"in": 1}, "input")],
)
def test_a_refusal_says_which_argument_is_too_many_or_missing(argument: Any, named: str) -> None:
    pipeline = [{"$set": {"x": {"$map": argument}}}]
    refusal = refusal_of({"aggregate": "patients", "pipeline": pipeline, "cursor": {}})
    assert refusal.reason is Reason.SHAPE
    assert refusal.rule.split()[-1] == named
