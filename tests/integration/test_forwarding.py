"""Expressions on arrays and documents: the same on plaintext and through Sealwire, or refused."""

from collections import Counter
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pymongo.collection import Collection

from tests.integration.conftest import Document, Stack
from tests.integration.operations import documents
from tests.integration.outside.chosen import named
from tests.integration.test_differential import canonical, run

pytestmark = pytest.mark.integration

_PHONES = {"$cond": [{"$isArray": "$phones"}, "$phones", []]}
_CONTACTS = {"$ifNull": ["$contacts", []]}
_ADDRESS = {"$cond": [{"$isArray": "$address"}, None, "$address"]}

_expressions: list[Any] = [
    {"$arrayElemAt": [_PHONES, 0]},
    {"$arrayElemAt": ["$phones", 1]},
    {"$arrayElemAt": [_CONTACTS, -1]},
    {"$first": [_PHONES]},
    {"$last": [_CONTACTS]},
    {"$slice": [_PHONES, 2]},
    {"$slice": [_CONTACTS, 1, 1]},
    {"$reverseArray": _PHONES},
    {"$concatArrays": [_PHONES, _PHONES]},
    {"$concatArrays": [_PHONES, ["x"]]},
    {"$map": {"input": _CONTACTS, "as": "c", "in": "$$c.phone"}},
    {"$map": {"input": _CONTACTS, "in": {"p": "$$this.phone", "is": {"$eq": ["$$this.phone", "10"]}}}},
    {"$map": {"input": _PHONES, "in": {"$in": ["$$this", ["10", None]]}}},
    {"$filter": {"input": _CONTACTS, "as": "c", "cond": {"$eq": ["$$c.phone", "10"]}}},
    {"$filter": {"input": _PHONES, "cond": {"$ne": ["$$this", "20"]}}},
    {"$in": ["$nhs_number", ["1", "2", None, 5]]},
    {"$in": ["10", _PHONES]},
    {"$in": ["10", "$phones"]},
    {"$in": ["$visits", [1, 2.0]]},
    {"$in": ["$address.postcode", ["1", "$nhs_number"]]},
    {"$mergeObjects": [_ADDRESS, {"city": "x"}]},
    {"$mergeObjects": [{"city": "x", "postcode": None}, _ADDRESS]},
    {"$mergeObjects": ["$$ROOT", {"seen": True}]},
    {"$mergeObjects": [_CONTACTS, {"phone": "$nhs_number"}]},
]
_after: list[list[Document]] = [
    [],
    [{"$match": {"x": "10"}}],
    [{"$match": {"x.phone": {"$in": ["10", None]}}}],
    [{"$match": {"x.postcode": {"$ne": "1"}}}],
    [{"$match": {"x.p": "10", "x.is": True}}],
    [{"$group": {"_id": "$x", "n": {"$sum": 1}}}],
    [{"$unwind": "$x"}, {"$group": {"_id": "$x", "n": {"$sum": 1}}}],
]
answered: Counter[str] = Counter()


def _aggregate(pipeline: list[Document]) -> tuple[str, Any]:
    def run(found: Collection[Document]) -> Any:
        return sorted(map(canonical, found.aggregate(pipeline)))

    return "aggregate", run


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    stored=documents,
    chosen=st.lists(
        st.tuples(st.sampled_from(_expressions), st.sampled_from(_after)), min_size=1, max_size=6
    ),
)
def test_expressions_give_the_same_answer_or_a_refusal(
    stack: Stack, stored: list[Document], chosen: list[tuple[Any, list[Document]]]
) -> None:
    plain, covered = stack.direct[named("plain")].patients, stack.clinic.patients
    plain.delete_many({})
    stack.raw.patients.delete_many({})
    plain.insert_many([dict(document) for document in stored])
    covered.insert_many([dict(document) for document in stored])
    for expression, after in chosen:
        operation = _aggregate([{"$addFields": {"x": expression}}, *after])
        through = run(covered, operation)
        answered[through[0]] += 1
        if through[0] != "refused":
            assert through == run(plain, operation), (expression, after)


def test_most_expressions_were_answered() -> None:
    assert answered["result"] > answered["refused"]
