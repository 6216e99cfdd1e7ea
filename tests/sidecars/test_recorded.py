"""Commands as a profiler and a log keep them become commands as a client sends them."""

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bson
import pytest
from bson.errors import BSONError

from sealwire.sidecars.covered import Validation, covered_collections
from sealwire.sidecars.recorded import RecordedCommand, recorded, recorded_in, recorded_on
from tests.sidecars.drift_samples import FakeServer
from tests.support.policies import policy_of

FIND = {"find": "patients", "filter": {"nhs": "943"}, "$db": "clinic"}


def profiled(command: Any, op: str = "command", **more: Any) -> dict[str, Any]:
    return {"op": op, "ns": "clinic.patients", "command": command, "appName": "desk", **more}


def logged(command: Any, kind: str = "command", **more: Any) -> dict[str, Any]:
    attributes = {"type": kind, "ns": "clinic.patients", "appName": "desk", "command": command}
    return {"c": "COMMAND", "msg": "Slow query", "attr": attributes, **more}


def read(entry: dict[str, Any]) -> RecordedCommand:
    found = recorded(entry)
    assert found is not None
    return found


@pytest.mark.parametrize("entry", [profiled(FIND, "query"), logged(FIND)])
def test_a_command_is_read_from_a_profile_and_from_a_log(entry: dict[str, Any]) -> None:
    assert read(entry) == RecordedCommand("find", "clinic.patients", "desk", FIND)


@pytest.mark.parametrize("entry", [profiled, logged])
def test_single_statements_of_writes_become_commands(entry: Any) -> None:
    update = {"q": {"nhs": "1"}, "u": {"$set": {"a": 1}}, "multi": True}
    assert read(entry(update, "update")).command == {
        "update": "patients",
        "updates": [update],
        "$db": "clinic",
    }
    delete = {"q": {"nhs": "1"}, "limit": 1}
    assert read(entry(delete, "remove")).command == {
        "delete": "patients",
        "deletes": [delete],
        "$db": "clinic",
    }
    without = read(entry({"q": {}}, "remove")).command
    assert without == {"delete": "patients", "deletes": [{"q": {}, "limit": 0}], "$db": "clinic"}


def test_what_a_router_adds_is_left_out_and_a_database_added() -> None:
    command = {"count": "patients", "shardVersion": {"e": 1}, "clientOperationKey": "x", "query": {}}
    assert read(profiled(command)).command == {"count": "patients", "query": {}, "$db": "clinic"}


@pytest.mark.parametrize(
    ("entry", "name", "problem"),
    [
        (profiled({"$truncated": "{ find: 'patients'", "comment": "x"}, "query"), "query", "truncated"),
        (logged(FIND, truncated={"command": {"filter": {}}}), "find", "truncated"),
        (logged({**FIND, "find": "###"}), "find", "redacted"),
        (profiled({"insert": "patients", "$db": "clinic"}, "insert"), "insert", "its documents are not"),
        (profiled({"update": "patients", "$db": "clinic"}), "update", "its updates are not"),
        (profiled({"delete": "patients", "$db": "clinic"}), "delete", "its deletes are not"),
        (profiled(None, "query"), "query", "it has no command"),
        (profiled({}, "query"), "query", "it has no command"),
    ],
)
def test_a_command_that_is_not_whole_is_none(entry: dict[str, Any], name: str, problem: str) -> None:
    found = read(entry)
    assert (found.name, found.command) == (name, None)
    assert found.problem.startswith(problem)


def test_a_line_that_was_cut_elsewhere_has_its_command() -> None:
    assert read(logged(FIND, truncated={"planSummary": 1})).command == FIND


@pytest.mark.parametrize(
    "entry",
    [
        {"msg": "Connection accepted", "attr": {"remote": "x"}},
        {"msg": "Slow query", "attr": None},
        {"x": 1},
        {**profiled(FIND), "ns": "clinic.system.profile"},
    ],
)
def test_what_is_no_command_of_an_application_is_left_out(entry: dict[str, Any]) -> None:
    assert recorded(entry) is None


