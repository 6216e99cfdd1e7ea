"""Pipelines over two collections, on plaintext and through Sealwire: the same answers, or a refusal."""

from collections import Counter
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pymongo.collection import Collection
from pymongo.database import Database

from tests.integration.conftest import Document, Stack
from tests.integration.operations import documents, filters
from tests.integration.outside.chosen import named
from tests.integration.test_differential import canonical, run

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


def _load(stack: Stack, **stored: list[Document]) -> tuple[Database[Document], Database[Document]]:
    """The same documents in a plaintext database and, through Sealwire, in the clinic's."""
    plain = stack.direct[named("plain")]
    for name, rows in stored.items():
        plain[name].delete_many({})
        stack.raw[name].delete_many({})
        if rows:
            plain[name].insert_many([dict(row) for row in rows])
            stack.clinic[name].insert_many([dict(row) for row in rows])
    return plain, stack.clinic


def _aggregate(pipeline: list[Document]) -> tuple[str, Any]:
    def run(found: Collection[Document]) -> Any:
        rows = [
            {
                name: sorted(map(canonical, value)) if name == "z" and isinstance(value, list) else value
                for name, value in row.items()
            }
            for row in found.aggregate(pipeline)
        ]
        return sorted(map(canonical, rows))

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
