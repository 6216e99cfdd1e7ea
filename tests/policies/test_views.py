"""What a view yields, as its definition says it."""

from typing import Any

import pytest
from bson import encode

from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.planner import plan_command
from sealwire.policies.views import LIFETIME_S, NamespaceUnknown, View, ViewCatalog
from tests.policies.range_policy import POLICY as RANGES
from tests.policies.support import POLICY, Command, value_edits, value_of


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


def find(name: str, query: Any) -> Command:
    return {"find": name, "filter": query}


@pytest.mark.parametrize(
    ("stages", "query", "expected"),
    [
        ([], {"nhs_number": "a", "name": "b"}, [("nhs_number", "a")]),
        ([{"$match": {"nhs_number": {"$ne": b"x"}}}], {"tags": "a"}, [("tags", "a")]),
        ([{"$project": {"n": "$nhs_number"}}], {"n": "a"}, [("nhs_number", "a")]),
        ([{"$group": {"_id": "$postcode", "n": {"$sum": 1}}}], {"_id": "a", "n": 5}, [("postcode", "a")]),
        ([{"$group": {"_id": "$ward"}}], {"_id": "a"}, []),
    ],
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


def test_views_on_views_and_unions_are_followed() -> None:
    catalog = knowing(
        outer=view("inner", {"$project": {"m": "$n"}}),
        inner=view("patients", {"$project": {"n": "$nhs_number"}}),
        both=view("wards", {"$unionWith": "inner"}),
        wards=None,
    )
    assert edits(catalog, find("outer", {"m": "a"})) == [("nhs_number", "a")]
    with pytest.raises(Refusal) as caught:
        edits(catalog, find("both", {"n": "a"}))
    assert caught.value.reason is Reason.COMPUTE
    join = {"$lookup": {"from": "inner", "localField": "patient_nhs", "foreignField": "n", "as": "z"}}
    assert edits(catalog, {"aggregate": "appointments", "pipeline": [join], "cursor": {}}) == []


def test_a_name_is_asked_for_once_and_again_after_its_time() -> None:
    catalog = ViewCatalog(POLICY)
    catalog.tick(100.0)
    with pytest.raises(NamespaceUnknown) as caught:
        catalog.covered("clinic.v")
    assert caught.value.namespace == "clinic.v"
    catalog.learn("clinic.v", None)
    catalog.tick(100.0 + LIFETIME_S)
    assert catalog.covered("clinic.v") is None
    catalog.tick(101.0 + LIFETIME_S)
    with pytest.raises(NamespaceUnknown):
        catalog.covered("clinic.v")
    catalog.learn("clinic.v", view("patients"))
    assert catalog.covered("clinic.v") is not None
    catalog.forget()
    with pytest.raises(NamespaceUnknown):
        catalog.covered("clinic.v")


def test_only_names_in_a_database_with_protected_collections_are_asked_for() -> None:
    catalog = ViewCatalog(POLICY)
    assert catalog.covered("stats.v") is None
    assert catalog.covered("clinic.system.views") is None
    assert catalog.covered("clinic.patients") is POLICY.covered("clinic.patients")
    with pytest.raises(NamespaceUnknown):
        catalog.covered("tenant_7.v")


def test_a_name_that_no_server_has_is_not_asked_for() -> None:
    data = encode({"find": "seenX", "$db": "clinic"}).replace(b"seenX", b"seen\xff")
    with pytest.raises(Refusal) as caught:
        plan_command(POLICY, data, 0, covered=knowing().covered)
    assert caught.value.reason is Reason.SHAPE


def test_a_definition_that_leads_back_to_itself_can_only_be_forwarded() -> None:
    twice = [{"$unionWith": "a"}, {"$unionWith": "a"}]
    catalog = knowing(a=view("b", *twice), b=view("c", *twice), c=view("a", *twice))
    found = catalog.covered("clinic.a")
    assert found is not None
    assert found.opaque


@pytest.mark.parametrize("definition", [encode({}), encode({"pipeline": 5}), encode({"pipeline": [5]})])
def test_a_definition_that_is_none_can_only_be_forwarded(definition: bytes) -> None:
    found = knowing(v=View("patients", definition)).covered("clinic.v")
    assert found is not None
    assert found.opaque


@pytest.mark.plain_core(reason="replaces a constant")
def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sealwire.policies.views._MAX_REMEMBERED", 2)
    catalog = knowing(a=None, b=None)
    catalog.learn("clinic.c", None)
    with pytest.raises(NamespaceUnknown):
        catalog.covered("clinic.a")
    assert catalog.covered("clinic.c") is None


def test_a_range_goes_through_a_view_that_leaves_documents_as_they_are() -> None:
    query = {"a": {"$gte": 1, "$lt": 3}}
    kept, arrays = ViewCatalog(RANGES), ViewCatalog(RANGES)
    kept.learn("db.v", view("c", {"$match": {"x": 1}}, {"$limit": 5}))
    arrays.learn("db.v", view("c", {"$set": {"a": ["$a"]}}))
    body = encode({"find": "v", "filter": query, "$db": "db"})
    assert len(plan_command(RANGES, body, 0, covered=kept.covered).edits) == 1
    with pytest.raises(Refusal) as caught:
        plan_command(RANGES, body, 0, covered=arrays.covered)
    assert caught.value.reason is Reason.RANGE
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
    with pytest.raises(Refusal) as caught:
        catalog.covered("clinic.\udcff")
    assert caught.value.reason is Reason.SHAPE
    assert catalog.covered("stats.\udcff") is None


def test_the_edition_changes_with_every_answer_and_when_one_becomes_too_old() -> None:
    catalog = ViewCatalog(POLICY)
    seen = {catalog.edition}
    catalog.tick(100.0)
    catalog.learn("clinic.a", None)
    seen.add(catalog.edition)
    catalog.tick(130.0)
    catalog.learn("clinic.b", None)
    seen.add(catalog.edition)
    catalog.tick(100.0 + LIFETIME_S)
    assert catalog.edition in seen
    catalog.tick(101.0 + LIFETIME_S)
    assert catalog.edition not in seen
    seen.add(catalog.edition)
    assert catalog.covered("clinic.b") is None
    catalog.tick(131.0 + LIFETIME_S)
    assert catalog.edition not in seen
    seen.add(catalog.edition)
    catalog.forget()
    assert catalog.edition not in seen
