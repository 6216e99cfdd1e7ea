"""Paths of updates: what they write to, and what the identifiers in them stand for."""

from typing import Any

import pytest

from sealwire.policies.errors import Reason
from sealwire.policies.updates.updates import arrays_in
from tests.policies.support import covered, reason


def update(change: Any, *array_filters: Any) -> dict[str, Any]:
    return {"update": "patients", "updates": [{"q": {}, "u": change, "arrayFilters": [*array_filters]}]}


@pytest.mark.parametrize(
    ("path", "arrays"),
    [(b"a", 0), (b"a.b", 0), (b"a.0", 1), (b"a.0.b.$", 2), (b"a.$[].b.$[x].1", 3), (b"a.-1.1a", 0)],
)
def test_arrays_are_counted_by_what_addresses_an_element(path: bytes, arrays: int) -> None:
    assert arrays_in(path) == arrays


@pytest.mark.parametrize(
    ("change", "array_filter", "edits"),
    [
        ({"$set": {"contacts.$[c].kind": 1, "contacts.$[c].calls": 2}}, {"c.phone": "a"}, "contacts.phone"),
        (
            {"$set": {"contacts.$[c].kind": 1}, "$inc": {"contacts.$[c].n": 2}},
            {"c.phone": "a"},
            "contacts.phone",
        ),
        ({"$set": {"contacts.0.x.$[c].phone": 1, "tags.$[t]": "b"}}, {"t": "a"}, "tags"),
        ({"$set": {"contacts.$[].kind": 1, "list.$[].x": 1, "tags.$[t]": "b"}}, {"t": "a"}, "tags"),
        ({"$set": {"contacts.$[].kind": 1, "tags.$[t]": "b"}}, {"t": "a"}, "tags"),
        ({"$set": {"x.$[c].phone": 1}}, {"c.phone": "a"}, None),
        ({"$set": {"x.contacts.$[c].phone": 1}}, {"c.phone": "a"}, None),
    ],
)
def test_an_identifier_stands_for_the_elements_of_one_array(
    change: Any, array_filter: Any, edits: str | None
) -> None:
    found = [(path, value) for path, value in covered(update(change, array_filter)) if value == "a"]
    assert found == ([(edits, "a")] if edits else [])


@pytest.mark.parametrize(
    "change",
    [
        {"$set": {"contacts.$[i].phone": "a", "tags.$[i]": "b"}},
        {"$set": {"contacts.$[i].kind": 1, "list.$[i].x": 1}},
        {"$set": {"contacts.$[i].kind": 1}, "$inc": {"list.$[i].x": 1}},
        {"$set": {"contacts.$[long1].kind": 1, "list.$[long1].x": 1, "tags.$[i]": "a"}},
    ],
)
def test_an_identifier_of_two_arrays_is_refused(change: Any) -> None:
    assert reason(update(change, {"i": 1})) is Reason.SHAPE


@pytest.mark.parametrize(
    ("name", "expected"),
    [("j", Reason.SHAPE), ("", Reason.SHAPE), ("ii", Reason.SHAPE), ("$[i]", Reason.UNKNOWN_OPERATOR)],
)
def test_a_filter_for_an_array_that_no_path_names_is_refused(name: str, expected: Reason) -> None:
    assert reason(update({"$set": {"contacts.$[i].kind": 1}}, {name: "a"})) is expected


def test_every_name_of_a_rename_is_looked_at() -> None:
    assert reason(update({"$rename": {"name": "other", "nhs_number": "name"}})) is Reason.OPERATOR


@pytest.mark.parametrize(
    ("operator", "plain", "value"),
    [
        *[(name, 1, 5) for name in ("$set", "$setOnInsert", "$push", "$addToSet")],
        ("$pull", {"a": 1}, 5),
        ("$pullAll", [1], [5]),
    ],
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
    command = {"update": "patients", "updates": [{"q": {}, "u": change}]}
    assert covered(command) == [("visits", 5), ("tags", "x")]


@pytest.mark.parametrize("operator", ["$inc", "$mul", "$min", "$max", "$bit", "$currentDate", "$pop"])
def test_every_name_of_an_operator_that_computes_is_looked_at(operator: str) -> None:
    command = {"update": "patients", "updates": [{"q": {}, "u": {operator: {"list": 1, "notes": 1}}}]}
    assert reason(command) in (Reason.OPERATOR, Reason.RANDOM_EQUALITY)
