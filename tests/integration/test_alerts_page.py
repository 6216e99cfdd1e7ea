"""The commands of docs/operations/alerts.md, on the log of a proxy whose client has taken what it could."""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from pymongo import MongoClient
from pymongo.errors import OperationFailure

from sealwire.testbed.proxy_process import ProxyOptions, ProxyProcess
from tests.build_context import ROOT
from tests.integration.outside.chosen import own_server
from tests.support import warm
from tests.support.doc_commands import run_document
from tests.support.secantus import secantus

pytestmark = [pytest.mark.integration, own_server("it has one of its own")]

PAGE = ROOT / "docs" / "operations" / "alerts.md"
AUDIT_PAGE = ROOT / "docs" / "operations" / "audit.md"
POLICY = """
version: 1
classes: {nhs: {mode: deterministic, type: string}}
collections: {clinic.patients: {nhs_number: nhs}}
subjects: {class: nhs}
"""
ALLOWED_S = 20.0
"""The page promises five seconds, and the demo of the governance measures them; this is for busy machines."""
PEOPLE = 1200


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder with the keys of the audit log, a policy and a file of rules."""
    run_document(AUDIT_PAGE, tmp_path, "key")
    command = [sys.executable, "-m", "sealwire", "audit", "create-key", "--subjects-key", "subjects.key"]
    warm.run(command, cwd=tmp_path, check=True)
    (tmp_path / "policy.yaml").write_text(POLICY)
    audit = {"path": "audit.jsonl", "key": "audit.key.pub", "checkpoints": "elsewhere"}
    document = {"version": 1, "audit": {key: str(tmp_path / name) for key, name in audit.items()}}
    document["state"] = str(tmp_path / "watch.sqlite")
    (tmp_path / "alerts.yaml").write_text(yaml.safe_dump(document))
    return tmp_path


def number(person: int) -> str:
    return f"94{person:08d}"


@contextmanager
def clinic(folder: Path) -> Iterator[MongoClient[Any]]:
    """A client of a proxy that writes an audit log, with patients in the collection."""
    audit = {
        "path": "audit.jsonl",
        "key": "audit.key",
        "checkpoints": "elsewhere",
        "subjects_key": "subjects.key",
    }
    settings = {"audit": {key: str(folder / name) for key, name in audit.items()}}
    with secantus(folder) as database:
        policy = folder / "policy.yaml"
        options = ProxyOptions(folder / "proxy", policy, database.address, None, None, False, settings)
        with ProxyProcess(options) as proxy, MongoClient[Any](proxy.uri()) as client:
            patients = client["clinic"]["patients"]
            patients.insert_many([{"nhs_number": number(person)} for person in range(PEOPLE)])
            yield client


@contextmanager
def watching(folder: Path) -> Iterator[Path]:
    """A watch beside the proxy; where it writes."""
    said = folder / "said.jsonl"
    command = [sys.executable, "-m", "sealwire", "watch", str(folder / "alerts.yaml")]
    with said.open("wb") as file, warm.WarmProcess(command, stdout=file) as process:
        try:
            while b'"watching"' not in said.read_bytes():
                assert process.poll() is None
                time.sleep(0.05)
            yield said
        finally:
            process.terminate()
            assert process.wait(30) == 0


def seconds_until(said: Path, rule: str) -> float:
    """How long it takes until an alert of a rule is told."""
    begun = time.monotonic()
    while f'"rule": "{rule}"'.encode() not in said.read_bytes():
        assert time.monotonic() - begun < 60
        time.sleep(0.02)
    return time.monotonic() - begun


def test_an_exfiltration_raises_an_alert_at_once(files: Path) -> None:
    with clinic(files) as client:
        run_document(PAGE, files, "learn")
        with watching(files) as said:
            taken = list(client["clinic"]["patients"].find({}, batch_size=100))
            assert len(taken) == PEOPLE
            assert seconds_until(said, "bulk-read") < ALLOWED_S
            assert seconds_until(said, "subjects") < ALLOWED_S
        told = said.read_bytes()
        assert client["clinic"]["patients"].count_documents({"nhs_number": number(7)}) == 1
        assert len(list(client["clinic"]["patients"].find({}))) == PEOPLE
    assert said.read_bytes() == told, "the watch had ended, and the proxy went on without it"
    assert number(7).encode() not in said.read_bytes() + (files / "audit.jsonl").read_bytes()


def refused(client: MongoClient[Any]) -> None:
    """Commands that nobody may send, in numbers."""
    for _ in range(20):
        with pytest.raises(OperationFailure):
            client["clinic"]["patients"].find_one({"nhs_number": {"$regex": number(7)}})


def test_refusals_in_numbers_raise_one_at_once(files: Path) -> None:
    with clinic(files) as client, watching(files) as said:
        refused(client)
        assert seconds_until(said, "refused") < ALLOWED_S
    assert number(7).encode() not in said.read_bytes()


def test_the_page_works_from_the_alert_to_the_end_of_the_incident(files: Path) -> None:
    with clinic(files) as client:
        run_document(PAGE, files, "secret")
        run_document(PAGE, files, "learn")
        document = yaml.safe_load((files / "alerts.yaml").read_text())
        document["tell"] = {
            "webhook": {"url": "https://127.0.0.1:1/", "secret": str(files / "webhook.secret")},
            "log": False,
        }
        (files / "alerts.yaml").write_text(yaml.safe_dump(document))
        refused(client)
        list(client["clinic"]["patients"].find({}))
    command = [sys.executable, "-m", "sealwire", "watch", str(files / "alerts.yaml"), "--once"]
    once = warm.run(command, capture_output=True, check=False)
    assert once.returncode == 1
    said = run_document(PAGE, files, "incident")
    assert "i1: closed" in said
    report = json.loads((files / "report.json").read_text())
    assert report["proof"]["proved"]
    assert report["events"]["refused"] == 20
    assert report["read"]["nhs"] >= PEOPLE
    assert report["subjects"]["distinct"] == PEOPLE
    for name in ("report.html", "ico.md"):
        assert number(7) not in (files / name).read_text()
