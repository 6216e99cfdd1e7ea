"""What a view yields, as its definition says it."""

from typing import Any

import pytest
from bson import encode

from sealwire.policies.commands.planner import plan_command
from sealwire.policies.commands.views import (
    MAX_NAMES,
    UNREADABLE,
    UNSEEN,
    NamespaceUnknown,
    View,
    ViewCatalog,
)
from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.file.schema import PathNode
from tests.policies.range_policy import POLICY as RANGES
from tests.policies.support import POLICY, Command, value_edits, value_of
from tests.support.policies import policy_of
from tests.support.reasons import raising
from tests.support.rows import rows


def view(on: str, *stages: dict[str, Any]) -> View:
    return View(on, encode({"pipeline": list(stages)}))


def edits(catalog: ViewCatalog, command: Command) -> list[tuple[str, Any]]:
    plan = plan_command(POLICY, encode({**command, "$db": "clinic"}), 0, covered=catalog.covered)
    return [(edit.node.path, value_of(plan, edit)) for edit in value_edits(plan)]


def knowing(**views: View | None) -> ViewCatalog:
    catalog = ViewCatalog(POLICY)
    for name, definition in views.items():
        catalog.learn(f"clinic.{name}", definition)
    return catalog


def tree_of(catalog: ViewCatalog, name: str) -> PathNode:
    found = catalog.covered(f"clinic.{name}")
    assert found is not None
    return found


def find(name: str, query: Any) -> Command:
    return {"find": name, "filter": query}


@rows(
    "stages, query, expected",
    ([], {"nhs_number": "a", "name": "b"}, [("nhs_number", "a")]),
    ([{"$match": {"nhs_number": {"$ne": b"x"}}}], {"tags": "a"}, [("tags", "a")]),
    ([{"$project": {"n": "$nhs_number"}}], {"n": "a"}, [("nhs_number", "a")]),
    ([{"$group": {"_id": "$postcode", "n": {"$sum": 1}}}], {"_id": "a", "n": 5}, [("postcode", "a")]),
    ([{"$group": {"_id": "$ward"}}], {"_id": "a"}, []),
)
def test_the_fields_of_a_view_have_the_classes_that_its_pipeline_gives_them(
    stages: list[dict[str, Any]], query: Any, expected: list[tuple[str, Any]]
) -> None:
    catalog = knowing(v=view("patients", *stages))
    for command in (
        find("v", query),
        {"count": "v", "query": query},
        {"distinct": "v", "key": "name", "query": query},
        {"aggregate": "v", "pipeline": [{"$match": query}], "cursor": {}},
        {"delete": "v", "deletes": [{"q": query, "limit": 1}]},
        {"explain": find("v", query)},
    ):
        assert edits(catalog, command) == expected


def test_a_filter_of_an_index_on_a_view_is_covered_before_the_server_refuses_it() -> None:
    index = {"key": {"x": 1}, "name": "x", "partialFilterExpression": {"nhs_number": "a"}}
    catalog = knowing(v=view("patients"), wards=None)
    assert edits(catalog, {"createIndexes": "v", "indexes": [index]}) == [("nhs_number", "a")]
    assert edits(catalog, {"createIndexes": "wards", "indexes": [index]}) == []
    with pytest.raises(Refusal):
        edits(catalog, {"planCacheClear": "v", "query": {"nhs_number": "a"}})


def test_views_on_views_and_unions_are_followed() -> None:
    catalog = knowing(
        outer=view("inner", {"$project": {"m": "$n"}}),
        inner=view("patients", {"$project": {"n": "$nhs_number"}}),
        both=view("wards", {"$unionWith": "inner"}),
        wards=None,
    )
    assert edits(catalog, find("outer", {"m": "a"})) == [("nhs_number", "a")]
    with raising(Refusal, Reason.COMPUTE):
        edits(catalog, find("both", {"n": "a"}))
    join = {"$lookup": {"from": "inner", "localField": "patient_nhs", "foreignField": "n", "as": "z"}}
    assert edits(catalog, {"aggregate": "appointments", "pipeline": [join], "cursor": {}}) == []


