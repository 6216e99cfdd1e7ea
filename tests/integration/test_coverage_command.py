"""`sealwire policy coverage` on a real server: what it finds and suggests, and that it shows no value."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient

from sealwire.audit.files import LogPlace
from sealwire.audit.log import AuditLog, LogPace
from sealwire.policies.file.loader import load_policy
from sealwire.policies.file.schema import leaves
from sealwire.testbed.database import DatabaseProcess
from tests.build_context import ROOT
from tests.integration.outside.chosen import own_server
from tests.sidecars.drift_samples import envelope
from tests.support import warm
from tests.support.doc_commands import run_document
from tests.support.private import private
from tests.support.secantus import secantus

pytestmark = [pytest.mark.integration, own_server("it reads every collection of a database")]

PAGE = ROOT / "docs" / "operations" / "coverage.md"
POLICY = """
version: 1
classes: {nhs: {mode: deterministic, type: string}}
collections: {clinic.patients: {nhs_number: nhs}}
"""
NUMBER, MAIL = "943 476 5919", "ann.smith@nhs.example"


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DatabaseProcess]:
    with secantus(tmp_path_factory.mktemp("server")) as database:
        with MongoClient[Any](database.uri()) as client:
            clinic = client["clinic"]
            clinic["patients"].insert_many(
                {
                    "nhs_number": envelope() if number else NUMBER,
                    "email": MAIL,
                    "ward": "north",
                    "note": f"{number}: NHS {NUMBER}",
                }
                for number in range(10)
            )
            clinic["visits"].insert_many({"patient": {"nhs": NUMBER}, "at": number} for number in range(30))
            clinic.create_collection("seen", viewOn="patients", pipeline=[])
            client["other"]["people"].insert_one({"email": MAIL})
        yield database


def run(
    database: DatabaseProcess, folder: Path, *options: str, policy: str = POLICY
) -> subprocess.CompletedProcess[str]:
    (folder / "policy.yaml").write_text(policy)
    command = [sys.executable, "-m", "sealwire", "policy", "coverage", "policy.yaml", "--uri", database.uri()]
    done = warm.run([*command, *options], cwd=folder, text=True, capture_output=True, check=False)
    assert "Traceback" not in done.stderr
    assert NUMBER not in done.stdout + done.stderr
    assert MAIL not in done.stdout + done.stderr
    return done


def test_every_field_is_judged(database: DatabaseProcess, tmp_path: Path) -> None:
    done = run(database, tmp_path, "--json", "--sample", "0")
    assert done.returncode == 1
    found = {each["namespace"]: each for each in json.loads(done.stdout)["collections"]}
    assert set(found) == {"clinic.patients", "clinic.visits"}
    patients = {field["path"]: field for field in found["clinic.patients"]["fields"]}
    assert (patients["nhs_number"]["cover"], patients["nhs_number"]["share"]) == ("plaintext", 0.1)
    assert (patients["email"]["cover"], patients["email"]["looks_like"]) == ("personal", "email")
    assert patients["ward"]["cover"] == "other"
    assert (patients["note"]["looks_like"], patients["note"]["in_text"]) == ("nhs-number", True)
    visits = {field["path"]: field for field in found["clinic.visits"]["fields"]}
    assert visits["patient.nhs"]["looks_like"] == "nhs-number"
    assert found["clinic.visits"]["documents"] == 30


def test_a_sample_and_another_database(database: DatabaseProcess, tmp_path: Path) -> None:
    done = run(database, tmp_path, "--json", "--sample", "5", "--db", "clinic", "--db", "other")
    found = {each["namespace"]: each["documents"] for each in json.loads(done.stdout)["collections"]}
    assert found == {"clinic.patients": 5, "clinic.visits": 5, "other.people": 1}


def test_the_table_shows_what_needs_somebody_or_all(database: DatabaseProcess, tmp_path: Path) -> None:
    assert "ward" not in run(database, tmp_path).stdout
    assert "ward" in run(database, tmp_path, "--all").stdout


def test_texts_that_were_searched_in_part_are_shown(database: DatabaseProcess, tmp_path: Path) -> None:
    with MongoClient[Any](database.uri()) as client:
        client["long"]["letters"].insert_one({"text": "x" * 5000})
    try:
        assert "1 texts were" in run(database, tmp_path, "--db", "long").stdout
        answer = json.loads(run(database, tmp_path, "--db", "long", "--json").stdout)
    finally:
        with MongoClient[Any](database.uri()) as client:
            client.drop_database("long")
    assert answer["collections"][0]["long_texts"] == 1


def test_a_database_that_is_well_covered_is_no_finding(database: DatabaseProcess, tmp_path: Path) -> None:
    done = run(database, tmp_path, "--db", "empty")
    assert (done.returncode, "no collections" in done.stdout) == (0, True)


def test_the_commands_of_the_page(database: DatabaseProcess, tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text(POLICY)
    private(tmp_path / "server.uri", database.uri())
    said = run_document(PAGE, tmp_path, "coverage")
    assert "clinic.visits" in said
    assert "mode: deterministic" in said
    assert NUMBER not in said


def test_fields_that_nobody_reads_are_listed(database: DatabaseProcess, tmp_path: Path) -> None:
    log = tmp_path / "audit.jsonl"

    def covered(*lines: dict[str, Any]) -> dict[str, Any]:
        log.unlink(missing_ok=True)
        written = AuditLog(LogPlace(log), None, LogPace())
        written.append([{"event": "command", "time": "2026-01-02T03:04:05+00:00", **line} for line in lines])
        written.close()
        done = run(database, tmp_path, "--json", "--audit", str(log))
        found = {each["namespace"]: each for each in json.loads(done.stdout)["collections"]}
        fields = {each["path"]: each for each in found["clinic.patients"]["fields"]}
        assert fields["email"]["never_read_since"] is None
        return dict(fields["nhs_number"])

    other = {"namespace": "clinic.patients", "written": {"nhs": 7}}
    assert covered(other)["never_read_since"] == "2026-01-02T03:04:05+00:00"
    for line in ({**other, "read": {"nhs": 1}}, {**other, "filtered": {"nhs": 1}}):
        assert covered(other, line)["never_read_since"] is None
    # a view, or a join, that has shown values of the class
    assert covered({"namespace": "clinic.seen", "read": {"nhs": 1}})["never_read_since"] is None
    assert "not read since" in run_page(database, tmp_path, other)


@pytest.mark.parametrize("text", ["", "version: 1\n", "version: 1\nclasses: {}\ncollections: {}\n"])
def test_suggest_begins_from_an_empty_policy(database: DatabaseProcess, tmp_path: Path, text: str) -> None:
    done = run(database, tmp_path, "--suggest", policy=text)
    assert done.returncode == 1
    policies = load_policy(f"version: 1\n{done.stdout}".encode(), "suggested")
    # every database is read
    assert set(policies.collections) == {"clinic.patients", "clinic.visits", "other.people"}
    assert set(policies.classes) == {"email", "free_text", "nhs_number"}


def suggest(database: DatabaseProcess, folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    done = warm.sealwire("policy", "suggest", "--uri", database.uri(), *options, cwd=folder)
    assert "Traceback" not in done.stderr
    assert NUMBER not in done.stdout + done.stderr
    return done


def test_a_first_policy_knows_indexes_and_shared_values(database: DatabaseProcess, tmp_path: Path) -> None:
    with MongoClient[Any](database.uri()) as client:
        shop = client["shop"]
        shop["people"].create_index("member_no", unique=True)
        shop["people"].insert_many(
            {"member_no": f"M-{number:04}", "surname": f"Nguyen{'abcdefghij'[number]}"}
            for number in range(10)
        )
        shop["people"].create_index("surname")
        shop["orders"].insert_many({"buyer": f"M-{number:04}", "total": number} for number in range(10))
    try:
        done = suggest(database, tmp_path, "--db", "shop", "--output", "policy.yaml")
        again = suggest(database, tmp_path, "--db", "shop", "--output", "policy.yaml")
        forced = suggest(database, tmp_path, "--db", "shop", "--output", "policy.yaml", "--force")
        nothing = suggest(database, tmp_path, "--db", "empty")
    finally:
        with MongoClient[Any](database.uri()) as client:
            client.drop_database("shop")
    assert [each.returncode for each in (done, again, forced, nothing)] == [0, 73, 0, 1]
    policies = load_policy((tmp_path / "policy.yaml").read_bytes(), "policy.yaml")
    found = {
        namespace: {node.path: node.leaf.name for node in leaves(tree) if node.leaf is not None}
        for namespace, tree in policies.collections.items()
    }
    assert found == {
        "shop.people": {"member_no": "member_no", "surname": "person_name_indexed"},
        "shop.orders": {"buyer": "member_no"},
    }


def test_the_pages_first_policy_passes_check_and_lint(database: DatabaseProcess, tmp_path: Path) -> None:
    private(tmp_path / "server.uri", database.uri())
    said = run_document(PAGE, tmp_path, "suggest")
    assert "3 collections" in said
    assert suggest(database, tmp_path).stdout == (tmp_path / "policy.yaml").read_text()


@pytest.mark.parametrize("text", ["version: 2\n", "classes: [", "version: 1\nclases: {}\n", "[]"])
def test_a_policy_that_is_wrong_is_not_taken_for_an_empty_one(
    database: DatabaseProcess, tmp_path: Path, text: str
) -> None:
    assert run(database, tmp_path, policy=text).returncode == 78


def run_page(database: DatabaseProcess, folder: Path, line: dict[str, Any]) -> str:
    """What the page's command shows of a log with one command."""
    (folder / "audit.jsonl").unlink()
    written = AuditLog(LogPlace(folder / "audit.jsonl"), None, LogPace())
    written.append([{"event": "command", "time": "2026-01-02T03:04:05+00:00", **line}])
    written.close()
    private(folder / "server.uri", database.uri())
    return run_document(PAGE, folder, "never-read")


def test_a_log_without_commands_says_nothing_of_fields(database: DatabaseProcess, tmp_path: Path) -> None:
    written = AuditLog(LogPlace(tmp_path / "audit.jsonl"), None, LogPace())
    written.append([{"event": "refused", "time": "2026-01-02T03:04:05+00:00"}])
    written.close()
    assert run(database, tmp_path, "--audit", "audit.jsonl").returncode == 2
