"""What `serve` and `--check` find out about the logins of a real server."""

import asyncio
import json
import logging
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bson.binary import Binary
from prometheus_client import generate_latest
from pymongo import MongoClient, timeout
from pymongo.errors import AutoReconnect, OperationFailure

from sealwire.proxy.server.findings import (
    CLIENTS_UNKNOWN,
    LOGIN_WANTED,
    NO_ACCESS_CONTROL,
    REVEALED_EVERYWHERE,
)
from sealwire.proxy.session.session import Session
from sealwire.testbed.certificates import create_authority
from sealwire.testbed.database import DatabaseProcess
from sealwire.wire.framing import request_id_of
from tests.proxy.server.config_texts import EVERYWHERE
from tests.proxy.server.harness import between, client_of, soon
from tests.proxy.server.site import Running, Site, make_site, serving
from tests.proxy.session.world import body_of, command, reply
from tests.support.secantus import CLINIC, USERS, secantus


@pytest.fixture(scope="module")
def without(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DatabaseProcess]:
    with secantus(tmp_path_factory.mktemp("without")) as process:
        yield process


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DatabaseProcess]:
    with secantus(tmp_path_factory.mktemp("guarded"), users=USERS) as process:
        yield process


def site_for(folder: Path, database: DatabaseProcess, setting: str | None) -> Site:
    site = make_site(folder, int(database.address.rpartition(":")[2]))
    if setting is not None:
        site.config["upstream"]["access_control"] = setting
    return site


def warnings_of(stderr: str) -> list[str]:
    """All but that the server's side has no TLS here, and that nobody may look for stored plaintext."""
    said = [line.partition(": warning: ")[2] for line in stderr.splitlines() if ": warning: " in line]
    assert said.pop(0).startswith("upstream.tls.mode")
    return [each for each in said if not each.startswith("whether values in clear are stored")]


@pytest.mark.integration
@pytest.mark.parametrize("setting", [None, "required"])
def test_logins_that_nobody_asks_for_are_an_error(
    tmp_path: Path, without: DatabaseProcess, setting: str | None
) -> None:
    site = site_for(tmp_path, without, setting)
    done = site.serve("--check")
    assert done.returncode == 78
    told = [line for line in done.stderr.splitlines() if line.startswith("sealwire: ")]
    assert [line.split(": ")[1] for line in told] == ["warning", "hint", "error", "hint"]
    assert "access_control" in told[3]
    done = site.serve()
    assert done.returncode == 78
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert "ready" not in {line["event"] for line in lines}
    (fatal,) = [line for line in lines if line["event"] == "the proxy cannot run"]
    assert "access_control" in fatal["hint"]


@pytest.mark.integration
def test_a_server_without_logins_is_served_when_that_was_said(
    tmp_path: Path, without: DatabaseProcess
) -> None:
    site = site_for(tmp_path, without, "none")
    done = site.serve("--check")
    assert done.returncode == 0
    assert warnings_of(done.stderr) == [NO_ACCESS_CONTROL.problem]
    with serving(site) as proxy:
        said = proxy.events[NO_ACCESS_CONTROL.event]
        assert (said["level"], said["hint"]) == ("warning", NO_ACCESS_CONTROL.hint)


@pytest.mark.integration
def test_a_server_with_logins_is_as_it_should_be(tmp_path: Path, guarded: DatabaseProcess) -> None:
    site = site_for(tmp_path, guarded, None)
    done = site.serve("--check")
    assert (done.returncode, warnings_of(done.stderr)) == (0, [])
    with serving(site) as proxy:
        assert NO_ACCESS_CONTROL.event not in proxy.events


@pytest.mark.integration
def test_a_door_that_was_opened_without_need_is_mentioned(tmp_path: Path, guarded: DatabaseProcess) -> None:
    site = site_for(tmp_path, guarded, "none")
    site.config["reveal"] = "everywhere"
    site.config["listen"]["address"] = f"{EVERYWHERE}:0"
    done = site.serve("--check")
    assert done.returncode == 0
    found = [NO_ACCESS_CONTROL, REVEALED_EVERYWHERE, CLIENTS_UNKNOWN, LOGIN_WANTED]
    assert warnings_of(done.stderr) == [finding.problem for finding in found]
    with serving(site) as proxy:
        assert {finding.event for finding in found} <= set(proxy.events)


