"""Invents the clinic's patients and appointments: realistic in shape, and nobody's.

NHS numbers come from the test block, postcodes from the area ZZ, which does not exist, telephone numbers from
the ranges that Ofcom keeps for drama. One seed always gives the same documents, so two runs can be compared.
As in life some values are missing: a few patients have no fixed address and a few have no notes.
"""

import argparse
import random
import sys
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from itertools import islice
from typing import NotRequired, TypedDict

from bson import json_util

from sealwire.examples import nhs_number

_FORENAMES = """
Aisha Alan Amara Amelia Andrew Anna Arjun Beatrice Ben Bilal Carys Charlotte Chidi Clare Daniel
David Dilys Ella Emeka Emma Fatima Fiona Freya George Grace Gwen Hannah Harry Ibrahim Imogen Isla
Jack James Jasmine Joan John Kavita Kwame Leila Liam Lucy Margaret Maria Mark Mei Mohammed Nadia
Neil Nia Oliver Olivia Owen Patrick Peter Priya Rhys Robert Rosa Ruth Samuel Sarah Sean Sofia Susan
Thomas Tom Umar Victoria William Yusuf Zainab Zofia
"""

_SURNAMES = """
Adeyemi Ahmed Ali Anderson Baker Begum Bennett Brown Campbell Carter Chen Clarke Cooper Davies
Edwards Evans Fraser Green Griffiths Hall Harris Hughes Hussain Jackson James Johnson Jones Kaur
Kelly Khan King Kowalski Lee Lewis Lloyd Martin Mensah Miller Mitchell Moore Morgan Morris Murphy
Murray Nguyen Okafor Patel Phillips Price Roberts Robinson Rogers Scott Sharma Singh Smith Stewart
Taylor Thomas Thompson Turner Walker White Williams Wilson Wood Wright Young
"""

FORENAMES = tuple(_FORENAMES.split())
SURNAMES = tuple(_SURNAMES.split())

STREETS = (
    "Acacia Avenue",
    "Bevan Road",
    "Canal Street",
    "Chapel Lane",
    "Church Street",
    "Garden Close",
    "High Street",
    "Mill Lane",
    "Nightingale Way",
    "Orchard Drive",
    "Park View",
    "Queen Street",
    "Seacole Court",
    "Station Road",
    "The Green",
    "Victoria Terrace",
)

# City and the start of the telephone numbers that Ofcom keeps there for drama; three digits follow.
CITIES = (
    ("London", "02079460"),
    ("Leeds", "01134960"),
    ("Sheffield", "01144960"),
    ("Nottingham", "01154960"),
    ("Leicester", "01164960"),
    ("Bristol", "01174960"),
    ("Reading", "01184960"),
    ("Birmingham", "01214960"),
    ("Edinburgh", "01314960"),
    ("Glasgow", "01414960"),
    ("Liverpool", "01514960"),
    ("Manchester", "01614960"),
    ("Newcastle", "01914980"),
    ("Belfast", "02896496"),
    ("Cardiff", "02920180"),
)

WARDS = (
    "cardiology",
    "dermatology",
    "maternity",
    "oncology",
    "ophthalmology",
    "orthopaedics",
    "paediatrics",
    "renal",
)

VISITS = (
    "blood test",
    "follow-up",
    "imaging",
    "new patient",
    "physiotherapy",
    "telephone review",
    "vaccination",
)

FINDINGS = (
    "Blood pressure 128/82, no change to treatment.",
    "Reports better sleep since the last visit.",
    "Asthma well controlled; inhaler technique checked.",
    "Allergic to penicillin, confirmed with the patient.",
    "HbA1c 48 mmol/mol, diet discussed.",
    "Referred to the community physiotherapy team.",
    "Anxious about the coming operation; leaflet given.",
    "Wound clean and dry, dressing changed.",
    "Repeat prescription issued for three months.",
    "Lives alone, neighbour collects prescriptions.",
    "Prefers letters in large print.",
    "Interpreter needed for the next appointment.",
)

SHARE_WITHOUT_ADDRESS = 0.01
SHARE_WITHOUT_NOTES = 0.02
_INWARD_LETTERS = "ABDEFGHJLNPQRSTUWXYZ"
_FIRST_BIRTH = datetime(1930, 1, 1)
_FIRST_REGISTRATION = datetime(2015, 1, 1)


class HomeAddress(TypedDict):
    """Where a patient lives; no `postcode` for a patient without a fixed address."""

    line1: str
    city: str
    postcode: NotRequired[str]


class Contact(TypedDict):
    """One way to reach a patient."""

    kind: str
    phone: str


