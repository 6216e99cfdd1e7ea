"""`min` and `max` of `find`: covered where both are the same, refused where ciphertext would be ordered."""

from typing import Any

import pytest
from bson import encode

from sealwire.policies.errors import Reason
from sealwire.policies.filters.hints import fixed_by_bounds
from sealwire.wire.raw_bson import elements
from tests.policies.support import covered, reason, refusal_of


def test_a_field_is_fixed_where_both_bounds_have_it() -> None:
    buf = encode({"min": {"a": 1, "both": 1}, "max": {"both": 2, "b": 1}})
    bounds = {element.name: element for element in elements(buf, 0)}
    assert fixed_by_bounds(buf, bounds) == {b"both"}
    assert fixed_by_bounds(buf, {b"min": bounds[b"min"]}) == frozenset()


def find(low: Any, high: Any) -> dict[str, Any]:
    bounds = {"min": low, "max": high}
    return {"find": "patients", "hint": "x"} | {
        name: value for name, value in bounds.items() if value is not None
    }


@pytest.mark.parametrize(
    ("low", "high", "edits"),
    [
        ({"nhs_number": "a", "age": 5}, {"nhs_number": "a", "age": 9}, [("nhs_number", "a")] * 2),
        ({"ward": 1, "nhs_number": "a", "age": 5}, {"ward": 1, "nhs_number": "a", "age": 9},
         [("nhs_number", "a")] * 2),
        ({"visits": 2, "age": 5}, {"visits": 2.0, "age": 9}, [("visits", 2)] * 2),
        ({"nhs_number": None, "age": 5}, {"nhs_number": None, "age": 9}, []),
        ({"contacts.phone": "a"}, {"contacts.phone": "a"}, [("contacts.phone", "a")] * 2),
        ({"age": 5, "ward": 2}, {"age": 9, "ward": 1}, []),
        ({"age": 5}, None, []),
        (None, {"age": {"a": 1}}, []),
    ],
)  # fmt: skip
def test_bounds_with_the_same_covered_values_are_covered(low: Any, high: Any, edits: list[Any]) -> None:
    assert covered(find(low, high)) == edits


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        ({"nhs_number": "a"}, None, Reason.RANGE),
        (None, {"nhs_number": "a"}, Reason.RANGE),
        ({"nhs_number": "a"}, {"nhs_number": "b"}, Reason.RANGE),
        ({"nhs_number": "a"}, {"nhs_number": None}, Reason.RANGE),
        ({"age": 5, "nhs_number": "a"}, {"age": 9, "nhs_number": "a"}, Reason.RANGE),
        ({"nhs_number": "a", "age": 1}, {"age": 1, "nhs_number": "a"}, Reason.RANGE),
        ({"nhs_number": "a", "other_nhs": "a"}, {"nhs_number": "a", "other_nhs": "b"}, Reason.RANGE),
        ({"nhs_number": ["a"]}, {"nhs_number": ["a"]}, Reason.RANGE),
        ({"address": {"postcode": "a"}}, {"address": {"postcode": "a"}}, Reason.RANGE),
        ({"address": 1}, {"address": 1}, Reason.RANGE),
        ({"notes": "a"}, {"notes": "a"}, Reason.RANDOM_EQUALITY),
        ({"notes.x": "a"}, {"notes.x": "a"}, Reason.BELOW_ENCRYPTED),
        (5, {"age": 1}, Reason.SHAPE),
    ],
)
def test_bounds_that_order_ciphertext_are_refused(low: Any, high: Any, expected: Reason) -> None:
    assert reason(find(low, high)) is expected


@pytest.mark.parametrize(
    ("bounds", "path"),
    [({"nhs_number": "a"}, "nhs_number"), ({"age": 1, "contacts.phone": "a"}, "contacts.phone")],
)
def test_the_refusal_names_the_covered_path(bounds: dict[str, Any], path: str) -> None:
    assert refusal_of(find(bounds, None)).path == path


def test_bounds_compare_ciphertext_under_no_collation() -> None:
    same = find({"nhs_number": "a"}, {"nhs_number": "a"})
    assert reason({**same, "collation": {"locale": "en"}}) is Reason.COLLATION
