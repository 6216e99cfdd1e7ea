"""Where replies are opened if documents of collections without a policy can be in them: attacks and uses."""

from typing import Any

import pytest
from bson import encode
from bson.binary import Binary

from sealwire.policies.commands.planner import plan_command
from sealwire.policies.commands.views import View, ViewCatalog
from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.planning.plan import BY_NAMESPACE, CLOSED, Openings, Plan
from tests.policies.support import POLICY, plan_of
from tests.support.reasons import raising
from tests.support.rows import rows

Stage = dict[str, Any]

BINARY = {"input": "U1cB", "to": "binData", "format": "base64"}


def paths_of(openings: Openings | None) -> set[str] | None:
    """The paths that are opened whole; None for a reply that is opened everywhere."""
    if openings is None:
        return None
    assert not openings.whole
    return set(_paths(openings, ""))


def _paths(openings: Openings, prefix: str) -> list[str]:
    if openings.whole:
        return [prefix]
    return [
        path
        for name, below in openings.below.items()
        for path in _paths(below, f"{prefix}.{name.decode()}".removeprefix("."))
    ]


def opened(*stages: Stage, on: Any = "copy", **more: Any) -> set[str] | None:
    return paths_of(plan_of({"aggregate": on, "pipeline": list(stages), "cursor": {}, **more}).opens)


def reason(*stages: Stage, on: Any = "copy", **more: Any) -> Reason:
    with pytest.raises(Refusal) as caught:
        opened(*stages, on=on, **more)
    return caught.value.reason


def lookup(from_: str = "patients", as_: str = "z", **more: Any) -> Stage:
    if "pipeline" not in more:
        more |= {"localField": "ward", "foreignField": "ward"}
    return {"$lookup": {"from": from_, "as": as_, **more}}


PATIENTS = lookup()
COPY = lookup("copy", "c")


@rows(
    "stages",
    [],
    [{"$match": {"nhs_number": "1"}}, {"$set": {"x": "$nhs_number"}}],
    [lookup("appointments")],
    [lookup("appointments", pipeline=[{"$set": {"x": "$patient_nhs"}}], let={"n": "$name"})],
    [{"$unionWith": "appointments"}],
    [{"$facet": {"a": [{"$unset": "nhs_number"}], "b": [PATIENTS]}}],
    [{"$group": {"_id": "$ward", "all": {"$push": "$$ROOT"}}}],
    [{"$replaceWith": "$address"}],
    [{"$indexStats": {}}],
)
def test_replies_of_protected_collections_alone_are_opened_everywhere(stages: list[Stage]) -> None:
    assert opened(*stages, on="patients") is None


@rows(
    "stages, expected",
    ([PATIENTS], {"z"}),
    ([PATIENTS, {"$unset": "z"}], set()),
    ([PATIENTS, COPY], {"z"}),
    ([PATIENTS, {"$project": {"z": 0}}], set()),
    ([PATIENTS, {"$project": {"name": 1, "z.nhs_number": 1}}], {"z"}),
    ([PATIENTS, {"$unwind": "$z"}, {"$set": {"nhs": "$z.nhs_number"}}], {"z", "nhs"}),
    ([PATIENTS, {"$set": {"z": {"$first": "$z"}, "n": {"$size": "$z"}}}], {"z"}),
    ([PATIENTS, {"$set": {"a.b": "$z.nhs_number"}}], {"z", "a.b"}),
    ([lookup(as_="a.z")], {"a.z"}),
    ([PATIENTS, {"$group": {"_id": "$ward", "all": {"$push": "$$ROOT"}}}], {"all.z"}),
    (
        [PATIENTS, {"$set": {"z": {"$first": "$z"}}}, {"$group": {"_id": 1, "all": {"$push": "$$ROOT"}}}],
        {"all.z"},
    ),
    ([PATIENTS, {"$unwind": "$z"}, {"$replaceRoot": {"newRoot": "$z"}}], None),
    ([PATIENTS, {"$project": {"x": "$z", "y": "$copied"}}], {"x"}),
    ([PATIENTS, {"$facet": {"a": [{"$match": {"x": 1}}], "b": [{"$count": "n"}]}}], {"a.z"}),
    (
        [
            lookup(
                let={"n": "$nr"},
                pipeline=[{"$match": {"$expr": {"$eq": ["$nr", "$$n"]}}}, {"$set": {"x": "$nhs_number"}}],
            )
        ],
        {"z"},
    ),
    ([lookup(pipeline=[{"$project": {"nhs": "$nhs_number"}}])], {"z"}),
    (
        [
            {
                "$graphLookup": {
                    "from": "patients",
                    "startWith": "$boss",
                    "connectFromField": "boss",
                    "connectToField": "_id",
                    "as": "z",
                }
            }
        ],
        {"z"},
    ),
    ([{"$documents": [{"a": 1}]}, {"$lookup": {"from": "patients", "pipeline": [], "as": "z"}}], {"z"}),
)
def test_protected_documents_are_opened_and_what_is_beside_them_is_not(
    stages: list[Stage], expected: set[str] | None
) -> None:
    on = 1 if "$documents" in stages[0] else "copy"
    assert opened(*stages, on=on) == expected


