"""What operators do each day, and how evidence is kept, on a server, a proxy and backups that are there."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.errors import OperationFailure

from sealwire.testbed.proxy_process import ProxyOptions, ProxyProcess
from tests.build_context import ROOT
from tests.integration.outside.chosen import own_server
from tests.sidecars.backup.samples import local, seal
from tests.support.doc_commands import CommandFailed, run_document
from tests.support.secantus import secantus

pytestmark = [pytest.mark.integration, own_server("it has one of its own")]

DOCS = ROOT / "docs"
POLICY = """
version: 1
classes: {nhs: {mode: deterministic, type: string}}
collections: {clinic.patients: {nhs_number: nhs}}
"""
MARKER = "9434765919"


def run(page: str, block: str, folder: Path, **environ: str) -> str:
    return run_document(DOCS / page, folder, block, environ)


@contextmanager
def installation(folder: Path) -> Iterator[str]:
    """A proxy that has stored one patient and refused one command; the address of its server."""
    policy = folder / "policy.yaml"
    policy.write_text(POLICY)
    run("operations/audit.md", "key", folder)
    settings = {"audit": {"path": str(folder / "audit.jsonl"), "key": str(folder / "audit.key")}}
    with secantus(folder) as database:
        options = ProxyOptions(folder, policy, database.address, None, None, False, settings)
        with ProxyProcess(options) as proxy, MongoClient[Any](proxy.uri()) as client:
            patients = client["clinic"]["patients"]
            patients.insert_one({"nhs_number": MARKER})
            with pytest.raises(OperationFailure):
                patients.find_one({"nhs_number": {"$regex": MARKER}})
        yield database.uri()


def test_a_good_day_ends_with_0_and_a_bad_one_does_not(tmp_path: Path) -> None:
    (tmp_path / "backups").mkdir()
    seal(local(tmp_path / "backups"))
    with installation(tmp_path) as uri:
        said = run("ENCRYPTION_OPERATIONS.md", "day", tmp_path, SEALWIRE_SERVER_URI=uri)
        assert "whole; signed up to line" in said
        assert MARKER not in said
        with MongoClient[Any](uri) as direct:
            direct["clinic"]["patients"].insert_one({"nhs_number": MARKER})
        with pytest.raises(CommandFailed) as caught:
            run("ENCRYPTION_OPERATIONS.md", "day", tmp_path, SEALWIRE_SERVER_URI=uri)
        assert MARKER not in str(caught.value)


def test_evidence_is_copied_verified_and_counted(tmp_path: Path) -> None:
    with installation(tmp_path):
        pass
    said = run("INCIDENT_RESPONSE.md", "evidence", tmp_path)
    assert "whole" in said
    kept = tmp_path / "evidence"
    assert "refused" in json.dumps(json.loads((kept / "report.json").read_text()))
    sums = (kept / "SHA256SUMS").read_text()
    assert "audit.jsonl\n" in sums
    assert "checkpoints" in sums
    assert MARKER not in (kept / "report.json").read_text()