@pytest.mark.integration
def test_who_asks_nothing_is_told_nothing(tmp_path: Path, without: DatabaseProcess) -> None:
    site = site_for(tmp_path, without, "required")
    site.config["upstream"]["probe"] = False
    done = site.serve("--check")
    assert (done.returncode, warnings_of(done.stderr)) == (0, [])


# ----------------------------------------------------------------------------------------------------
# Logins pass through a whole proxy, and nothing of them is in its log, figures, audit or errors.

MARK = "Geheimnis7"
"""In every text and every payload that a login has."""

NAMES = ("SCRAM-SHA-1", "SCRAM-SHA-256", "PLAIN", "MONGODB-AWS", "MONGODB-OIDC", "GSSAPI", f"X-{MARK}")
STEP = {"conversationId": 1, "done": False, "payload": Binary(f"r={MARK},s={MARK}".encode()), "ok": 1.0}
DONE = {**STEP, "done": True}
FAILED = {"ok": 0.0, "errmsg": f"user {MARK} unknown", "code": 18, "codeName": MARK}


def start(mechanism: str, **more: Any) -> dict[str, Any]:
    payload = Binary(f"n,,n={MARK},r={MARK}\0{MARK}".encode())
    return {"saslStart": 1, "mechanism": mechanism, "payload": payload, "$db": MARK, **more}


def go_on() -> dict[str, Any]:
    return {"saslContinue": 1, "conversationId": 1, "payload": Binary(f"p={MARK}".encode()), "$db": MARK}


def hello(mechanism: str) -> dict[str, Any]:
    speculation = {**start(mechanism), "db": MARK}
    return {"hello": 1, "speculativeAuthenticate": speculation, "saslSupportedMechs": MARK, "$db": "admin"}


CONVERSATIONS: list[list[tuple[dict[str, Any], dict[str, Any]]]] = [
    *([(start(name), STEP), (go_on(), DONE)] for name in NAMES),
    *([(start(name), FAILED)] for name in NAMES),
    *([(hello(name), {"ok": 1.0, "speculativeAuthenticate": DONE})] for name in NAMES),
    [(start("PLAIN"), {"ok": MARK})],
    [(start("PLAIN"), {"ok": 0.0, "code": MARK})],
    [(start("SCRAM-SHA-256"), STEP), (go_on(), FAILED)],
    # after the login the server says who that is, and it may be anybody
    [(start("PLAIN"), DONE), ({"ping": 1, "$db": "admin"}, {"ok": 1.0})],
]

REFUSED: list[dict[str, Any]] = [
    {"authenticate": 1, "mechanism": "MONGODB-X509", "user": f"CN={MARK}", "$db": "$external"},
    start("MONGODB-X509"),
    {"authenticate": 1, "mechanism": MARK, "user": MARK, "nonce": MARK, "key": MARK, "$db": MARK},
    {"copydbsaslstart": 1, "payload": Binary(MARK.encode()), "$db": MARK},
    {MARK: 1, "$db": MARK},
]


@pytest.fixture
def everything(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.DEBUG)
    for name in ("sealwire", "sealwire.server", "sealwire.audit", "asyncio"):
        caplog.set_level(logging.DEBUG, name)
    return caplog


def written(caplog: pytest.LogCaptureFixture) -> str:
    return "\n".join(f"{record.getMessage()} {vars(record)}" for record in caplog.records)


async def test_a_login_passes_and_leaves_no_word(everything: pytest.LogCaptureFixture) -> None:
    async with between(Session) as (server, proxy):
        for conversation in CONVERSATIONS:
            async with client_of(proxy) as (reader, writer):
                server_reader, server_writer = None, None
                for number, (asked, answered) in enumerate(conversation, 1):
                    message = command(asked, number)
                    writer.write(message)
                    if server_reader is None or server_writer is None:
                        server_reader, server_writer = await server.accepted()
                    got = await soon(_message(server_reader))
                    assert got == message  # byte for byte
                    answer = reply(answered, request_id_of(got))
                    server_writer.write(answer)
                    assert await soon(_message(reader)) == answer
        figures = generate_latest(proxy.metrics.registry).decode()
    assert MARK not in figures
    assert "login-failed" in written(everything)
    assert MARK not in written(everything)