@rows(
    "stage, is_single",
    (lookup(as_="a.z"), True),
    ({"$set": {"a.z": "$p"}}, True),
    ({"$set": {"a": {"z": "$p"}}}, True),
    ({"$set": {"a": [{"z": "$p"}]}}, False),
    ({"$group": {"_id": 1, "a": {"$push": {"z": "$p"}}}}, False),
)
def test_below_a_field_that_may_have_been_an_array_only_documents_are_opened(
    stage: Stage, is_single: bool
) -> None:
    plan = plan_of({"aggregate": "copy", "pipeline": [lookup(as_="p"), stage], "cursor": {}})
    assert plan.opens is not None
    assert plan.opens.below[b"a"].single is is_single
    assert plan.opens.below[b"a"].below[b"z"].whole


@rows(
    "stages, closed",
    ([PATIENTS, {"$set": {"z.nhs_number": "$copied"}}], "z.nhs_number"),
    ([PATIENTS, {"$set": {"z.unheard": "$copied"}}], "z.unheard"),
    ([PATIENTS, {"$set": {"z.address.unheard": "$copied"}}], "z.address.unheard"),
    ([PATIENTS, {"$set": {"z": "$copied"}}], "z"),
    ([lookup(as_="a.z"), {"$set": {"x": {"$getField": {"field": "c", "input": "$a"}}}}], "x"),
    ([lookup(as_="a.z"), {"$set": {"x": "$a.c"}}], "x"),
    ([lookup(as_="a.z"), {"$set": {"a.z.unheard": "$copied"}}], "a.z.unheard"),
    ([PATIENTS, {"$unset": "z"}, {"$set": {"z": {"nhs_number": "$copied"}}}], "z.nhs_number"),
    ([PATIENTS, {"$project": {"z.nhs_number": "$copied"}}], "z.nhs_number"),
    ([PATIENTS, {"$set": {"x": "$5.z.nhs_number"}}], "x"),
    ([PATIENTS, {"$unwind": {"path": "$z", "includeArrayIndex": "z.i"}}], "z.i"),
    ([lookup(let={"c": "$copied"}, pipeline=[{"$set": {"unheard": "$$c"}}])], "z.unheard"),
    ([lookup(let={"c": "$copied"}, pipeline=[{"$replaceWith": {"unheard": "$$c"}}])], "z.unheard"),
    ([lookup(pipeline=[lookup("copy", "c", pipeline=[])])], "z.c"),
    ([lookup(pipeline=[{"$set": {"x": {"$unheardOf": "U1cB"}}}])], "z.x"),
    ([PATIENTS, lookup("copy", "z", pipeline=[])], "z"),
    ([PATIENTS, lookup("copy", "c", pipeline=[{"$set": {"x": {"$convert": BINARY}}}])], "c.x"),
    ([PATIENTS, lookup("copy", "c", pipeline=[{"$set": {"x": {"$function": {}}}}])], "c.x"),
    ([PATIENTS, {"$set": {"x": {"$unheardOf": "U1cB"}}}], "x"),
)
def test_what_comes_from_elsewhere_is_not_opened_where_protected_documents_are(
    stages: list[Stage], closed: str
) -> None:
    try:
        found = opened(*stages)
    except Refusal as refusal:
        if refusal.reason is not Reason.MIXED:
            raise
        return
    assert found is not None
    assert not [path for path in found if f"{closed}.".startswith(f"{path}.")]


