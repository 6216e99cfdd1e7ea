"""A policy that is only observed, before the example's application: nothing changes, and all is counted."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import yaml
from bson.binary import USER_DEFINED_SUBTYPE
from pymongo import MongoClient

from sealwire.examples.clinic_app import run as run_clinic
from sealwire.examples.patients import generate_appointments, generate_patients
from sealwire.proxy.server.doctor.diagnosis import Grade, examine
from sealwire.testbed.child import free_port
from sealwire.testbed.database import DatabaseProcess
from tests.build_context import ROOT
from tests.integration.conftest import Document
from tests.integration.running_site import NHS, client_of, new_site, readiness
from tests.proxy.server.site import Running, Site, serving
from tests.support import warm

pytestmark = pytest.mark.integration

NUMBER = "943 476 5919"


def policy(**more: Any) -> str:
    """The example's policy, which also covers what its application searches by beginning and by range."""
    rules = yaml.safe_load((ROOT / "examples" / "policy.yaml").read_text())
    rules["classes"]["name"] = {"mode": "deterministic", "type": "string"}
    rules["classes"]["date_of_birth"] = {"mode": "deterministic", "type": "date", "ask": True}
    rules["collections"]["clinic.patients"]["name"] = "name"
    return yaml.safe_dump(rules | more)


def a_site(database: DatabaseProcess, folder: Path, rules: str) -> Site:
    site = new_site(database, folder, rules)
    site.config["admin"]["address"] = f"127.0.0.1:{free_port()}"
    return site


@pytest.fixture
def empty(database: DatabaseProcess) -> DatabaseProcess:
    with database.connect() as client:
        for name in ("clinic", "plain"):
            client.drop_database(name)
    return database


def sealwire(site: Site, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sealwire", *words]
    return warm.run(command, env=site.environ, capture_output=True, text=True, timeout=60, check=False)


def reported(site: Site) -> Document:
    done = sealwire(site, "observe", "report", "--config", str(site.folder / "sealwire.yaml"), "--json")
    return dict(json.loads(done.stdout)) | {"code": done.returncode}


@contextmanager
def application(proxy: Running) -> Iterator[MongoClient[Document]]:
    host, port = proxy.address
    uri = f"mongodb://{host}:{port}/clinic?directConnection=true&appName=ward"
    with MongoClient[Document](uri) as client:
        yield client


def ciphertexts(value: Any) -> int:
    if isinstance(value, dict):
        return sum(map(ciphertexts, value.values()))
    if isinstance(value, list):
        return sum(map(ciphertexts, value))
    return getattr(value, "subtype", 0) == USER_DEFINED_SUBTYPE


def test_an_application_runs_as_without_a_proxy_and_its_commands_are_judged(
    empty: DatabaseProcess, tmp_path: Path
) -> None:
    site = a_site(empty, tmp_path, policy(mode="observe"))
    site.config["workers"] = 2
    people = tuple(islice(generate_patients(1), 40))
    patients: list[Document] = [dict(each) for each in people]
    booked: list[Document] = [dict(each) for each in generate_appointments(1, people, 60)]
    with MongoClient[Document](empty.uri() + "plain") as direct:
        expected = [(step.name, step.result) for step in run_clinic(direct, patients, booked)]
    with serving(site, 240) as proxy:
        assert proxy.events["the policy is only observed"]["level"] == "warning"
        said = readiness(proxy)
        assert said["mode"] == "observe"
        assert said["not_protected"] == ["clinic.appointments", "clinic.patients"]
        with application(proxy) as client:
            assert [(step.name, step.result) for step in run_clinic(client, patients, booked)] == expected
        report = reported(site)
        assert report["code"] == 1
        text = sealwire(site, "observe", "report", "--config", str(site.folder / "sealwire.yaml")).stdout
        assert text.startswith("NOT PROTECTED")
    with empty.connect() as client:
        stored = list(client["clinic"]["patients"].find())
    assert stored
    assert ciphertexts(stored) == 0
    assert report["collections"] == 2
    commands = report["commands"]
    assert commands["answered"] > 20
    refused = [each for each in report["shapes"] if each["verdict"] == "refused"]
    shapes = {(each["command"], each["path"], each["reason"]) for each in refused}
    assert shapes == {("find", "name", "pattern")}
    assert all(each["application"] == "ward" for each in report["shapes"])
    assert refused[0]["look_at"].endswith("docs/policies.md#what-works-on-a-protected-collection")
    asked = [each for each in report["shapes"] if each["verdict"] == "two-steps"]
    assert [(each["command"], each["namespace"]) for each in asked] == [("find", "clinic.patients")]
    assert not any(patient["name"] in json.dumps(report) for patient in patients)


def test_what_would_protect_or_move_is_refused_while_it_is_observed(
    empty: DatabaseProcess, tmp_path: Path
) -> None:
    site = a_site(empty, tmp_path, policy(observe=["clinic.patients"]))
    site.environ |= {"SEALWIRE_KEYRING": str(site.keyring), "SEALWIRE_SERVER_URI": empty.uri()}
    with empty.connect() as client:
        client["clinic"]["patients"].insert_one({"name": "Ada"})
    checked = site.serve("--check")
    assert checked.returncode == 0
    assert "only observed" in checked.stdout + checked.stderr
    examined = {each.about: each for each in examine(site.write(), site.environ)}
    assert examined["the policy is only observed"].grade is Grade.DOUBTFUL
    rules = str(site.folder / "policy.yaml")
    for words in (
        ("migrate", "encrypt", rules, NHS),
        ("migrate", "verify", rules),
        ("policy", "enforce", rules, "--dry-run"),
    ):
        done = sealwire(site, *words)
        assert (done.returncode, "observed" in done.stderr) == (78, True), words
    drift = sealwire(site, "policy", "drift", rules)
    assert drift.returncode == 1
    assert "NOT PROTECTED" in drift.stdout


def test_a_collection_with_encrypted_values_cannot_be_observed(
    empty: DatabaseProcess, tmp_path: Path
) -> None:
    site = a_site(empty, tmp_path, policy())
    file = site.folder / "policy.yaml"
    create = ("keys", "create", "--policy", str(file), "--keyring", str(site.keyring))
    assert sealwire(site, *create).returncode == 0
    with serving(site) as proxy:
        with client_of(proxy) as client:
            client["clinic"]["patients"].insert_one({NHS: NUMBER})
        file.write_text(policy(mode="observe"))
        proxy.process.send_signal(1)
        refused = next(line for line in proxy.said if line["event"].startswith("reload refused"))
        assert "holds encrypted values" in refused["problem"]
        with client_of(proxy) as client:
            assert client["clinic"]["patients"].find_one({NHS: NUMBER}, {"_id": 0}) == {NHS: NUMBER}
    done = site.serve("--check")
    assert done.returncode == 78
    assert "holds encrypted values" in done.stderr
    assert NUMBER not in done.stderr
    file.write_text(policy(observe=["clinic.appointments"]))
    assert site.serve("--check").returncode == 0
