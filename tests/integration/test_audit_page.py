"""The commands of docs/operations/audit.md, on the log of a proxy that has refused something."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.errors import OperationFailure

from sealwire.testbed.proxy_process import ProxyOptions, ProxyProcess
from tests.build_context import ROOT
from tests.integration.outside.chosen import own_server
from tests.support.doc_commands import CommandFailed, run_document
from tests.support.secantus import secantus

pytestmark = [pytest.mark.integration, own_server("it has one of its own")]

PAGE = ROOT / "docs" / "operations" / "audit.md"
POLICY = """
version: 1
classes: {nhs: {mode: deterministic, type: string}}
collections: {clinic.patients: {nhs_number: nhs}}
"""
MARKER = "9434765919"


def test_the_page_works_on_the_log_of_a_proxy(tmp_path: Path) -> None:
    made = run_document(PAGE, tmp_path, "key")
    assert "clinic.example/sealwire+" in made
    policy, log = tmp_path / "policy.yaml", tmp_path / "audit.jsonl"
    policy.write_text(POLICY)
    settings = {
        "audit": {
            "path": str(log),
            "key": str(tmp_path / "audit.key"),
            "checkpoints": str(tmp_path / "elsewhere"),
        }
    }
    with secantus(tmp_path) as database:
        options = ProxyOptions(tmp_path / "proxy", policy, database.address, None, None, False, settings)
        with ProxyProcess(options) as proxy, MongoClient[Any](proxy.uri()) as client:
            patients = client["clinic"]["patients"]
            patients.insert_one({"nhs_number": MARKER})
            with pytest.raises(OperationFailure):
                patients.find_one({"nhs_number": {"$regex": MARKER}})
        written = log.read_bytes()
        rolled_back = replace(options, settings={})
        with ProxyProcess(rolled_back) as proxy, MongoClient[Any](proxy.uri()) as client:
            patients = client["clinic"]["patients"]
            assert patients.count_documents({"nhs_number": MARKER}) == 1
            with pytest.raises(OperationFailure):
                patients.find_one({"nhs_number": {"$regex": MARKER}})
        assert log.read_bytes() == written, "without `audit` the lines go into the proxy's own log"
        assert b"reason=pattern" in proxy.log.read_bytes()
    shown = run_document(PAGE, tmp_path, "verify")
    assert "refused" in shown
    assert "5 lines in 1 file: whole; signed up to line 5 of 5" in shown
    assert MARKER.encode() not in log.read_bytes()
    log.write_bytes(log.read_bytes().replace(b'"pattern"', b'"nothing"'))
    with pytest.raises(CommandFailed) as caught:
        run_document(PAGE, tmp_path, "verify")
    assert "audit.jsonl:4" in str(caught.value)
