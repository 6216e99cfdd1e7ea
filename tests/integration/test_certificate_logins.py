"""MONGODB-X509 with the real driver: the holder of a certificate is whom the configuration says."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from pymongo import AsyncMongoClient, MongoClient
from pymongo.errors import OperationFailure

from sealwire.testbed.certificates import Authority, Issued, create_authority
from sealwire.testbed.proxy_process import ProxyProcess
from tests.integration.outside.chosen import own_server
from tests.support.audit_log import lines_of
from tests.support.private import private
from tests.support.proxied import options_of
from tests.support.reasons import failing
from tests.support.rows import rows
from tests.support.secantus import CLINIC, ROOT, USERS, secantus

pytestmark = [pytest.mark.integration, own_server("it has users and certificates of its own")]

POLICY = """
version: 1
classes: {nhs: {mode: deterministic, type: string}}
collections: {clinic.patients: {nhs_number: nhs}}
"""
NHS = "943 476 5919"
ISSUER = "CN=Sealwire demo authority"
AUTHENTICATION_FAILED = 18


class Ward(ProxyProcess):
    """It logs holders of certificates in."""

    shown: Issued
    identities: list[dict[str, Any]]

    def config(self) -> dict[str, Any]:
        """As of any other, with identities."""
        found: dict[str, Any] = super().config()
        found["listen"]["tls"]["client_ca"] = str(self.options.authority)
        found["upstream"]["tls"] |= {"certificate": str(self.shown.certificate), "key": str(self.shown.key)}
        found["upstream"]["identities"] = self.identities
        found["log"] = {"level": "debug", "format": "json"}
        return found


class Place:
    """A proxy before a server that knows users by passwords and by certificates."""

    def __init__(self, proxy: Ward, authority: Authority, audit: Path) -> None:
        self.proxy, self.authority, self.audit = proxy, authority, audit
        names = ("ward-3", "ward-4", "ward-5", "ward-6", "ward-7", "ward-8")
        self.certificates = {name: authority.issue(name, client=True).combined for name in names}

    def options(self, name: str | None, **more: Any) -> dict[str, Any]:
        shown = {} if name is None else {"tlsCertificateKeyFile": str(self.certificates[name])}
        return {"authMechanism": "MONGODB-X509", "appname": f"as {name}", **shown, **more}

    def client(self, name: str | None, **more: Any) -> MongoClient[dict[str, Any]]:
        return MongoClient(self.proxy.uri(), **self.options(name, **more))

    def last_refusal(self, certificate: str) -> dict[str, Any]:
        """That of the holder of a certificate; the audit is written by another process."""
        deadline = time.monotonic() + 20
        while True:
            found = [line for line in self.lines("refused") if line.get("certificate") == certificate]
            if found or time.monotonic() > deadline:
                return found[-1]
            time.sleep(0.05)

    def lines(self, event: str) -> list[dict[str, Any]]:
        return lines_of(self.audit, event)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("certificates")
    authority = create_authority(folder / "certificates")
    policy, audit = folder / "policy.yaml", folder / "audit.jsonl"
    policy.write_text(POLICY)
    password, wrong = folder / "password", folder / "wrong"
    for file, text in ((password, CLINIC.password), (wrong, "another password")):
        private(file, f"{text}\n")
    app = authority.issue("ward-app", client=True)
    with secantus(folder, users=USERS, authority=authority, mutual_tls=True) as database:
        with database.connect(ROOT) as root:
            roles = [{"role": "readWrite", "db": "clinic"}]
            root["$external"].command("createUser", "CN=ward-app", roles=roles, mechanisms=["MONGODB-X509"])
        settings = {"audit": {"path": str(audit)}}
        proxy = Ward(options_of(folder, POLICY, database.address, authority, settings=settings))
        proxy.shown = authority.issue("sealwire-client", client=True)
        proxy.identities = [
            {"subject": "CN=ward-3", "user": CLINIC.name, "password_file": str(password)},
            {"subject": "CN=ward-4", "certificate": str(app.certificate), "key": str(app.key)},
            {"subject": "CN=ward-5", "user": CLINIC.name, "password_file": str(wrong)},
            {"subject": "CN=ward-7", "issuer": ISSUER, "user": CLINIC.name, "password_file": str(password)},
            {"subject": "CN=ward-8", "issuer": "CN=x", "user": CLINIC.name, "password_file": str(password)},
        ]
        with proxy:
            yield Place(proxy, authority, audit)


@rows(
    "name, user",
    ("ward-3", f"{CLINIC.name}@admin"),
    ("ward-4", "CN=ward-app@$external"),
    ("ward-7", f"{CLINIC.name}@admin"),
)
def test_a_holder_of_a_certificate_is_logged_in_as_the_configuration_says(
    place: Place, name: str, user: str
) -> None:
    with place.client(name) as client:
        patients = client["clinic"]["patients"]
        patients.insert_one({"_id": name, "nhs_number": NHS})
        assert [each["_id"] for each in patients.find({"nhs_number": NHS, "_id": name})] == [name]
        said = client["admin"].command("connectionStatus")["authInfo"]["authenticatedUsers"]
        assert ["{user}@{db}".format_map(each) for each in said] == [user]
        with failing(13):  # it has the rights of that user and no others
            client["payroll"]["wages"].insert_one({})
        with pytest.raises(OperationFailure):
            patients.find_one({"nhs_number": {"$regex": "^9"}})
    line = place.last_refusal(f"CN={name}")
    assert line["user"] == user
    logins = [each for each in place.lines("login") if each["certificate"] == f"CN={name}"]
    shown = x509.load_pem_x509_certificate(place.certificates[name].read_bytes()).fingerprint(SHA256())
    assert {(each["user"], each["fingerprint"]) for each in logins} == {(user, shown.hex())}


@pytest.mark.usefixtures("asynchronous_driver")
async def test_the_asynchronous_driver_is_logged_in_as_well(place: Place) -> None:
    async with AsyncMongoClient(place.proxy.uri(), **place.options("ward-3")) as client:
        said = (await client["admin"].command("connectionStatus"))["authInfo"]["authenticatedUsers"]
        assert [each["user"] for each in said] == [CLINIC.name]


def test_the_driver_may_name_the_subject_that_it_has(place: Place) -> None:
    with place.client("ward-3", username="CN=ward-3") as client:
        client["clinic"]["patients"].find_one()


@pytest.mark.parametrize(
    ("name", "claimed"),
    [
        ("ward-3", "CN=ward-4"),  # the certificate of one, the name of another
        ("ward-3", CLINIC.name),
        ("ward-6", None),  # no identity
        ("ward-8", None),  # its identity is of another authority
        ("ward-6", "CN=ward-3"),
        (None, None),  # no certificate
        (None, "CN=ward-3"),
        ("ward-5", None),  # the server does not take the password
    ],
)
def test_nobody_else_is_let_in(place: Place, name: str | None, claimed: str | None) -> None:
    more = {} if claimed is None else {"username": claimed}
    with place.client(name, **more) as client, pytest.raises(OperationFailure) as caught:
        client["clinic"]["patients"].find_one()
    assert caught.value.code == AUTHENTICATION_FAILED


def test_a_user_with_a_password_logs_in_beside_whatever_certificate(place: Place) -> None:
    shown = str(place.certificates["ward-4"])
    with MongoClient[Any](place.proxy.uri(CLINIC), tlsCertificateKeyFile=shown) as client:
        said = client["admin"].command("connectionStatus")["authInfo"]["authenticatedUsers"]
        assert [each["user"] for each in said] == [CLINIC.name]


def test_after_a_logout_nothing_passes(place: Place) -> None:
    with place.client("ward-3", maxPoolSize=1) as client:
        client["clinic"]["patients"].find_one()
        with suppress(OperationFailure):  # SecantusDB does not know it, and Sealwire has let go all the same
            client["$external"].command("logout")
        with failing(13):
            client["clinic"]["patients"].find_one()


def test_a_reload_takes_identities_away_and_a_renewed_certificate_stays_one(place: Place) -> None:
    proxy = place.proxy
    kept = list(proxy.identities)
    with place.client("ward-3") as before:
        before["clinic"]["patients"].find_one()
        place.certificates["ward-4"] = place.authority.issue("ward-4", client=True).combined
        proxy.identities = kept[1:]
        _reload(proxy)
        with place.client("ward-3") as client, pytest.raises(OperationFailure):
            client["clinic"]["patients"].find_one()
        with place.client("ward-4") as client:
            client["clinic"]["patients"].find_one()
        before["clinic"]["patients"].find_one()  # who was logged in stays it
    proxy.identities = kept
    _reload(proxy)
    with place.client("ward-3") as client:
        client["clinic"]["patients"].find_one()


def test_no_password_is_in_the_log_or_on_record(place: Place) -> None:
    written = place.proxy.log.read_text() + place.audit.read_text()
    assert "certificates loaded" in written
    for secret in (CLINIC.password, "another password", ROOT.password):
        assert secret not in written


def _reload(proxy: Ward) -> None:
    proxy.config_file.write_text(yaml.safe_dump(proxy.config(), sort_keys=False))
    before = proxy.log.read_text().count("certificates loaded")
    os.kill(proxy.pid, signal.SIGHUP)
    deadline = time.monotonic() + 20
    while proxy.log.read_text().count("certificates loaded") == before:
        assert time.monotonic() < deadline
        time.sleep(0.05)