@rows(
    "stages",
    [{"$unionWith": "patients"}],
    [PATIENTS, {"$unionWith": "copy"}],
    [PATIENTS, {"$set": {"x": {"$mergeObjects": ["$z", "$copied"]}}}],
    [PATIENTS, {"$set": {"x": {"$cond": ["$ward", "$z", "$copied"]}}}],
    [PATIENTS, {"$set": {"x": {"$concatArrays": ["$z", "$copied"]}}}],
    [PATIENTS, {"$set": {"x": {"$objectToArray": "$$ROOT"}}}],
    [PATIENTS, {"$setWindowFields": {"output": {"a.b": {"$push": "$z"}}}}],
    [PATIENTS, {"$set": {"a.5": "$z"}}],
)
def test_a_field_that_may_be_of_either_kind_is_refused(stages: list[Stage]) -> None:
    assert reason(*stages) is Reason.MIXED


def test_a_choice_of_like_values_is_no_purer_than_any_of_them() -> None:
    literal = {"patient_nhs": "$z.patient_nhs", "c": "$copied"}
    stages = [lookup("appointments"), {"$set": {"x": {"$cond": ["$ward", "$z", literal]}}}]
    assert opened(*stages) == {"z", "x.patient_nhs"}


@rows(
    "stages",
    [COPY],
    [lookup("copy", "address")],
    [COPY, {"$set": {"address.unheard": "$c.stolen"}}],
    [{"$set": {"unheard": {"$unheardOf": "U1cB"}}}],
    [{"$project": {"nhs_number": 1, "x": "$$v"}}],
    [{"$set": dict.fromkeys(("nhs_number", "unheard"), 1)}, {"$set": {"x": {"$unheardOf": "U1cB"}}}],
)
def test_a_protected_collection_beside_another_is_opened_at_its_paths(stages: list[Stage]) -> None:
    found = opened(
        *stages, on="patients", **{"let": {"v": {"$convert": BINARY}}} if "$$v" in str(stages) else {}
    )
    assert found is not None
    assert not found & {"c", "x", "unheard", "address.unheard"}
    assert ("address" in found) is not any("address" in str(stage) for stage in stages) or "$project" in str(
        stages
    )


def test_a_find_with_what_may_be_bytes_shows_them_closed() -> None:
    query = {"$expr": {"$eq": ["$ward", {"$unheardOf": 1}]}}
    plan = plan_of({"find": "patients", "filter": query})
    assert "nhs_number" in (paths_of(plan.opens) or ())
    with raising(Refusal, Reason.MIXED):
        plan_of({"find": "patients", "filter": {}, "projection": {"x": {"$unheardOf": "U1cB"}}})
    assert plan_of({"find": "patients", "filter": {}, "projection": {"x": "$nhs_number"}}).opens is None


def on_view(command: dict[str, Any], *stages: Stage, on: str = "patients") -> Plan:
    catalog = ViewCatalog(POLICY)
    for name in ("copy", "wards"):
        catalog.learn(f"clinic.{name}", None)
    catalog.learn("clinic.v", View(on, encode({"pipeline": list(stages)})))
    return plan_command(POLICY, encode({**command, "$db": "clinic"}), 0, covered=catalog.covered)


STOLEN = Binary(b"SW\1\1", 0x80)


def test_views_are_opened_as_what_they_yield() -> None:
    find = {"find": "v", "filter": {}}
    assert on_view(find, {"$project": {"n": "$nhs_number"}}).opens is None
    assert on_view(find, {"$match": {"nhs_number": STOLEN}}).opens is None
    assert "x" not in (paths_of(on_view(find, {"$set": {"x": STOLEN}}).opens) or ())
    assert paths_of(on_view(find, PATIENTS, on="copy").opens) == {"z"}
    assert on_view(find, {"$unheardOf": 1}).opens is not None
    assert on_view({"count": "v", "query": {}}, PATIENTS, on="copy").opens is CLOSED
    aggregate = {"aggregate": "v", "pipeline": [{"$set": {"z.x": "$copied"}}], "cursor": {}}
    assert "z.x" not in (paths_of(on_view(aggregate, PATIENTS, on="copy").opens) or ())


