"""Roles before a real server with users: who has logged in decides, and what a command states."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from bson import Binary
from pymongo import MongoClient
from pymongo.errors import OperationFailure

from sealwire.audit.files import files_of
from sealwire.audit.verification import LogReport, verify
from sealwire.testbed.certificates import Authority, Issued, create_authority
from sealwire.testbed.proxy_process import ProxyOptions, ProxyProcess
from tests.integration.outside.chosen import own_server
from tests.support.audit_log import lines_of, until_refusals, until_written
from tests.support.secantus import CLINIC, ROOT, USERS, secantus

# A refused command is on record with who sent it: the login that the server confirmed, the certificate.


POLICY = """
version: 1
classes: {nhs: {mode: deterministic, type: string}}
collections: {clinic.patients: {nhs_number: nhs}}
"""
REFUSED = {"find": "patients", "filter": {"nhs_number": {"$regex": "^943"}}}


class Knowing(ProxyProcess):
    """It verifies certificates of clients that show one."""

    def config(self) -> dict[str, Any]:
        """As of any other, and with an authority for clients."""
        found = super().config()
        found["listen"]["tls"]["client_ca"] = str(self.options.authority)  # type: ignore[index]
        return found


class Place:
    """A proxy before a server with users, and its audit file."""

    def __init__(self, proxy: ProxyProcess, authority: Authority, audit: Path) -> None:
        self.proxy = proxy
        self.certificate: Issued = authority.issue("ward-3", client=True)
        self.audit = audit

    def refused(self, client: MongoClient[Any]) -> dict[str, Any]:
        """What is on record of one refused command."""
        before = len(self._refusals())
        with pytest.raises(OperationFailure):
            client["clinic"].command(REFUSED)
        until_refusals(self.audit, before + 1)
        (found,) = self._refusals()[before:]
        return found

    def until_written(self) -> None:
        """Return when all that was reported before is in the log: a refusal is behind it."""
        with MongoClient[Any](self.proxy.uri(ROOT)) as root:
            self.refused(root)

    def lines(self, event: str = "") -> list[dict[str, Any]]:
        """The lines of this event, or all."""
        return lines_of(self.audit, event)

    def _refusals(self) -> list[dict[str, Any]]:
        return self.lines("refused")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("callers")
    authority = create_authority(folder / "certificates")
    policy, audit = folder / "policy.yaml", folder / "audit.jsonl"
    policy.write_text(POLICY)
    with secantus(folder, users=USERS, authority=authority) as database:
        options = ProxyOptions(
            *(folder / "sealwire", policy, database.address),
            *(authority.issue("sealwire"), authority.certificate_file),
            settings={"audit": {"path": str(audit)}},
        )
        with Knowing(options) as proxy:
            yield Place(proxy, authority, audit)


@pytest.mark.parametrize("user", [CLINIC, ROOT], ids=lambda each: each.name)
def test_the_user_whom_the_server_let_in_is_named(place: Place, user: Any) -> None:
    with MongoClient[Any](place.proxy.uri(user), appname="rounds") as client:
        line = place.refused(client)
    assert (line["user"], line["application"]) == (f"{user.name}@admin", "rounds")
    assert line["driver"].startswith("PyMongo")
    assert "certificate" not in line


def test_the_holder_of_a_verified_certificate_is_named(place: Place) -> None:
    shown = str(place.certificate.combined)
    with MongoClient[Any](place.proxy.uri(CLINIC), tlsCertificateKeyFile=shown) as client:
        line = place.refused(client)
    assert line["certificate"] == "CN=ward-3"
    assert line["user"] == f"{CLINIC.name}@admin"


def test_many_connections_of_two_users_are_told_apart(place: Place) -> None:
    with (
        MongoClient[Any](place.proxy.uri(CLINIC), maxPoolSize=3) as one,
        MongoClient[Any](place.proxy.uri(ROOT), maxPoolSize=3) as two,
    ):
        for _ in range(3):
            assert place.refused(one)["user"] == f"{CLINIC.name}@admin"
            assert place.refused(two)["user"] == f"{ROOT.name}@admin"


def test_a_command_without_a_login_is_nobodys(place: Place) -> None:
    with MongoClient[Any](place.proxy.uri()) as client:
        line = place.refused(client)
    assert line["reason"] == "LoginNeeded"
    assert "user" not in line


def test_a_login_is_on_record_and_one_that_fails(place: Place) -> None:
    place.until_written()
    before, failed = len(place.lines("login")), len(place.lines("login-failed"))
    with MongoClient[Any](place.proxy.uri(CLINIC), appname="rounds") as client:
        client["clinic"]["wards"].find_one()
    wrong = replace(CLINIC, password="not it")
    with MongoClient[Any](place.proxy.uri(wrong)) as client, pytest.raises(OperationFailure):
        client["clinic"].command("ping")
    place.until_written()
    line = place.lines("login")[before]
    assert (line["user"], line["application"]) == (f"{CLINIC.name}@admin", "rounds")
    line = place.lines("login-failed")[failed]
    assert (line["command"], line["reason"]) == ("saslContinue", "code 18")
    assert "user" not in line


def test_the_log_is_one_chain(place: Place) -> None:
    report = LogReport()
    verify(files_of(place.audit), {}, report)
    assert report.is_whole
    assert {line["event"] for line in place.lines()} >= {"file", "started"}


pytestmark = [pytest.mark.integration, own_server("it has users and certificates of its own")]

NHS, NOTE = "9434765919", "a note of the ward"
HEAD = """
version: 1
classes: {nhs: {mode: deterministic, type: string}, notes: {mode: random}}
collections: {clinic.patients: {nhs_number: nhs, notes: notes}}
"""
ROLES = """
roles:
  doctor:
    users: ["root@admin"]
    classes: {"*": {read: clear, filter: true, write: true}}
  clerk:
    users: ["clin*@admin"]
    classes: {nhs: {read: {mask: last4}}, notes: {read: ciphertext}}
  desk:
    users: ["clinic@admin"]
    certificates: ["CN=ward-*"]
    require_certificate: true
    classes: {nhs: {filter: true}}
  researcher:
    users: ["clinic@admin"]
    purposes: [research]
    documents_per_hour: 1000
    classes: {nhs: {read: clear}}
  emergency:
    users: ["clinic@admin"]
    break_glass: true
    classes: {"*": {read: clear}}
