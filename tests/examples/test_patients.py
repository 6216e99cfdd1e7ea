"""The invented patients have the shape that the policy and the application count on."""

import random
import re
from collections import Counter
from datetime import datetime
from itertools import islice
from typing import Any

import pytest
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


# The check digit, the checker and the generator of NHS numbers.


# Numbers that are printed as examples in public guidance, and their check digits worked out by hand:
# 943 476 591: 9*10+4*9+3*8+4*7+7*6+6*5+5*4+9*3+1*2 = 299 = 27*11 + 2, so 11 - 2 = 9.
# 401 023 213: 4*10+0*9+1*8+0*7+2*6+3*5+2*4+1*3+3*2 = 92 = 8*11 + 4, so 11 - 4 = 7.
VALID = ["9434765919", "4010232137", "943 476 5919", "943-476-5919"]


@pytest.mark.parametrize("number", VALID)
def test_a_published_number_is_valid(number: str) -> None:
    assert nhs_number.is_valid(number)


@pytest.mark.parametrize(
    "number", ["9434765918", "9434756919", "943476591", "94347659190", "", "943476591X", "٩434765919"]
)
def test_a_wrong_digit_a_swap_a_wrong_length_or_another_script_is_invalid(number: str) -> None:
    assert not nhs_number.is_valid(number)


def test_a_sum_divisible_by_eleven_has_the_check_digit_zero() -> None:
    # 9*10 + 9*9 + 9*8 + 5*2 = 253 = 23 * 11
    assert nhs_number.check_digit("999000005") == 0


def test_a_body_whose_digit_would_be_ten_has_no_number() -> None:
    bodies = [f"9990000{ending:02d}" for ending in range(11)]
    without = [body for body in bodies if nhs_number.check_digit(body) is None]
    assert without
    assert not any(nhs_number.is_valid(f"{body}{digit}") for body in without for digit in range(10))


@pytest.mark.parametrize("body", ["", "99900000", "9990000000", "99900000x"])
def test_a_check_digit_needs_nine_digits(body: str) -> None:
    with pytest.raises(ValueError, match="nine digits"):
        nhs_number.check_digit(body)


def test_changing_any_single_digit_is_noticed() -> None:
    number = "9434765919"
    for position, digit in enumerate(number):
        for other in "0123456789".replace(digit, ""):
            assert not nhs_number.is_valid(number[:position] + other + number[position + 1 :])


def test_generated_numbers_are_valid_distinct_and_from_the_test_block() -> None:
    numbers = list(islice(nhs_number.generate(random.Random(7)), 20_000))
    assert len(set(numbers)) == len(numbers) == 20_000
    assert all(nhs_number.is_valid(number) and number.startswith("999") for number in numbers)


def test_the_seed_decides_the_numbers() -> None:
    def first(seed: int) -> list[str]:
        return list(islice(nhs_number.generate(random.Random(seed)), 50))

    assert first(1) == first(1)
    assert first(1) != first(2)


def test_grouping_is_three_three_four() -> None:
    assert nhs_number.grouped("9434765919") == "943 476 5919"
