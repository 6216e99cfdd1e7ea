"""Arrays that are searched, and compared as sets: exact within one deterministic class, else refused."""

from typing import Any

import pytest

from sealwire.policies.errors import Reason
from tests.policies.expressions.test_choices import where, yields
from tests.policies.support import covered, reason


@pytest.mark.parametrize(
    ("expression", "edits"),
    [
        ({"$indexOfArray": ["$tags", "a"]}, [("tags", "a")]),
        ({"$indexOfArray": ["$tags", "$tags", 1, "$age"]}, []),
        ({"$indexOfArray": [["a", "$nhs_number"], "b"]}, [("nhs_number", "a"), ("nhs_number", "b")]),
        ({"$setEquals": ["$tags", ["a", "b"], []]}, [("tags", "a"), ("tags", "b")]),
        ({"$setIsSubset": [["a", None], "$tags"]}, [("tags", "a")]),
        ({"$setIsSubset": ["$list", ["a"]]}, []),
        ({"$in": ["$tags", [["a"], ["b", None]]]}, [("tags", "a"), ("tags", "b")]),
        ({"$in": ["$nhs_number", {"$literal": ["$a"]}]}, [("nhs_number", "$a")]),
        ({"$size": {"$setIntersection": ["$tags", ["a"]]}}, [("tags", "a")]),
    ],
)
def test_constants_beside_a_covered_array_are_covered(expression: Any, edits: list[tuple[str, Any]]) -> None:
    assert covered(where(expression)) == edits


@pytest.mark.parametrize(
    ("expression", "edits"),
    [
        ({"$setIntersection": ["$tags", ["b"]]}, [("tags", "b"), ("tags", "a")]),
        ({"$setDifference": ["$tags", ["b", "c"]]}, [("tags", "b"), ("tags", "c"), ("tags", "a")]),
        ({"$setUnion": ["$tags", {"$slice": ["$tags", 1]}, []]}, [("tags", "a")]),
        ({"$setUnion": [["$nhs_number"], ["$other_nhs"]]}, [("nhs_number", "a")]),
        ({"$setUnion": ["$list", ["b"]]}, []),
    ],
)
def test_the_set_that_comes_out_keeps_the_class(expression: Any, edits: list[tuple[str, Any]]) -> None:
    assert covered(yields(expression, {"$match": {"x": "a"}})) == edits


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ({"$setUnion": ["$tags", ["a"]]}, Reason.COMPUTE),
        ({"$setDifference": [["a"], "$tags"]}, Reason.COMPUTE),
        ({"$setIntersection": [["$nhs_number", "a"], ["a"]]}, Reason.COMPUTE),
        ({"$setEquals": ["$tags", "$list"]}, Reason.COMPUTE),
        ({"$setEquals": ["$tags", "$postcode"]}, Reason.COMPUTE),
        ({"$setEquals": ["$notes", ["a"]]}, Reason.RANDOM_EQUALITY),
        ({"$setUnion": ["$contacts", "$contacts"]}, Reason.COMPUTE),
        ({"$indexOfArray": ["$tags", {"$toUpper": "$name"}]}, Reason.COMPUTE),
        ({"$indexOfArray": ["$list", "x", "$visits"]}, Reason.COMPUTE),
        ({"$indexOfArray": ["$tags"]}, Reason.SHAPE),
        ({"$in": ["$tags"]}, Reason.SHAPE),
        *(
            ({name: ["$tags", value]}, Reason.SHAPE)
            for name in (
                "$setEquals",
                "$setIsSubset",
                "$setIntersection",
                "$setDifference",
                "$setUnion",
                "$in",
            )
            for value in ("a", 5, {"a": 1}, {"$literal": "a"}, {})
        ),
        ({"$indexOfArray": ["a", "$tags"]}, Reason.SHAPE),
        ({"$in": ["$nhs_number", "a"]}, Reason.SHAPE),
        ({"$firstN": {"n": "$visits", "input": "$list"}}, Reason.COMPUTE),
        ({"$firstN": {"n": 1, "input": "$notes"}}, Reason.COMPUTE),
        ({"$firstN": 5}, Reason.SHAPE),
        ({"$lastN": {"input": "$tags"}}, Reason.SHAPE),
    ],
)
def test_what_ciphertext_cannot_tell_is_refused(expression: Any, expected: Reason) -> None:
    assert reason(where(expression)) is expected


@pytest.mark.parametrize(
    "expression",
    [
        {"$setUnion": ["$tags", ["a"]]},
        {"$setDifference": [["a"], "$tags"]},
        {"$setIntersection": [["$nhs_number", "a"], ["a"]]},
    ],
)
def test_a_set_that_may_hold_constants_does_not_come_out(expression: Any) -> None:
    assert reason(yields(expression, {"$limit": 1})) is Reason.COMPUTE


def test_a_collation_does_not_go_with_it() -> None:
    command = {**where({"$setEquals": ["$tags", ["a"]]}), "collation": {"locale": "en"}}
    assert reason(command) is Reason.COLLATION
