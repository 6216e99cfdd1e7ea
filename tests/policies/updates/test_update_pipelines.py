"""Pipeline updates: what ends at a covered path is ciphertext of its class, and elsewhere there is none."""

from datetime import datetime
from typing import Any

from bson import decode

from sealwire.policies.errors import Reason, Refusal
from tests.policies.support import covered, is_sealed, plan_message, plan_of, planned, reason, seal, update
from tests.support.reasons import raising
from tests.support.rows import rows


@rows(
    "stage, edits",
    ({"$set": {"nhs_number": "a"}}, [("nhs_number", "a")]),
        ({"$addFields": {"nhs_number": "a", "name": "b"}}, [("nhs_number", "a")]),
        ({"$set": {"nhs_number": {"$literal": "$a"}}}, [("nhs_number", "$a")]),
        ({"$set": {"visits": 5.0}}, [("visits", 5)]),
        ({"$set": {"born": datetime(2000, 1, 1)}}, [("born", datetime(2000, 1, 1))]),
        ({"$set": {"nhs_number": None, "notes": None, "address": None}}, []),
        ({"$set": {"nhs_number": "$$REMOVE", "address": "$$REMOVE"}}, []),
        ({"$set": {"notes": "a"}}, [("notes", "a")]),
        ({"$set": {"notes": [1, ["a"], {"b": 2}]}}, [("notes", [1, ["a"], {"b": 2}])]),
        ({"$set": {"notes": {"$literal": {"$x": "$y"}}}}, [("notes", {"$x": "$y"})]),
        ({"$set": {"tags": ["a", None, ["b"], {"$literal": "c"}]}}, [("tags", t) for t in "abc"]),
        ({"$set": {"address.postcode": "a", "address.city": "b"}}, [("address.postcode", "a")]),
        ({"$set": {"address": {"postcode": "a", "city": "b"}}}, [("address.postcode", "a")]),
        ({"$set": {"address": {"$literal": {"postcode": "a"}}}}, [("address.postcode", "a")]),
        ({"$set": {"address": "one line"}}, []),
        ({"$set": {"contacts": [{"phone": "a", "note": 5, "kind": "b"}]}}, [
            ("contacts.phone", "a"), ("contacts.note", 5)
        ]),
        ({"$set": {"contacts": {"phone": "a"}}}, [("contacts.phone", "a")]),
        ({"$set": {"nhs_number": "$other_nhs", "other_nhs": "$$ROOT.nhs_number"}}, []),
        ({"$set": {"nhs_number": "$deep.a.b", "tags": ["$tags"]}}, []),
        ({"$set": {"postcode": "$address.postcode", "address.postcode": "$postcode"}}, []),
        ({"$set": {"notes": "$$CURRENT.notes", "contacts.note": "$notes"}}, []),
        ({"$set": {"contacts": "$contacts", "address": "$$ROOT.address"}}, []),
        ({"$set": {"nhs_number": {"$ifNull": ["$nhs_number", "$other_nhs", "a"]}}}, [("nhs_number", "a")]),
        (
            {"$set": {"nhs_number": {"$cond": [{"$eq": ["$other_nhs", "a"]}, "b", "$nhs_number"]}}},
            [("other_nhs", "a"), ("nhs_number", "b")],
        ),
        (
            {"$set": {"notes": {"$cond": {"if": "$ward", "then": {"a": 1}, "else": "$notes"}}}},
            [("notes", {"a": 1})],
        ),
        (
            {"$set": {"tags": {"$switch": {
                "branches": [{"case": {"$eq": ["$kind", "k"]}, "then": ["a"]}, {"case": 1, "then": "$tags"}],
                "default": "b",
            }}}},
            [("tags", "a"), ("tags", "b")],
        ),
        ({"$set": {"nhs_number": {"$let": {"vars": {"n": "$other_nhs"}, "in": "$$n"}}}}, []),
        ({"$set": {"tags": {"$concatArrays": [{"$ifNull": ["$tags", []]}, ["a", "b"]]}}}, [
            ("tags", "a"), ("tags", "b")
        ]),
        ({"$set": {"contacts": {"$concatArrays": ["$contacts", [{"phone": "a", "kind": "$kind"}]]}}}, [
            ("contacts.phone", "a")
        ]),
        ({"$set": {"tags": {"$slice": [{"$concatArrays": ["$tags", ["a"]]}, {"$add": [-1, -2]}]}}}, [
            ("tags", "a")
        ]),
        ({"$set": {"address": {"$mergeObjects": ["$address", {"postcode": "a", "city": "$city"}]}}}, [
            ("address.postcode", "a")
        ]),
        ({"$replaceWith": {"$mergeObjects": [{"nhs_number": "a", "seen": "$$NOW"}, "$$ROOT"]}}, [
            ("nhs_number", "a")
        ]),
        ({"$replaceRoot": {"newRoot": {"nhs_number": "$other_nhs", "notes": 5, "name": "$name"}}}, [
            ("notes", 5)
        ]),
        ({"$replaceWith": {"$literal": {"nhs_number": "a", "name": "b"}}}, [("nhs_number", "a")]),
        ({"$replaceWith": "$$ROOT"}, []),
        ({"$project": {"nhs_number": 1, "address.postcode": True, "contacts": {"phone": 1}, "x": "$y"}}, []),
        ({"$project": {"nhs_number": 0, "address": {"postcode": False}}}, []),
        ({"$project": {"postcode": "a", "address": {"postcode": {"$literal": "b"}, "city": 1}}}, [
            ("postcode", "a"), ("address.postcode", "b")
        ]),
        ({"$unset": ["nhs_number", "address.postcode", "x"]}, []),
        ({"$unset": "notes"}, []),
        ({"$set": {"n": {"$add": ["$n", 1]}, "same": {"$eq": ["$nhs_number", "a"]}}}, [("nhs_number", "a")]),
        ({"$set": {"count": {"$size": "$tags"}, "at": "$$NOW", "x": "$$v"}}, []),
        ({"$set": {"contacts.0.kind": 1}}, []),

)  # fmt: skip
def test_what_is_stored_at_a_covered_path_is_covered(stage: Any, edits: list[tuple[str, Any]]) -> None:
    assert covered(update([stage])) == edits
    assert covered({"findAndModify": "patients", "query": {}, "update": [stage]}) == edits
    op = {"update": 0, "filter": {}, "updateMods": [stage], "constants": {"v": 1}}
    namespaces = [{"ns": "clinic.patients"}]
    assert covered({"bulkWrite": 1, "ops": [op], "nsInfo": namespaces, "$db": "admin"}) == edits


