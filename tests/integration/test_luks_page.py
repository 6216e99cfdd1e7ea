"""The commands of docs/operations/luks.md that a machine without device-mapper can run."""

from pathlib import Path

import pytest

from tests.build_context import ROOT
from tests.support.debian import require_programs
from tests.support.doc_commands import run_document

pytestmark = pytest.mark.integration


def test_the_header_is_practised_as_the_page_says(tmp_path: Path) -> None:
    require_programs({"cryptsetup": "cryptsetup-bin", "wipefs": "util-linux"})
    shown = run_document(ROOT / "docs" / "operations" / "luks.md", tmp_path, "practice")
    assert "has the header of" in shown
    assert "opens with the present key" in shown