def test_an_answer_counts_until_the_command_is_over() -> None:
    catalog = ViewCatalog(POLICY)
    assert not catalog.consulted
    with pytest.raises(NamespaceUnknown) as caught:
        catalog.covered("clinic.v")
    assert caught.value.namespace == "clinic.v"
    catalog.learn("clinic.v", None)
    assert catalog.covered("clinic.v") is None
    assert catalog.consulted
    assert catalog.room == MAX_NAMES - 1
    catalog.clear()
    assert not catalog.consulted
    with pytest.raises(NamespaceUnknown):
        catalog.covered("clinic.v")


@pytest.mark.parametrize("known", [UNSEEN, UNREADABLE])
def test_what_nobody_may_see_can_only_be_forwarded(known: View) -> None:
    assert tree_of(knowing(v=known), "v").opaque


def test_a_name_that_the_server_hides_is_told() -> None:
    catalog = knowing(a=None, v=UNSEEN)
    assert catalog.unseen == "clinic.v"
    assert knowing(a=None).unseen == ""


PATTERNS = policy_of("""
version: 1
classes: {nhs: {mode: deterministic, type: string}}
collections:
  "hp*.*": {a: nhs}
  "tenant_*.patients": {a: nhs}
  clinic.patients: {a: nhs}
plain: [hp1.log, "clinic.log_*"]
""")


def test_a_view_whose_own_name_matches_a_pattern_is_read_as_a_view() -> None:
    catalog = ViewCatalog(PATTERNS)
    with pytest.raises(NamespaceUnknown):
        catalog.covered("hp1.v")
    catalog.learn("hp1.v", view("c", {"$project": {"b": "$a"}}))
    catalog.learn("hp1.c", None)
    body = encode({"find": "v", "filter": {"a": "x", "b": "y"}, "$db": "hp1"})
    plan = plan_command(PATTERNS, body, 0, covered=catalog.covered)
    assert [value_of(plan, edit) for edit in value_edits(plan)] == ["x", "y"]


def test_a_collection_that_matches_a_pattern_is_looked_at_once_in_a_session() -> None:
    catalog = ViewCatalog(PATTERNS)
    catalog.learn("hp1.c", None)
    catalog.clear()
    assert catalog.covered("hp1.c") is PATTERNS.covered("hp1.c")


@pytest.mark.parametrize("namespace", ["tenant_1.patients", "clinic.patients"])
def test_a_collection_that_the_policy_names_is_not_asked_for(namespace: str) -> None:
    assert ViewCatalog(PATTERNS).covered(namespace) is PATTERNS.covered(namespace)


@pytest.mark.parametrize("namespace", ["clinic.log_2026", "other.v"])
def test_a_plain_collection_is_not_asked_for(namespace: str) -> None:
    assert ViewCatalog(PATTERNS).covered(namespace) is None


def test_views_that_name_each_other_twice_are_followed_once_each() -> None:
    names = [f"v{number}" for number in range(20)]
    twice = {
        name: view(below, {"$unionWith": below}, {"$unionWith": below})
        for name, below in zip(names, [*names[1:], "patients"], strict=True)
    }
    catalog = knowing(**twice)
    assert tree_of(catalog, "v0").covers


@pytest.mark.parametrize(("levels", "is_followed"), [(21, True), (22, False)])
def test_a_view_of_views_is_followed_as_deep_as_the_server_follows_it(levels: int, is_followed: bool) -> None:
    names = [f"v{number}" for number in range(levels)]
    catalog = knowing(
        **{name: view(below) for name, below in zip(names, [*names[1:], "patients"], strict=True)}
    )
    assert tree_of(catalog, "v0").opaque is not is_followed


def test_collections_are_forgotten_when_too_many_are_known() -> None:
    catalog = ViewCatalog(PATTERNS)
    for number in range(1024):
        catalog.learn(f"hp1.c{number}", None)
    catalog.clear()
    assert catalog.covered("hp1.c0") is not None
    catalog.learn("hp1.more", None)
    catalog.clear()
    assert catalog.covered("hp1.more") is not None
    with pytest.raises(NamespaceUnknown):
        catalog.covered("hp1.c0")


def test_only_names_in_a_database_with_protected_collections_are_asked_for() -> None:
    catalog = ViewCatalog(POLICY)
    assert catalog.covered("stats.v") is None
    assert catalog.covered("clinic.system.views") is None
    assert catalog.covered("clinic.patients") is POLICY.covered("clinic.patients")
    with pytest.raises(NamespaceUnknown):
        catalog.covered("tenant_7.v")


