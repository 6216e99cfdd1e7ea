"""Updates: what is written is covered, what computes on a covered value is refused."""

import re
from typing import Any

import pytest
from bson import SON, Decimal128, Int64, decode

from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.roles.role import DENIED, ClassAccess, Rights
from sealwire.policies.updates.updates import arrays_in
from sealwire.wire.raw_bson import Edit, splice
from tests.policies.support import (
    Edits,
    covered,
    plan_message,
    plan_of,
    planned,
    planned_with,
    reason,
    update,
)
from tests.support.reasons import raising
from tests.support.rows import rows


@rows(
    "change, edits",
    ({"$set": {"nhs_number": "a"}}, [("nhs_number", "a")]),
    ({"$setOnInsert": {"nhs_number": "a"}}, [("nhs_number", "a")]),
    ({"$set": {"notes": {"any": ["thing"]}}}, [("notes", {"any": ["thing"]})]),
    ({"$set": {"tags": ["a", None, ["b"]]}}, [("tags", "a"), ("tags", "b")]),
    ({"$set": {"tags.0": "a"}}, [("tags", "a")]),
    ({"$set": {"tags.$": "a"}}, [("tags", "a")]),
    ({"$set": {"tags.$[]": "a"}}, [("tags", "a")]),
    ({"$set": {"address.postcode": "a"}}, [("address.postcode", "a")]),
    ({"$set": {"address": {"postcode": "a", "city": "x"}}}, [("address.postcode", "a")]),
    ({"$set": {"address": [{"postcode": "a"}]}}, [("address.postcode", "a")]),
    ({"$set": {"contacts.$.phone": "a"}}, [("contacts.phone", "a")]),
    ({"$set": {"contacts.$[].phone": "a"}}, [("contacts.phone", "a")]),
    ({"$set": {"contacts.3.phone": "a"}}, [("contacts.phone", "a")]),
    ({"$set": {"contacts.$.note": "a"}}, [("contacts.note", "a")]),
    ({"$set": {"contacts.$": {"phone": "a", "note": 5}}}, [("contacts.phone", "a"), ("contacts.note", 5)]),
    ({"$set": {"deep": {"a": [{"b": "n"}]}}}, [("deep.a.b", "n")]),
    ({"$set": {"nhs_number": "a"}, "$inc": {"n": 1}}, [("nhs_number", "a")]),
    ({"nhs_number": "a", "contacts": [{"phone": "b"}]}, [("nhs_number", "a"), ("contacts.phone", "b")]),
    ({"$push": {"tags": "a"}}, [("tags", "a")]),
    ({"$push": {"tags": ["a", "b"]}}, [("tags", "a"), ("tags", "b")]),
    ({"$push": {"contacts": {"phone": "a", "note": "n"}}}, [("contacts.phone", "a"), ("contacts.note", "n")]),
    (
        {"$push": {"tags": {"$each": ["a", "b"], "$position": 0, "$slice": -5}}},
        [("tags", "a"), ("tags", "b")],
    ),
    ({"$push": {"tags": {"$slice": -5, "$each": ["a"]}}}, [("tags", "a")]),
    ({"$push": {"contacts": {"$each": [{"phone": "a"}], "$sort": {"kind": 1}}}}, [("contacts.phone", "a")]),
    ({"$push": {"contacts.$[].phone": "a"}}, [("contacts.phone", "a")]),
    ({"$addToSet": {"tags": "a"}}, [("tags", "a")]),
    ({"$addToSet": {"tags": {"$each": ["a", "b"]}}}, [("tags", "a"), ("tags", "b")]),
    ({"$addToSet": {"deep.a": {"b": "n"}}}, [("deep.a.b", "n")]),
    ({"$pull": {"tags": "a"}}, [("tags", "a")]),
    ({"$pull": {"tags": {"$in": ["a", "b"]}}}, [("tags", "a"), ("tags", "b")]),
    ({"$pull": {"tags": {"$ne": "a"}}}, [("tags", "a")]),
    ({"$pull": {"contacts": {"phone": "a", "kind": "x"}}}, [("contacts.phone", "a")]),
    ({"$pull": {"contacts": {"phone": {"$in": ["a"]}}}}, [("contacts.phone", "a")]),
    ({"$pull": {"contacts": {"$or": [{"phone": "a"}, {"kind": "x"}]}}}, [("contacts.phone", "a")]),
    ({"$pull": {"contacts": {"$elemMatch": {"phone": "a"}}}}, [("contacts.phone", "a")]),
    ({"$pullAll": {"tags": ["a", "b"]}}, [("tags", "a"), ("tags", "b")]),
    ({"$pullAll": {"deep.a": [{"b": "n"}]}}, [("deep.a.b", "n")]),
    # a path into an array is covered
    *(({"$set": {f"tags.{part}": "a"}}, [("tags", "a")]) for part in ("$", "$[]", "$[a1]")),
    # what writes no covered value passes as it is
    ({}, []),
    ({"name": "x"}, []),
    ({"$set": {"nhs_number": None, "notes": None}}, []),
    ({"$set": {"tags": []}}, []),
    ({"$set": {"address": "one line", "contacts": 5}}, []),
    ({"$set": {"address.city": "x", "contacts.$[].kind": "y"}}, []),
    ({"$set": {"x.nhs_number": "z"}}, []),
    ({"$unset": {"nhs_number": "", "address": 1, "contacts.$[].phone": True, "notes": ""}}, []),
    ({"$pop": {"tags": 1, "contacts": -1, "list": 1}}, []),
    ({"$inc": {"n": 1, "contacts.$.calls": 1, "address.floor": Int64(1)}}, []),
    ({"$mul": {"n": 2}}, []),
    ({"$min": {"n": 2}}, []),
    ({"$max": {"n": 2}}, []),
    ({"$bit": {"n": {"and": 1}}}, []),
    ({"$currentDate": {"seen": True, "at": {"$type": "timestamp"}}}, []),
    ({"$rename": {"old": "new", "address.city": "address.town"}}, []),
    ({"$rename": {"nhs_number": "other_nhs"}}, []),
    ({"$rename": {"deep.a.b": "nhs_number", "postcode": "address.postcode"}}, []),
    ({"$rename": {"notes": "contacts.note"}}, []),
    ({"$rename": {"address": "address"}}, []),
    ({"$push": {"list": {"$each": [3, 1], "$sort": 1}}}, []),
    ({"$push": {"contacts": {"$each": [], "$sort": {"kind": 1}}}}, []),
    ({"$pull": {"list": {"$gt": 5}, "contacts": {"kind": re.compile("x")}}}, []),
    ({"$pullAll": {"list": [1]}}, []),
    ({"$addToSet": {"list": {"x": 1}}}, []),
    ({"$pull": {"tags": None}}, []),
    # numbers of every type say where
    ({"$pop": {"tags": 1}}, []),
    ({"$pop": {"tags": -1.0}}, []),
    ({"$pop": {"contacts": Decimal128("-1")}}, []),
    ({"$push": {"tags": {"$each": [], "$slice": Int64(-2), "$position": -1.0}}}, []),
    ({"$push": {"contacts": {"$each": [], "$sort": {"kind": -1.0}}}}, []),
    ({"$push": {"name": {"$slice": "not covered"}}}, []),
)
def test_written_and_compared_values_are_covered(change: dict[str, Any], edits: Edits) -> None:
    assert covered(update(change)) == edits


