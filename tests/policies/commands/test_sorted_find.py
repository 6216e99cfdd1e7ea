"""A `find` that is sorted by stored values, as an `aggregate`: what both know, and what is refused."""

from typing import Any

import pytest
from bson import Int64, decode, encode

from sealwire.policies.commands.sorted_find import as_aggregate
from sealwire.policies.errors import Reason, Refusal


def turned(**arguments: Any) -> dict[str, Any]:
    found: dict[str, Any] = decode(
        as_aggregate(encode({"find": "patients", **arguments, "$db": "clinic"}), 0)
    )
    return found


def test_a_find_becomes_a_pipeline() -> None:
    lsid = {"id": b"1"}
    found = turned(
        filter={"a": 1},
        sort={"surname": 1, "_id": -1},
        projection={"surname": 1},
        skip=2,
        limit=3.0,
        batchSize=10,
        lsid=lsid,
        maxTimeMS=5,
        returnKey=False,
        min=None,
    )
    assert found == {
        "aggregate": "patients",
        "cursor": {"batchSize": 10},
        "pipeline": [
            {"$match": {"a": 1}},
            {"$sort": {"surname": 1, "_id": -1}},
            {"$skip": 2},
            {"$limit": 3},
            {"$project": {"surname": 1}},
        ],
        "lsid": lsid,
        "maxTimeMS": 5,
        "$db": "clinic",
    }


def test_what_says_nothing_makes_no_stage() -> None:
    found = turned(sort={"surname": 1}, projection={}, skip=0, limit=Int64(0))
    assert found["pipeline"] == [{"$sort": {"surname": 1}}]


@pytest.mark.parametrize(
    ("given", "limit"), [({"limit": 4}, 4), ({"batchSize": 4}, 4), ({"limit": 9, "batchSize": 4}, 4)]
)
def test_a_single_batch_leaves_no_cursor(given: dict[str, int], limit: int) -> None:
    found = turned(sort={"surname": 1}, singleBatch=True, **given)
    assert found["pipeline"][-1] == {"$limit": limit}
    assert found["cursor"] == {"batchSize": limit + 1}


@pytest.mark.parametrize(
    "given",
    [
        {"returnKey": True},
        {"showRecordId": True},
        {"noCursorTimeout": True},
        {"min": {"a": 1}},
        {"max": {"a": 1}},
        {"tailable": True},
        {"unknown": 1},
        {"singleBatch": True},
        {"projection": {"a": {"$slice": 1}}},
        {"projection": {"a.$": 1}},
        {"projection": {"a": "$b"}},
    ],
)
def test_what_only_find_knows_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(Refusal) as caught:
        turned(sort={"surname": 1}, **given)
    assert caught.value.reason is Reason.SORT


@pytest.mark.parametrize("given", [{"limit": -1}, {"skip": "x"}, {"filter": 5}])
def test_what_no_find_has_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(Refusal) as caught:
        turned(sort={"surname": 1}, **given)
    assert caught.value.reason is Reason.SHAPE
