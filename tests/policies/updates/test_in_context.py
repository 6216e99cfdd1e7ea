"""Updates where classes have a key for each context: what fixes it, and what would change it."""

from typing import Any

from bson import Int64

from sealwire.policies.errors import Reason
from tests.policies.planning.test_contexts import FIVE, POLICY, SIX, context, contexts
from tests.policies.planning.test_contexts_beside import contexts as contexts_beside
from tests.policies.planning.test_contexts_beside import five, reason
from tests.policies.support import Command, plan_of, refusal_of, value_edits
from tests.support.policies import policy_of
from tests.support.rows import rows


def update(condition: dict[str, Any], change: Any, **more: Any) -> Command:
    return {"update": "people", "updates": [{"q": condition, "u": change, **more}]}


@rows(
    "condition, change",
    ({"tenant": 5}, {"$set": {"ssn": "x"}}),
    ({"$and": [{"tenant": 5}, {"_id": 1}]}, {"$set": {"ssn": "x"}}),
    ({"tenant": 5}, {"$set": {"ssn": "x", "tenant": Int64(5)}}),
    ({"tenant": 5}, {"$push": {"visits": {"ssn": "x"}}}),
    ({"tenant": 5}, {"$set": {"visits.0.ssn": "x"}}),
    ({"_id": 1}, {"tenant": 5, "ssn": "x"}),
    ({"tenant": 6}, {"tenant": 5, "ssn": "x"}),
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


@rows(
    "condition, change",
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
    policy = policy_of("""
version: 1
classes:
  own: {mode: random, key: {per: _id}}
collections:
  clinic.people: {own: own}
""")

    def planned(identity: dict[str, Any]) -> list[Any]:
        edits = value_edits(plan_of(update({"_id": 5}, {**identity, "own": "x"}), policy))
        return [edit.context and edit.context[0] for edit in edits]

    assert planned({}) == planned({"_id": Int64(5)}) == [FIVE]
    for other in (True, 5.5, {"x": 5}):
        assert refusal_of(update({"_id": 5}, {"_id": other, "own": "x"}), policy).reason is Reason.CONTEXT


# Updates of sub-documents that say the contexts of the values in them.


VISIT = {"patient": 5, "code": "a"}


def update_wards(condition: dict[str, Any], change: Any, **more: Any) -> Command:
    return {"update": "wards", "updates": [{"q": condition, "u": change, **more}]}


@rows(
    "change",
    {"$push": {"visits": VISIT}},
    {"$push": {"visits": {"$each": [VISIT], "$slice": 9, "$sort": {"patient": 1}}}},
    {"$addToSet": {"visits": VISIT}},
    {"$set": {"visits": [VISIT]}},
    {"$set": {"visits": VISIT}},
    {"$set": {"visits.0": VISIT}},
    {"$set": {"visits.$": VISIT}},
    {"$setOnInsert": {"visits": [VISIT]}},
    {"visits": [VISIT]},
)
def test_a_whole_sub_document_says_its_context(change: Any) -> None:
    assert contexts_beside(update_wards({"visits.patient": 6}, change)) == five("visits.code", is_stored=True)


def test_what_is_taken_away_is_found_in_its_context() -> None:
    for change in ({"$pull": {"visits": VISIT}}, {"$pullAll": {"visits": [VISIT]}}):
        assert contexts_beside(update_wards({}, change)) == five("visits.code")
    for harmless in (
        {"$unset": {"visits.$[].code": 1}},
        {"$pop": {"visits": 1}},
        {"$pull": {"visits": {"patient": 5}}},
    ):
        assert contexts_beside(update_wards({}, harmless)) == []


def test_an_array_filter_fixes_it_for_the_elements_that_it_chooses() -> None:
    def changed(filters: list[Any], way: str = "$[e]") -> Command:
        return update_wards({}, {"$set": {f"visits.{way}.code": "b"}}, arrayFilters=filters)

    for fixing in ({"e.patient": 5}, {"$and": [{"e.patient": {"$eq": Int64(5)}}, {"e.x": 1}]}):
        assert contexts_beside(changed([fixing])) == five("visits.code", is_stored=True)
    both = changed([{"e.patient": 5, "e.code": "a", "$or": [{"e.patient": 6, "e.code": "c"}]}])
    assert contexts_beside(both) == [
        ("visits.code", FIVE, True),
        ("visits.code", FIVE, False),
        ("visits.code", SIX, False),
    ]
    several = {"$set": {"visits.$[e].code": "a", "visits.$[f].code": "b"}}
    assert contexts_beside(update_wards({}, several, arrayFilters=[{"e.patient": 5}, {"f.patient": 6}])) == [
        ("visits.code", FIVE, True),
        ("visits.code", SIX, True),
    ]
    assert contexts_beside(changed([{"e.patient": 5}], "$[].$[e]")) == five("visits.code", is_stored=True)
    for change in ({"$push": {"visits.$[e].tags": "b"}}, {"$set": {"visits.$[e].tags.0": "b"}}):
        tags = update_wards({}, change, arrayFilters=[{"e.patient": 5}])
        assert contexts_beside(tags) == five("visits.tags", is_stored=True)


@rows(
    "way, filters",
    ("$[e]", [{"e.x": 5}]),
    ("$[e]", [{"e.patient": {"$gte": 5}}]),
    ("$[e]", [{"$or": [{"e.patient": 5}]}]),
    ("$[e]", [{"e.0.patient": 5}]),
    ("$[e].0", [{"e.patient": 5}]),
    ("$[e].$[]", [{"e.patient": 5}]),
    ("0", None),
    ("$", None),
    ("$[]", None),
)
def test_elements_of_which_it_is_not_fixed_are_refused(way: str, filters: list[Any] | None) -> None:
    more = {} if filters is None else {"arrayFilters": filters}
    condition = {"visits.patient": 5, "visits.0.patient": 5}
    assert reason(update_wards(condition, {"$set": {f"visits.{way}.code": "b"}}, **more)) is Reason.CONTEXT


@rows(
    "filters",
    [{"e.patient": 5, "e.0.code": "a"}],
    [{"e.x": 1, "e.code": "a"}],
    [{"e.x": 1, "e": {"code": "a"}}],
)
def test_an_array_filter_compares_where_it_fixes(filters: list[Any]) -> None:
    found = update_wards({}, {"$set": {"visits.$[e].x": 1}}, arrayFilters=filters)
    assert reason(found) is Reason.CONTEXT


def test_elements_of_a_value_are_compared_with_in_no_context() -> None:
    condition = {"visits.patient": 5}
    found = update_wards(
        condition, {"$set": {"visits.$[v].tags.$[t]": "b"}}, arrayFilters=[{"v.patient": 5}, {"t": "a"}]
    )
    assert reason(found) is Reason.CONTEXT


def test_two_array_filters_for_the_same_elements_are_refused() -> None:
    filters = [{"e.patient": 5}, {"e.patient": 6}]
    assert reason(update_wards({}, {"$set": {"visits.$[e].x": 1}}, arrayFilters=filters)) is Reason.SHAPE


def test_an_array_filter_for_two_identifiers_is_refused() -> None:
    change = {"$set": {"visits.$[e].x": 1, "visits.$[f].x": 2}}
    filters = [{"e.patient": 5, "f.patient": 6}]
    assert reason(update_wards({}, change, arrayFilters=filters)) is Reason.SHAPE


def test_one_sub_document_is_reached_by_its_path() -> None:
    """The server writes by such a path to no element of an array."""
    for change in ({"$set": {"visits.code": "a"}}, {"$set": {"visits.code": "a", "visits.patient": 5}}):
        for upsert in (False, True):
            found = contexts_beside(update_wards({"visits.patient": 5}, change, upsert=upsert))
            assert found == five("visits.code", is_stored=True)
    for condition in ({}, {"patient": 5}, {"visits": {"$elemMatch": {"patient": 5}}}):
        assert reason(update_wards(condition, {"$set": {"visits.code": "a"}})) is Reason.CONTEXT
    assert reason(update_wards({"visits.patient": 5}, {"$push": {"visits": {"code": "a"}}})) is Reason.CONTEXT


@rows(
    "change",
    {"$set": {"visits.$[e].patient": 5}},
    {"$set": {"visits.0.patient": 5}},
    {"$set": {"visits.$.patient": 6}},
    {"$set": {"visits.0.0.patient": 6}},
    {"$set": {"visits.patient": 6}},
    {"$set": {"visits.patient.x": 6}},
    {"$set": {"letters.0.owner": {"id": 5}}},
    {"$unset": {"visits.$[].patient": 1}},
    {"$inc": {"visits.0.patient": 1}},
    {"$push": {"letters.0.owner.id": 1}},
    {"$rename": {"visits.patient": "x"}},
    {"$rename": {"x": "visits.patient"}},
    {"$rename": {"visits.code": "old.code"}},
    {"$rename": {"old.code": "code"}},
    [{"$set": {"visits.x": 1}}],
)
def test_what_an_element_says_is_not_changed_and_values_are_not_moved(change: Any) -> None:
    filters = {"arrayFilters": [{"e.patient": 5}]} if "$[e]" in str(change) else {}
    assert reason(update_wards({"visits.patient": 5}, change, **filters)) is Reason.CONTEXT


def test_what_an_element_has_beside_it_may_change() -> None:
    for path in ("visits.0.x", "visits.$[].x.patient", "visits.x", "deep.list.0.y", "deep.patient"):
        assert contexts_beside(update_wards({}, {"$set": {path: 1}})) == []
    assert contexts_beside(update_wards({}, {"$rename": {"visits.x": "visits.y"}})) == []
    # whole sub-documents take along what they say
    assert contexts_beside(update_wards({}, {"$unset": {"visits": 1}, "$set": {"old": {"x": 1}}})) == []


def test_a_collation_would_choose_other_elements() -> None:
    collated = {"collation": {"locale": "en", "strength": 1}}

    def changed(patient: object) -> Command:
        filters = [{"e.patient": patient}]
        return update_wards({}, {"$set": {"visits.$[e].count": 1}}, arrayFilters=filters, **collated)

    assert reason(changed("a")) is Reason.COLLATION
    assert contexts_beside(changed(5)) == five("visits.count", is_stored=True)


def test_what_an_upsert_seeds_beside_is_stored() -> None:
    seeded = update_wards({"visits": {"patient": 5, "code": "a"}}, {"$set": {"x": 1}}, upsert=True)
    assert contexts_beside(seeded) == five("visits.code", is_stored=True)