@rows(
    "change, use",
    ({"$set": {"tags": "a"}}, "store"),
    ({"$push": {"tags": "a"}}, "store"),
    ({"$addToSet": {"tags": "a"}}, "store"),
    ({"$pull": {"tags": "a"}}, "match"),
    ({"$pullAll": {"tags": ["a"]}}, "match"),
)
def test_what_is_written_is_for_storing_and_what_is_removed_by_value_for_matching(
    change: Any, use: str
) -> None:
    assert planned(update(change)) == [("tags", "tag", use, "a")]


@rows(
    "change, expected",
    *(
        ({name: {path: 1}}, Reason.OPERATOR)
        for name in ("$inc", "$mul", "$min", "$max", "$bit", "$currentDate")
        for path in ("visits", "notes", "contacts.$[].phone", "address", "tags.0")
    ),
    ({"$rename": {"nhs_number": "x"}}, Reason.OPERATOR),
    ({"$rename": {"x": "nhs_number"}}, Reason.OPERATOR),
    ({"$rename": {"x": "address"}}, Reason.OPERATOR),
    ({"$rename": {"nhs_number": "postcode"}}, Reason.OPERATOR),
    ({"$rename": {"nhs_number": "notes"}}, Reason.OPERATOR),
    ({"$rename": {"address": "contacts"}}, Reason.OPERATOR),
    ({"$rename": {"nhs_number": "address"}}, Reason.OPERATOR),
    ({"$rename": {"contacts.0.phone": "contacts.1.phone"}}, Reason.OPERATOR),
    ({"$rename": {"contacts.phone": "contacts.$[].phone"}}, Reason.OPERATOR),
    ({"$rename": {"address": "x"}}, Reason.OPERATOR),
    ({"$rename": {"x": 5}}, Reason.SHAPE),
    ({"$rename": {"x": "nhs_number.y"}}, Reason.BELOW_ENCRYPTED),
    ({"$unheardOf": {"x": 1, "nhs_number": 1}}, Reason.UNKNOWN_MODIFIER),
    ({"$unheardOf": "x"}, Reason.UNKNOWN_MODIFIER),
    ({"$set": {"x": 1}, "y": 2}, Reason.UNKNOWN_MODIFIER),
    ({"$set": 5}, Reason.SHAPE),
    ("a", Reason.SHAPE),
    ({"$set": {"nhs_number": 5}}, Reason.TYPE),
    ({"$set": {"nhs_number": {"x": 1}}}, Reason.TYPE),
    ({"$set": {"tags": ["a", 5]}}, Reason.TYPE),
    ({"nhs_number": 5}, Reason.TYPE),
    ({"$push": {"tags": 5}}, Reason.TYPE),
    ({"$set": {"nhs_number.x": 5}}, Reason.BELOW_ENCRYPTED),
    ({"$set": {"notes.0": 5}}, Reason.BELOW_ENCRYPTED),
    ({"$unset": {"notes.x": 5}}, Reason.BELOW_ENCRYPTED),
    *(
        ({name: {"notes": value}}, Reason.RANDOM_EQUALITY)
        for name, value in (
            *(("$push", "a"), ("$addToSet", "a"), ("$pull", "a"), ("$pullAll", ["a"]), ("$pop", 1)),
            ("$push", {"$each": ["a"]}),
        )
    ),
    ({"$addToSet": {"contacts": {"phone": "a"}}}, Reason.RANDOM_EQUALITY),
    ({"$pull": {"contacts": {"note": "a"}}}, Reason.RANDOM_EQUALITY),
    ({"$push": {"tags": {"$each": ["a"], "$sort": 1}}}, Reason.SORT),
    ({"$push": {"contacts": {"$each": [], "$sort": {"phone": 1}}}}, Reason.SORT),
    ({"$push": {"tags": {"$each": ["a"], "$unheardOf": 1}}}, Reason.UNKNOWN_OPERATOR),
    ({"$addToSet": {"tags": {"$each": ["a"], "$slice": 1}}}, Reason.OPERATOR),
    ({"$push": {"tags": {"$each": "a"}}}, Reason.SHAPE),
    ({"$pullAll": {"tags": "a"}}, Reason.SHAPE),
    ({"$pull": {"tags": {"$gt": "a"}}}, Reason.RANGE),
    ({"$pull": {"contacts": {"phone": {"$gt": "a"}}}}, Reason.RANGE),
    ({"$pull": {"tags": re.compile("a")}}, Reason.PATTERN),
)
def test_what_ciphertext_cannot_do_is_refused(change: Any, expected: Reason) -> None:
    assert reason(update(change)) is expected