def test_names_are_on_one_line() -> None:
    found = read({"op": "command", "ns": "clinic.a\nb", "command": {"x\ny": 1}, "appName": "a\nb"})
    assert (found.name, found.namespace, found.application) == ("x?y", "clinic.a?b", "a?b")


def test_a_file_is_bson_or_lines_of_json(tmp_path: Path) -> None:
    path = tmp_path / "profile"
    lines = ["not JSON", "", "[1]", json.dumps(logged(FIND)), '{"$date": "x"}', json.dumps(profiled(FIND))]
    path.write_text("\n".join(lines))
    assert [each.command for each in recorded_in(path)] == [FIND, FIND]
    path.write_bytes(bson.encode(profiled(FIND)) * 2)
    assert [each.command for each in recorded_in(path)] == [FIND, FIND]
    path.write_bytes(b"")
    assert list(recorded_in(path)) == []


def test_a_line_beyond_the_longest_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "profile"
    line = json.dumps(profiled(FIND))
    monkeypatch.setattr("sealwire.sidecars.recorded._LONGEST_LINE", len(line) + 1)
    path.write_text(f'{{"a": "{"x" * 4 * len(line)}"}}\n{line}\n')
    assert [each.command for each in recorded_in(path)] == [FIND]


def test_damaged_bson_and_what_is_compressed_are_no_records(tmp_path: Path) -> None:
    path = tmp_path / "profile.bson"
    whole = bson.encode(profiled(FIND))
    for content in (whole[:-3], gzip.compress(whole)):
        path.write_bytes(content)
        with pytest.raises(BSONError):
            list(recorded_in(path))


class Profiler:
    """A client, its databases and their collections."""

    def __init__(self) -> None:
        self.read: list[str] = []

    def list_database_names(self) -> list[str]:
        return ["wards", "admin", "clinic"]

    def get_database(self, name: str, _options: object) -> "Profiler":
        self.read.append(name)
        return self

    def get_collection(self, name: str) -> "Profiler":
        assert name == "system.profile"
        return self

    def find(self) -> "Profiler":
        return self

    def sort(self, *_order: object) -> Iterator[dict[str, Any]]:
        yield profiled(FIND)
        yield {"x": 1}


def test_profilers_of_one_database_or_of_all_are_read() -> None:
    server: Any = Profiler()
    assert [each.command for each in recorded_on(server, "clinic")] == [FIND]
    assert len(list(recorded_on(server, None))) == 2
    assert server.read == ["clinic", "clinic", "wards"]


# What a policy covers on a server: by name, by pattern, and what does not exist yet.


POLICY = policy_of(
    b"version: 1\n"
    b"classes: {nhs: {mode: deterministic, type: string}}\n"
    b"collections:\n"
    b"  clinic.patients: {nhs_number: nhs}\n"
    b"  clinic.arrivals: {nhs_number: nhs}\n"
    b"  tenant_*.patients: {nhs_number: nhs}\n"
)


def test_collections_are_found_by_name_and_by_pattern_and_sorted() -> None:
    server = FakeServer(
        {
            "tenant_1": [{"name": "patients"}, {"name": "wards"}],
            "other": [{"name": "patients"}],
            "clinic": [{"name": "patients", "type": "view"}, {"name": "wards"}],
        }
    )
    found = covered_collections(server.client, POLICY)
    assert [(each.namespace, each.exists, each.kind) for each in found] == [
        ("clinic.arrivals", False, "collection"),
        ("clinic.patients", True, "view"),
        ("tenant_1.patients", True, "collection"),
    ]


def test_how_a_collection_validates_is_read_as_it_is() -> None:
    options = {"validator": {"a": 1}, "validationLevel": "moderate", "validationAction": "warn"}
    server = FakeServer({"clinic": [{"name": "patients", "options": options}, {"name": "arrivals"}]})
    arrivals, patients = covered_collections(server.client, POLICY)
    assert patients.validation == Validation({"a": 1}, "moderate", "warn")
    assert arrivals.validation == Validation()
