"""Contexts that a sub-document says of the values in it: `per: ./patient`, in documents and in filters."""

from typing import Any

import pytest
from bson import Int64
from bson.raw_bson import RawBSONDocument

from sealwire.policies.errors import Reason
from sealwire.policies.file.loader import load_policy
from tests.policies.planning.test_contexts import FIVE, SIX, context
from tests.policies.support import Command, plan_of, refusal_of, value_edits
from tests.policies.taint.values import Pairs, encoded

POLICY = load_policy(
    b"""
version: 1
classes:
  code: {mode: deterministic, type: string, key: {per: ./patient}}
  count: {mode: deterministic, type: int, key: {per: ./patient}}
  note: {mode: random, key: {per: ./owner.id}}
  ward: {mode: deterministic, type: string, key: {per: tenant}}
collections:
  clinic.wards:
    ward: ward
    code: code
    visits.code: code
    visits.tags: code
    visits.count: count
    letters.note: note
    letters.ward: ward
    deep.list.code: code
    old.code: code
  clinic.people: {code: code}
""",
    "policy.yaml",
)
MISSING = "without './patient'"


def contexts(command: Command) -> list[tuple[str, bytes | None, bool]]:
    """(path, context, whether a value is stored under it) of every edit."""
    found = [(edit.node.path, edit.context) for edit in value_edits(plan_of(command, POLICY))]
    return [(path, use and use.value, use is not None and use.is_stored) for path, use in found]


def insert(document: dict[str, Any]) -> Command:
    return {"insert": "wards", "documents": [document]}


def find(condition: dict[str, Any], **more: Any) -> Command:
    return {"find": "wards", "filter": condition, **more}


def reason(command: Command) -> Reason:
    return refusal_of(command, POLICY).reason


def five(*paths: str, is_stored: bool = False) -> list[tuple[str, bytes | None, bool]]:
    return [(path, FIVE, is_stored) for path in paths]


def test_each_sub_document_says_its_own_context() -> None:
    visits = [{"patient": 5, "code": "a", "tags": ["b"]}, {"code": "c", "patient": 6}]
    found = contexts(insert({"visits": visits, "patient": 7, "code": "d"}))
    assert found == [
        ("visits.code", FIVE, True),
        ("visits.tags", FIVE, True),
        ("visits.code", SIX, True),
        ("code", context(7), True),
    ]


def test_it_may_be_the_only_one_in_an_array_of_arrays_or_under_a_number() -> None:
    one = {"patient": 5, "code": "a"}
    for visits in (one, [one], [[one]], {"3": one}, [{"x": 1}, one]):
        assert contexts(insert({"visits": visits})) == five("visits.code", is_stored=True)
    assert contexts(insert({"deep": [{"list": [one]}]})) == five("deep.list.code", is_stored=True)


def test_the_field_may_lie_deeper_and_a_field_of_the_whole_document_counts_beside_it() -> None:
    letter = {"owner": {"id": 5}, "note": [1], "ward": "w", "tenant": 9}
    assert contexts(insert({"tenant": 6, "letters": [letter]})) == [
        ("letters.note", FIVE, True),
        ("letters.ward", SIX, True),
    ]


@pytest.mark.parametrize(
    "document",
    [
        {"visits": [{"code": "a"}], "patient": 5},
        {"visits": {"patient": 5, "more": 1, "0": {"code": "a"}}},
        {"visits": [{"patient": 5}, {"code": "a"}]},
        {"visits": [{"patient": 5.0, "code": "a"}]},
        {"visits": [{"patient": None, "code": "a"}]},
        {"visits": [{"patient": {"x": 1, "$eq": 5}, "code": "a"}]},
        {"visits": [{"patient": [5]}]},
        {"letters": [{"owner": [{"id": 5}]}]},
        {"letters": [{"owner.id": 5, "note": 1}]},
        {"letters": [{"owner": {"name": 5}, "note": 1}]},
        {"visits.patient": 5, "deep": {"list": {"code": "a"}}},
        {"letters": [{"ward": "w", "tenant": 5}]},
    ],
    ids=repr,
)
def test_one_that_does_not_say_it_plainly_is_refused(document: dict[str, Any]) -> None:
    assert reason(insert(document)) in (Reason.CONTEXT, Reason.SHAPE)