@rows(
    "change, array_filters, edits",
    ({"$set": {"tags.$[t]": "b"}}, [{"t": "a"}], [("tags", "b"), ("tags", "a")]),
    ({"$set": {"tags.$[t]": "b"}}, [{"t": {"$in": ["a"]}}], [("tags", "b"), ("tags", "a")]),
    (
        {"$set": {"contacts.$[c].phone": "b"}},
        [{"c.phone": "a", "c.kind": "home"}],
        [("contacts.phone", "b"), ("contacts.phone", "a")],
    ),
    ({"$inc": {"contacts.$[c].calls": 1}}, [{"c.phone": "a"}], [("contacts.phone", "a")]),
    ({"$unset": {"contacts.$[c].note": 1}}, [{"c": {"phone": "a"}}], [("contacts.phone", "a")]),
    ({"$set": {"contacts.$[c].kind": 1}}, [{"$or": [{"c.phone": "a"}]}], [("contacts.phone", "a")]),
    ({"$set": {"contacts.$[c].lines.$[l]": 1}}, [{"c.phone": "a"}, {"l": 5}], [("contacts.phone", "a")]),
    ({"$set": {"deep.a.$[x].$[y].b": "n"}}, [{"y.b": "m"}], [("deep.a.b", "n"), ("deep.a.b", "m")]),
    (
        {"$set": {"contacts.$[c].kind": 1}},
        [SON([("$or", [{"c.x": 1}]), ("c.phone", "a")])],
        [("contacts.phone", "a")],
    ),
    ({"$set": {"list.$[l]": 1}}, [{"l": {"$gt": 5}}], []),
    ({"$set": {"list.$[l]": 1}}, None, []),
)
def test_array_filters_are_covered_by_where_their_identifier_stands(
    change: Any, array_filters: Any, edits: Edits
) -> None:
    assert covered(update(change, arrayFilters=array_filters)) == edits


