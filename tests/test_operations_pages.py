"""Every page for operators has its way back, says how it fails, and has commands that a test runs."""

import re

import pytest

from tests.build_context import ROOT
from tests.support.doc_commands import blocks_of

PAGES = ROOT / "docs" / "operations"
NAMES = (
    *("access", "alerts", "audit", "backup", "compliance", "coverage", "erasure", "install"),
    *("luks", "migration", "monitoring", "page", "restore-drill", "tls", "topology", "upgrade", "vault"),
)


@pytest.mark.parametrize("name", NAMES)
def test_a_page_has_what_an_operator_looks_for(name: str) -> None:
    text = (PAGES / f"{name}.md").read_text(encoding="utf-8")
    headings = re.findall(r"^## (.*)$", text, re.M)
    assert "Rollback" in headings
    assert {"When it fails", "Exit codes"} & set(headings)
    assert blocks_of(text)


@pytest.mark.parametrize("name", NAMES)
def test_every_block_that_is_to_be_run_is_run_by_a_test(name: str) -> None:
    sources = [
        path.read_text(encoding="utf-8") for path in (ROOT / "tests" / "integration").glob("test_*.py")
    ]
    running = "\n".join(source for source in sources if f"{name}.md" in source)
    for block in blocks_of((PAGES / f"{name}.md").read_text(encoding="utf-8")):
        assert f'"{block.name}"' in running
