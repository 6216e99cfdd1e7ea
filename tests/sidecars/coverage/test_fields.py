"""What is counted by path, and what the policy says of each."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import bson
import pytest
from bson import Int64
from bson.raw_bson import RawBSONDocument
from pymongo.errors import AutoReconnect, OperationFailure, PyMongoError

from sealwire.sidecars.coverage.fields import (
    MAX_PATHS,
    MAX_VALUES,
    CollectionFields,
    Cover,
    FieldCounts,
    FieldReport,
    databases_of,
    databases_on,
    namespaces_in,
    read_fields,
)
from sealwire.sidecars.coverage.likely import MAX_SEARCHED, Personal
from tests.sidecars.drift_samples import envelope
from tests.support.policies import policy_of

POLICY = policy_of("""
version: 1
classes:
  nhs: {mode: deterministic, type: string}
  record: {mode: random}
collections:
  clinic.patients: {nhs: nhs, record: record, kin.phone: record, list.phone: record}
""")
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


# --------------------------------------- collections are read one by one, and what stops one stops no other


READ_POLICY = policy_of("""
version: 1
classes: {record: {mode: random}}
collections:
  clinic.patients: {record: record}
  trust*.patients: {record: record}
  wards.*: {record: record}
""")


class Raw:
    """A document as the server sends it, well formed or not."""

    def __init__(self, raw: bytes) -> None:
        self.raw = raw


class Server:
    """A client, its database and its collection: it lists and sends what it was given, and then may fail."""

    def __init__(self, sent: list[bytes], error: PyMongoError | None = None) -> None:
        self.sent, self.error = sent, error
        self.pipelines: list[Any] = []

    def get_database(self, _name: str, _options: object = None) -> "Server":
        return self

    def get_collection(self, _name: str, *_options: object) -> "Server":
        return self

    def list_collections(self) -> Iterator[RawBSONDocument]:
        yield from (RawBSONDocument(each) for each in self.sent)

    def list_database_names(self) -> list[str]:
        return ["wards", "admin", "clinic", "config", "local"]

    @contextmanager
    def aggregate(self, pipeline: Any) -> Iterator[Iterator[Raw]]:
        self.pipelines.append(pipeline)
        yield self._documents()

    def _documents(self) -> Iterator[Raw]:
        yield from map(Raw, self.sent)
        if self.error is not None:
            raise self.error


def read(server: Any, sample: int | None = None) -> tuple[CollectionFields, int]:
    done: list[int] = []
    found = read_fields(server, "clinic.patients", READ_POLICY, sample, done.append)
    return found, sum(done)


def test_all_documents_are_read_or_a_sample() -> None:
    server = Server([bson.encode({"record": "x", "mail": "a@b.org"})] * 3)
    found, done = read(server)
    assert (found.documents, done, found.problem) == (3, 3, "")
    assert [each.cover for each in found.fields] == [Cover.PERSONAL, Cover.PLAINTEXT]
    read(server, 7)
    assert server.pipelines == [[], [{"$sample": {"size": 7}}]]


@pytest.mark.parametrize(
    "error", [AutoReconnect("mongodb://ann:secret@host"), OperationFailure("secret", 13)]
)
def test_what_the_server_refuses_is_told_without_its_words(error: PyMongoError) -> None:
    found, _ = read(Server([bson.encode({"mail": "a@b.org"})], error))
    assert found.problem.startswith("not read to its end")
    assert "secret" not in found.problem
    assert found.documents == 1


def test_a_damaged_document_ends_the_reading_of_its_collection() -> None:
    whole = bson.encode({"mail": "a@b.org"})
    found, _ = read(Server([whole, whole[:-2], whole]))
    assert (found.documents, "damaged" in found.problem) == (1, True)


def test_a_date_that_no_datetime_holds_is_a_value() -> None:
    raw = bson.encode({"dob": bson.datetime_ms.DatetimeMS(2**62)})
    found, _ = read(Server([raw]))
    assert (found.fields[0].cover, found.problem) == (Cover.OTHER, "")


def test_more_paths_than_are_counted_are_told() -> None:
    found, _ = read(Server([bson.encode({f"f{number}": 1 for number in range(MAX_PATHS + 1)})]))
    assert "more paths" in found.problem


def test_views_and_what_belongs_to_the_server_are_not_read() -> None:
    listed = [
        {"name": "patients", "type": "collection"},
        {"name": "seen", "type": "view"},
        {"name": "system.views", "type": "collection"},
        {"name": "bare"},
    ]
    server: Any = Server([bson.encode(each) for each in listed])
    assert namespaces_in(server, ["clinic"]) == ["clinic.bare", "clinic.patients"]


def test_texts_that_were_searched_in_part_are_counted() -> None:
    found, _ = read(Server([bson.encode({"note": "x" * (MAX_SEARCHED + 1)})]))
    assert (found.long_texts, found.problem) == (1, "")


def test_all_databases_but_those_of_the_server() -> None:
    server: Any = Server([])
    assert databases_on(server) == ["clinic", "wards"]


def test_the_databases_that_a_policy_names_outright() -> None:
    assert databases_of(READ_POLICY) == ["clinic", "wards"]


class Indexed(Server):
    """A collection with these indexes."""

    def __init__(self, sent: list[bytes], *indexes: dict[str, Any]) -> None:
        super().__init__(sent)
        self.indexes = indexes

    def list_indexes(self) -> Iterator[RawBSONDocument]:
        yield from (RawBSONDocument(bson.encode(each)) for each in self.indexes)


def test_how_fields_are_used_is_read_if_it_is_asked_for() -> None:
    sent = [bson.encode({"a": "north", "n": 70_000, "short": "abc", "small": 7, "no": True})] * 2
    server: Any = Indexed(
        sent,
        {"key": {"_id": 1}},
        {"key": {"a": -1, "n": 1}},
        {"key": {"a": "hashed"}, "unique": True},
        {"key": {"text": "text"}},
    )
    found = read_fields(server, "clinic.wards", READ_POLICY, None, lambda _done: None, use=True)
    assert found.indexes == {"_id": False, "a": True, "n": False}
    assert {each.path: len(each.marks) for each in found.fields} == {
        "a": 1,
        "n": 1,
        "no": 0,
        "short": 0,
        "small": 0,
    }
    without = read_fields(server, "clinic.wards", READ_POLICY, None, lambda _done: None)
    assert (without.indexes, any(each.marks for each in without.fields)) == ({}, False)


def test_equal_values_of_two_types_have_two_marks() -> None:
    fields = FieldCounts(None, marks=True)
    fields.read({"a": [70_000, Int64(70_000)], "b": 70_000})
    a, b = fields.report()
    assert (len(a.marks), len(a.marks & b.marks)) == (2, 1)


def test_no_more_values_are_marked_than_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sealwire.sidecars.coverage.fields.MAX_MARKS", 3)
    fields = FieldCounts(None, marks=True)
    fields.read({"a": ["same1", "same1", "two22", "three", "four4"]})
    assert [len(each.marks) for each in fields.report()] == [3]


def test_values_of_another_type_than_most_are_counted() -> None:
    assert reports({"x": "a@b.org"}, {"x": "c@d.org"}, {"x": 7})["x"].other_types == 1
