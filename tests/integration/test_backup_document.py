"""The commands of docs/operations/backup.md work as they stand there."""

from pathlib import Path

import pytest

from sealwire.keys.kek.key_pair import load_public_key
from tests.build_context import ROOT
from tests.keys.samples import PASSPHRASE
from tests.sidecars.backup.samples import local, seal
from tests.support.doc_commands import run_document

pytestmark = pytest.mark.integration

PAGE = ROOT / "docs" / "operations" / "backup.md"


def test_the_page_from_key_to_alarm(tmp_path: Path) -> None:
    passphrase = tmp_path / "passphrase.txt"
    passphrase.touch(0o600)
    passphrase.write_text(PASSPHRASE + "\n")
    run_document(PAGE, tmp_path, "keys")
    backups = tmp_path / "backups"
    backups.mkdir()
    seal(local(backups), recipients=[load_public_key(tmp_path / "backup-key.pub")])
    said = run_document(PAGE, tmp_path, "store")
    assert "b: sound, 20 documents in 3 files" in said
    assert PASSPHRASE not in said
    assert (backups / "b-r1.tar.gz.enc").exists()
    assert not (backups / "b.tar.gz.enc").exists()
    assert sorted(path.name for path in (tmp_path / "units").iterdir()) == [
        "sealwire-backup.service",
        "sealwire-backup.timer",
        "sealwire-backup.yaml",
    ]
    assert "sealwire_backup_plaintext_overdue 0.0" in (tmp_path / "sealwire_backup.prom").read_text()
