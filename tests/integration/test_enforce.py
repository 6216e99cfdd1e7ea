"""`sealwire policy enforce`: the server rejects plaintext; whoever goes through Sealwire notices nothing."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bson.binary import Binary
from bson.int64 import Int64
from bson.regex import Regex
from click.testing import CliRunner, Result
from pymongo.errors import OperationFailure

from sealwire.cli.groups import policy as command
from sealwire.policies.file.loader import load_policy
from sealwire.sidecars.covered import covered_collections
from sealwire.sidecars.direct import connected
from sealwire.sidecars.enforcement.validators import (
    MARK,
    EnforcementOutcome,
    Options,
    carry_out,
    plan_install,
)
from sealwire.sidecars.errors import DirectReason, SidecarError
from tests.integration.conftest import POLICY, Document, Stack
from tests.integration.outside.chosen import named, own_server
from tests.support.reasons import failing
from tests.support.secantus import CLINIC, ROOT, secantus

pytestmark = pytest.mark.integration

POLICIES = load_policy(POLICY.read_bytes(), "policy.yaml")
PATIENTS = named("clinic.patients")
SEALED = Binary(b"SW\x01\x01" + bytes(45), 0x80)


def run(*arguments: object, uri: str, stdin: str | None = None) -> Result:
    """`sealwire policy enforce` of the tests' policy, against this server."""
    everything = ["enforce", str(POLICY), "--uri", uri, *map(str, arguments)]
    return CliRunner().invoke(command, everything, input=stdin)


def report(result: Result) -> dict[str, dict[str, Any]]:
    """The rows of a `--json` report, by namespace."""
    return {row.pop("namespace"): row for row in json.loads(result.stdout)["collections"]}


@pytest.fixture
def guarded(clean: Stack) -> Stack:
    """The stack with an empty `patients` that the server guards."""
    clean.raw.create_collection("patients")
    result = run("--yes", "--json", uri=clean.database.uri(ROOT))
    assert report(result)[PATIENTS]["outcome"] == "installed"
    assert result.exit_code == 0
    return clean


def options_of(stack: Stack, name: str = "patients") -> Document:
    """What the server says of a collection."""
    (found,) = stack.raw.list_collections(filter={"name": name})
    return dict(found["options"])


DOCUMENTS: tuple[Document, ...] = (
    {},
    {"nhs_number": None, "address": None, "contacts": None, "notes": None},
    {"nhs_number": "943 476 5919", "visits": 5, "notes": {"deep": ["x", {"y": 1}]}},
    {"nhs_number": ["a", None, ["b", ["c"]]], "phones": []},
    {"address": {"postcode": "AB1 2CD", "city": "x"}, "contacts": {"phone": "1", "kind": "home"}},
    {"address": [{"postcode": "x"}, {}, {"postcode": None}], "contacts": [{"phone": ["1", "2"]}, [], 5]},
    {"contacts": [[{"phone": "1"}], {"0": {"phone": "2"}}], "address": "unknown"},
    {"0": {"nhs_number": "943 476 5919"}, "name": {"nhs_number": "not covered here"}},
)


def test_whoever_goes_through_sealwire_notices_nothing(guarded: Stack) -> None:
    patients = guarded.clinic.patients
    for number, document in enumerate(DOCUMENTS):
        patients.insert_one({"_id": number, **document})
        assert patients.find_one({"_id": number}) == {"_id": number, **document}
    patients.update_one({"_id": 0}, {"$set": {"nhs_number": "1", "address.postcode": "x", "phones": ["3"]}})
    patients.update_one({"_id": 0}, {"$push": {"phones": "4"}, "$unset": {"nhs_number": ""}})
    patients.update_one({"_id": 5}, {"$set": {"address.0.postcode": "y"}})
    patients.replace_one({"_id": 1}, {"nhs_number": "replaced"})
    assert patients.find_one_and_update({"nhs_number": "replaced"}, {"$set": {"visits": 6}}) is not None
    patients.update_one({"nhs_number": "upserted"}, {"$set": {"notes": "x"}}, upsert=True)
    assert patients.find_one({"_id": 0}) == {"_id": 0, "address": {"postcode": "x"}, "phones": ["3", "4"]}
    assert patients.count_documents({"nhs_number": {"$in": ["replaced", "upserted"]}}) == 2
    assert patients.delete_many({}).deleted_count == len(DOCUMENTS) + 1


@pytest.mark.parametrize("document", [document for document in DOCUMENTS[2:] if document])
def test_a_client_that_goes_round_it_cannot_insert_plaintext(guarded: Stack, document: Document) -> None:
    with failing(121):
        guarded.raw.patients.insert_one(dict(document))
    assert guarded.raw.patients.count_documents({}) == 0


