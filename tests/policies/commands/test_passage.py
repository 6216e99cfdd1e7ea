"""Commands that are recognised by their top level alone."""

from contextlib import suppress
from typing import Any

import pytest
from bson import encode
from hypothesis import given
from hypothesis import strategies as st

from sealwire.policies.aggregation.views import ViewCatalog
from sealwire.policies.commands.command import TARGETED, target_of
from sealwire.policies.commands.planner import plan_command
from sealwire.policies.errors import Refusal
from sealwire.wire.errors import BsonError
from tests.policies.support import POLICY, target

TARGET = target("find", "wards", "stats")


def test_a_target_is_command_collection_and_database_wherever_the_database_stands() -> None:
    assert target_of(encode({"find": "wards", "$db": "stats", "filter": {"a": 1}}), 0) == TARGET
    assert target_of(b"??" + encode({"find": "wards", "filter": {}, "$db": "stats"}), 2) == TARGET


@pytest.mark.parametrize(
    "command",
    [
        {"aggregate": "wards", "pipeline": [], "$db": "stats"},
        {"ping": 1, "$db": "stats"},
        {"find": 1, "$db": "stats"},
        {"find": "wards"},
        {"find": "wards", "$db": 1},
        {"$db": "stats", "find": "wards"},
        {},
    ],
)
def test_any_other_command_has_no_target(command: dict[str, Any]) -> None:
    assert target_of(encode(command), 0) is None


@pytest.mark.parametrize("twice", [{"find": "patients"}, {"$db": "clinic"}, {"filter": {}}])
def test_a_name_that_stands_twice_has_to_be_planned(twice: dict[str, Any]) -> None:
    parts = encode({"find": "wards", "$db": "stats", "filter": {}})[4:-1] + encode(twice)[4:]
    assert target_of((len(parts) + 4).to_bytes(4, "little") + parts, 0) is None


@given(st.binary(max_size=80))
def test_bytes_that_are_no_document_have_none_or_raise_what_the_walk_raises(noise: bytes) -> None:
    data = (len(noise) + 5).to_bytes(4, "little") + noise + b"\0"
    with suppress(BsonError):
        assert target_of(data, 0) is None


names = st.sampled_from(["wards", "patients", "system.views", "v", "tenant_1.patients", "staff.x"])
databases = st.sampled_from(["clinic", "stats", "tenant_7", "admin", "local"])
arguments = st.dictionaries(
    st.sampled_from(["filter", "query", "updates", "deletes", "documents", "u", "hint", "let", "comment"]),
    st.sampled_from([1, "x", {}, {"nhs_number": "943 476 5919"}, [{"$lookup": {"from": "patients"}}], None]),
    max_size=3,
)


@given(st.sampled_from(sorted(TARGETED)), names, databases, arguments, arguments)
def test_what_the_planner_says_of_a_clear_target_it_says_of_each_command_on_it(
    name: bytes, collection: str, database: str, first: dict[str, Any], second: dict[str, Any]
) -> None:
    catalog = ViewCatalog(POLICY)
    for each in ("wards", "v", "system.views", "tenant_1.patients", "staff.x"):
        catalog.learn(f"{database}.{each}", None)
    answers = []
    for more in (first, second):
        command = encode({name.decode(): collection, **more, "$db": database})
        assert target_of(command, 0) == target(name.decode(), collection, database)
        try:
            plan = plan_command(POLICY, command, 0, covered=catalog.covered)
        except Refusal as refusal:
            answers.append(("refused", refusal.reason.value, False, 0))
        else:
            answers.append((plan.command, plan.namespace, plan.protected, len(plan.edits)))
    if any(protected is False and kind != "refused" for kind, _, protected, _ in answers):
        assert answers[0] == answers[1]
        assert answers[0][3] == 0