def test_a_name_that_no_server_has_is_not_asked_for() -> None:
    data = encode({"find": "seenX", "$db": "clinic"}).replace(b"seenX", b"seen\xff")
    with raising(Refusal, Reason.SHAPE):
        plan_command(POLICY, data, 0, covered=knowing().covered)


def test_a_definition_that_leads_back_to_itself_can_only_be_forwarded() -> None:
    twice = [{"$unionWith": "a"}, {"$unionWith": "a"}]
    catalog = knowing(a=view("b", *twice), b=view("c", *twice), c=view("a", *twice))
    assert tree_of(catalog, "a").opaque


@pytest.mark.parametrize("definition", [encode({}), encode({"pipeline": 5}), encode({"pipeline": [5]})])
def test_a_definition_that_is_none_can_only_be_forwarded(definition: bytes) -> None:
    assert tree_of(knowing(v=View("patients", definition)), "v").opaque


def test_a_range_goes_through_a_view_that_leaves_documents_as_they_are() -> None:
    query = {"a": {"$gte": 1, "$lt": 3}}
    kept, arrays = ViewCatalog(RANGES), ViewCatalog(RANGES)
    kept.learn("db.v", view("c", {"$match": {"x": 1}}, {"$limit": 5}))
    arrays.learn("db.v", view("c", {"$set": {"a": ["$a"]}}))
    body = encode({"find": "v", "filter": query, "$db": "db"})
    assert len(plan_command(RANGES, body, 0, covered=kept.covered).edits) == 1
    with raising(Refusal, Reason.RANGE):
        plan_command(RANGES, body, 0, covered=arrays.covered)
    equal = encode({"find": "v", "filter": {"a": 1}, "$db": "db"})
    assert len(plan_command(RANGES, equal, 0, covered=arrays.covered).edits) == 1


def test_a_view_is_created_with_its_pipeline_covered() -> None:
    catalog = knowing(wards=None)
    pipeline = [{"$match": {"nhs_number": "a"}}]
    assert edits(catalog, {"create": "v", "viewOn": "patients", "pipeline": pipeline}) == [
        ("nhs_number", "a")
    ]
    joined = [{"$lookup": {"from": "patients", "pipeline": pipeline, "as": "z"}}]
    for name in ("create", "collMod"):
        assert edits(catalog, {name: "v", "viewOn": "wards", "pipeline": joined}) == [("nhs_number", "a")]
    assert edits(catalog, {"create": "v", "viewOn": "wards", "pipeline": pipeline}) == []


def test_a_name_that_is_not_utf8_cannot_be_asked_for_and_is_refused() -> None:
    catalog = ViewCatalog(POLICY)
    with raising(Refusal, Reason.SHAPE):
        catalog.covered("clinic.\udcff")
    assert catalog.covered("stats.\udcff") is None


def test_a_view_on_what_the_server_keeps_for_itself_is_compared_with_nothing_that_may_be_covered() -> None:
    catalog = knowing(
        v=view("system.profile", {"$project": {"command": 1, "ns": 1, "seen": "$command.filter"}})
    )
    assert edits(catalog, find("v", {"ns": "clinic.patients"})) == []
    for path in ("command.filter.nhs_number", "seen.nhs_number"):
        with raising(Refusal, Reason.COMPUTE):
            edits(catalog, find("v", {path: "a"}))


def test_what_the_server_keeps_for_itself_is_followed_with_a_catalogue_as_without() -> None:
    catalog = knowing()
    plan = plan_command(
        POLICY, encode({"find": "system.profile", "$db": "clinic"}), 0, covered=catalog.covered
    )
    assert (plan.protected, plan.reveals) == (True, False)


def test_nothing_that_was_found_out_for_a_command_is_known_for_the_next_one() -> None:
    catalog, tree = ViewCatalog(POLICY), POLICY.covered("clinic.patients")
    assert tree is not None
    for _ in range(2):
        assert catalog.work.known_fields(tree) is None
        catalog.clear()
        catalog.work.learn("walk", tree, tree, True)
        catalog.work.visit(3)
        catalog.clear()
        assert (catalog.work.visits, catalog.work.known("walk", tree, tree)) == (0, None)
