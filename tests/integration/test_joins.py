"""Pipelines over two collections, on plaintext and through Sealwire: the same answers, or a refusal."""

from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pymongo.collection import Collection
from pymongo.database import Database

from tests.integration.conftest import Databases, Document, Stack
from tests.integration.differential.campaign import both_ways
from tests.integration.differential.compare import Command
from tests.integration.differential.runner import PLAIN, Runner
from tests.integration.differential.sides import Outcome, Side
from tests.integration.operations import documents, filters
from tests.integration.outside.chosen import named
from tests.integration.test_differential import canonical, run
from tests.support.reasons import failing
from tests.support.rows import rows

pytestmark = pytest.mark.integration

_numbers = st.sampled_from(["1", "2", "3", "", None])
_appointments = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            "patient_nhs": _numbers | st.lists(_numbers, max_size=2),
            "ward": st.sampled_from(["a", "b", None, 1]),
            "previous": st.integers(0, 4),
        },
    ),
    max_size=5,
).map(lambda found: [{"_id": number, **document} for number, document in enumerate(found)])

_BY_FIELD = {"from": "appointments", "localField": "nhs_number", "foreignField": "patient_nhs", "as": "z"}
_BY_WARD: Document = {"$lookup": {**_BY_FIELD, "localField": "ward", "foreignField": "ward"}}
_EQUAL = {"$match": {"$expr": {"$eq": ["$patient_nhs", "$$n"]}}}
_NUMBER = {"n": "$nhs_number"}

_joins: list[Document] = [
    {"$lookup": _BY_FIELD},
    {"$lookup": {**_BY_FIELD, "pipeline": [{"$match": {"patient_nhs": {"$in": ["1", None]}}}]}},
    _BY_WARD,
    {"$lookup": {**_BY_FIELD, "localField": "address.postcode"}},
    {"$lookup": {**_BY_FIELD, "from": "patients", "foreignField": "nhs_number"}},
    {"$lookup": {"from": "appointments", "let": _NUMBER, "pipeline": [_EQUAL], "as": "z"}},
    {
        "$lookup": {
            "from": "appointments",
            "let": _NUMBER,
            "pipeline": [
                {"$match": {"$expr": {"$ne": ["$$n", "1"]}}},
                {"$project": {"copy": "$$n", "same": {"$eq": ["$$n", "$patient_nhs"]}}},
            ],
            "as": "z",
        }
    },
    {"$lookup": {"from": "appointments", "pipeline": [{"$match": {"patient_nhs": "2"}}], "as": "z.y"}},
    {
        "$graphLookup": {
            "from": "appointments",
            "startWith": "$nhs_number",
            "connectFromField": "patient_nhs",
            "connectToField": "patient_nhs",
            "as": "z",
        }
    },
    {
        "$graphLookup": {
            "from": "appointments",
            "startWith": "$_id",
            "connectFromField": "previous",
            "connectToField": "_id",
            "depthField": "depth",
            "restrictSearchWithMatch": {"patient_nhs": {"$ne": "1"}},
            "as": "z",
        }
    },
    {"$unionWith": "appointments"},
    {"$unionWith": {"coll": "patients", "pipeline": [{"$match": {"nhs_number": "1"}}]}},
    {"$unionWith": {"coll": "appointments", "pipeline": [{"$project": {"nhs_number": "$patient_nhs"}}]}},
]
_after: list[Document] = [
    {"$match": {"z.patient_nhs": "1"}},
    {"$match": {"z.copy": {"$in": ["1", "2"]}}},
    {"$match": {"nhs_number": {"$ne": "1"}}},
    {"$unwind": "$z"},
    {"$unwind": {"path": "$z", "preserveNullAndEmptyArrays": True}},
    {"$project": {"z": 1, "nhs_number": 1}},
    {"$group": {"_id": "$nhs_number", "n": {"$sum": 1}}},
    {"$group": {"_id": "$z.patient_nhs", "n": {"$sum": 1}}},
    {"$addFields": {"n": {"$size": {"$ifNull": ["$z", []]}}}},
    {"$sort": {"z.patient_nhs": 1}},
]
_pipelines = st.builds(
    lambda before, join, after: [*({"$match": query} for query in before), join, *after],
    st.lists(filters, max_size=1),
    st.sampled_from(_joins),
    st.lists(st.sampled_from(_after), max_size=2),
)
answered: Counter[str] = Counter()


def _load(stack: Stack, **stored: list[Document]) -> Databases:
    """The same documents in a plaintext database and, through Sealwire, in the clinic's."""
    plain = stack.direct[named("plain")]
    for name, found in stored.items():
        plain[name].delete_many({})
        stack.raw[name].delete_many({})
        if found:
            plain[name].insert_many([dict(each) for each in found])
            stack.clinic[name].insert_many([dict(each) for each in found])
    return plain, stack.clinic


