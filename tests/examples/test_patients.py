"""The invented patients have the shape that the policy and the application count on."""

import re
from collections import Counter
from datetime import datetime
from itertools import islice
from typing import Any

import yaml
from bson import encode, json_util

from sealwire.demo.stage import POLICY_FILE
from sealwire.examples import nhs_number
from sealwire.examples.patients import Patient, generate_appointments, generate_patients, write_lines

PATIENTS: list[Patient] = list(islice(generate_patients(1948), 3_000))


def values_at(documents: list[dict[str, Any]], path: str) -> int:
    """How many values stand at `path`, seen through arrays as MongoDB paths do."""
    first, _, rest = path.partition(".")
    values = [document[first] for document in documents if document.get(first) is not None]
    flat = [part for value in values for part in (value if isinstance(value, list) else [value])]
    return values_at(flat, rest) if rest else len(flat)


def test_every_number_is_valid_and_nobody_shares_one() -> None:
    assert all(nhs_number.is_valid(patient["nhs_number"]) for patient in PATIENTS)
    assert len({patient["nhs_number"] for patient in PATIENTS}) == len(PATIENTS)
    assert len({patient["mrn"] for patient in PATIENTS}) == len(PATIENTS)


def test_one_seed_gives_the_same_patients_and_another_gives_others() -> None:
    assert list(islice(generate_patients(1948), 20)) == PATIENTS[:20]
    assert list(islice(generate_patients(1949), 20)) != PATIENTS[:20]


def test_the_policy_covers_fields_that_the_patients_have() -> None:
    collections = yaml.safe_load(POLICY_FILE.read_bytes())["collections"]
    assert set(collections) == {"clinic.patients", "clinic.appointments"}
    assert {"nhs_number", "mrn", "postcode", "date_of_birth"} <= set(collections["clinic.patients"])
    documents: list[dict[str, Any]] = [dict(patient) for patient in PATIENTS]
    assert all(values_at(documents, path) for path in collections["clinic.patients"])
    assert values_at(documents, "contacts.phone") > len(documents)


def test_postcodes_are_of_an_area_that_does_not_exist() -> None:
    codes = [patient["postcode"] for patient in PATIENTS if patient["postcode"] is not None]
    assert all(re.fullmatch(r"ZZ[0-9]{1,2} [0-9][A-Z]{2}", code) for code in codes)
    assert all(patient["address"].get("postcode") == patient["postcode"] for patient in PATIENTS)


def test_telephone_numbers_are_of_the_ranges_for_drama() -> None:
    phones = [contact["phone"] for patient in PATIENTS for contact in patient["contacts"]]
    ranges = (
        r"07700900|02079460|0113496|0114496|0115496|0116496|0117496|0118496|0121496|0131496|0141496|0151496"
    )
    ranges += r"|0161496|0191498|02896496|02920180"
    assert all(re.fullmatch(rf"(?:{ranges})[0-9]+", phone) and len(phone) == 11 for phone in phones)


def test_some_values_are_missing_or_null_as_in_life() -> None:
    kinds = Counter((patient["postcode"] is None, patient["notes"] is None) for patient in PATIENTS)
    assert kinds[True, False] > 0
    assert kinds[False, True] > 0
    assert kinds[False, False] > 0.9 * len(PATIENTS)
    assert all("postcode" not in patient["address"] for patient in PATIENTS if patient["postcode"] is None)


def test_contacts_are_one_to_three_and_dates_are_whole_days() -> None:
    assert {len(patient["contacts"]) for patient in PATIENTS} == {1, 2, 3}
    assert all(patient["date_of_birth"].time() == datetime.min.time() for patient in PATIENTS)


def test_every_document_is_bson_and_survives_its_line_of_extended_json() -> None:
    for patient, line in zip(PATIENTS[:200], write_lines(PATIENTS[:200]), strict=True):
        options = json_util.JSONOptions(tz_aware=False)
        assert encode(json_util.loads(line, json_options=options)) == encode(dict(patient))


def test_appointments_belong_to_known_patients() -> None:
    appointments = list(generate_appointments(3, PATIENTS, 500))
    known = {patient["nhs_number"] for patient in PATIENTS}
    assert all(appointment["patient_nhs"] in known for appointment in appointments)
    assert len({appointment["reference"] for appointment in appointments}) == 500
    per_patient = Counter(appointment["patient_nhs"] for appointment in appointments)
    assert max(per_patient.values()) > 1
