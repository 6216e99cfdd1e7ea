"""Sort specifications: no covered path, and no document but `{$meta: ...}` in a direction's place."""

from typing import Any

import pytest

from sealwire.policies.errors import Reason
from tests.policies.support import Command, covered, reason

HIDDEN = {"$eq": ["$nhs_number", "secret"]}


def commands(sort: Any) -> list[dict[str, Any]]:
    """What takes a sort specification."""
    return [
        {"find": "patients", "filter": {}, "sort": sort},
        {"findAndModify": "patients", "query": {}, "sort": sort, "remove": True},
        {"aggregate": "patients", "pipeline": [{"$sort": sort}], "cursor": {}},
    ]


@pytest.mark.parametrize(
    "sort",
    [
        {"name": {"$meta": HIDDEN}},
        {"name": HIDDEN},
        {"name": {}},
        {"name": {"$meta": "textScore", "x": HIDDEN}},
        {"name": [HIDDEN]},
    ],
)
def test_expressions_in_a_direction_s_place_are_refused(sort: Any) -> None:
    for command in commands(sort):
        assert reason(command) is Reason.SHAPE


@pytest.mark.parametrize(
    "sort", [{"name": 1}, {"name": -1.0, "age": 2}, {"score": {"$meta": "textScore"}}, {}]
)
def test_other_paths_are_the_server_s_affair(sort: Any) -> None:
    for command in commands(sort):
        assert covered(command) == []


@pytest.mark.parametrize("path", ["nhs_number", "address", "contacts.0.phone", "notes"])
def test_a_covered_path_is_refused(path: str) -> None:
    for command in commands({"name": 1, path: 1}):
        assert reason(command) is Reason.SORT


def test_a_field_that_a_stage_has_taken_away_is_sorted_in_a_direction_and_nothing_else() -> None:
    def sorted_by(direction: Any) -> Command:
        stages = [{"$unset": "nhs_number"}, {"$sort": {"nhs_number": direction}}]
        return {"aggregate": "patients", "pipeline": stages, "cursor": {}}

    assert covered(sorted_by(-1)) == []
    for direction in ("secret", 943_476_5919, 0, 1.5):
        assert reason(sorted_by(direction)) is Reason.SHAPE