def test_a_projection_of_a_mixed_view_moves_nothing() -> None:
    find = {"find": "v", "filter": {}, "projection": {"z.nhs_number": "$copied"}}
    with raising(Refusal, Reason.MIXED):
        on_view(find, PATIENTS, on="copy")
    plain = {"find": "v", "filter": {}, "projection": {"z": {"$slice": 1}, "name": 1}}
    assert paths_of(on_view(plain, PATIENTS, on="copy").opens) == {"z"}


def test_values_of_a_mixed_view_are_opened_by_their_path() -> None:
    def distinct(key: str) -> Openings | None:
        return on_view({"distinct": "v", "key": key}, PATIENTS, on="copy").opens

    inside = distinct("z.nhs_number")
    assert inside is not None
    assert inside.whole
    assert distinct("copied") is CLOSED
    assert distinct("5.z.nhs_number") is CLOSED


def test_an_explained_view_is_not_opened() -> None:
    find = {"find": "v", "filter": {}}
    assert on_view({"explain": find}, {"$match": {"x": STOLEN}}).opens is CLOSED
    aggregate = {"aggregate": "v", "pipeline": [], "explain": True}
    assert on_view(aggregate, {"$match": {"x": STOLEN}}).opens is CLOSED
    assert opened(on="patients", explain=True) is None
    assert plan_of({"explain": {"find": "patients", "filter": {"nhs_number": "1"}}}).opens is None


def test_errors_of_a_bulk_write_on_both_kinds_are_not_opened() -> None:
    def bulk(*names: str) -> Openings | None:
        spaces = [{"ns": f"clinic.{name}"} for name in names]
        return plan_of({"bulkWrite": 1, "ops": [], "nsInfo": spaces, "$db": "admin"}).opens

    assert bulk("patients", "copy") is CLOSED
    assert bulk("patients", "appointments") is None


STREAM: Stage = {"$changeStream": {}}


@rows(
    "stages",
    [],
    [{"$match": {"operationType": "insert"}}],
    [{"$set": {"x": "$fullDocument"}}],
    [{"$project": {"fullDocument": 1, "ns": 1}}],
    [{"$project": {"clusterTime": 0}}],
    [{"$unset": "clusterTime"}],
)
def test_events_are_opened_by_their_namespace(stages: list[Stage]) -> None:
    plan = plan_of({"aggregate": 1, "pipeline": [STREAM, *stages], "cursor": {}})
    assert plan.opens is BY_NAMESPACE


@rows(
    "stage",
    {"$set": {"ns": {"db": "clinic", "coll": "patients"}}},
    {"$addFields": {"ns.coll": "patients"}},
    {"$project": {"ns": {"coll": "patients"}, "fullDocument": 1}},
    {"$project": {"ns.coll": "$x", "fullDocument": 1}},
    {"$project": {"fullDocument": 1}},
    {"$unset": ["ns.coll"]},
    {"$replaceWith": "$fullDocument"},
    {"$changeStreamSplitLargeEvent": {}},
    {"$set": {"x": {"$unheardOf": "U1cB"}}},
)
def test_events_without_their_namespace_are_refused(stage: Stage) -> None:
    with pytest.raises(Refusal):
        plan_of({"aggregate": 1, "pipeline": [STREAM, stage], "cursor": {}})


def test_events_of_one_protected_collection_are_opened_everywhere() -> None:
    for on, chosen in (("patients", []), (1, [{"$match": {"ns.coll": "patients"}}])):
        assert opened(STREAM, *chosen, {"$set": {"x": 1}}, on=on) is None


@pytest.mark.parametrize("value", [{"$unheardOf": "U1cB"}, {"$convert": BINARY}])
def test_no_update_stores_what_may_be_bytes(value: Any) -> None:
    update = {"q": {}, "u": [{"$set": {"unheard": "$$v"}}]}
    with raising(Refusal, Reason.OPERATOR):
        plan_of({"update": "patients", "updates": [update], "let": {"v": value}})
    number = {"$convert": {"input": "5", "to": "int"}}
    assert plan_of({"update": "patients", "updates": [update], "let": {"v": number}}).protected
