"""The commands of docs/operations/deploy.md, in an empty folder."""

from pathlib import Path

from tests.build_context import ROOT
from tests.support.doc_commands import run_document

PAGE = ROOT / "docs" / "operations" / "deploy.md"


def test_a_configuration_begins(tmp_path: Path) -> None:
    done = run_document(PAGE, tmp_path, "begin")
    assert "still to be made" in done
    assert (tmp_path / "keyring.json").exists()
