"""The clinic's patients and appointments in MongoDB: every command that the service sends.

Each command carries in its `comment` why it was sent. A server shows that in its log and profiler, and an
audit log on the way puts the purpose on record.
"""

from collections.abc import Mapping
from datetime import UTC, date, datetime, time
from typing import Any, Final

from bson import CodecOptions, ObjectId
from pymongo import AsyncMongoClient
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.asynchronous.collection import AsyncCollection, ReturnDocument

from sealwire.examples.fastapi_clinic.models import (
    AppointmentChanges,
    AppointmentSearch,
    Attendance,
    Listed,
    NewAppointment,
    NewPatient,
    PatientChanges,
    PatientSearch,
    Removed,
    ShownAppointment,
    ShownPatient,
    StatedPurpose,
    WardCount,
)

Document = dict[str, Any]
Session = AsyncClientSession | None

_UTC: Final = CodecOptions[Document](tz_aware=True)


class NotThereError(Exception):
    """No such patient or appointment. `what` is one of these two words."""

    def __init__(self, what: str) -> None:
        super().__init__(f"there is no such {what}")
        self.what = what


class ClinicRecords:
    """Patients and appointments of one database."""

    def __init__(self, client: AsyncMongoClient[Document]) -> None:
        database = client.get_default_database("clinic", codec_options=_UTC)
        self._client = client
        self._patients: AsyncCollection[Document] = database["patients"]
        self._appointments: AsyncCollection[Document] = database["appointments"]

    async def prepare(self) -> None:
        """Make the indexes that are missing."""
        await self._patients.create_index("nhs_number", unique=True)
        await self._patients.create_index("mrn", unique=True)
        await self._patients.create_index("address.postcode")
        await self._appointments.create_index("patient_nhs")

    async def is_there(self) -> None:
        """Raises:  PyMongoError where the database does not answer"""
        await self._client.admin.command("ping")

    async def register(self, patient: NewPatient, purpose: StatedPurpose) -> ShownPatient:
        """Raises:  DuplicateKeyError where the number is known already"""
        document = _stored(patient.model_dump())
        done = await self._patients.insert_one(document, comment=_why(purpose))
        return ShownPatient(id=str(done.inserted_id), **patient.model_dump())

    async def patient(self, key: Mapping[str, Any], purpose: StatedPurpose) -> ShownPatient:
        """By `_id` or by `nhs_number`. Raises:  NotThereError"""
        return _patient(await self._patients.find_one(key, comment=_why(purpose)))

    async def search_patients(self, wanted: PatientSearch, purpose: StatedPurpose) -> list[ShownPatient]:
        """Those for whom all that is wanted holds, in the order of their ids."""
        filters: Document = {
            "address.postcode": wanted.postcode,
            "contacts.phone": wanted.phone,
            "ward": wanted.ward,
            "date_of_birth": _between(_midnight(wanted.born_from), _midnight(wanted.born_before)),
        }
        return [_patient(document) for document in await self._page(self._patients, filters, wanted, purpose)]

    async def change_patient(self, id_: str, changes: PatientChanges, purpose: StatedPurpose) -> ShownPatient:
        """Another NHS number goes to the patient's appointments as well, or nothing is changed.

        Raises:  NotThereError, DuplicateKeyError
        """
        values = _stored(changes.model_dump(exclude_unset=True))

        async def change(session: AsyncClientSession) -> ShownPatient:
            why = _why(purpose)
            key = {"_id": ObjectId(id_)}
            before = await self._patients.find_one(key, {"nhs_number": 1}, session=session, comment=why)
            after = await self._patients.find_one_and_update(
                key,
                {"$set": values},
                return_document=ReturnDocument.AFTER,
                session=session,
                comment=why,
            )
            patient = _patient(after)
            if before is not None and before["nhs_number"] != patient.nhs_number:
                await self._appointments.update_many(
                    {"patient_nhs": before["nhs_number"]},
                    {"$set": {"patient_nhs": patient.nhs_number}},
                    session=session,
                    comment=why,
                )
            return patient

        async with self._client.start_session() as session:
            return await session.with_transaction(change)

    async def remove_patient(self, id_: str, purpose: StatedPurpose) -> Removed:
        """The patient and all appointments, or nothing. Raises:  NotThereError"""

        async def remove(session: AsyncClientSession) -> Removed:
            key, why = {"_id": ObjectId(id_)}, _why(purpose)
            found = await self._patients.find_one_and_delete(key, session=session, comment=why)
            whose = {"patient_nhs": _patient(found).nhs_number}
            gone = await self._appointments.delete_many(whose, session=session, comment=why)
            return Removed(appointments=gone.deleted_count)

        async with self._client.start_session() as session:
            return await session.with_transaction(remove)

    async def count_by_ward(self, purpose: StatedPurpose) -> list[WardCount]:
        """How many patients each ward has, those without a ward first."""
        pipeline: list[Document] = [
            {"$group": {"_id": "$ward", "patients": {"$sum": 1}}},
            {"$sort": {"_id": 1}},
        ]
        found = await self._patients.aggregate(pipeline, comment=_why(purpose))
        return [WardCount(ward=row["_id"], patients=row["patients"]) async for row in found]

    async def book(self, wanted: NewAppointment, purpose: StatedPurpose) -> ShownAppointment:
        """Raises:  NotThereError where nobody has this NHS number"""
        await self.patient({"nhs_number": wanted.nhs_number}, purpose)
        document = {
            "patient_nhs": wanted.nhs_number,
            "visit": wanted.visit,
            "at": wanted.at,
            "status": Attendance.BOOKED.value,
        }
        done = await self._appointments.insert_one(document, comment=_why(purpose))
        return _appointment(document | {"_id": done.inserted_id})

    async def appointment(self, id_: str, purpose: StatedPurpose) -> ShownAppointment:
        """Raises:  NotThereError"""
        key = {"_id": ObjectId(id_)}
        return _appointment(await self._appointments.find_one(key, comment=_why(purpose)))

    async def search_appointments(
        self, wanted: AppointmentSearch, purpose: StatedPurpose
    ) -> list[ShownAppointment]:
        """Those for which all that is wanted holds, in the order of their ids."""
        filters: Document = {
            "patient_nhs": wanted.nhs_number,
            "status": wanted.status,
            "at": _between(wanted.at_from, wanted.at_before),
        }
        found = await self._page(self._appointments, filters, wanted, purpose)
        return [_appointment(document) for document in found]

    async def change_appointment(
        self, id_: str, changes: AppointmentChanges, purpose: StatedPurpose
    ) -> ShownAppointment:
        """Raises:  NotThereError"""
        changed = await self._appointments.find_one_and_update(
            {"_id": ObjectId(id_)},
            {"$set": changes.model_dump(exclude_none=True)},
            return_document=ReturnDocument.AFTER,
            comment=_why(purpose),
        )
        return _appointment(changed)

    async def cancel(self, id_: str, purpose: StatedPurpose) -> None:
        """Raises:  NotThereError"""
        gone = await self._appointments.delete_one({"_id": ObjectId(id_)}, comment=_why(purpose))
        if gone.deleted_count == 0:
            raise NotThereError("appointment")

    async def _page(
        self, collection: AsyncCollection[Document], filters: Document, page: Listed, purpose: StatedPurpose
    ) -> list[Document]:
        query = {name: value for name, value in filters.items() if value is not None}
        if page.after is not None:
            query["_id"] = {"$gt": ObjectId(page.after)}
        return await collection.find(
            query, sort={"_id": 1}, limit=page.limit, comment=_why(purpose)
        ).to_list()


def _why(purpose: StatedPurpose) -> Document:
    return {"sealwire": {"purpose": purpose.value}}


def _midnight(day: date | None) -> datetime | None:
    """A day as MongoDB stores it."""
    return None if day is None else datetime.combine(day, time(), UTC)


def _between(first: datetime | None, before: datetime | None) -> Document | None:
    bounds = {"$gte": first, "$lt": before}
    return {name: bound for name, bound in bounds.items() if bound is not None} or None


def _stored(values: Document) -> Document:
    return values | (
        {"date_of_birth": _midnight(values["date_of_birth"])} if "date_of_birth" in values else {}
    )


def _patient(document: Mapping[str, Any] | None) -> ShownPatient:
    if document is None:
        raise NotThereError("patient")
    values = {name: value for name, value in document.items() if name != "_id"}
    born = document["date_of_birth"].date()
    return ShownPatient.model_validate(values | {"id": str(document["_id"]), "date_of_birth": born})


def _appointment(document: Mapping[str, Any] | None) -> ShownAppointment:
    if document is None:
        raise NotThereError("appointment")
    return ShownAppointment(
        id=str(document["_id"]),
        nhs_number=document["patient_nhs"],
        visit=document["visit"],
        at=document["at"],
        status=document["status"],
    )
