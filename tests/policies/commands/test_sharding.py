"""Commands with a shard key: equality of ciphertext decides, so what needs an order is refused."""

from typing import Any

import pytest

from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.file.loader import load_policy
from sealwire.policies.roles.access import DENIED, ClassAccess
from sealwire.policies.roles.rights import Rights
from tests.policies.support import plan_of, planned_with, reason

ADMIN = {"$db": "admin"}
KEYED = ("shardCollection", "shardcollection", "reshardCollection", "refineCollectionShardKey")
ALL_KEYED = (*KEYED, "analyzeShardKey")


def command(name: str, key: Any, **more: Any) -> dict[str, Any]:
    return {name: "clinic.patients", "key": key, **more, **ADMIN}


@pytest.mark.parametrize("name", ALL_KEYED)
@pytest.mark.parametrize("key", [{"nhs_number": "hashed"}, {"nhs_number": 1}, {"ward": 1, "tags": 1}])
def test_a_deterministic_class_is_a_shard_key_as_it_stands(name: str, key: Any) -> None:
    plan = plan_of(command(name, key))
    assert (plan.protected, plan.edits) == (False, [])


@pytest.mark.parametrize("name", ALL_KEYED)
@pytest.mark.parametrize("key", [{"notes": "hashed"}, {"ward": 1, "notes": 1}, {"contacts": 1}])
def test_a_random_class_is_none(name: str, key: Any) -> None:
    assert reason(command(name, key)) is Reason.INDEX


def test_neither_is_an_index_type_that_no_shard_key_has() -> None:
    assert reason(command("shardCollection", {"nhs_number": "text"})) is Reason.INDEX


@pytest.mark.parametrize("name", ALL_KEYED)
@pytest.mark.parametrize(
    "more",
    [
        {"zones": [{"min": {"nhs_number": "a"}, "max": {"nhs_number": "b"}, "zone": "north"}]},
        {"_presetReshardedChunks": [{"min": {"nhs_number": "a"}}]},
        {"timeseries": {"timeField": "nhs_number"}},
        {"numInitialChunks": [5]},
        {"unheardOf": 1},
    ],
)
def test_what_needs_the_order_of_values_is_refused(name: str, more: dict[str, Any]) -> None:
    assert reason(command(name, {"nhs_number": 1}, **more)) is Reason.SHAPE


def test_a_collation_under_which_ciphertext_would_be_compared_is_refused() -> None:
    simple, english = {"locale": "simple"}, {"locale": "en"}
    assert plan_of(command("shardCollection", {"nhs_number": 1}, collation=simple)).edits == []
    assert reason(command("shardCollection", {"nhs_number": 1}, collation=english)) is Reason.COLLATION
    assert plan_of(command("shardCollection", {"ward": 1}, collation=english)).edits == []


def test_a_unique_key_names_the_context_of_its_values() -> None:
    policies = load_policy(
        b"version: 1\nclasses: {nhs: {mode: deterministic, type: string, key: {per: tenant}}}\n"
        b"collections: {clinic.patients: {nhs_number: nhs}}\n",
        "p",
    )

    def unique(key: Any) -> dict[str, Any]:
        return command("shardCollection", key, unique=True)

    assert plan_of(unique({"tenant": 1, "nhs_number": 1}), policies).edits == []
    assert plan_of(command("shardCollection", {"nhs_number": 1}), policies).edits == []
    with pytest.raises(Refusal) as caught:
        plan_of(unique({"nhs_number": 1}), policies)
    assert caught.value.reason is Reason.CONTEXT


@pytest.mark.parametrize("name", ALL_KEYED)
def test_who_may_not_filter_by_a_class_may_not_shard_by_it(name: str) -> None:
    asked = command(name, {"nhs_number": "hashed"})
    planned_with(Rights(("r",), {"nhs": ClassAccess(DENIED, filters=True)}), asked)
    with pytest.raises(Refusal) as caught:
        planned_with(Rights(("r",), {"nhs": ClassAccess(DENIED, writes=True)}), asked)
    assert (caught.value.reason, caught.value.path) == (Reason.ROLE, "nhs_number")
    planned_with(Rights(("r",)), command(name, {"ward": 1}))


@pytest.mark.parametrize(
    "asked",
    [
        {"collMod": "patients", "index": {"keyPattern": {"nhs_number": 1}, "unique": True}, "dryRun": True},
        {"collMod": "patients", "index": {"keyPattern": {"x": 1, "nhs_number": 1}, "prepareUnique": True}},
        {"createIndexes": "patients", "indexes": [{"key": {"nhs_number": 1, "tags": 1}, "name": "i"}]},
    ],
)
def test_who_may_not_filter_by_a_class_may_not_index_it(asked: dict[str, Any]) -> None:
    """An index that is to be unique names equal documents, and `dryRun` changes nothing."""
    others = ClassAccess(DENIED, filters=True, writes=True)
    rights = Rights(("r",), {"nhs": ClassAccess(DENIED, writes=True)}, others, deletes=True)
    with pytest.raises(Refusal) as caught:
        planned_with(rights, asked)
    assert (caught.value.reason, caught.value.path) == (Reason.ROLE, "nhs_number")


@pytest.mark.parametrize(
    "asked",
    [
        {"dropIndexes": "patients", "index": "nhs_number_1"},
        {"deleteIndexes": "patients", "index": "*"},
        {"collMod": "patients", "validator": {}},
        {"collMod": "patients", "validationLevel": "off"},
        {"collMod": "patients", "validationAction": "warn"},
        {"collMod": "patients", "index": {"keyPattern": {"x": 1}, "prepareUnique": False}},
    ],
)
def test_what_keeps_values_unique_and_encrypted_is_not_taken_away_by_who_only_reads(
    asked: dict[str, Any],
) -> None:
    with pytest.raises(Refusal) as caught:
        planned_with(Rights(("r",), {}, ClassAccess(DENIED, filters=True)), asked)
    assert caught.value.reason is Reason.ROLE
    planned_with(Rights(("r",), {}, ClassAccess(DENIED, filters=True, writes=True)), asked)
    planned_with(Rights(("r",), deletes=True), asked)