"""


class Ward:
    """A proxy with roles before a server with users, and its audit file."""

    def __init__(self, proxy: Knowing, policy: Path, audit: Path, certificate: Issued) -> None:
        self.proxy = proxy
        self.policy = policy
        self.audit = audit
        self.certificate = certificate

    def client(self, user: Any, **options: Any) -> MongoClient[Any]:
        """A client that logs in as this user."""
        return MongoClient[Any](self.proxy.uri(user), **options)

    def lines(self, event: str) -> list[dict[str, Any]]:
        """The audit lines of this event, when the writer has come by."""
        with self.client(ROOT) as root:
            until_written(self.audit, root, "nhs_number")
        return lines_of(self.audit, event)


@pytest.fixture(scope="module")
def ward(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ward]:
    folder = tmp_path_factory.mktemp("roles")
    authority = create_authority(folder / "certificates")
    policy, audit = folder / "policy.yaml", folder / "audit.jsonl"
    policy.write_text(HEAD + ROLES)
    with secantus(folder, users=USERS, authority=authority) as database:
        options = ProxyOptions(
            *(folder / "sealwire", policy, database.address),
            *(authority.issue("sealwire"), authority.certificate_file),
            settings={"audit": {"path": str(audit)}},
        )
        with Knowing(options) as proxy:
            place = Ward(proxy, policy, audit, authority.issue("ward-3", client=True))
            with place.client(ROOT) as root:
                patients = root["clinic"]["patients"]
                patients.insert_many([{"_id": n, "nhs_number": NHS, "notes": NOTE, "n": n} for n in range(5)])
            yield place


def test_each_user_is_shown_what_the_role_says(ward: Ward) -> None:
    with ward.client(ROOT) as root, ward.client(CLINIC) as clinic:
        for _ in range(3):
            doctors = root["clinic"]["patients"].find_one({"_id": 1}) or {}
            clerks = clinic["clinic"]["patients"].find_one({"_id": 1}) or {}
            assert doctors == {"_id": 1, "nhs_number": NHS, "notes": NOTE, "n": 1}
            assert clerks["nhs_number"] == "****5919"
            assert isinstance(clerks["notes"], Binary)
        assert root["clinic"]["patients"].count_documents({"nhs_number": NHS}) == 5


@pytest.mark.parametrize(
    "pipeline",
    [
        [{"$project": {"other": "$nhs_number"}}],
        [{"$addFields": {"copy": "$nhs_number"}}],
        [{"$group": {"_id": 1, "all": {"$push": "$nhs_number"}}}],
        [{"$lookup": {"from": "patients", "localField": "n", "foreignField": "n", "as": "mates"}}],
        [{"$replaceWith": {"x": ["$$ROOT"]}}],
    ],
)
def test_no_pipeline_gives_a_way_round(ward: Ward, pipeline: list[dict[str, Any]]) -> None:
    with ward.client(CLINIC) as clinic:
        found = list(clinic["clinic"]["patients"].aggregate(pipeline))
    assert found
    assert NHS not in str(found)
    assert "****5919" in str(found)


def test_what_a_role_does_not_allow_is_refused_and_on_record(ward: Ward) -> None:
    before = len(ward.lines("refused"))
    with ward.client(CLINIC) as clinic:
        patients = clinic["clinic"]["patients"]
        for refused in (
            lambda: patients.find_one({"nhs_number": NHS}),
            lambda: patients.distinct("nhs_number"),
            lambda: patients.update_one({"_id": 1}, {"$unset": {"nhs_number": ""}}),
            lambda: patients.delete_one({"_id": 1}),
            lambda: patients.insert_one({"nhs_number": NHS}),
            patients.drop,
        ):
            with pytest.raises(OperationFailure) as caught:
                refused()
            assert (
                caught.value.code in (13, 65) or (caught.value.details or {})["writeErrors"][0]["code"] == 13
            )
        patients.update_one({"_id": 1}, {"$set": {"seen": True}})
    lines = [line for line in ward.lines("refused")[before:] if line["reason"] != "pattern"]
    assert [line["reason"] for line in lines] == ["role"] * 6
    assert {line["user"] for line in lines} == {f"{CLINIC.name}@admin"}
    assert NHS not in ward.audit.read_text()


def test_a_certificate_adds_its_role(ward: Ward) -> None:
    with ward.client(CLINIC, tlsCertificateKeyFile=str(ward.certificate.combined)) as clinic:
        found = clinic["clinic"]["patients"].find_one({"nhs_number": NHS}) or {}
    assert found["nhs_number"] == "****5919"


def test_a_purpose_in_a_comment_counts_for_that_command_and_its_cursor(ward: Ward) -> None:
    with ward.client(CLINIC) as clinic:
        patients = clinic["clinic"]["patients"]
        stated = patients.find({}, batch_size=2).comment({"sealwire": {"purpose": "research"}})
        assert [each["nhs_number"] for each in stated] == [NHS] * 5
        assert (patients.find_one({}) or {})["nhs_number"] == "****5919"


def test_a_broken_glass_is_on_record_with_its_reason(ward: Ward) -> None:
    before = len(ward.lines("break-glass"))
    with ward.client(CLINIC) as clinic:
        patients = clinic["clinic"]["patients"]
        found = patients.find_one({}, comment="breakGlass=patient unconscious; purpose=direct-care") or {}
    assert (found["nhs_number"], found["notes"]) == (NHS, NOTE)
    (line,) = ward.lines("break-glass")[before:]
    assert (line["glass"], line["purpose"]) == ("patient unconscious", "direct-care")
    assert (line["user"], line["role"]) == (f"{CLINIC.name}@admin", "clerk,emergency")


def test_a_reload_changes_what_an_open_connection_is_shown(ward: Ward) -> None:
    with ward.client(CLINIC, maxPoolSize=1) as clinic:
        patients = clinic["clinic"]["patients"]
        cursor = patients.find({}, batch_size=2)
        assert next(cursor)["nhs_number"] == "****5919"
        try:
            ward.policy.write_text(HEAD + ROLES.replace("mask: last4", "mask: fixed"))
            ward.proxy.reload()
            assert [each["nhs_number"] for each in cursor][1:] == ["***"] * 3
            ward.policy.write_text(HEAD + ROLES.replace("clin*@admin", "nobody@admin"))
            ward.proxy.reload()
            with pytest.raises(OperationFailure) as caught:
                patients.find_one({})
            assert caught.value.code == 13
        finally:
            ward.policy.write_text(HEAD + ROLES)
            ward.proxy.reload()


def test_without_roles_an_open_connection_may_do_everything_again(ward: Ward) -> None:
    with ward.client(CLINIC, maxPoolSize=1) as clinic:
        patients = clinic["clinic"]["patients"]
        assert (patients.find_one({"_id": 1}) or {})["nhs_number"] == "****5919"
        with pytest.raises(OperationFailure):
            patients.insert_one({"_id": "new", "nhs_number": NHS})
        try:
            ward.policy.write_text(HEAD)
            ward.proxy.reload()
            shown = patients.find_one({"nhs_number": NHS, "_id": 1}) or {}
            assert (shown["nhs_number"], shown["notes"]) == (NHS, NOTE)
            patients.insert_one({"_id": "new", "nhs_number": NHS})
            assert patients.delete_one({"_id": "new", "nhs_number": NHS}).deleted_count == 1
        finally:
            ward.policy.write_text(HEAD + ROLES)
            ward.proxy.reload()
        assert (patients.find_one({"_id": 1}) or {})["nhs_number"] == "****5919"
