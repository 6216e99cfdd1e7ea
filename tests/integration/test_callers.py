"""A refused command is on record with who sent it: the login that the server confirmed, the certificate."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.errors import OperationFailure

from sealwire.testbed.certificates import Authority, Issued, create_authority
from sealwire.testbed.proxy_process import ProxyOptions, ProxyProcess
from tests.integration.outside.chosen import own_server
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
        self._audit = audit

    def refused(self, client: MongoClient[Any]) -> dict[str, Any]:
        """What is on record of one refused command."""
        before = len(self._audit.read_text().splitlines())
        with pytest.raises(OperationFailure):
            client["clinic"].command(REFUSED)
        (line,) = self._audit.read_text().splitlines()[before:]
        found: dict[str, Any] = json.loads(line)
        return found


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
