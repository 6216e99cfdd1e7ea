"""Updates where classes have a key for each context: what fixes it, and what would change it."""

from typing import Any

import pytest
from bson import Int64

from sealwire.policies.errors import Reason
from sealwire.policies.file.loader import load_policy
from tests.policies.planning.test_contexts import FIVE, POLICY, context, contexts
from tests.policies.support import Command, plan_of, refusal_of, value_edits


def update(condition: dict[str, Any], change: Any, **more: Any) -> Command:
    return {"update": "people", "updates": [{"q": condition, "u": change, **more}]}


@pytest.mark.parametrize(
    ("condition", "change"),
    [
        ({"tenant": 5}, {"$set": {"ssn": "x"}}),
        ({"$and": [{"tenant": 5}, {"_id": 1}]}, {"$set": {"ssn": "x"}}),
        ({"tenant": 5}, {"$set": {"ssn": "x", "tenant": Int64(5)}}),
        ({"tenant": 5}, {"$push": {"visits": {"ssn": "x"}}}),
        ({"tenant": 5}, {"$set": {"visits.0.ssn": "x"}}),
        ({"_id": 1}, {"tenant": 5, "ssn": "x"}),
        ({"tenant": 6}, {"tenant": 5, "ssn": "x"}),
    ],
    ids=repr,
)
def test_a_value_is_stored_in_the_context_that_is_fixed(condition: dict[str, Any], change: Any) -> None:
    (found,) = contexts(update(condition, change))
    assert found[1:] == (FIVE, True)


def test_what_is_compared_in_an_update_has_it_as_well() -> None:
    pulled = contexts(update({"tenant": 5}, {"$pull": {"visits": {"ssn": "x"}}}))
    assert pulled == [("visits.ssn", FIVE, False)]
    filtered = update({"tenant": 5}, {"$set": {"visits.$[v].ssn": "y"}}, arrayFilters=[{"v.ssn": "x"}])
    assert contexts(filtered) == [("visits.ssn", FIVE, True), ("visits.ssn", FIVE, False)]


def test_what_an_upsert_seeds_is_stored() -> None:
    command = update({"tenant": 5, "ssn": "x"}, {"$set": {"plain": "p"}}, upsert=True)
    assert contexts(command) == [("ssn", FIVE, True), ("plain", None, False)]
    listed = update({"tenant": {"$in": [5]}}, {"$set": {"ssn": "x"}}, upsert=True)
    assert refusal_of(listed, POLICY).reason is Reason.CONTEXT


@pytest.mark.parametrize(
    ("condition", "change"),
    [
        ({"_id": 1}, {"$set": {"ssn": "x"}}),
        ({"tenant": {"$gte": 5}}, {"$set": {"ssn": "x"}}),
        ({"_id": 1}, {"$set": {"ssn": "x", "tenant": 5}}),
        ({"_id": 1}, {"ssn": "x"}),
        ({"tenant": 5}, {"ssn": "x"}),
        ({"tenant": 5}, {"$set": {"tenant": 6}}),
        ({"tenant": 5}, {"$set": {"tenant.id": 5}}),
        ({"tenant": 5}, {"$unset": {"tenant": 1}}),
        ({"tenant": 5}, {"$inc": {"tenant": 1}}),
        ({"tenant": 5}, {"$rename": {"tenant": "other"}}),
        ({"tenant": 5}, {"$rename": {"other": "tenant"}}),
        ({"tenant": 5}, {"$push": {"tenant": 1}}),
        ({"owner.id": 5}, {"$set": {"owner": {"id": 5}}}),
        ({"tenant": 5}, [{"$set": {"plain": "p"}}]),
    ],
    ids=repr,
)
def test_what_leaves_it_open_or_would_change_it_is_refused(condition: dict[str, Any], change: Any) -> None:
    assert refusal_of(update(condition, change), POLICY).reason is Reason.CONTEXT


def test_a_path_inside_a_document_can_be_the_context() -> None:
    found = contexts(update({"owner.id": "o"}, {"$set": {"notes": 1, "owner.name": "n"}}))
    assert found == [("notes", context("o"), True)]


def test_find_and_modify_follows_the_same_rule() -> None:
    command = {"findAndModify": "people", "query": {"tenant": 5}, "update": {"$set": {"ssn": "x"}}}
    assert contexts(command) == [("ssn", FIVE, True)]
    changed = {**command, "update": {"$set": {"tenant": 6}}}
    assert refusal_of(changed, POLICY).reason is Reason.CONTEXT


def test_a_collection_without_such_a_field_is_updated_as_ever() -> None:
    command = {**update({"_id": 1}, [{"$set": {"ward": "w"}}]), "$db": "tenant_1"}
    assert [each[0] for each in contexts(command)] == ["ward"]


def test_a_replacement_keeps_the_identity_only_where_it_has_none() -> None:
    policy = load_policy(
        b"""
version: 1
classes:
  own: {mode: random, key: {per: _id}}
collections:
  clinic.people: {own: own}
""",
        "policy.yaml",
    )

    def planned(identity: dict[str, Any]) -> list[Any]:
        edits = value_edits(plan_of(update({"_id": 5}, {**identity, "own": "x"}), policy))
        return [edit.context and edit.context.value for edit in edits]

    assert planned({}) == planned({"_id": Int64(5)}) == [FIVE]
    for other in (True, 5.5, {"x": 5}):
        assert refusal_of(update({"_id": 5}, {"_id": other, "own": "x"}), policy).reason is Reason.CONTEXT
