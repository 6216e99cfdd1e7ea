"""`sealwire hold` in a folder with a policy and a key of pseudonyms."""

from pathlib import Path

import pytest

from sealwire.audit.pseudonyms import PseudonymKey

POLICY = """
version: 1
classes: {nhs: {mode: deterministic, type: string}}
collections: {clinic.patients: {nhs_number: nhs}}
subjects: {class: nhs}
"""


@pytest.fixture
def begins_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SEALWIRE_HOLDS", "holds.json")
    monkeypatch.setenv("SEALWIRE_AUDIT_SUBJECTS_KEY", "subjects.key")
    Path("policy.yaml").write_text(POLICY)
    Path("subjects.key").touch(0o600)
    Path("subjects.key").write_bytes(PseudonymKey(bytes(range(32))).written())
    return ("hold",)