def _aggregate(pipeline: list[Document]) -> tuple[str, Any]:
    def run(found: Collection[Document]) -> Any:
        joined = [
            {
                name: sorted(map(canonical, value)) if name == "z" and isinstance(value, list) else value
                for name, value in row.items()
            }
            for row in found.aggregate(pipeline)
        ]
        return sorted(map(canonical, joined))

    return "aggregate", run


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    patients=documents,
    appointments=_appointments,
    wards=_appointments,
    on=st.sampled_from(["patients", "patients", "wards"]),
    pipelines=st.lists(_pipelines, min_size=1, max_size=4),
)
@example(
    patients=[],
    appointments=[{"_id": 0, "patient_nhs": "1", "ward": "a"}],
    wards=[{"_id": 0, "ward": "a"}],
    on="wards",
    pipelines=[[_BY_WARD]],
)
def test_joins_give_the_same_answer_or_a_refusal(
    stack: Stack,
    patients: list[Document],
    appointments: list[Document],
    wards: list[Document],
    on: str,
    pipelines: list[list[Document]],
) -> None:
    plain, clinic = _load(stack, patients=patients, appointments=appointments, wards=wards)
    for pipeline in pipelines:
        through = run(clinic[on], _aggregate(pipeline))
        answered[f"{on} {through[0]}"] += 1
        if through[0] != "refused":
            assert through == run(plain[on], _aggregate(pipeline)), pipeline


def test_many_joins_were_answered() -> None:
    assert answered["patients result"] > 20
    assert answered["wards result"] > 0  # one is always among them: of those that are drawn few may be


_writes = st.sampled_from(
    [
        {"$out": "patients"},
        {"$merge": "patients"},
        {"$merge": {"into": "patients", "whenMatched": "merge", "whenNotMatched": "discard"}},
        {"$merge": {"into": "patients", "whenMatched": "keepExisting"}},
        {"$merge": "appointments"},
        {"$out": "copy"},
    ]
)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    patients=documents,
    query=filters,
    shape=st.sampled_from([{"$addFields": {"seen": True}}, {"$addFields": {"nhs_number": "$ward"}}]),
    write=_writes,
)
def test_what_a_pipeline_writes_is_the_same(
    stack: Stack, patients: list[Document], query: Document, shape: Document, write: Document
) -> None:
    plain, clinic = _load(stack, patients=patients, appointments=[], copy=[])
    pipeline = _aggregate([{"$match": query}, shape, write])
    through = run(clinic.patients, pipeline)
    if through[0] != "refused":
        assert through == run(plain.patients, pipeline)
    for name in ("patients", "appointments", "copy"):
        assert canonical(list(clinic[name].find().sort("_id"))) == canonical(
            list(plain[name].find().sort("_id"))
        )


def test_a_join_on_ciphertext_finds_what_plaintext_finds(clean: Stack) -> None:
    _, clinic = _load(
        clean,
        patients=[{"_id": 1, "nhs_number": "a"}, {"_id": 2, "nhs_number": "b"}],
        appointments=[{"_id": 7, "patient_nhs": "a"}, {"_id": 8, "patient_nhs": ["a", "b"]}],
    )
    found = clinic.patients.aggregate([{"$lookup": _BY_FIELD}, {"$sort": {"_id": 1}}])
    assert [[visit["_id"] for visit in row["z"]] for row in found] == [[7, 8], [8]]


def test_what_a_pipeline_has_written_is_ciphertext(clean: Stack) -> None:
    _, clinic = _load(clean, patients=[{"_id": 1, "nhs_number": "a", "ward": "x"}])
    list(clinic.patients.aggregate([{"$addFields": {"seen": 1}}, {"$out": "patients"}]))
    assert clinic.patients.find_one() == {"_id": 1, "nhs_number": "a", "ward": "x", "seen": 1}
    stored = clean.raw.patients.find_one() or {}
    assert isinstance(stored["nhs_number"], bytes)
    assert stored["ward"] == "x"


# Views on a protected collection: the same answers as on a plaintext one, whoever created them.


ROWS: list[Document] = [
    {"_id": 1, "nhs_number": "1", "ward": "a", "address": {"postcode": "x"}},
    {"_id": 2, "nhs_number": "2", "ward": "b", "address": {"postcode": "y"}},
    {"_id": 3, "nhs_number": None, "ward": "a"},
]
VISITS: list[Document] = [{"_id": 1, "patient_nhs": "2"}, {"_id": 2, "patient_nhs": "2"}]
VIEWS: dict[str, tuple[str, list[Document]]] = {
    "seen": ("patients", [{"$match": {"nhs_number": {"$ne": "1"}}}]),
    "renamed": ("patients", [{"$project": {"number": "$nhs_number", "ward": 1}}]),
    "counted": ("patients", [{"$group": {"_id": "$address.postcode", "n": {"$sum": 1}}}]),
    "visited": (
        "patients",
        [
            {
                "$lookup": {
                    "from": "appointments",
                    "localField": "nhs_number",
                    "foreignField": "patient_nhs",
                    "as": "v",
                }
            }
        ],
    ),
    "nested": ("renamed", [{"$match": {"number": "2"}}]),
}
QUERIES: list[tuple[str, Document]] = [
    ("seen", {}),
    ("seen", {"nhs_number": "2"}),
    ("seen", {"address.postcode": {"$in": ["y", "z"]}}),
    ("renamed", {"number": "1"}),
    ("renamed", {"ward": "a"}),
    ("counted", {"_id": "x"}),
    ("visited", {"v.patient_nhs": "2"}),
    ("nested", {}),
    ("nested", {"number": {"$ne": "1"}}),
]