def test_constants_are_for_storing_or_for_matching_by_where_they_stand() -> None:
    kept = {"$cond": [{"$eq": ["$nhs_number", "a"]}, "b", "$nhs_number"]}
    rows = [(use, value) for _, _, use, value in planned(update([{"$set": {"nhs_number": kept}}]))]
    assert rows == [("match", "a"), ("store", "b")]


def test_a_sealed_pipeline_is_the_one_that_was_sent_but_for_its_covered_constants() -> None:
    stages = [
        {"$set": {"tags": {"$concatArrays": ["$tags", ["a", "b"]]}, "name": "c"}},
        {"$replaceWith": {"$mergeObjects": ["$$ROOT", {"address": {"postcode": "d", "city": "e"}}]}},
    ]
    first, second = decode(seal(plan_of(update([*stages]))))["updates"][0]["u"]
    joined = first["$set"]["tags"]["$concatArrays"]
    assert joined[0] == "$tags"
    assert all(is_sealed(value) for value in joined[1])
    assert first["$set"]["name"] == "c"
    root, merged = second["$replaceWith"]["$mergeObjects"]
    assert (root, merged["address"]["city"]) == ("$$ROOT", "e")
    assert is_sealed(merged["address"]["postcode"])


@rows(
    "stage, expected",
    # the server would put something in clear at a covered path
        *(
            ({"$set": {"nhs_number": expression}}, Reason.PIPELINE_UPDATE)
            for expression in (
                *("$name", "$postcode", "$notes", "$address", "$$ROOT", "$$NOW", "$$v", "$$v.nhs_number"),
                *({"$toString": "$n"}, {"$concat": ["a", "b"]}, {"$ifNull": ["$nhs_number", "$name"]}),
                *({"$cond": [True, "$nhs_number", "$name"]}, ["$nhs_number", "$name"]),
                {"$switch": {"branches": [{"case": True, "then": "$name"}], "default": "a"}},
                *({"$let": {"vars": {"n": "a"}, "in": "$$n"}}, {"$mergeObjects": ["$x"]}),
                {"$concatArrays": ["$tags", ["a"]]},
                {"$slice": ["$name", 1]},
            )
        ),
        *(
            ({"$set": {"address": expression}}, Reason.PIPELINE_UPDATE)
            for expression in ("$x", "$contacts", "$$ROOT", {"$mergeObjects": ["$address", "$x"]})
        ),
        ({"$set": {"contacts": {"$concatArrays": ["$contacts", "$x"]}}}, Reason.PIPELINE_UPDATE),
        ({"$set": {"contacts": [{"phone": "$name"}]}}, Reason.PIPELINE_UPDATE),
        ({"$replaceWith": "$x"}, Reason.PIPELINE_UPDATE),
        ({"$replaceWith": "$address"}, Reason.PIPELINE_UPDATE),
        ({"$replaceWith": {"$mergeObjects": ["$x", "$$ROOT"]}}, Reason.PIPELINE_UPDATE),
        ({"$replaceWith": {"nhs_number": "$name"}}, Reason.PIPELINE_UPDATE),
        ({"$project": {"nhs_number": "$name"}}, Reason.PIPELINE_UPDATE),
        # a random class holds one ciphertext, not an array or a sub-document of them
        *(
            ({"$set": {"notes": expression}}, Reason.PIPELINE_UPDATE)
            for expression in (
                *("$contacts.note", "$nhs_number", "$name", ["$notes"], ["$name"], {"$slice": ["$notes", 1]}),
                *({"$concatArrays": ["$notes", "$notes"]}, {"$mergeObjects": ["$notes"]}),
                {"$let": {"vars": {"n": "$notes"}, "in": "$$n"}},
                {"$cond": [True, {"a": "$name"}, "$notes"]},
            )
        ),
        # a covered value would end where nothing is covered
        *(
            ({"$set": {path: expression}}, Reason.PIPELINE_UPDATE)
            for path in ("copy", "address.city", "contacts.0.kind")
            for expression in ("$nhs_number", "$address", "$$ROOT", ["$notes"], {"x": "$tags"})
        ),
        ({"$replaceWith": {"copy": "$nhs_number"}}, Reason.PIPELINE_UPDATE),
        ({"$set": {"address": {"$mergeObjects": ["$address", {"x": "$tags"}]}}}, Reason.PIPELINE_UPDATE),
        ({"$project": {"copy": "$nhs_number"}}, Reason.PIPELINE_UPDATE),
        # values and paths that a class cannot have
        ({"$set": {"nhs_number": 5}}, Reason.TYPE),
        ({"$set": {"visits": 1.5}}, Reason.TYPE),
        ({"$set": {"tags": ["a", 5]}}, Reason.TYPE),
        ({"$set": {"tags": [{"a": "b"}]}}, Reason.TYPE),
        ({"$set": {"nhs_number": {"$literal": {"a": 1}}}}, Reason.TYPE),
        ({"$set": {"nhs_number": {"x": "a"}}}, Reason.BELOW_ENCRYPTED),
        ({"$set": {"notes": {"x": "a"}}}, Reason.BELOW_ENCRYPTED),
        ({"$set": {"tags.x": "a"}}, Reason.BELOW_ENCRYPTED),
        ({"$unset": ["notes.x"]}, Reason.BELOW_ENCRYPTED),
        ({"$project": {"notes.x": 1}}, Reason.BELOW_ENCRYPTED),
        ({"$set": {"x": "$nhs_number.y"}}, Reason.BELOW_ENCRYPTED),
        ({"$set": {"tags.0": "a"}}, Reason.PIPELINE_UPDATE),
        ({"$set": {"contacts.0.phone": "a"}}, Reason.PIPELINE_UPDATE),
        ({"$set": {"0": {"$literal": {"nhs_number": "a"}}}}, Reason.PIPELINE_UPDATE),
        # computing on ciphertext
        ({"$set": {"x": {"$toUpper": "$nhs_number"}}}, Reason.COMPUTE),
        ({"$set": {"nhs_number": {"$cond": ["$nhs_number", "a", "b"]}}}, Reason.COMPUTE),
        ({"$set": {"nhs_number": {"$cond": [{"$eq": ["$nhs_number", "$$v"]}, "a", "b"]}}}, Reason.COMPUTE),
        ({"$set": {"tags": {"$slice": ["$tags", "$visits"]}}}, Reason.COMPUTE),
        ({"$set": {"nhs_number": {"$unheardOf": "a"}}}, Reason.UNKNOWN_EXPRESSION),
        ({"$set": {"nhs_number": {"$function": {}}}}, Reason.JAVASCRIPT),
        # shapes
        ({"$match": {"nhs_number": "a"}}, Reason.STAGE),
        ({"$lookup": {"from": "wards", "as": "x"}}, Reason.STAGE),
        ({"$set": 5}, Reason.SHAPE),
        ({"$set": {"$x": 5}}, Reason.SHAPE),
        ({"$set": {}, "$unset": "x"}, Reason.SHAPE),
        ({"$unset": 5}, Reason.SHAPE),
        ({"$unset": [5]}, Reason.SHAPE),
        ({"$replaceRoot": {"x": {}}}, Reason.SHAPE),
        ({"$replaceRoot": "$$ROOT"}, Reason.SHAPE),
        ({"$replaceWith": {"address.postcode": "a"}}, Reason.SHAPE),
        ({"$set": {"nhs_number": {"$cond": ["a", "b"]}}}, Reason.SHAPE),
        ({"$set": {"nhs_number": {"$cond": {"if": 1, "then": "a", "other": "b"}}}}, Reason.SHAPE),
        ({"$set": {"nhs_number": {"$switch": {"default": "a"}}}}, Reason.SHAPE),
        ({"$set": {"nhs_number": {"$switch": {"branches": [{"then": "a"}]}}}}, Reason.SHAPE),
        ({"$set": {"nhs_number": {"$switch": "a"}}}, Reason.SHAPE),
        ({"$set": {"nhs_number": {"$literal": "a", "$cond": []}}}, Reason.SHAPE),
        (5, Reason.SHAPE),

)  # fmt: skip
def test_what_would_leave_a_document_unlike_the_policy_is_refused(stage: Any, expected: Reason) -> None:
    assert reason(update([stage])) is expected


