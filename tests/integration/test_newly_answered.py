"""What could be answered on ciphertext, and is: one answer, on plaintext and through Sealwire."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest

from tests.integration.differential.campaign import both_ways
from tests.integration.differential.command import Command
from tests.integration.differential.runner import PLAIN, Runner
from tests.integration.differential.sides import Outcome, Side
from tests.integration.differential.values import Document
from tests.integration.outside.chosen import named

pytestmark = pytest.mark.integration

POLICY = """
version: 1
classes:
  nhs: {mode: deterministic, type: string}
  visits: {mode: deterministic, type: int}
  day: {mode: deterministic, type: date, range: {unit: day, from: 1970-01-01, to: 1970-03-31}}
  notes: {mode: random}
collections:
  clinic.patients: {nhs: nhs, tags: nhs, visits: visits, born: day, notes: notes, contacts.nhs: nhs}
""".replace("clinic.", named("clinic."))
DAYS = [datetime(1970, 1, day) for day in (1, 5, 9)]
PATIENTS: list[Document] = [
    {"_id": 0, "nhs": "a", "tags": ["a", "b"], "visits": 5, "born": DAYS[0], "notes": "n", "w": 1},
    {"_id": 1, "nhs": "b", "tags": [], "born": DAYS[1], "notes": None, "contacts": [{"nhs": "a"}], "w": "x"},
    {"_id": 2, "nhs": None, "visits": 7, "notes": ["n"], "contacts": [{"nhs": "b"}, {"nhs": "a"}]},
    {"_id": 3, "tags": ["c"], "visits": 5, "born": DAYS[2], "contacts": []},
    {"_id": 4, "nhs": "none", "tags": "a", "born": DAYS[1], "w": None},
]


@pytest.fixture(scope="module")
def sides(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Side, Side]]:
    with both_ways(tmp_path_factory.mktemp("answered"), POLICY) as runner:
        yield _filled(runner)


def _filled(runner: Runner) -> tuple[Side, Side]:
    covered, plain = Side(runner.client, named("clinic")), Side(runner.direct, PLAIN)
    for name in (covered.name, PLAIN):
        runner.direct.drop_database(name)
    insert = Command("", {"insert": "patients", "documents": PATIENTS})
    assert covered.run(insert) == plain.run(insert)
    return covered, plain


def same(sides: tuple[Side, Side], body: Document) -> None:
    """Both sides answer, and alike."""
    through, plain = (side.run(Command("", body)) for side in sides)
    assert through.outcome is Outcome.ANSWERED
    assert through == plain


@pytest.mark.parametrize(
    "condition",
    [
        *({"nhs": {"$type": name}} for name in ("string", "null", "int", "array", 2, ["string", "null"])),
        *({"tags": {"$type": name}} for name in ("string", "array", "binData", ["array", "null"])),
        *({"visits": {"$type": name}} for name in ("int", "number", "long", "double")),
        *({"notes": {"$type": name}} for name in ("null",)),
        {"nhs": {"$not": {"$type": "string"}}},
        {"born": {"$in": DAYS, "$gte": DAYS[1]}},
        {"born": {"$in": [*DAYS, None], "$gt": DAYS[0], "$lt": DAYS[2]}},
        {"nhs.x": {"$exists": False}},
        {"tags.0.x": {"$exists": True}},
        {"$expr": {"$eq": ["$notes", None]}},
        {"$expr": {"$ne": ["$notes", None]}},
        {"$expr": {"$gt": ["$nhs", None]}},
        {"$expr": {"$lte": ["$visits", None]}},
        {"$expr": {"$eq": [{"$ifNull": ["$nhs", "none"]}, "none"]}},
        {"$expr": {"$in": [{"$ifNull": ["$nhs", "none"]}, ["a", "none"]]}},
    ],
)
def test_a_condition_finds_the_same(sides: tuple[Side, Side], condition: Document) -> None:
    same(sides, {"find": "patients", "filter": condition, "sort": {"_id": 1}})


@pytest.mark.parametrize(
    "expression",
    [
        {"$ifNull": ["$nhs", "none"]},
        {"$cond": [{"$eq": ["$nhs", "a"]}, "$nhs", "other"]},
        {"$switch": {"branches": [{"case": {"$eq": ["$visits", 5]}, "then": "$nhs"}], "default": "none"}},
        {"$cond": [{"$gt": ["$notes", None]}, 1, 0]},
        {"$cmp": ["$nhs", None]},
    ],
)
def test_documents_are_grouped_and_shown_alike(sides: tuple[Side, Side], expression: Any) -> None:
    grouped = [{"$group": {"_id": expression, "n": {"$sum": 1}}}]
    shown = [{"$project": {"x": expression}}, {"$sort": {"_id": 1}}]
    for pipeline in (grouped, shown):
        body = {"aggregate": "patients", "pipeline": pipeline, "cursor": {}}
        through, plain = (side.run(Command("", body, ordered=False)) for side in sides)
        assert through.outcome is Outcome.ANSWERED
        assert through == plain


@pytest.mark.parametrize(
    "expression",
    [
        {"$zip": {"inputs": [{"$ifNull": ["$tags", []]}, ["x"]], "useLongestLength": True}},
        {
            "$reduce": {
                "input": {"$ifNull": ["$contacts", []]},
                "initialValue": [],
                "in": {"$concatArrays": ["$$value", ["$$this.nhs"]]},
            }
        },
        {"$objectToArray": {"$arrayElemAt": ["$contacts", 0]}},
        {"$arrayToObject": {"$objectToArray": {"$arrayElemAt": ["$contacts", 0]}}},
        {"$let": {"vars": {"n": "$nhs"}, "in": {"$ifNull": ["$$n", "none"]}}},
    ],
)
def test_arrays_and_documents_come_out_alike(sides: tuple[Side, Side], expression: Any) -> None:
    arrays = {"$match": {"tags": {"$type": "array"}}}
    for first in ([arrays], [{"$match": {"contacts": {"$exists": True}}}]):
        pipeline = [*first, {"$sort": {"_id": 1}}, {"$project": {"x": expression}}]
        through, plain = (
            side.run(Command("", {"aggregate": "patients", "pipeline": pipeline, "cursor": {}}))
            for side in sides
        )
        assert through == plain


@pytest.mark.parametrize("update", [{"$unset": {"w": "x", "nhs": "a"}}, {"$unset": {"nhs": {"a": ["b"]}}}])
def test_an_unset_takes_any_operand(sides: tuple[Side, Side], update: Document) -> None:
    for side in sides:
        side.run(Command("", {"insert": "patients", "documents": [{"_id": 9, "nhs": "z", "w": 1}]}))
    same(sides, {"update": "patients", "updates": [{"q": {"_id": 9}, "u": update}]})
    same(sides, {"find": "patients", "filter": {"_id": 9}})
    same(sides, {"delete": "patients", "deletes": [{"q": {"_id": 9}, "limit": 1}]})