@rows(
    "array_filters, expected",
    ([{"c.phone": {"$gt": "a"}}], Reason.RANGE),
    ([{"c.phone": re.compile("a")}], Reason.PATTERN),
    ([{"c.note": "a"}], Reason.RANDOM_EQUALITY),
    ([{"c.phone.x": "a"}], Reason.BELOW_ENCRYPTED),
    ([{"$expr": {"$eq": [1, 1]}}], Reason.OPERATOR),
    ({"c.phone": "a"}, Reason.SHAPE),
    (["a"], Reason.SHAPE),
)
def test_array_filters_that_ciphertext_cannot_answer_are_refused(
    array_filters: Any, expected: Reason
) -> None:
    change = {"$set": {"contacts.$[c].kind": "x"}}
    assert reason(update(change, arrayFilters=array_filters)) is expected


def test_an_identifier_on_two_different_paths_is_refused() -> None:
    change = {"$set": {"contacts.$[x].phone": "a", "tags.$[x]": "b"}}
    assert reason(update(change, arrayFilters=[{"x": "a"}])) is Reason.SHAPE


@rows(
    "selector, edits",
    ({"nhs_number": "a"}, [("nhs_number", "a")]),
    ({"nhs_number": {"$in": ["a"]}}, [("nhs_number", "a")]),
    ({"address": {"postcode": "a"}}, [("address.postcode", "a")]),
    ({"notes": None}, []),
)
def test_the_equalities_of_an_upsert_are_covered_as_they_will_be_stored(
    selector: dict[str, Any], edits: Edits
) -> None:
    statement = {"q": selector, "u": {"$set": {"name": "x"}}, "upsert": True}
    assert covered({"update": "patients", "updates": [statement]}) == edits


def test_an_upsert_that_would_seed_a_value_of_another_type_is_refused() -> None:
    statement = {"q": {"nhs_number": 5}, "u": {"$set": {"name": "x"}}}
    assert reason({"update": "patients", "updates": [{**statement, "upsert": True}]}) is Reason.TYPE
    assert covered({"update": "patients", "updates": [{**statement, "upsert": False}]}) == [("nhs_number", 5)]


def test_an_upsert_does_not_make_the_next_statement_one() -> None:
    upsert = {"q": {"name": "x"}, "u": {"$set": {"name": "y"}}, "upsert": True}
    plain = {"q": {"nhs_number": 5}, "u": {"$set": {"name": "y"}}}
    assert covered({"update": "patients", "updates": [upsert, plain]}) == [("nhs_number", 5)]


def test_array_filters_deeper_than_the_server_takes_are_refused() -> None:
    array_filter: dict[str, Any] = {"c.phone": "a"}
    for _ in range(120):
        array_filter = {"$and": [array_filter]}
    change = {"$set": {"contacts.$[c].kind": "x"}}
    statement = {"q": {}, "u": change, "arrayFilters": [array_filter]}
    with raising(Refusal, Reason.SHAPE):
        plan_message({"update": "patients"}, {"updates": [statement]})


@rows(
    "change",
    {"$push": {"tags": {"$slice": "secret"}}},
    {"$push": {"tags": {"$slice": 5}}},
    {"$push": {"tags": {"$position": 0, "$slice": "secret"}}},
    {"$push": {"tags": {"$sort": 1}}},
    {"$push": {"tags": {"$unheardOf": "a"}}},
    {"$addToSet": {"tags": {"$slice": "a"}}},
    {"$addToSet": {"tags": SON([("$slice", 1), ("$each", ["a"])])}},
)
def test_modifiers_without_each_are_a_value(change: Any) -> None:
    """The server would store the document; the class of tags holds strings."""
    assert reason(update(change)) is Reason.TYPE


