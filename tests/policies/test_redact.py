"""`$redact`: the whole document by an expression, or with `$$DESCEND` each sub-document for itself."""

from typing import Any

import pytest

from sealwire.policies.errors import Reason
from sealwire.policies.file.loader import load_policy
from tests.policies.aggregation.test_pipelines import run
from tests.policies.support import covered, plan_of, reason, refusal_of

Stage = dict[str, Any]

DESCEND: Stage = {"$redact": {"$cond": [{"$eq": ["$level", "secret"]}, "$$PRUNE", "$$DESCEND"]}}

FLAT = load_policy(
    b"""
version: 1
classes:
  nhs: {mode: deterministic, type: string}
  secret: {mode: random}
collections:
  clinic.patients: {nhs_number: nhs, address.postcode: nhs}
  clinic.letters: {r: secret}
""",
    "policy.yaml",
)


def test_without_descend_only_the_document_itself_is_looked_at() -> None:
    stage = {"$redact": {"$cond": [{"$eq": ["$nhs_number", "943"]}, "$$KEEP", "$$PRUNE"]}}
    assert covered(run(stage)) == [("nhs_number", "943")]
    clear = {"$redact": {"$cond": [{"$eq": ["$level", "secret"]}, "$$PRUNE", "$$KEEP"]}}
    assert covered(run(clear, {"$match": {"nhs_number": "943"}})) == [("nhs_number", "943")]
    assert reason(run({"$redact": {"$cond": ["$notes", "$$KEEP", "$$PRUNE"]}})) is Reason.COMPUTE


@pytest.mark.parametrize(
    "redact",
    [
        DESCEND["$redact"],
        "$$DESCEND",
        {"$let": {"vars": {"d": "$$DESCEND"}, "in": {"$cond": ["$x", "$$d", "$$PRUNE"]}}},
        {"$switch": {"branches": [{"case": "$x", "then": "$$DESCEND"}], "default": "$$KEEP"}},
    ],
)
@pytest.mark.parametrize(
    "before",
    [
        [],
        [{"$match": {"name": "x"}}],
        [{"$unset": "ward"}],
        [{"$project": {"copy": "$notes"}}],
        [{"$replaceWith": {"x": "$contacts"}}],
        [{"$unset": ["notes", "contacts.note"]}],
        [{"$unionWith": "wards"}],
    ],
)
def test_nothing_descends_where_documents_are_encrypted_as_a_whole(before: list[Stage], redact: Any) -> None:
    assert reason(run(*before, {"$redact": redact})) is Reason.COMPUTE


@pytest.mark.parametrize(
    "before", [[], [{"$project": {"nhs_number": 1, "address": 1}}], [{"$group": {"_id": "$ward"}}]]
)
def test_it_descends_where_values_are_encrypted_one_by_one(before: list[Stage]) -> None:
    command = run(*before, DESCEND, on="patients")
    assert plan_of(command, FLAT).edits == []
    # `$level` may be a covered field of a sub-document
    named = {"$redact": {"$cond": [{"$eq": ["$postcode", "943"]}, "$$PRUNE", "$$DESCEND"]}}
    assert refusal_of(run(*before, named), FLAT).reason is Reason.COMPUTE


def test_it_descends_where_the_random_fields_are_left_out() -> None:
    letters = {"aggregate": "letters", "cursor": {}}
    assert refusal_of({**letters, "pipeline": [DESCEND]}, FLAT).reason is Reason.COMPUTE
    left_out = {"$project": {"level": 1, "parts": 1}}
    assert plan_of({**letters, "pipeline": [left_out, DESCEND]}, FLAT).edits == []


def test_nobody_descends_into_what_the_server_shows_of_itself() -> None:
    named = {"$redact": {"$cond": [{"$eq": ["$nhs_number", "943"]}, "$$PRUNE", "$$DESCEND"]}}
    assert reason(run({"$currentOp": {}}, named)) is Reason.COMPUTE
