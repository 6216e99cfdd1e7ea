"""The commands of pages of docs/operations, run as an operator runs them."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.errors import OperationFailure

from sealwire.testbed.proxy_process import ProxyProcess
from tests.build_context import ROOT
from tests.integration.outside.chosen import own_server
from tests.sidecars.backup.samples import local, seal
from tests.support.doc_commands import CommandFailed, run_document
from tests.support.played_set import played_set
from tests.support.proxied import options_of
from tests.support.secantus import secantus
from tests.support.skips import free_ports

# docs/operations/access.md, on a policy and on roles as an operator writes them.


ACCESS_PAGE = ROOT / "docs" / "operations" / "access.md"
ACCESS_POLICY = """
version: 1
classes: {nhs: {mode: deterministic, type: string}, notes: {mode: random}}
collections: {clinic.patients: {nhs_number: nhs, notes: notes}}
"""
ROLES = """
roles:
  clerk:
    users: [reception@admin]
    comparisons_per_hour: 200
    classes: {nhs: {read: {mask: last4}, filter: true}}
  clinician:
    users: [doctor@admin]
    purposes: [direct-care]
    classes: {"*": {read: clear, filter: true, write: true}}
"""


def test_the_page_of_access_works(tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text(ACCESS_POLICY)
    (tmp_path / "roles.yaml").write_text(ROLES)
    assert "0 findings" in run_document(ACCESS_PAGE, tmp_path, "roles")
    shown = run_document(ACCESS_PAGE, tmp_path, "ask")
    assert "masked (last4)" in shown
    assert "passes" in shown
    assert '"roles": ["clinician"]' in shown


# The commands of docs/operations/audit.md, on the log of a proxy that has refused something.


AUDIT_PAGE = ROOT / "docs" / "operations" / "audit.md"
POLICY = """
version: 1
classes: {nhs: {mode: deterministic, type: string}}
collections: {clinic.patients: {nhs_number: nhs}}
"""
MARKER = "9434765919"


def store_one_and_refuse_one(proxy: ProxyProcess) -> None:
    with MongoClient[Any](proxy.uri()) as client:
        patients = client["clinic"]["patients"]
        patients.insert_one({"nhs_number": MARKER})
        with pytest.raises(OperationFailure):
            patients.find_one({"nhs_number": {"$regex": MARKER}})


@pytest.mark.integration
@own_server("it has one of its own")
def test_the_page_works_on_the_log_of_a_proxy(tmp_path: Path) -> None:
    made = run_document(AUDIT_PAGE, tmp_path, "key")
    assert "clinic.example/sealwire+" in made
    log = tmp_path / "audit.jsonl"
    audit = {"path": log, "key": tmp_path / "audit.key", "checkpoints": tmp_path / "elsewhere"}
    settings = {"audit": {name: str(path) for name, path in audit.items()}}
    with secantus(tmp_path) as database:
        options = options_of(tmp_path, POLICY, database.address, settings=settings)
        with ProxyProcess(options) as proxy:
            store_one_and_refuse_one(proxy)
        written = log.read_bytes()
        with ProxyProcess(replace(options, settings={})) as proxy, MongoClient[Any](proxy.uri()) as client:
            patients = client["clinic"]["patients"]
            assert patients.count_documents({"nhs_number": MARKER}) == 1
            with pytest.raises(OperationFailure):
                patients.find_one({"nhs_number": {"$regex": MARKER}})
        assert log.read_bytes() == written, "without `audit` the lines go into the proxy's own log"
        assert b"reason=pattern" in proxy.log.read_bytes()
    shown = run_document(AUDIT_PAGE, tmp_path, "verify")
    assert "refused" in shown
    assert "5 lines in 1 file: whole; signed up to line 5 of 5" in shown
    assert MARKER.encode() not in log.read_bytes()
    log.write_bytes(log.read_bytes().replace(b'"pattern"', b'"nothing"'))
    with pytest.raises(CommandFailed) as caught:
        run_document(AUDIT_PAGE, tmp_path, "verify")
    assert "audit.jsonl:4" in str(caught.value)


# The commands of docs/operations/topology.md, before a set that is played.


TOPOLOGY_PAGE = ROOT / "docs" / "operations" / "topology.md"


def test_a_proxy_that_follows_its_servers_is_set_up(tmp_path: Path) -> None:
    ports = free_ports(4)
    with played_set("", "") as played:
        environ = {"PORTS": f"{ports[0]}-{ports[-1]}", "UPSTREAM": played.uri}
        done = run_document(TOPOLOGY_PAGE, tmp_path, "begin", environ)
    assert "ok: configuration" in done
    assert not (tmp_path / "ports.json").exists()


# What operators do each day, and how evidence is kept, on a server, a proxy and backups that are there.


DOCS = ROOT / "docs"


def run(page: str, block: str, folder: Path, **environ: str) -> str:
    return run_document(DOCS / page, folder, block, environ)


@contextmanager
def installation(folder: Path) -> Iterator[str]:
    """A proxy that has stored one patient and refused one command; the address of its server."""
    run("operations/audit.md", "key", folder)
    settings = {"audit": {"path": str(folder / "audit.jsonl"), "key": str(folder / "audit.key")}}
    with secantus(folder) as database:
        options = options_of(folder, POLICY, database.address, settings=settings)
        with ProxyProcess(replace(options, folder=folder)) as proxy:
            store_one_and_refuse_one(proxy)
        yield database.uri()


@pytest.mark.integration
@own_server("it has one of its own")
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


@pytest.mark.integration
@own_server("it has one of its own")
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