@rows(
    "change, expected",
    ({"$push": {"tags": SON([("a", 1), ("$each", ["b"])])}}, Reason.UNKNOWN_OPERATOR),
    ({"$push": {"tags": {"$each": ["b"], "$unheardOf": 1}}}, Reason.UNKNOWN_OPERATOR),
    ({"$push": {"tags": {"$each": "secret", "$slice": 1}}}, Reason.SHAPE),
    ({"$push": {"tags": {"$each": ["b"], "$slice": "secret"}}}, Reason.SHAPE),
    ({"$push": {"tags": {"$each": ["b"], "$slice": 0.5}}}, Reason.SHAPE),
    ({"$push": {"tags": {"$each": ["b"], "$position": "secret"}}}, Reason.SHAPE),
    ({"$push": {"tags": {"$each": ["b"], "$position": float("nan")}}}, Reason.SHAPE),
    ({"$push": {"contacts": {"$each": [], "$sort": {"kind": "secret"}}}}, Reason.SHAPE),
    ({"$push": {"contacts": {"$each": [], "$sort": {"kind": 2}}}}, Reason.SHAPE),
    ({"$addToSet": {"tags": {"$each": ["b"], "$slice": 1}}}, Reason.OPERATOR),
    ({"$pop": {"tags": "secret"}}, Reason.SHAPE),
    ({"$pop": {"tags": 0}}, Reason.SHAPE),
    ({"$pop": {"contacts": 2}}, Reason.SHAPE),
    ({"$pop": {"tags": -1.5}}, Reason.SHAPE),
    ({"$pull": {"tags": {"$in": [{"$gt": "a"}]}}}, Reason.SHAPE),
    ({"$pull": {"contacts": {"phone": {"$in": [{"$gt": "a"}]}}}}, Reason.SHAPE),
    ({"$pull": {"tags": {"$not": {"$nin": [{"$gt": "a"}]}}}}, Reason.SHAPE),
    ({"$pull": {"tags": {}}}, Reason.BELOW_ENCRYPTED),
    ({"$pull": {"tags": {"a": 1}}}, Reason.BELOW_ENCRYPTED),
    ({"$pull": {"contacts": {"$expr": {"$eq": ["$nhs_number", "secret"]}}}}, Reason.OPERATOR),
    ({"$pull": {"x": {"$expr": {"$eq": ["$nhs_number", "secret"]}}}}, Reason.OPERATOR),
    ({"$pull": {"contacts": {"x": {"$elemMatch": {"$expr": {"$eq": ["$a", 1]}}}}}}, Reason.OPERATOR),
)
def test_what_the_server_would_reject_does_not_leave(change: Any, expected: Reason) -> None:
    assert reason(update(change)) is expected


@rows(
    "conditions, expected",
    ([{"t": {"$nin": [{"$gt": "a"}]}}], Reason.SHAPE),
    ([{"c.phone": {"$in": [{"$eq": "a"}]}}], Reason.SHAPE),
    ([{"c.kind": {"$elemMatch": {"$expr": {"$eq": ["$nhs_number", "secret"]}}}}], Reason.OPERATOR),
)
def test_array_filters_are_read_as_filters_are(conditions: Any, expected: Reason) -> None:
    change = {"$set": {"tags.$[t]": "a", "contacts.$[c].phone": "b"}}
    assert reason(update(change, arrayFilters=conditions)) is expected


def test_an_array_filter_with_exists_sends_no_value() -> None:
    command = update({"$set": {"tags.$[t]": "a"}}, arrayFilters=[{"t": {"$exists": "secret"}}])
    (sent,) = plan_of(command).replacements
    assert sent.data == b"\x08$exists\0\1"


def test_an_empty_document_in_an_array_filter_is_a_value() -> None:
    change = {"$set": {"tags.$[t]": "a"}}
    assert covered(update(change, arrayFilters=[{"t": {}}])) == [("tags", "a"), ("tags", {})]