@pytest.mark.parametrize(
    "condition",
    [
        {"visits": {"$elemMatch": {"patient": 5, "code": "a"}}},
        {"visits": {"$elemMatch": {"code": {"$ne": "a"}, "patient": {"$eq": Int64(5)}}}},
        {"visits": {"$elemMatch": {"code": {"$in": ["a"]}, "patient": {"$in": [5]}}}},
        {"visits": {"$elemMatch": {"$and": [{"patient": 5}, {"code": "a"}]}}},
        {"visits": {"$elemMatch": {"patient": 5, "$or": [{"code": "a"}, {"x": 1}]}}},
        {"visits": {"$elemMatch": {"$or": [{"patient": 5, "code": "a"}]}}},
        {"visits": {"$not": {"$elemMatch": {"patient": 5, "code": "a"}}}},
        {"visits": {"$all": [{"$elemMatch": {"patient": 5, "code": "a"}}]}},
        {"$nor": [{"visits": {"$elemMatch": {"patient": 5, "code": "a"}}}]},
        {"patient": 6, "visits": {"$elemMatch": {"patient": 5, "code": "a"}}},
        {"visits": {"patient": 5, "code": "a"}},
        {"visits": {"$in": [{"patient": 5, "code": "a"}]}},
        {"visits": {"$ne": {"code": "a", "patient": 5}}},
        {"visits": [{"patient": 5, "code": "a"}]},
    ],
    ids=repr,
)
def test_a_filter_fixes_it_for_one_element(condition: dict[str, Any]) -> None:
    assert contexts(find(condition)) == five("visits.code")
    pipeline = [{"$limit": 3}, {"$match": condition}]
    assert contexts({"aggregate": "wards", "pipeline": pipeline, "cursor": {}}) == five("visits.code")


def test_each_branch_and_each_level_has_its_own() -> None:
    branches = [{"patient": 5, "code": "a"}, {"patient": 6, "code": "b"}]
    assert contexts(find({"visits": {"$elemMatch": {"$or": branches}}})) == [
        ("visits.code", FIVE, False),
        ("visits.code", SIX, False),
    ]
    inner = {"list": {"$elemMatch": {"patient": 5, "code": "a"}}}
    for condition in ({"deep": {"$elemMatch": inner}}, {"deep.list": inner["list"]}):
        assert contexts(find(condition)) == five("deep.list.code")


def test_at_the_top_of_the_document_it_is_a_field_of_the_whole() -> None:
    assert contexts(find({"patient": 5, "code": "a"})) == five("code")
    assert contexts({**find({"patient": 5, "code": "a"}), "find": "people"}) == five("code")
    assert refusal_of(find({"code": "a"}), POLICY).rule.startswith(MISSING)


