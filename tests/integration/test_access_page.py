"""The commands of docs/operations/access.md, on a policy and on roles as an operator writes them."""

from pathlib import Path

from tests.build_context import ROOT
from tests.support.doc_commands import run_document

PAGE = ROOT / "docs" / "operations" / "access.md"
POLICY = """
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


def test_the_page_works(tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text(POLICY)
    (tmp_path / "roles.yaml").write_text(ROLES)
    assert "0 findings" in run_document(PAGE, tmp_path, "roles")
    shown = run_document(PAGE, tmp_path, "ask")
    assert "masked (last4)" in shown
    assert "passes" in shown
    assert '"roles": ["clinician"]' in shown
