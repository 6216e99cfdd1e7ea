"""What a scan counts in documents as they are stored."""

from typing import Any

import bson
import pytest

from sealwire.sidecars.drift import Census, Condition, PathReport
from sealwire.wire.errors import BsonError
from tests.sidecars.drift.samples import KEYS, NOTE, envelope, policy

OURS = envelope()


def reports(rules: str, *documents: dict[str, Any]) -> dict[str, PathReport]:
    found = Census(policy(rules), KEYS)
    for document in documents:
        found.read(bson.encode(document))
    assert found.documents == len(documents)
    return {each.path: each for each in found.report()}


def counts(rules: str, *documents: dict[str, Any]) -> dict[str, dict[Condition, int]]:
    return {path: each.values for path, each in reports(rules, *documents).items()}


def test_values_are_counted_by_path_and_condition() -> None:
    found = reports(
        "nhs: nhs, notes: notes",
        {"nhs": OURS, "notes": NOTE},
        {"nhs": "943", "notes": None},
        {"nhs": envelope(version=2)},
        {},
    )
    nhs = {Condition.PROTECTED: 1, Condition.PLAINTEXT: 1, Condition.LEFT_BEHIND: 1}
    assert found["nhs"] == PathReport("nhs", "nhs", 3, nhs)
    assert found["notes"] == PathReport("notes", "notes", 2, {Condition.PROTECTED: 1})
    assert (found["nhs"].is_sound, found["notes"].is_sound) == (False, True)


def test_paths_see_through_arrays_documents_and_numbers() -> None:
    contact = {"nhs": OURS}
    assert counts("a.nhs: nhs", {"a": [contact, [contact], {"5": contact}, 1, None]}) == {
        "a.nhs": {Condition.PROTECTED: 3}
    }


def test_each_element_of_a_deterministic_array_counts_and_a_random_one_is_one_value() -> None:
    array = [OURS, [OURS, "x"], None]
    found = counts("nhs: nhs, notes: notes", {"nhs": array, "notes": ["a", "b"]})
    assert found["nhs"] == {Condition.PROTECTED: 2, Condition.PLAINTEXT: 1}
    assert found["notes"] == {Condition.PLAINTEXT: 1}


def test_a_document_in_a_covered_path_is_plaintext_whatever_it_holds() -> None:
    assert counts("nhs: nhs", {"nhs": {"x": OURS}}) == {"nhs": {Condition.PLAINTEXT: 1}}


def test_an_empty_array_is_present_and_holds_nothing() -> None:
    assert reports("nhs: nhs", {"nhs": []})["nhs"] == PathReport("nhs", "nhs", 1, {})


@pytest.mark.parametrize(
    ("rules", "path", "document", "hint"),
    [
        ("nhs_numbr: nhs", "nhs_numbr", {"nhs_number": "x"}, "nhs_number"),
        ("adress.post: nhs", "adress.post", {"address": {"post": "x"}}, "address.post"),
        ("address.pst: nhs", "address.pst", {"address": [{"post": "x"}]}, "address.post"),
        ("nhs: nhs", "nhs", {"colour": "x"}, ""),
    ],
)
def test_a_path_that_nobody_has_gets_the_nearest_name(
    rules: str, path: str, document: dict[str, Any], hint: str
) -> None:
    found = reports(rules, document)[path]
    assert (found.documents, found.hint) == (0, hint)


def test_names_for_hints_are_bounded() -> None:
    many = {f"field{number}": 1 for number in range(600)} | {"nhs_number": 1}
    assert reports("nhs_numbr: nhs", many)["nhs_numbr"].hint == ""


def test_nothing_of_a_value_is_in_a_report() -> None:
    assert "SECRET" not in repr(reports("nhs: nhs, notes: notes", {"nhs": "SECRET", "notes": {"SECRET": 1}}))


def test_what_is_no_document_is_said() -> None:
    with pytest.raises(BsonError):
        Census(policy("nhs: nhs"), KEYS).read(b"\x05\0\0\0")


def test_a_document_without_end_of_depth_is_read_to_a_bound() -> None:
    deep: dict[str, Any] = {"nhs": "x"}
    for _ in range(150):
        deep = {"1": deep}
    assert counts("nhs: nhs", deep) == {"nhs": {Condition.PLAINTEXT: 1}}
