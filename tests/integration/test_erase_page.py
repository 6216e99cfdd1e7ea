"""The commands of docs/operations/erasure.md, on a clinic with two patients."""

import json
from pathlib import Path

import pytest

from sealwire.testbed.database import DatabaseProcess
from tests.build_context import ROOT
from tests.integration.erased_clinic import ANNE, COUNTS, SETTINGS, Clinic, clinic_at, only
from tests.integration.outside.chosen import own_server
from tests.support.doc_commands import run_document

pytestmark = [pytest.mark.integration, own_server("it starts proxies of its own")]

PAGE = ROOT / "docs" / "operations" / "erasure.md"


def test_the_page_works(database: DatabaseProcess, tmp_path: Path) -> None:
    with clinic_at(database, tmp_path) as clinic:
        follow(clinic)


def follow(clinic: Clinic) -> None:
    folder = clinic.site.folder
    for name in ("audit.key", "audit.key.pub", "subjects.key", "holds.json"):
        (folder / name).unlink()
    (folder / "nhs.txt").write_text(f"{ANNE}\n")
    (folder / "server.uri").touch(0o600)
    (folder / "server.uri").write_text(clinic.uri)
    environ = clinic.site.environ | SETTINGS | {"SEALWIRE_SERVER_URI_FILE": "server.uri"}
    del environ["PATH"]
    before = only(clinic.stored(), 2)
    run_document(PAGE, folder, "setup", environ)
    said = run_document(PAGE, folder, "find", environ)
    assert "clinic.patients" in said
    said += run_document(PAGE, folder, "hold", environ)
    said += run_document(PAGE, folder, "run", environ)
    assert clinic.stored() == before
    said += run_document(PAGE, folder, "verify", environ)
    assert "erased-117.json: genuine" in said
    said += run_document(PAGE, folder, "check", environ)
    assert ANNE not in said
    receipt = json.loads((folder / "erased-117.json").read_text())["document"]
    assert {row["namespace"]: row["erased"] for row in receipt["collections"]} == COUNTS
