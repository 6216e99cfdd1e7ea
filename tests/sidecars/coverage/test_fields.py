"""What is counted by path, and what the policy says of each."""

from datetime import datetime
from typing import Any

import pytest
from bson import Binary, Int64

from sealwire.policies.file.loader import load_policy
from sealwire.sidecars.coverage.fields import MAX_PATHS, Cover, FieldCounts, FieldReport, is_envelope
from sealwire.sidecars.coverage.likely import Personal
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
    assert is_envelope(OURS)
    assert not is_envelope(Binary(bytes(OURS), 0))
    assert not is_envelope(Binary(b"x", 0x80))
    assert not is_envelope(bytes(OURS))


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