class Patient(TypedDict):
    """One document of clinic.patients."""

    nhs_number: str
    mrn: str
    name: str
    postcode: str | None
    date_of_birth: datetime
    sex: str
    address: HomeAddress
    contacts: list[Contact]
    notes: str | None
    ward: str
    registered: datetime


class Appointment(TypedDict):
    """One document of clinic.appointments."""

    reference: str
    patient_nhs: str
    visit: str
    at: datetime
    status: str


def generate_patients(seed: int) -> Iterator[Patient]:
    """Patients without end in practice (909,091), no NHS number or MRN twice."""
    generator = random.Random(seed)
    for position, number in enumerate(nhs_number.generate(generator)):
        yield _patient(generator, number, position)


def generate_appointments(seed: int, patients: Sequence[Patient], count: int) -> Iterator[Appointment]:
    """`count` appointments spread over `patients`, of which some have several and some none."""
    generator = random.Random(seed)
    for position in range(count):
        yield Appointment(
            reference=f"A{position:08d}",
            patient_nhs=generator.choice(patients)["nhs_number"],
            visit=generator.choice(VISITS),
            at=datetime(2025, 1, 6, 9)
            + timedelta(days=generator.randrange(240), minutes=15 * generator.randrange(32)),
            status=generator.choice(["booked", "booked", "attended", "attended", "missed"]),
        )


def _patient(generator: random.Random, number: str, position: int) -> Patient:
    housed = generator.random() >= SHARE_WITHOUT_ADDRESS
    city, area_code = generator.choice(CITIES)
    postcode = _postcode(generator) if housed else None
    address = HomeAddress(line1=f"{generator.randint(1, 240)} {generator.choice(STREETS)}", city=city)
    if postcode is None:
        address["line1"] = "No fixed address"
    else:
        address["postcode"] = postcode
    return Patient(
        nhs_number=number,
        mrn=f"MRN{position:07d}",
        name=f"{generator.choice(FORENAMES)} {generator.choice(SURNAMES)}",
        postcode=postcode,
        date_of_birth=_FIRST_BIRTH + timedelta(days=generator.randrange(34_000)),
        sex=generator.choice(["female", "male"]),
        address=address,
        contacts=_contacts(generator, area_code),
        notes=_notes(generator) if generator.random() >= SHARE_WITHOUT_NOTES else None,
        ward=generator.choice(WARDS),
        registered=_FIRST_REGISTRATION + timedelta(seconds=generator.randrange(10 * 365 * 86_400)),
    )


def _postcode(generator: random.Random) -> str:
    district = generator.randint(1, 99)
    inward = "".join(generator.choices(_INWARD_LETTERS, k=2))
    return f"ZZ{district} {generator.randint(0, 9)}{inward}"


def _contacts(generator: random.Random, area_code: str) -> list[Contact]:
    contacts = [Contact(kind="mobile", phone=f"07700900{generator.randrange(1000):03d}")]
    if generator.random() < 0.6:
        contacts.append(Contact(kind="home", phone=f"{area_code}{generator.randrange(1000):03d}"))
    if generator.random() < 0.3:
        contacts.append(Contact(kind="next of kin", phone=f"07700900{generator.randrange(1000):03d}"))
    return contacts


def _notes(generator: random.Random) -> str:
    findings = generator.sample(FINDINGS, k=generator.randint(1, 3))
    return f"Seen by Dr {generator.choice(SURNAMES)}. {' '.join(findings)}"


def write_lines(documents: Iterable[Patient] | Iterable[Appointment]) -> Iterator[str]:
    """Each document as one line of relaxed extended JSON, the form that mongoimport reads."""
    for document in documents:
        yield json_util.dumps(document, json_options=json_util.RELAXED_JSON_OPTIONS) + "\n"


def main() -> None:
    """Print patients, or with --appointments appointments, one to a line."""
    parser = argparse.ArgumentParser(
        description="Invent patients of a clinic, one extended JSON document a line."
    )
    parser.add_argument("--count", type=int, default=5_000)
    parser.add_argument("--seed", type=int, default=1948)
    parser.add_argument(
        "--appointments", type=int, metavar="N", help="print N appointments of these patients instead"
    )
    arguments = parser.parse_args()
    patients = list(islice(generate_patients(arguments.seed), arguments.count))
    if arguments.appointments is None:
        sys.stdout.writelines(write_lines(patients))
    else:
        sys.stdout.writelines(
            write_lines(generate_appointments(arguments.seed, patients, arguments.appointments))
        )


if __name__ == "__main__":
    main()