@pytest.fixture
def databases(stack: Stack) -> Databases:
    """The same documents in a plaintext database and, through Sealwire, in the clinic's; no views yet."""
    plain = stack.direct[named("plain")]
    for name in VIEWS:
        plain.drop_collection(name)
        stack.clinic.drop_collection(name)
    for database in (plain, stack.clinic):
        for name, found in (("patients", ROWS), ("appointments", VISITS)):
            database[name].delete_many({})
            database[name].insert_many([dict(each) for each in found])
    return plain, stack.clinic


def define(database: Database[Document]) -> None:
    for name, (on, pipeline) in VIEWS.items():
        database.create_collection(name, viewOn=on, pipeline=pipeline)


def answers(database: Database[Document], name: str, query: Document) -> list[Any]:
    found = sorted(database[name].find(query), key=repr)
    counted = database[name].count_documents(query)
    grouped = sorted(database[name].aggregate([{"$match": query}, {"$project": {"x": 1}}]), key=repr)
    return [found, counted, grouped]


def test_views_that_are_created_through_sealwire_answer_as_in_plaintext(databases: Databases) -> None:
    plain, clinic = databases
    define(plain)
    define(clinic)
    for name, query in QUERIES:
        assert answers(clinic, name, query) == answers(plain, name, query), (name, query)


def test_views_that_the_server_had_before_are_found_there(stack: Stack, databases: Databases) -> None:
    plain, clinic = databases
    define(plain)
    known = {name: VIEWS[name] for name in ("renamed", "counted", "visited")}
    for name, (on, pipeline) in known.items():
        stack.raw.create_collection(name, viewOn=on, pipeline=pipeline)
    for name, query in QUERIES:
        if name in known:
            assert answers(clinic, name, query) == answers(plain, name, query), (name, query)


def test_the_definition_holds_no_plaintext_and_reads_in_clear(stack: Stack, databases: Databases) -> None:
    _, clinic = databases
    clinic.create_collection("seen", viewOn="patients", pipeline=[{"$match": {"nhs_number": "1"}}])
    (listed,) = clinic.list_collections(filter={"name": "seen"})
    assert listed["options"]["pipeline"] == [{"$match": {"nhs_number": "1"}}]
    (stored,) = stack.raw.list_collections(filter={"name": "seen"})
    assert isinstance(stored["options"]["pipeline"][0]["$match"]["nhs_number"], bytes)


def test_what_a_view_cannot_answer_is_refused(databases: Databases) -> None:
    _, clinic = databases
    define(clinic)
    with failing(238):
        list(clinic["renamed"].find({"number": {"$regex": "^1"}}))
    with failing(238):
        clinic.create_collection("sorted", viewOn="patients", pipeline=[{"$sort": {"nhs_number": 1}}])


def test_definitions_are_opened_in_every_batch_of_a_list_of_collections(
    stack: Stack, databases: Databases
) -> None:
    for name, (on, pipeline) in VIEWS.items():
        stack.clinic.command("create", name, viewOn=on, pipeline=pipeline)
    listed = stack.clinic.command("listCollections", cursor={"batchSize": 1})["cursor"]
    assert (bool(listed["id"]), listed["ns"]) == (True, f"{stack.clinic.name}.$cmd.listCollections")
    found = {each["name"]: each for each in stack.clinic.list_collections(cursor={"batchSize": 1})}
    assert found["seen"]["options"]["pipeline"] == VIEWS["seen"][1]
    assert found["nested"]["options"]["pipeline"] == VIEWS["nested"][1]


# What could be answered on ciphertext, and is: one answer, on plaintext and through Sealwire.


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


@rows(
    "condition",
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
)
def test_a_condition_finds_the_same(sides: tuple[Side, Side], condition: Document) -> None:
    same(sides, {"find": "patients", "filter": condition, "sort": {"_id": 1}})


@rows(
    "expression",
    {"$ifNull": ["$nhs", "none"]},
    {"$cond": [{"$eq": ["$nhs", "a"]}, "$nhs", "other"]},
    {"$switch": {"branches": [{"case": {"$eq": ["$visits", 5]}, "then": "$nhs"}], "default": "none"}},
    {"$cond": [{"$gt": ["$notes", None]}, 1, 0]},
    {"$cmp": ["$nhs", None]},
)
def test_documents_are_grouped_and_shown_alike(sides: tuple[Side, Side], expression: Any) -> None:
    grouped = [{"$group": {"_id": expression, "n": {"$sum": 1}}}]
    shown = [{"$project": {"x": expression}}, {"$sort": {"_id": 1}}]
    for pipeline in (grouped, shown):
        body = {"aggregate": "patients", "pipeline": pipeline, "cursor": {}}
        through, plain = (side.run(Command("", body, ordered=False)) for side in sides)
        assert through.outcome is Outcome.ANSWERED
        assert through == plain


@rows(
    "expression",
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