async def test_what_is_refused_is_refused_without_its_words(everything: pytest.LogCaptureFixture) -> None:
    async with between(Session) as (_, proxy):
        for asked in REFUSED:
            async with client_of(proxy) as (reader, writer):
                writer.write(command(asked, 7))
                told = body_of(await soon(_message(reader)))
                assert told["ok"] == 0.0
                # the name of a command is said back to the one who sent it, as servers do
                assert MARK not in str(told).replace(f"command {MARK} requires", "")
        figures = generate_latest(proxy.metrics.registry).decode()
    assert MARK not in figures
    assert "refused" in written(everything)
    assert MARK not in written(everything)


async def _message(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readexactly(4)
    return head + await reader.readexactly(int.from_bytes(head, "little") - 4)


# The shell with the real core: pymongo with SCRAM over TLS, a real server behind TLS, ciphertext at rest.


NHS_NUMBER = "9434765919"


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DatabaseProcess]:
    folder = tmp_path_factory.mktemp("database")
    with secantus(folder, users=USERS, authority=create_authority(folder / "authority")) as process:
        yield process


@pytest.fixture
def site(tmp_path: Path, database: DatabaseProcess) -> Site:
    authority = database.options.tls
    assert authority is not None
    return make_site(tmp_path, int(database.address.rpartition(":")[2]), ca=str(authority.authority))


def connect(site: Site, proxy: Running, **options: Any) -> MongoClient[dict[str, Any]]:
    options |= {"tlsCAFile": str(site.authority.certificate_file), "tls": True, "directConnection": True}
    return MongoClient(*proxy.address, username=CLINIC.name, password=CLINIC.password, **options)


@pytest.mark.integration
def test_an_unchanged_driver_sees_plaintext_and_the_server_holds_ciphertext(
    site: Site, database: DatabaseProcess
) -> None:
    patient = {"_id": 1, "nhs_number": NHS_NUMBER, "ward": "A"}
    with serving(site) as proxy, connect(site, proxy) as client:
        assert client.admin.command("hello")["hosts"] == ["proxy.test:27018"]
        patients = client.clinic.patients
        patients.delete_many({})
        patients.insert_one(patient)
        assert patients.find_one({"nhs_number": NHS_NUMBER}) == patient
        with pytest.raises(OperationFailure) as refused:
            patients.find_one({"nhs_number": {"$regex": "^943"}})
        assert refused.value.code == 238
        with database.connect(CLINIC) as raw:
            stored = raw.clinic.patients.find_one({"_id": 1})
        assert stored is not None
        assert stored["nhs_number"].subtype == 0x80
        assert stored["ward"] == "A"
        # The pool's connections are idle, and the monitor's open hello does not hold the end up.
        proxy.process.send_signal(signal.SIGTERM)
        said = list(proxy.said)
        assert proxy.process.wait(30) == 0
        with timeout(0.1):
            client.close()  # it would look for a server to end its sessions on for half a minute
    assert "drain ended by its limit" not in [line["event"] for line in said]
    assert NHS_NUMBER not in str(said)


@pytest.mark.integration
def test_a_server_that_dies_is_a_network_error_and_the_proxy_serves_again_when_it_is_back(
    site: Site, database: DatabaseProcess
) -> None:
    with serving(site) as proxy, connect(site, proxy, retryReads=False) as client:
        wards = client.clinic.wards
        wards.find_one()
        database.kill()
        # if the driver's monitor notices first, the call waits for a server
        with pytest.raises(AutoReconnect), timeout(2):
            wards.find_one()
        database.start()
        assert wards.insert_one({"_id": "A"}).acknowledged
        assert proxy.process.poll() is None