def test_a_client_that_goes_round_it_can_write_what_is_not_covered_or_not_plaintext(guarded: Stack) -> None:
    patients = guarded.raw.patients
    patients.insert_many([dict(document) for document in DOCUMENTS[:2]])
    patients.insert_one({"_id": 1, "nhs_number": SEALED, "phones": [SEALED, [None]], "name": "plain"})
    patients.update_one({"_id": 1}, {"$set": {"name": "other", "nhs_number": None}})
    for change in (
        {"nhs_number": "x"},
        {"phones.0": "x"},
        {"contacts": [{"phone": 5}]},
        {"address.postcode": 1},
    ):
        with failing(121):
            patients.update_one({"_id": 1}, {"$set": change})


FORMER: tuple[Document, ...] = (
    {"validator": {"age": {"$gte": Int64(0)}, "$comment": "theirs"}},
    {
        "validator": {"$and": [{"name": Regex("^.")}, {"age": {"$exists": True}}]},
        "validationLevel": "moderate",
        "validationAction": "warn",
    },
    {"validator": {"$jsonSchema": {"required": ["age"]}}, "validationLevel": "strict"},
)


@pytest.mark.parametrize("former", FORMER)
def test_a_validator_that_was_there_goes_on_counting_and_comes_back(clean: Stack, former: Document) -> None:
    uri = clean.database.uri(ROOT)
    clean.raw.create_collection("patients", **former)
    assert run("--yes", "--level", "strict", "--action", "error", uri=uri).exit_code == 0
    for rejected in ({"age": 5, "name": "x", "nhs_number": "plain"}, {"name": "", "nhs_number": SEALED}):
        with failing(121):
            clean.raw.patients.insert_one(dict(rejected))
    clean.raw.patients.insert_one({"age": 5, "name": "x", "nhs_number": SEALED})
    result = run("--remove", "--yes", "--json", uri=uri)
    assert report(result)[PATIENTS] == {"outcome": "removed", "reason": "", "plaintext": {}}
    unset = {"validationLevel": "strict", "validationAction": "error"}
    assert options_of(clean) == unset | former
    assert type(options_of(clean)["validator"]) is dict
    assert report(run("--remove", "--yes", "--json", uri=uri))[PATIENTS]["outcome"] == "skipped"


def test_level_and_action_of_a_validator_are_kept_unless_asked_otherwise(clean: Stack) -> None:
    uri = clean.database.uri(ROOT)
    clean.raw.create_collection("patients", **FORMER[1])
    row = report(run("--yes", "--json", uri=uri))[PATIENTS]
    assert (row["outcome"], "warn" in row["reason"]) == ("installed", True)
    assert (options_of(clean)["validationLevel"], options_of(clean)["validationAction"]) == (
        "moderate",
        "warn",
    )
    assert report(run("--yes", "--json", uri=uri))[PATIENTS]["outcome"] == "already"
    assert report(run("--yes", "--json", "--action", "error", uri=uri))[PATIENTS]["outcome"] == "replaced"
    run("--remove", "--yes", uri=uri)
    assert options_of(clean) == FORMER[1]


def test_plaintext_that_is_there_already_is_counted_and_stops_it(clean: Stack) -> None:
    uri = clean.database.uri(ROOT)
    clean.clinic.patients.insert_many([{"nhs_number": "1"}, {"nhs_number": None}])
    clean.raw.patients.insert_many(
        [{"_id": 1, "nhs_number": "1", "contacts": [{"phone": "2"}]}, {"nhs_number": 5}, {"notes": SEALED}]
    )
    before = options_of(clean)
    result = run("--yes", "--json", uri=uri)
    row = report(result)[PATIENTS]
    assert (result.exit_code, row["outcome"]) == (1, "failed")
    assert row["plaintext"] == {"nhs_number": 2, "contacts.phone": 1}
    assert options_of(clean) == before
    assert run("--yes", "--level", "moderate", uri=uri).exit_code == 0
    clean.raw.patients.update_one({"_id": 1}, {"$set": {"name": "x"}})
    row = report(run("--yes", "--json", "--level", "strict", "--allow-existing", uri=uri))[PATIENTS]
    assert (row["outcome"], row["plaintext"]["nhs_number"]) == ("replaced", 2)
    with pytest.raises(OperationFailure):
        clean.raw.patients.update_one({"_id": 1}, {"$set": {"name": "y"}})