def test_every_stage_leaves_the_document_as_the_policy_has_it() -> None:
    assert reason(update([{"$set": {"x": "$nhs_number"}}, {"$unset": "x"}])) is Reason.PIPELINE_UPDATE
    assert reason(update([{"$set": {"x": "a"}}, {"$set": {"nhs_number": "$x"}}])) is Reason.PIPELINE_UPDATE


def test_constants_and_array_filters_beside_a_pipeline() -> None:
    stage = {"$set": {"nhs_number": "a"}}
    assert covered(update([stage], c={"v": "b"}, arrayFilters=None)) == [("nhs_number", "a")]
    assert reason(update([stage], c={"CURRENT": {"other_nhs": "b"}})) is Reason.SHAPE
    assert reason(update([stage], arrayFilters=[{"v": 1}])) is Reason.SHAPE


def test_a_collation_is_refused_where_a_pipeline_compares() -> None:
    english = {"locale": "en", "strength": 2}
    compared = {"$set": {"same": {"$eq": ["$nhs_number", "a"]}}}
    assert reason(update([compared], collation=english)) is Reason.COLLATION
    assert covered(update([{"$set": {"nhs_number": "a"}}], collation=english)) == [("nhs_number", "a")]


def test_the_equalities_of_an_upsert_are_covered_beside_a_pipeline() -> None:
    statement = {"q": {"nhs_number": "a"}, "u": [{"$set": {"tags": ["b"]}}], "upsert": True}
    assert covered({"update": "patients", "updates": [statement]}) == [("nhs_number", "a"), ("tags", "b")]
    statement["q"] = {"nhs_number": 5}
    assert reason({"update": "patients", "updates": [statement]}) is Reason.TYPE


@rows(
    "innermost, around",
    ("a", lambda inner: {"$ifNull": [inner]}),
    ({"postcode": "a"}, lambda inner: {"address": {"x": inner}}),
)
def test_expressions_deeper_than_the_server_takes_are_refused(innermost: Any, around: Any) -> None:
    for _ in range(120):
        innermost = around(innermost)
    statement = {"q": {}, "u": [{"$set": {"address": innermost}}]}
    with raising(Refusal, Reason.SHAPE):
        plan_message({"update": "patients"}, {"updates": [statement]})


@rows(
    "value, edits",
    ([{"0": {"phone": "a"}, "kind": "b"}], [("contacts.phone", "a")]),
    ([{"1": {"phone": "a"}}, {"phone": "b"}], [("contacts.phone", "a"), ("contacts.phone", "b")]),
    ({"x": {"phone": "a"}}, []),
)
def test_a_number_for_a_name_in_a_document_is_a_place_in_an_array(value: Any, edits: list[Any]) -> None:
    command = update([{"$set": {"contacts": value}}])
    assert covered(command) == edits
