"""Numbers that servers and the documentation count on. Who changes one changes it here too."""

from collections.abc import Sequence
from typing import Any

import pytest
from bson import encode
from bson.raw_bson import RawBSONDocument

from sealwire.policies.aggregation.views import MAX_NAMES, ViewCatalog
from sealwire.policies.commands.planner import plan_command
from sealwire.policies.commands.write_errors import CODES, MAX_STATEMENTS
from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.expressions.constants import MAX_MENTIONS
from sealwire.policies.file.ranges import DEFAULT_MAX_VALUES, MAX_MAX_VALUES
from sealwire.policies.planning import walk
from sealwire.wire.errors import BsonError
from sealwire.wire.raw_bson import MAX_DEPTH
from tests.policies.support import POLICY, Command, plan_of, reason, refusal_of


@pytest.mark.parametrize(
    ("limit", "number"),
    [
        (MAX_NAMES, 64),
        # maxWriteBatchSize of every MongoDB server
        (MAX_STATEMENTS, 100_000),
        (MAX_MENTIONS, 500_000),
        (DEFAULT_MAX_VALUES, 40_000),
        (MAX_MAX_VALUES, 200_000),
        # maxMessageSizeBytes of every MongoDB server
        (walk.MAX_MADE_BYTES, 48_000_000),
        (walk.MAX_LISTED_VALUES, 250_000),
        (walk.ENVELOPE_BYTES, 34),
        (walk.LISTED_BYTES, 41),
    ],
)
def test_a_limit_is_what_it_was(limit: int, number: int) -> None:
    assert limit == number


def test_a_write_error_has_the_number_of_a_failed_validation() -> None:
    assert CODES[Reason.TYPE] == CODES[Reason.GRID] == 121


def test_a_command_may_lead_to_so_many_names() -> None:
    catalog = ViewCatalog(POLICY)
    for number in range(64):
        assert catalog.room == 64 - number
        catalog.learn(f"clinic.v{number}", None)
    assert catalog.room == 0


@pytest.mark.parametrize(
    ("stage", "least"), [("$limit", 1), ("$skip", 0), ("$sample", 0)], ids=["$limit", "$skip", "$sample"]
)
def test_a_stage_takes_numbers_from_its_least_on(stage: str, least: int) -> None:
    def run(number: int) -> Command:
        argument = {"size": number} if stage == "$sample" else number
        return {"aggregate": "patients", "pipeline": [{stage: argument}], "cursor": {}}

    assert plan_of(run(least)).edits == []
    assert reason(run(least - 1)) is Reason.SHAPE


@pytest.mark.parametrize("key", ["into", "from", "coll"])
def test_names_nested_deeper_than_python_could_follow_are_refused(key: str) -> None:
    name = key.encode() + b"\0"
    value = encode({"x": 1})
    for _ in range(5000):
        value = (len(value) + len(name) + 6).to_bytes(4, "little") + b"\x03" + name + value + b"\0"
    command = {"aggregate": "wards", "pipeline": [{"$merge": RawBSONDocument(value)}], "cursor": {}}
    with pytest.raises((Refusal, BsonError)):
        plan_of(command)


def test_a_constant_may_be_nested_as_deep_as_documents_and_no_deeper() -> None:
    def finding(depth: int) -> Command:
        value: Any = 1
        for _ in range(depth):
            value = [value]
        return {"find": "patients", "filter": {}, "let": {"v": value}}

    assert plan_of(finding(MAX_DEPTH)).edits == []
    assert refusal_of(finding(MAX_DEPTH + 1)).rule == "nesting"


def test_the_values_that_were_handed_over_are_counted() -> None:
    handed: list[int] = []

    def settler(_buf: bytes, edits: Sequence[object], *_: object) -> None:
        handed.append(len(edits))

    documents = [{"nhs_number": "a", "visits": 1}] * 3000
    body = encode({"insert": "patients", "documents": documents, "$db": "clinic"})
    plan = plan_command(POLICY, body, 0, settler=settler)
    assert len(handed) == 5
    assert plan.settled == sum(handed)
    assert plan.settled + len(plan.edits) == 6000


def test_a_budget_is_spent_to_the_last_and_no_further() -> None:
    listed, made = walk.Budget(), walk.Budget()
    listed.spend(0, 249_999)
    listed.spend(0, 1)
    listed.spend(1)
    with pytest.raises(Refusal) as caught:
        listed.spend(0, 1)
    assert caught.value.reason is Reason.RANGE_SIZE
    made.spend(47_999_999)
    made.spend(1, 250_000)
    with pytest.raises(Refusal) as caught:
        made.spend(1)
    assert caught.value.reason is Reason.TOO_LARGE
