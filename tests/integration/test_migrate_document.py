"""What docs/operations/migration.md lets operators type works as it stands there."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from sealwire.keys.kek.kek import EnvironmentKek, generate_encoded_kek
from sealwire.keys.kek.key_pair import create_key_pair
from sealwire.keys.keyring.file import create_keyring
from tests.build_context import ROOT
from tests.integration.conftest import Stack
from tests.support.doc_commands import run_document
from tests.support.private import private
from tests.support.secantus import ROOT as ADMIN
from tests.support.secantus import secantus

pytestmark = pytest.mark.integration

PAGE = ROOT / "docs" / "operations" / "migration.md"
HEAD = """version: 1
classes:
  phone: {mode: deterministic, type: string}
  notes: {mode: random}
  letters: {mode: random}
collections:
"""


def test_a_collection_is_encrypted_and_put_back(tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text(HEAD + "  clinic.patients: {notes: notes, letters: letters}\n")
    (tmp_path / "less.yaml").write_text(HEAD + "  clinic.patients: {letters: letters}\n")
    environ = {"SEALWIRE_KEK": generate_encoded_kek()}
    kek = EnvironmentKek(environ=environ)
    create_keyring(tmp_path / "keyring.json", kek, ["phone", "notes", "letters"], datetime.now(UTC))
    documents = [{"_id": number, "notes": "x", "letters": ["y"]} for number in range(50)]
    with secantus(tmp_path) as database, database.connect() as client:
        patients: Any = client["clinic"]["patients"]
        patients.insert_many(documents)
        environ |= {"SEALWIRE_SERVER_URI": database.uri(), "COLUMNS": "200"}
        said = run_document(PAGE, tmp_path, "walk", environ)
        assert "would encrypt; about 50 documents" in said
        assert "100 values of 50 documents moved" in said
        assert "nothing of another form is left" in said
        assert isinstance(patients.find_one()["notes"], bytes)
        said = run_document(PAGE, tmp_path, "back", environ)
        assert "50 values of 50 documents moved" in said
        assert {document["notes"] for document in patients.find()} == {"x"}
        assert isinstance(patients.find_one()["letters"], bytes)


# The commands of the pages about making backups, restoring them and drilling are run as they are printed.


PAGES = ROOT / "docs" / "operations"
PASSPHRASE = "a passphrase of the restore's page"


@pytest.mark.slow
def test_what_operators_copy_makes_drills_and_restores_a_backup(clean: Stack, tmp_path: Path) -> None:
    clean.clinic.patients.insert_many([{"nhs_number": f"99900000{number}"} for number in range(10, 40)])
    clean.direct.bystander.things.insert_one({"_id": "not the clinic's"})
    (tmp_path / "backups").mkdir()
    passphrase_file = private(tmp_path / "passphrase.txt", PASSPHRASE)
    create_key_pair(tmp_path / "backup-key", PASSPHRASE)
    environ = {
        "SEALWIRE_SERVER_URI": clean.database.uri(ADMIN),
        "SEALWIRE_BACKUP_STORE": str(tmp_path / "backups"),
        "SEALWIRE_PASSPHRASE_FILE": str(passphrase_file),
    }
    run_document(PAGES / "backup.md", tmp_path, "source", environ)
    for name in ("drill", "restore", "dump"):
        run_document(PAGES / "restore-drill.md", tmp_path, name, environ)
    assert '"holds": true' in (tmp_path / "drill-2026-11.json").read_text()
    for database in ("clinic_restored", "clinic_from_dump"):
        assert list(clean.direct[database].patients.find()) == list(clean.raw.patients.find())
        clean.direct.drop_database(database)
    clean.direct.drop_database("bystander")
