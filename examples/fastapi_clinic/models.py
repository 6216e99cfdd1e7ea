"""What goes in and out of the service: patients, appointments, and what to search for.

Shape:   JSON; unknown fields are errors; dates are `YYYY-MM-DD`, times ISO 8601 in UTC
"""

from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from sealwire.examples.nhs_number import is_valid

OBJECT_ID = r"^[0-9a-f]{24}$"
MOST_LISTED = 100
LONGEST_RANGE = timedelta(days=731)
"""Between two days of birth: who looks for a patient knows them to a year or two."""


def _checked(number: str) -> str:
    compact = number.replace(" ", "")
    if not is_valid(compact):
        raise ValueError("not an NHS number")
    return compact


def _in_utc(at: datetime) -> datetime:
    if not 2000 <= at.year < 2200:
        raise ValueError("not a time that appointments are made for")
    # MongoDB keeps milliseconds
    exact = at.replace(microsecond=at.microsecond // 1000 * 1000)
    return (exact if exact.tzinfo is not None else exact.replace(tzinfo=UTC)).astimezone(UTC)


NhsNumber = Annotated[str, Field(max_length=12), AfterValidator(_checked)]
"""Ten digits with their check digit; spaces may stand between."""
Id = Annotated[str, Field(pattern=OBJECT_ID)]
"""What names a document in a URL: says nothing of the patient."""
Text = Annotated[str, Field(min_length=1, max_length=200)]
Day = Annotated[date, Field(ge=date(1900, 1, 1), lt=date(2100, 1, 1))]
Moment = Annotated[datetime, AfterValidator(_in_utc)]


class StatedPurpose(StrEnum):
    """Why somebody asks; each request states one, and each command to the database carries it."""

    DIRECT_CARE = "direct-care"
    ADMINISTRATION = "administration"
    AUDIT = "clinical-audit"


class Attendance(StrEnum):
    """What became of an appointment."""

    BOOKED = "booked"
    ATTENDED = "attended"
    MISSED = "missed"


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)


class Home(_Model):
    """Where a patient lives; no postcode for somebody without a fixed address."""

    line1: Text
    city: Text
    postcode: Annotated[str, Field(max_length=8)] | None = None


class Telephone(_Model):
    """One way to reach a patient."""

    kind: Text
    phone: Annotated[str, Field(pattern=r"^\+?[0-9]{6,15}$")]


class NewPatient(_Model):
    """What a patient is registered with."""

    nhs_number: NhsNumber
    mrn: Annotated[str, Field(pattern=r"^MRN[0-9]{7}$")]
    name: Text
    date_of_birth: Day
    address: Home
    contacts: Annotated[list[Telephone], Field(max_length=10)] = []
    notes: Annotated[str, Field(max_length=10_000)] | None = None
    ward: Text | None = None


class ShownPatient(NewPatient):
    """A patient as the service shows him."""

    id: Id


class PatientChanges(_Model):
    """What to change; what is left out stays as it is."""

    nhs_number: NhsNumber | None = None
    name: Text | None = None
    address: Home | None = None
    contacts: Annotated[list[Telephone], Field(max_length=10)] | None = None
    notes: Annotated[str, Field(max_length=10_000)] | None = None
    ward: Text | None = None

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not self.model_fields_set:
            raise ValueError("nothing to change")
        if any(getattr(self, name) is None for name in self.model_fields_set - {"notes", "ward"}):
            raise ValueError("only notes and ward can be taken away")
        return self


class ByNumber(_Model):
    """Whose record is wanted. In a body, since a URL would be in every log on its way."""

    nhs_number: NhsNumber


class Listed(_Model):
    """Which part of a list: at most `limit` after the one with this id."""

    limit: Annotated[int, Field(ge=1, le=MOST_LISTED)] = 20
    after: Id | None = None


class PatientSearch(Listed):
    """All that is given has to hold; nothing given lists everybody."""

    postcode: Annotated[str, Field(max_length=8)] | None = None
    phone: Annotated[str, Field(max_length=16)] | None = None
    born_from: Day | None = None
    born_before: Day | None = None
    ward: Text | None = None

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        first, before = self.born_from, self.born_before
        if (first is None) != (before is None):
            raise ValueError("days of birth have two ends")
        if first is not None and before is not None and not timedelta(0) < before - first <= LONGEST_RANGE:
            raise ValueError("days of birth that are too far apart")
        return self


class NewAppointment(_Model):
    """What an appointment is made with."""

    nhs_number: NhsNumber
    visit: Text
    at: Moment


class ShownAppointment(NewAppointment):
    """An appointment as the service shows it."""

    id: Id
    status: Attendance


class AppointmentChanges(_Model):
    """What to change; what is left out stays as it is."""

    at: Moment | None = None
    status: Attendance | None = None

    @model_validator(mode="after")
    def _something(self) -> Self:
        if self.at is None and self.status is None:
            raise ValueError("nothing to change")
        return self


class AppointmentSearch(Listed):
    """All that is given has to hold; nothing given lists all."""

    nhs_number: NhsNumber | None = None
    status: Attendance | None = None
    at_from: Moment | None = None
    at_before: Moment | None = None


class WardCount(_Model):
    """How many patients a ward has."""

    ward: str | None
    patients: int


class Removed(_Model):
    """What went with a patient."""

    appointments: int
