"""Names without a row: what MongoDB knows is refused with a reason, what nobody knows as a server would."""

import pytest

from sealwire.policies.errors import Reason
from sealwire.policies.planning.rules import without_row
from tests.policies.support import Command, plan_of, refusal_of

FIND = frozenset({b"find", b"count"})


@pytest.mark.parametrize("name", [b"find", b"godinsert", b"_configsvrX", b"$_internalX"])
def test_a_name_that_somebody_knows_is_refused_for_the_reason_that_is_given(name: bytes) -> None:
    refusal = without_row(name, Reason.UNKNOWN_COMMAND, FIND, reason=Reason.COMMAND, path="a.b")
    assert (refusal.reason, refusal.path, refusal.rule) == (Reason.COMMAND, "a.b", name.decode())
    assert "mean" not in refusal.message


def test_a_name_that_nobody_knows_is_refused_as_a_server_would() -> None:
    refusal = without_row(b"fnd", Reason.UNKNOWN_COMMAND, FIND, reason=Reason.COMMAND)
    assert refusal.reason is Reason.UNKNOWN_COMMAND
    assert "no such command: 'fnd' (did you mean 'find'?)" in refusal.message


def test_names_of_another_kind_are_unknown() -> None:
    refusal = without_row(b"godinsert", Reason.UNKNOWN_STAGE, FIND, reason=Reason.STAGE)
    assert refusal.reason is Reason.UNKNOWN_STAGE


def test_a_name_of_any_length_and_bytes_is_named_in_one_line() -> None:
    refusal = without_row(b"\xff\n" * 5000, Reason.UNKNOWN_COMMAND, FIND, reason=Reason.COMMAND)
    assert refusal.message.isprintable()
    assert len(refusal.message) < 300


def _filtered(condition: object) -> Command:
    return {"find": "patients", "filter": condition}


def _updated(change: object) -> Command:
    return {"update": "patients", "updates": [{"q": {}, "u": change}]}


def _piped(stage: object) -> Command:
    return {"aggregate": "patients", "pipeline": [stage], "cursor": {}}


@pytest.mark.parametrize(
    ("command", "code", "meant"),
    [
        ({"fnd": "patients"}, 59, "find"),
        ({"agregate": "wards"}, 59, "aggregate"),
        (_filtered({"nhs_number": {"$equals": "943"}}), 2, ""),
        (_filtered({"nhs_number": {"$exist": True}}), 2, "$exists"),
        (_filtered({"$adn": []}), 2, "$and"),
        (_updated({"$sett": {"nhs_number": "943"}}), 9, "$set"),
        (_updated({"$push": {"tags": {"$each": [], "$slise": 1}}}), 2, "$slice"),
        (_updated([{"$sett": {"nhs_number": "943"}}]), 40324, "$set"),
        (_piped({"$mach": {"nhs_number": "943"}}), 40324, "$match"),
        (_piped({"$set": {"x": {"$ifNul": ["$nhs_number", "943"]}}}), 168, "$ifNull"),
        (_piped({"$group": {"_id": 1, "x": {"$psh": "$nhs_number"}}}), 15952, "$push"),
    ],
)
def test_a_misspelt_name_has_the_code_of_a_server_and_a_proposal(
    command: Command, code: int, meant: str
) -> None:
    refusal = refusal_of(command)
    assert refusal.error_code.code == code
    assert (f"(did you mean '{meant}'?)" in refusal.message) == bool(meant)
    assert "943" not in refusal.message


def test_an_unknown_name_passes_where_nothing_covered_is_in_reach() -> None:
    assert plan_of({"find": "wards", "filter": {"$adn": []}}).edits == []
    assert plan_of({"aggregate": "wards", "pipeline": [{"$mach": {}}], "cursor": {}}).edits == []
