"""The commands of the pages about making backups, restoring them and drilling are run as they are printed."""

from pathlib import Path

import pytest

from sealwire.keys.kek.key_pair import create_key_pair
from tests.build_context import ROOT as REPOSITORY
from tests.integration.conftest import Stack
from tests.support.doc_commands import run_document
from tests.support.secantus import ROOT

pytestmark = [pytest.mark.integration, pytest.mark.slow]

PAGES = REPOSITORY / "docs" / "operations"
PASSPHRASE = "a passphrase of the restore's page"


def test_what_operators_copy_makes_drills_and_restores_a_backup(clean: Stack, tmp_path: Path) -> None:
    clean.clinic.patients.insert_many([{"nhs_number": f"99900000{number}"} for number in range(10, 40)])
    clean.direct.bystander.things.insert_one({"_id": "not the clinic's"})
    (tmp_path / "backups").mkdir()
    passphrase_file = tmp_path / "passphrase.txt"
    passphrase_file.touch(mode=0o600)
    passphrase_file.write_text(PASSPHRASE)
    create_key_pair(tmp_path / "backup-key", PASSPHRASE)
    environ = {
        "SEALWIRE_SERVER_URI": clean.database.uri(ROOT),
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
