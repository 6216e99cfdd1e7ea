"""`sealwire hold` in a folder with a policy and a key of pseudonyms."""

import json
from pathlib import Path

import pytest

from sealwire.audit.pseudonyms import PseudonymKey
from tests.cli.runs import Run

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


NHS = "943 476 5919"


def test_a_hold_from_its_placing_to_its_release(run: Run) -> None:
    assert run("create").code == 0
    outcome = run("place", "policy.yaml", "--case", "QB-1", "--json", stdin=f"{NHS}\n")
    placed = json.loads(outcome.out)
    assert (outcome.code, placed["number"], placed["case"], placed["released"]) == (0, 1, "QB-1", None)
    assert len(placed["subject"]) == 32
    assert placed.pop("dry_run") is False
    assert json.loads(run("list", "--json").out) == {"holds": [placed]}
    assert "QB-1" in run("list").out
    assert run("release", "1").code == 0
    assert json.loads(run("list", "--json").out) == {"holds": []}
    assert json.loads(run("list", "--all", "--json").out)["holds"][0]["released_by"]
    assert NHS not in outcome.out + outcome.err + Path("holds.json").read_text()


def test_a_dry_run_makes_no_file(run: Run) -> None:
    assert run("create", "--dry-run").code == 0
    assert not Path("holds.json").exists()
    assert run("list").code == 78


def test_a_dry_run_changes_no_hold(run: Run) -> None:
    run("create")
    written = Path("holds.json").read_bytes()
    assert (
        "would be placed" in run("place", "policy.yaml", "--case", "QB-1", "--dry-run", stdin=f"{NHS}\n").out
    )
    assert Path("holds.json").read_bytes() == written
    run("place", "policy.yaml", "--case", "QB-1", stdin=f"{NHS}\n")
    written = Path("holds.json").read_bytes()
    assert "would be released" in run("release", "1", "--dry-run").out
    assert Path("holds.json").read_bytes() == written


def test_mistakes(run: Run) -> None:
    run("create")
    assert run("create").code == 73
    assert run("place", "policy.yaml", "--case", "QB-1", stdin="\n").code == 2
    assert run("place", "policy.yaml", "--case", "", stdin=f"{NHS}\n").code == 78
    assert run("release", "1").code == 78
    Path("policy.yaml").write_text(Path("policy.yaml").read_text().replace("subjects: {class: nhs}", ""))
    assert run("place", "policy.yaml", "--case", "QB-1", stdin=f"{NHS}\n").code == 2
    Path("holds.json").write_text("{}")
    assert run("list").code == 65


def test_both_ends_of_a_hold_are_on_record(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    run("create")
    monkeypatch.setenv("SEALWIRE_AUDIT_PATH", "audit.jsonl")
    run("place", "policy.yaml", "--case", "QB-1", stdin=f"{NHS}\n")
    run("release", "1")
    lines = [json.loads(line) for line in Path("audit.jsonl").read_text().splitlines()]
    events = [line["event"] for line in lines if line["event"].startswith("hold-")]
    assert events == ["hold-placed", "hold-released"]
    placed = next(line for line in lines if line["event"] == "hold-placed")
    assert placed["case"] == "QB-1"
    assert NHS not in Path("audit.jsonl").read_text()
