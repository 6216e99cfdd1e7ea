"""The clinic's web service, both ways: on the database, and on Sealwire before it. Only the URI differs."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache
from http import HTTPStatus
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from pymongo import MongoClient

from sealwire.examples.fastapi_clinic.app import create_app
from sealwire.testbed.database import DatabaseProcess
from sealwire.testbed.proxy_process import ProxyOptions, ProxyProcess
from tests.build_context import ROOT
from tests.examples.fastapi_clinic.day import NUMBERS, PURPOSE, Day, patient, spend
from tests.support.audit_log import until_written
from tests.support.secantus import secantus

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("asynchronous_driver")]

POLICY = ROOT / "examples" / "policy.yaml"
WAYS = ("direct", "through Sealwire")


@dataclass(frozen=True, slots=True)
class Clinic:
    """A database, Sealwire before it, and what Sealwire has on record."""

    database: DatabaseProcess
    proxy: ProxyProcess
    audit: Path

    def uri(self, way: str) -> str:
        server = self.database if way == "direct" else self.proxy
        return server.uri(database="clinic")


@pytest.fixture(scope="module")
def clinic(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clinic]:
    folder = tmp_path_factory.mktemp("clinic")
    audit = folder / "audit.jsonl"
    settings = {"audit": {"path": str(audit)}}
    with secantus(folder) as database:
        options = ProxyOptions(
            folder / "sealwire", POLICY, database.address, access_control=False, settings=settings
        )
        with ProxyProcess(options) as proxy:
            yield Clinic(database, proxy, audit)


@pytest.fixture
def stored(clinic: Clinic) -> Iterator[MongoClient[dict[str, Any]]]:
    """The database as it is, empty."""
    with clinic.database.connect() as client:
        client.drop_database("clinic")
        yield client


@cache
def made_app(uri: str) -> FastAPI:
    """Made once for each server: its routes take longer than most tests."""
    return create_app(uri)


@asynccontextmanager
async def service(uri: str) -> AsyncIterator[httpx.AsyncClient]:
    """The service in this process, started and stopped as a web server does it."""
    app = made_app(uri)
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://clinic.example") as client,
    ):
        yield client


@pytest.fixture(params=WAYS)
async def api(
    request: pytest.FixtureRequest, clinic: Clinic, stored: MongoClient[dict[str, Any]]
) -> AsyncIterator[httpx.AsyncClient]:
    """The API on an empty clinic, once each way."""
    async with service(clinic.uri(request.param)) as client:
        yield client


async def test_a_patient_is_found_by_the_number_that_no_url_has(api: httpx.AsyncClient) -> None:
    made = await api.post("/patients", json=patient(NUMBERS[0], 1), headers=PURPOSE)
    found = await api.post("/patients/find", json={"nhs_number": NUMBERS[0]}, headers=PURPOSE)
    assert (made.status_code, found.status_code) == (HTTPStatus.CREATED, HTTPStatus.OK)
    assert found.json() == {"id": made.json()["id"], **patient(NUMBERS[0], 1)}


async def test_a_number_that_is_known_is_a_conflict_about_the_field(api: httpx.AsyncClient) -> None:
    await api.post("/patients", json=patient(NUMBERS[0], 1), headers=PURPOSE)
    again = await api.post("/patients", json=patient(NUMBERS[0], 2), headers=PURPOSE)
    assert again.status_code == HTTPStatus.CONFLICT
    assert (again.json()["problem"], again.json()["fields"]) == ("known-already", ["nhs_number"])
    assert NUMBERS[0] not in again.text


async def test_another_number_goes_to_the_appointments_or_nowhere(api: httpx.AsyncClient) -> None:
    ids = []
    for position, number in enumerate(NUMBERS[:2]):
        said = await api.post("/patients", json=patient(number, position), headers=PURPOSE)
        ids.append(said.json()["id"])
    visit = {"nhs_number": NUMBERS[0], "visit": "imaging", "at": "2026-05-01T10:00:00Z"}
    await api.post("/appointments", json=visit, headers=PURPOSE)

    async def booked(number: str) -> int:
        said = await api.post("/appointments/search", json={"nhs_number": number}, headers=PURPOSE)
        return len(said.json())

    taken = await api.patch(f"/patients/{ids[0]}", json={"nhs_number": NUMBERS[1]}, headers=PURPOSE)
    assert taken.status_code == HTTPStatus.CONFLICT
    assert (await booked(NUMBERS[0]), await booked(NUMBERS[1])) == (1, 0)
    free = await api.patch(f"/patients/{ids[0]}", json={"nhs_number": NUMBERS[2]}, headers=PURPOSE)
    assert free.status_code == HTTPStatus.OK
    assert (await booked(NUMBERS[0]), await booked(NUMBERS[2])) == (0, 1)
    gone = await api.delete(f"/patients/{ids[0]}", headers=PURPOSE)
    assert gone.json() == {"appointments": 1}
    assert await booked(NUMBERS[2]) == 0


async def test_a_request_without_a_purpose_reaches_no_record(api: httpx.AsyncClient) -> None:
    for headers in ({}, {"Purpose": "curiosity"}):
        said = await api.post("/patients/search", json={}, headers=headers)
        assert said.status_code == HTTPStatus.UNPROCESSABLE_ENTITY
        assert [fault["where"] for fault in said.json()["faults"]] == [["header", "purpose"]]


@pytest.mark.parametrize(
    "body",
    [
        {"nhs_number": "9990000027"},
        {"nhs_number": "9990000026'||true"},
        {"nhs_number": {"$ne": "9990000026"}},
        {"nhs_number": 9990000026},
        {"nhs_number": NUMBERS[0], "9990000026": 1},
        {"nhs_number": "99900000\ud80026"},
        ["9990000026"],
    ],
)
async def test_what_is_not_valid_is_told_without_being_repeated(
    api: httpx.AsyncClient, body: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "clinic")
    content = json.dumps(body).encode()
    headers = {**PURPOSE, "Content-Type": "application/json"}
    said = await api.post("/patients/find", content=content, headers=headers)
    assert said.status_code == HTTPStatus.UNPROCESSABLE_ENTITY
    assert said.json()["problem"] == "not-valid"
    for text in (said.text, caplog.text):
        assert "99900" not in text


async def test_what_the_database_refuses_is_told_by_its_code(
    clinic: Clinic, stored: MongoClient[dict[str, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    stored["clinic"].create_collection("patients", validator={"$jsonSchema": {"required": ["consent"]}})
    async with service(clinic.uri("direct")) as client:
        said = await client.post("/patients", json=patient(NUMBERS[0], 1), headers=PURPOSE)
    assert (said.status_code, said.json()["code"]) == (HTTPStatus.INTERNAL_SERVER_ERROR, 121)
    for text in (said.text, caplog.text):
        assert NUMBERS[0] not in text


async def test_other_paths_and_methods_are_told_in_the_same_shape(api: httpx.AsyncClient) -> None:
    said = [await api.get("/nowhere"), await api.put("/patients", json={})]
    assert [(each.status_code, each.json()["problem"]) for each in said] == [
        (HTTPStatus.NOT_FOUND, "not-found"),
        (HTTPStatus.METHOD_NOT_ALLOWED, "method-not-allowed"),
    ]


async def test_the_same_day_has_the_same_answers(clinic: Clinic, stored: MongoClient[dict[str, Any]]) -> None:
    days: list[Day] = []
    for way in WAYS:
        stored.drop_database("clinic")
        async with service(clinic.uri(way)) as client:
            days.append(await spend(client))
    direct, through = (day.answers for day in days)
    assert through == direct
    statuses = {status for _, status, _ in direct}
    assert statuses == {200, 201, 204, 404, 409, 422}


async def test_through_sealwire_the_database_holds_ciphertext_and_the_audit_log_the_purpose(
    clinic: Clinic, stored: MongoClient[dict[str, Any]]
) -> None:
    async with service(clinic.uri("through Sealwire")) as client:
        await client.post("/patients", json=patient(NUMBERS[0], 1), headers=PURPOSE)
        why = {"Purpose": "clinical-audit"}
        await client.post("/patients/find", json={"nhs_number": NUMBERS[0]}, headers=why)
    kept = stored["clinic"]["patients"].find_one()
    assert kept is not None
    covered = ("nhs_number", "mrn", "date_of_birth", "notes")
    assert {bytes(kept[name][:2]) for name in covered} == {b"SW"}
    assert kept["address"]["postcode"].subtype == kept["contacts"][0]["phone"].subtype == 0x80
    with clinic.proxy.connect() as through:
        until_written(clinic.audit, through, "nhs_number")
    text = clinic.audit.read_text(encoding="utf-8")
    purposes = [(line.get("command"), line.get("purpose")) for line in map(json.loads, text.splitlines())]
    assert {("insert", "direct-care"), ("find", "clinical-audit")} <= set(purposes)
    assert NUMBERS[0] not in text


async def test_a_document_that_the_service_cannot_show_is_an_error_without_its_values(
    clinic: Clinic, stored: MongoClient[dict[str, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    stored["clinic"]["patients"].insert_one({"nhs_number": NUMBERS[1], "ward": "renal"})
    async with service(clinic.uri("direct")) as client:
        said = await client.post("/patients/search", json={}, headers=PURPOSE)
    assert (said.status_code, said.json()["problem"]) == (HTTPStatus.INTERNAL_SERVER_ERROR, "unexpected")
    for text in (said.text, caplog.text):
        assert NUMBERS[1] not in text


async def test_without_a_database_it_is_alive_and_not_ready(clinic: Clinic, tmp_path: Path) -> None:
    with secantus(tmp_path) as database:
        uri = f"{database.uri(database='clinic')}?serverSelectionTimeoutMS=500"
        app = create_app(uri)
        transport = httpx.ASGITransport(app)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://clinic.example") as client,
        ):
            # a driver that gives up so early may not have its server at once
            async with asyncio.timeout(20):
                while (await client.get("/health/ready")).json() != {"status": "ready"}:
                    await asyncio.sleep(0.02)
            database.stop()
            said = [await client.get(f"/health/{name}") for name in ("live", "ready")]
            search = await client.post("/patients/search", json={}, headers=PURPOSE)
    assert [each.status_code for each in said] == [HTTPStatus.OK, HTTPStatus.SERVICE_UNAVAILABLE]
    assert (search.status_code, search.json()["problem"]) == (HTTPStatus.SERVICE_UNAVAILABLE, "no-database")