def test_patterns_reach_every_collection_that_exists_and_names_are_created_on_demand(clean: Stack) -> None:
    uri = clean.database.uri(ROOT)
    try:
        for database in map(named, ("tenant_a", "tenant_b", "other")):
            clean.direct[database].create_collection("patients")
        clean.direct[named("tenant_a")].create_collection("doctors")
        rows = report(run("--yes", "--json", uri=uri))
        assert {name: row["outcome"] for name, row in rows.items()} == {
            PATIENTS: "skipped",
            named("clinic.appointments"): "skipped",
            named("clinic.callers"): "skipped",
            named("clinic.restored"): "skipped",
            named("tenant_a.patients"): "installed",
            named("tenant_b.patients"): "installed",
        }
        rows = report(run("--yes", "--json", "--create", uri=uri))
        assert [row["outcome"] for row in rows.values()] == [*["created"] * 4, "already", "already"]
        with pytest.raises(OperationFailure):
            clean.raw.appointments.insert_one({"patient_nhs": "x"})
        clean.clinic.appointments.insert_one({"patient_nhs": "x"})
    finally:
        for database in map(named, ("tenant_a", "tenant_b", "other")):
            clean.direct.drop_database(database)


def test_a_view_is_left_alone(clean: Stack) -> None:
    clean.raw.command("create", "patients", viewOn="others", pipeline=[])
    row = report(run("--yes", "--json", uri=clean.database.uri(ROOT)))[PATIENTS]
    assert (row["outcome"], row["reason"]) == ("skipped", "a view takes no validator")


@pytest.mark.parametrize("arguments", [("--dry-run",), ()])
def test_nothing_changes_in_a_dry_run_or_without_consent(clean: Stack, arguments: tuple[str, ...]) -> None:
    clean.raw.create_collection("patients")
    before = options_of(clean)
    result = run(*arguments, uri=clean.database.uri(ROOT), stdin="n\n")
    assert result.exit_code == (0 if arguments else 1)
    assert "installed" in result.output
    assert options_of(clean) == before
    assert run(uri=clean.database.uri(ROOT), stdin="y\n").exit_code == 0
    assert MARK in options_of(clean)["validator"]["$jsonSchema"]["title"]


@own_server("needs a user without rights")
def test_a_user_without_the_rights_is_told_and_nothing_changes(clean: Stack) -> None:
    clean.raw.create_collection("patients")
    before = options_of(clean)
    uri = clean.database.uri(CLINIC)
    result = run("--yes", "--json", uri=uri)
    # the policy's pattern asks for the names of all databases
    assert isinstance(result.exception, SidecarError)
    assert result.exception.reason is DirectReason.DENIED
    assert options_of(clean) == before


def test_what_the_server_refuses_is_a_failed_outcome_with_its_code(clean: Stack) -> None:
    clean.raw.create_collection("patients")
    with connected(clean.database.uri(ROOT)) as client:
        (target,) = (found for found in covered_collections(client, POLICIES) if found.namespace == PATIENTS)
        change = plan_install(client, target, Options())
        clean.raw.drop_collection("patients")
        done = carry_out(client, change)
    assert (done.outcome, done.reason) == (EnforcementOutcome.FAILED, "code 26 NamespaceNotFound")


SECRET = "p4ssw0rd"

BAD_URIS: tuple[tuple[Callable[[Stack], str], DirectReason], ...] = (
    (lambda stack: stack.proxy.uri(CLINIC, named("clinic")), DirectReason.SEALWIRE),
    (lambda _stack: f"mongodb://root:{SECRET}/1@host", DirectReason.URI),
    (lambda _stack: f"mongodb://root:{SECRET}@host:{SECRET}/", DirectReason.URI),
    (lambda _stack: SECRET, DirectReason.URI),
    (
        lambda _stack: f"mongodb://root:{SECRET}@127.0.0.1:1/?serverSelectionTimeoutMS=100",
        DirectReason.UNREACHABLE,
    ),
)


WRONG_PASSWORD = pytest.param(
    lambda stack: stack.database.uri(ROOT).replace("root%20password", SECRET),
    DirectReason.DENIED,
    marks=own_server("a wrong login might lock the user out"),
)


@pytest.mark.parametrize(("uri", "reason"), [*BAD_URIS, WRONG_PASSWORD])
def test_a_connection_that_will_not_do_is_one_error_without_the_password(
    stack: Stack, uri: Callable[[Stack], str], reason: DirectReason
) -> None:
    result = run("--yes", uri=uri(stack))
    assert isinstance(result.exception, SidecarError)
    assert result.exception.reason is reason
    error = result.exception
    assert SECRET not in f"{error} {error.hint} {result.output} {error.__cause__} "
    assert error.__suppress_context__ or error.__context__ is None
    assert ("127.0.0.1:1" in str(error)) is (reason is DirectReason.UNREACHABLE)


@own_server("needs a server without logins")
def test_the_server_itself_is_taken_for_itself_without_a_login(tmp_path: Path) -> None:
    with secantus(tmp_path, replica_set=False) as database:
        result = run("--create", "--yes", "--json", uri=database.uri())
        assert {row["outcome"] for row in report(result).values()} == {"created"}


def test_options_that_contradict_each_other_are_a_usage_error() -> None:
    assert run("--remove", "--create", uri="mongodb://localhost").exit_code == 2