@pytest.mark.parametrize("part", ["$[X]", "$[1]", "$[a-b]", "$[$]", "$[]]", "$[", "$x", "$$"])
def test_a_path_that_no_server_takes_is_refused_where_it_is_covered(part: str) -> None:
    for operator in ("$set", "$push", "$pull", "$unset"):
        assert reason(update({operator: {f"tags.{part}": "a"}})) is Reason.SHAPE
        assert covered(update({operator: {f"plain.{part}": "a"}})) == []


def test_identifiers_may_stand_behind_each_other() -> None:
    path = ".".join(f"$[i{number}]" for number in range(2000))
    assert covered(update({"$set": {f"contacts.{path}.phone": "a"}})) == [("contacts.phone", "a")]


@pytest.mark.parametrize("flag", [0, False, -0.0, None, Decimal128("-0E+9"), Int64(0)])
def test_an_upsert_that_is_false_in_any_type_seeds_nothing(flag: Any) -> None:
    statement = {"q": {"nhs_number": 5}, "u": {"$set": {"x": 1}}}
    assert covered({"update": "patients", "updates": [{**statement, "upsert": flag}]}) == [("nhs_number", 5)]


@pytest.mark.parametrize("flag", [1, True, 0.1, float("nan"), Decimal128("1E-6000"), "", {}])
def test_an_upsert_that_may_be_true_seeds(flag: Any) -> None:
    statement = {"q": {"nhs_number": 5}, "u": {"$set": {"x": 1}}}
    assert reason({"update": "patients", "updates": [{**statement, "upsert": flag}]}) is Reason.TYPE


def test_an_upsert_that_is_no_canonical_decimal_is_refused() -> None:
    flag = Decimal128.from_bid(bytes(15) + b"\x6c")
    assert reason(update({"$set": {"x": 1}}, upsert=flag)) is Reason.SHAPE


def test_operators_behind_a_plain_name_are_fields_of_the_replacement() -> None:
    replacement = SON([("name", "x"), ("$set", {"nhs_number": "a"})])
    assert covered(update(replacement)) == [("nhs_number", "a")]
    assert reason(update(SON([("$set", {"nhs_number": "a"}), ("name", "x")]))) is Reason.UNKNOWN_MODIFIER


def test_a_path_and_its_parent_are_covered_both() -> None:
    """The server tells the conflict by the paths; ciphertext does not change them."""
    change = {"$set": {"address": {"postcode": "a"}, "address.postcode": "b"}}
    assert covered(update(change)) == [("address.postcode", "a"), ("address.postcode", "b")]
    assert covered(update({"$rename": {"nhs_number": "nhs_number"}})) == []
    assert covered(update([])) == []


def test_who_replaces_a_document_writes_all_of_its_classes() -> None:
    """What a replacement does not name is gone; what an operator does not name stays."""
    allowed = ClassAccess(DENIED, filters=True, writes=True)
    of_one_class = Rights(("r",), {"nhs": allowed})
    planned_with(of_one_class, update({"$set": {"name": "y"}}))
    planned_with(Rights(("r",), others=allowed), update({"name": "y"}))
    with raising(Refusal, Reason.ROLE):
        planned_with(of_one_class, update({"name": "y"}))


# ----------------------------------------------------------------------------------------------------- $unset

SECRET = "943 476 5919"


def sent(operand: Any, path: str = "nhs_number") -> Any:
    """What the server gets for an operand."""
    command = update({"$unset": {path: operand}})
    plan = plan_of(command)
    edits = [Edit(put.element.start, put.element.end, put.data, put.parents) for put in plan.replacements]
    return decode(splice(plan.buf, edits))["updates"][0]["u"]["$unset"][path]


@pytest.mark.parametrize("operand", [SECRET, 5, 1.5, Decimal128("1"), {"a": SECRET}, [SECRET], b"x"])
def test_an_operand_that_could_be_a_value_goes_nowhere(operand: Any) -> None:
    assert sent(operand) == ""
    assert sent(operand, "address") == ""


@pytest.mark.parametrize("operand", ["", 1, 0, 1.0, Int64(1), True, False, None])
def test_what_people_write_there_stays_as_it_is(operand: Any) -> None:
    assert sent(operand) == operand
    assert type(sent(operand)) is type(operand)


def test_an_operand_of_a_field_in_clear_stays() -> None:
    assert sent(SECRET, "name") == SECRET


# ------------------------------------------------------------------------------------------------------ paths