@pytest.mark.parametrize(
    "condition",
    [
        {"visits.code": "a"},
        {"visits.patient": 5, "visits.code": "a"},
        {"patient": 5, "visits.code": "a"},
        {"visits.0.patient": 5, "visits.0.code": "a"},
        {"visits.patient": 5, "visits": {"$elemMatch": {"code": "a"}}},
        {"visits": {"$elemMatch": {"code": "a"}}},
        {"visits": {"$elemMatch": {"patient": {"$gt": 5}, "code": "a"}}},
        {"visits": {"$elemMatch": {"patient": {"$in": [5, 6]}, "code": "a"}}},
        {"visits": {"$elemMatch": {"patient": 5, "$and": [{"patient": 6}], "code": "a"}}},
        {"visits": {"$elemMatch": {"patient": 5, "0.code": "a"}}},
        {"visits": {"$elemMatch": {"patient": 5, "0": {"$elemMatch": {"code": "a"}}}}},
        {"visits": {"$elemMatch": {"$or": [{"patient": 5}, {"code": "a"}]}}},
        {"visits": {"$elemMatch": {"x": {"patient": 5}, "code": "a"}}},
        {"visits": {"code": "a"}},
        {"deep": {"$elemMatch": {"list.patient": 5, "list.code": "a"}}},
        {"visits.patient": 5, "$expr": {"$eq": ["$visits.code", "a"]}},
        {"$expr": {"$in": [{"$literal": {"patient": 5, "code": "a"}}, "$visits"]}},
        {"$expr": {"$eq": [{"$mergeObjects": ["$visits", {"patient": 5}]}, {"patient": 5, "code": "a"}]}},
        {"patient": 5, "$expr": {"$eq": [{"$ifNull": ["$code", "$visits.code"]}, "a"]}},
        {"patient": 5, "$expr": {"$eq": ["$code", "a"]}},
    ],
    ids=repr,
)
def test_a_filter_that_may_speak_of_two_elements_is_refused(condition: dict[str, Any]) -> None:
    assert reason(find(condition)) in (Reason.CONTEXT, Reason.COMPUTE)


@pytest.mark.parametrize(
    "pipeline",
    [
        [
            {"$set": {"visits.patient": 5}},
            {"$match": {"visits": {"$elemMatch": {"patient": 5, "code": "a"}}}},
        ],
        [{"$unwind": "$visits"}, {"$match": {"visits": {"patient": 5, "code": "a"}}}],
        [{"$replaceWith": {"patient": 5, "code": "$visits.code"}}, {"$match": {"patient": 5, "code": "a"}}],
        [{"$facet": {"x": [{"$match": {"visits": {"$elemMatch": {"patient": 5, "code": "a"}}}}]}}],
        [{"$merge": "wards"}],
    ],
    ids=repr,
)
def test_a_pipeline_that_may_have_changed_it_is_refused(pipeline: list[Any]) -> None:
    assert reason({"aggregate": "wards", "pipeline": pipeline, "cursor": {}}) is Reason.CONTEXT


def test_what_else_speaks_of_elements_is_refused() -> None:
    element = {"$elemMatch": {"patient": 5, "code": "a"}}
    commands: list[Command] = [
        find({}, projection={"visits": element}),
        find({}, min={"visits.code": "a"}, max={"visits.code": "a"}, hint={"visits.code": 1}),
        {"create": "wards", "validator": {"visits": element}},
    ]
    for command in commands:
        assert reason(command) is Reason.CONTEXT


def test_a_collation_would_let_other_texts_in() -> None:
    collated = {"collation": {"locale": "en", "strength": 1}}
    for patient, expected in (("a", Reason.COLLATION), (5, None)):
        for visit in ({"$elemMatch": {"patient": patient, "count": 1}}, {"patient": patient, "count": 1}):
            command = find({"visits": visit}, **collated)
            if expected is None:
                assert len(contexts(command)) == 1
            else:
                assert reason(command) is expected


def test_a_unique_index_names_the_field_beside_it_as_well() -> None:
    def made(*names: str) -> Command:
        index = {"key": dict.fromkeys(names, 1), "name": "i", "unique": True}
        return {"createIndexes": "wards", "indexes": [index]}

    assert contexts(made("visits.patient", "visits.code")) == []
    assert contexts(made("patient", "code")) == []
    for names in (("visits.code",), ("patient", "visits.code"), ("visits.patient", "visits.0.code")):
        assert reason(made(*names)) is Reason.CONTEXT


def test_a_collection_of_another_class_alone_is_not_concerned() -> None:
    assert contexts({"insert": "people", "documents": [{"visits": [{"patient": [5]}]}]}) == []


def test_a_field_that_stands_twice_says_nothing() -> None:
    twice = RawBSONDocument(encoded(Pairs((("patient", 5), ("patient", 6), ("code", "a")))))
    assert reason(insert({"visits": [twice]})) is Reason.CONTEXT
    assert reason({"insert": "wards", "documents": [twice]}) is Reason.CONTEXT
