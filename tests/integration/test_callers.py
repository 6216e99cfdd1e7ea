"""A refused command is on record with who sent it: the login that the server confirmed, the certificate."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.errors import OperationFailure

from sealwire.audit.files import files_of
from sealwire.audit.verification import LogReport, verify
from sealwire.testbed.certificates import Authority, Issued, create_authority
from sealwire.testbed.proxy_process import ProxyOptions, ProxyProcess
from tests.integration.outside.chosen import own_server
from tests.support.audit_log import lines_of, until_refusals
from tests.support.secantus import CLINIC, ROOT, USERS, secantus

pytestmark = [pytest.mark.integration, own_server("it has users and certificates of its own")]

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