def update_at(change: Any, *array_filters: Any) -> dict[str, Any]:
    return update(change, arrayFilters=[*array_filters])


@rows(
    "path, arrays",
    (b"a", 0),
    (b"a.b", 0),
    (b"a.0", 1),
    (b"a.0.b.$", 2),
    (b"a.$[].b.$[x].1", 3),
    (b"a.-1.1a", 0),
)
def test_arrays_are_counted_by_what_addresses_an_element(path: bytes, arrays: int) -> None:
    assert arrays_in(path) == arrays


@rows(
    "change, array_filter, edits",
    ({"$set": {"contacts.$[c].kind": 1, "contacts.$[c].calls": 2}}, {"c.phone": "a"}, "contacts.phone"),
    ({"$set": {"contacts.$[c].kind": 1}, "$inc": {"contacts.$[c].n": 2}}, {"c.phone": "a"}, "contacts.phone"),
    ({"$set": {"contacts.0.x.$[c].phone": 1, "tags.$[t]": "b"}}, {"t": "a"}, "tags"),
    ({"$set": {"contacts.$[].kind": 1, "list.$[].x": 1, "tags.$[t]": "b"}}, {"t": "a"}, "tags"),
    ({"$set": {"contacts.$[].kind": 1, "tags.$[t]": "b"}}, {"t": "a"}, "tags"),
    ({"$set": {"x.$[c].phone": 1}}, {"c.phone": "a"}, None),
    ({"$set": {"x.contacts.$[c].phone": 1}}, {"c.phone": "a"}, None),
)
def test_an_identifier_stands_for_the_elements_of_one_array(
    change: Any, array_filter: Any, edits: str | None
) -> None:
    found = [(path, value) for path, value in covered(update_at(change, array_filter)) if value == "a"]
    assert found == ([(edits, "a")] if edits else [])


@rows(
    "change, filters, expected",
    # an identifier of two arrays is refused
    ({"$set": {"contacts.$[i].phone": "a", "tags.$[i]": "b"}}, {"i": 1}, Reason.SHAPE),
    ({"$set": {"contacts.$[i].kind": 1, "list.$[i].x": 1}}, {"i": 1}, Reason.SHAPE),
    ({"$set": {"contacts.$[i].kind": 1}, "$inc": {"list.$[i].x": 1}}, {"i": 1}, Reason.SHAPE),
    ({"$set": {"contacts.$[long1].kind": 1, "list.$[long1].x": 1, "tags.$[i]": "a"}}, {"i": 1}, Reason.SHAPE),
    # a filter for an array that no path names is refused
    ({"$set": {"contacts.$[i].kind": 1}}, {"j": "a"}, Reason.SHAPE),
    ({"$set": {"contacts.$[i].kind": 1}}, {"": "a"}, Reason.SHAPE),
    ({"$set": {"contacts.$[i].kind": 1}}, {"ii": "a"}, Reason.SHAPE),
    ({"$set": {"contacts.$[i].kind": 1}}, {"$[i]": "a"}, Reason.UNKNOWN_OPERATOR),
)
def test_a_filter_that_fits_no_array_of_its_own_is_refused(
    change: Any, filters: Any, expected: Reason
) -> None:
    assert reason(update_at(change, filters)) is expected


def test_every_name_of_a_rename_is_looked_at() -> None:
    assert reason(update_at({"$rename": {"name": "other", "nhs_number": "name"}})) is Reason.OPERATOR


@rows(
    "operator, plain, value",
    *[(name, 1, 5) for name in ("$set", "$setOnInsert", "$push", "$addToSet")],
    ("$pull", {"a": 1}, 5),
    ("$pullAll", [1], [5]),
)
def test_every_name_of_an_operator_is_looked_at(operator: str, plain: Any, value: Any) -> None:
    change = {
        operator: {
            "list": plain,
            "visits": value,
            "other": plain,
            "tags": ["x"] if operator == "$pullAll" else "x",
        }
    }
    command = update(change)
    assert covered(command) == [("visits", 5), ("tags", "x")]


@pytest.mark.parametrize("operator", ["$inc", "$mul", "$min", "$max", "$bit", "$currentDate", "$pop"])
def test_every_name_of_an_operator_that_computes_is_looked_at(operator: str) -> None:
    command = update({operator: {"list": 1, "notes": 1}})
    assert reason(command) in (Reason.OPERATOR, Reason.RANDOM_EQUALITY)
