"""The clinic's web service.

    MONGODB_URI=mongodb://... uvicorn sealwire.examples.fastapi_clinic.app:app --no-server-header

Each request states its purpose in the header `Purpose`. There is no login here: a hospital has one already,
and puts it before this.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Annotated, Any, cast

from bson import ObjectId
from fastapi import APIRouter, Depends, FastAPI, Header, Path, Request, Response
from fastapi.responses import JSONResponse
from pymongo import AsyncMongoClient
from pymongo.errors import PyMongoError

from sealwire.examples.fastapi_clinic import models
from sealwire.examples.fastapi_clinic.problems import answer, handle_problems
from sealwire.examples.fastapi_clinic.records import ClinicRecords

DEFAULT_URI = "mongodb://127.0.0.1:27017/clinic"
SERVER_WITHIN_MS = 5_000

router = APIRouter()


def _records(request: Request) -> ClinicRecords:
    return cast(ClinicRecords, request.app.state.records)


Kept = Annotated[ClinicRecords, Depends(_records)]
Stated = Annotated[models.StatedPurpose, Header(alias="purpose")]
Id = Annotated[str, Path(pattern=models.OBJECT_ID)]


@router.post("/patients", status_code=HTTPStatus.CREATED)
async def register(patient: models.NewPatient, records: Kept, purpose: Stated) -> models.ShownPatient:
    """Register a patient; 409 where the NHS number or the MRN is known already."""
    return await records.register(patient, purpose)


@router.post("/patients/find")
async def find_patient(wanted: models.ByNumber, records: Kept, purpose: Stated) -> models.ShownPatient:
    """The patient with this NHS number."""
    return await records.patient({"nhs_number": wanted.nhs_number}, purpose)


@router.post("/patients/search")
async def search_patients(
    wanted: models.PatientSearch, records: Kept, purpose: Stated
) -> list[models.ShownPatient]:
    """Patients by postcode, telephone, day of birth or ward; all of them where nothing is asked for."""
    return await records.search_patients(wanted, purpose)


@router.get("/patients/{id_}")
async def show_patient(id_: Id, records: Kept, purpose: Stated) -> models.ShownPatient:
    """The patient with this id."""
    return await records.patient({"_id": ObjectId(id_)}, purpose)


@router.patch("/patients/{id_}")
async def change_patient(
    id_: Id, changes: models.PatientChanges, records: Kept, purpose: Stated
) -> models.ShownPatient:
    """Change what is given; another NHS number reaches the appointments too."""
    return await records.change_patient(id_, changes, purpose)


@router.delete("/patients/{id_}")
async def remove_patient(id_: Id, records: Kept, purpose: Stated) -> models.Removed:
    """Remove the patient with all appointments."""
    return await records.remove_patient(id_, purpose)


@router.get("/wards")
async def count_by_ward(records: Kept, purpose: Stated) -> list[models.WardCount]:
    """How many patients each ward has."""
    return await records.count_by_ward(purpose)


@router.post("/appointments", status_code=HTTPStatus.CREATED)
async def book(wanted: models.NewAppointment, records: Kept, purpose: Stated) -> models.ShownAppointment:
    """Book an appointment for the patient with this NHS number."""
    return await records.book(wanted, purpose)


@router.post("/appointments/search")
async def search_appointments(
    wanted: models.AppointmentSearch, records: Kept, purpose: Stated
) -> list[models.ShownAppointment]:
    """Appointments by patient, status or time."""
    return await records.search_appointments(wanted, purpose)


@router.get("/appointments/{id_}")
async def show_appointment(id_: Id, records: Kept, purpose: Stated) -> models.ShownAppointment:
    """The appointment with this id."""
    return await records.appointment(id_, purpose)


@router.patch("/appointments/{id_}")
async def change_appointment(
    id_: Id, changes: models.AppointmentChanges, records: Kept, purpose: Stated
) -> models.ShownAppointment:
    """Move it, or say what became of it."""
    return await records.change_appointment(id_, changes, purpose)


@router.delete("/appointments/{id_}", status_code=HTTPStatus.NO_CONTENT)
async def cancel(id_: Id, records: Kept, purpose: Stated) -> None:
    """Cancel it."""
    await records.cancel(id_, purpose)


@router.get("/health/live")
async def is_alive() -> dict[str, str]:
    """That the process answers."""
    return {"status": "alive"}


@router.get("/health/ready", response_model=None)
async def is_ready(records: Kept) -> Response:
    """Whether the database answers."""
    try:
        await records.is_there()
    except PyMongoError:
        return answer(HTTPStatus.SERVICE_UNAVAILABLE, "no-database", "the database does not answer")
    return JSONResponse({"status": "ready"})


def _patience(uri: str) -> dict[str, Any]:
    """The driver would wait 30 s for a server, longer than a person; a connection string may say how long."""
    is_said = "serverselectiontimeoutms=" in uri.lower()
    return {} if is_said else {"serverSelectionTimeoutMS": SERVER_WITHIN_MS}


def create_app(uri: str) -> FastAPI:
    """The service on the database that `uri` names; it connects when it starts."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with AsyncMongoClient[dict[str, Any]](uri, **_patience(uri)) as client:
            app.state.records = ClinicRecords(client)
            await app.state.records.prepare()
            yield

    # no page for people: what it shows would come from a host outside
    app = FastAPI(title="Clinic", lifespan=lifespan, docs_url=None, redoc_url=None)
    handle_problems(app)
    app.include_router(router)
    return app


app = create_app(os.environ.get("MONGODB_URI", DEFAULT_URI))
