"""What is counted by path, and what the policy says of each."""

from datetime import datetime
from typing import Any

import pytest
from bson import Int64

from sealwire.policies.file.loader import load_policy
from sealwire.sidecars.coverage.fields import (
    MAX_PATHS,
    MAX_VALUES,
    Cover,
    FieldCounts,
    FieldReport,
)
from sealwire.sidecars.coverage.likely import MAX_SEARCHED, Personal
from tests.sidecars.drift.samples import envelope

POLICY = load_policy(
    b"""
version: 1
classes:
  nhs: {mode: deterministic, type: string}
  record: {mode: random}
collections:
  clinic.patients: {nhs: nhs, record: record, kin.phone: record, list.phone: record}
""",
    "policy.yaml",
)
OURS = envelope()


def reports(*documents: dict[str, Any]) -> dict[str, FieldReport]:
    fields = FieldCounts(POLICY.covered("clinic.patients"))
    for document in documents:
        fields.read(document)
    assert fields.documents == len(documents)
    return {each.path: each for each in fields.report()}


def test_a_covered_path_is_encrypted_or_has_values_in_clear() -> None:
    found = reports(
        {"nhs": OURS, "record": OURS}, {"nhs": "943", "record": None}, {"nhs": OURS}, {"nhs": OURS}
    )
    assert found["nhs"] == FieldReport("nhs", Cover.PLAINTEXT, 4, "nhs", share=0.25)
    assert found["record"] == FieldReport("record", Cover.ENCRYPTED, 1, "record", share=0.0)


def test_what_lies_below_a_covered_path_is_covered() -> None:
    found = reports({"record": {"a": {"b": "ann@nhs.net"}}})
    assert found == {"record.a.b": FieldReport("record.a.b", Cover.PLAINTEXT, 1, "record", share=1.0)}


def test_arrays_are_seen_through_as_a_policy_does() -> None:
    found = reports(
        {"list": [{"phone": OURS}, {"phone": OURS}, [{"phone": OURS}]], "mail": ["a@b.org", "c@d.org"]}
    )
    assert found["list.phone"].cover is Cover.ENCRYPTED
    assert found["list.phone"].values == 3
    assert found["mail"] == FieldReport("mail", Cover.PERSONAL, 2, "", Personal.EMAIL, "string", 1.0)


def test_six_in_ten_have_to_agree() -> None:
    six, five = (
        reports(
            *({"x": "a@b.org"} for _ in range(right)), *({"x": "-"} for _ in range(10 - right)), {"x": None}
        )
        for right in (6, 5)
    )
    assert (six["x"].cover, six["x"].share) == (Cover.PERSONAL, 0.6)
    assert five["x"].cover is Cover.OTHER


def test_the_first_kind_that_fits_counts() -> None:
    found = reports({"patient_name": "ann@nhs.net"}, {"patient_name": "bob@nhs.net"})
    assert found["patient_name"].kind is Personal.EMAIL


def test_one_text_in_fifty_that_contains_an_identifier_is_enough() -> None:
    enough, fewer = (
        reports(
            *({"note": "write to ann@nhs.example"} for _ in range(right)),
            *({"note": "the ward is closed today"} for _ in range(100 - right)),
        )["note"]
        for right in (2, 1)
    )
    assert enough == FieldReport(
        "note", Cover.PERSONAL, 100, "", Personal.EMAIL, "string", 0.02, in_text=True
    )
    assert fewer.cover is Cover.OTHER


def test_a_text_alone_can_be_the_finding() -> None:
    assert reports({"note": "NHS No. 943 476 5919"})["note"].in_text


def test_valid_numbers_among_many_invalid_ones_are_chance() -> None:
    found = reports(
        *({"note": "order 943 476 5919 left"} for _ in range(10)),
        *({"note": "order 943 476 5918 left"} for _ in range(90)),
    )
    assert found["note"].cover is Cover.OTHER


def test_three_in_ten_usual_given_names_are_names_of_persons() -> None:
    three, two = (
        reports(*({"who": "Anna Xu"} for _ in range(right)), *({"who": "Xu Qi"} for _ in range(10 - right)))
        for right in (3, 2)
    )
    assert three["who"].kind is Personal.NAME
    assert two["who"].cover is Cover.OTHER


def test_a_national_number_needs_three_values() -> None:
    values = [{"x": "44051401359"}, {"x": "60031317915"}, {"x": "77011745176"}]
    assert reports(*values)["x"].kind is Personal.NATIONAL_NUMBER
    assert reports(*values[:2])["x"].cover is Cover.OTHER


def test_a_document_with_too_many_values_is_cut_and_so_are_long_texts() -> None:
    fields = FieldCounts(None)
    fields.read({"list": [1] * (MAX_VALUES + 1), "mail": "ann@nhs.example"})
    assert [each.values for each in fields.report()] == [MAX_VALUES]
    assert fields.is_cut
    whole = FieldCounts(None)
    whole.read({"list": [1] * (MAX_VALUES - 1), "text": "x" * MAX_SEARCHED})
    assert (whole.is_cut, whole.long_texts) == (False, 0)
    whole.read({"text": "x" * (MAX_SEARCHED + 1)})
    assert whole.long_texts == 1


@pytest.mark.parametrize(
    ("value", "value_type"),
    [("943 476 5919", "string"), (Int64(9434765919), "long"), (9434765919, "int")],
)
def test_the_type_of_most_values_is_told(value: Any, value_type: str) -> None:
    assert reports({"x": value})["x"].value_type == value_type


def test_a_date_of_birth_has_its_type() -> None:
    assert reports({"dob": datetime(1950, 1, 1)})["dob"].value_type == "date"


def test_an_envelope_outside_of_the_policy_is_nothing_to_look_at() -> None:
    assert reports({"copy": OURS})["copy"] == FieldReport("copy", Cover.OTHER, 1)


def test_documents_that_are_maps_do_not_fill_the_memory() -> None:
    fields = FieldCounts(None)
    fields.read({f"id{number}": "x" for number in range(MAX_PATHS + 5)})
    assert len(list(fields.report())) == MAX_PATHS
    assert fields.is_cut


def test_a_document_that_is_too_deep_is_read_down_to_a_depth() -> None:
    deep: Any = "ann@nhs.net"
    for _ in range(150):
        deep = {"a": deep}
    assert reports({"x": deep, "y": "ann@nhs.net"}).keys() == {"y"}
