"""`sealwire keys rotate --due` for classes whose policy says how often: what waits, and what is left."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from sealwire.keys.kek.kek import EnvironmentKek
from sealwire.keys.keyring.file import create_keyring, read_record
from sealwire.keys.private_file import writer_lock
from tests.cli.runs import Run

POLICY = """\
version: 1
classes:
  nhs_number: {mode: deterministic, type: string, rotate: quarterly}
  tenant_number: {mode: deterministic, type: string, key: {per: tenant}, rotate: yearly}
  notes: {mode: random, rotate: monthly}
  free: {mode: random}
collections:
  clinic.patients: {nhs_number: nhs_number, number: tenant_number, notes: notes, free: free}
"""
CLASSES = ("nhs_number", "tenant_number", "notes", "free")
DUE = ("rotate", "--due", "--rewrap-every", "never", "--json")


def hours_from_now(begin: int, end: int) -> str:
    """Quiet hours around the time of now, or beside it."""
    now = datetime.now(UTC).astimezone()
    return f"{now + timedelta(hours=begin):%H:%M}-{now + timedelta(hours=end):%H:%M}"


INSIDE, OUTSIDE = hours_from_now(-3, 3), hours_from_now(3, 6)


@pytest.fixture
def keyring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, begins_with: tuple[str, ...]) -> Path:
    """Its keys are a hundred days old."""
    (tmp_path / "policy.yaml").write_text(POLICY)
    monkeypatch.setenv("SEALWIRE_KEYRING", "k.json")
    monkeypatch.setenv("SEALWIRE_POLICY", "policy.yaml")
    for name in ("SERVER_URI", "SERVER_URI_FILE", "HOLDS", "AUDIT_PATH"):
        monkeypatch.delenv(f"SEALWIRE_{name}", raising=False)
    return aged(100)


def aged(days: int) -> Path:
    path = Path("k.json")
    path.unlink(missing_ok=True)
    create_keyring(path, EnvironmentKek(), CLASSES, datetime.now(UTC) - timedelta(days=days))
    return path


def planned(run: Run, *words: str, code: int = 0) -> list[dict[str, Any]]:
    done = run(*DUE, *words, code=code)
    plan: list[dict[str, Any]] = json.loads(done.out)["plan"]
    return plan


def outcomes(plan: Sequence[dict[str, Any]]) -> dict[str, str]:
    return {each["class"]: each["outcome"] for each in plan}


def versions(keyring: Path) -> dict[str, int]:
    return {entry.name: len(entry.keys) for entry in read_record(keyring).classes}


def test_a_plan_says_of_each_class_how_old_it_is_since_when_it_is_due_and_what_will_be_done(
    run: Run, keyring: Path
) -> None:
    nhs, notes = planned(run, "--quiet", OUTSIDE, code=1)
    assert (nhs["class"], nhs["version"], nhs["rotate"], nhs["new_version"]) == (
        "nhs_number",
        1,
        "quarterly",
        True,
    )
    age = datetime.fromisoformat(nhs["due_since"]) - datetime.fromisoformat(nhs["created"])
    assert age == timedelta(days=90)
    assert (nhs["reencrypts"], notes["reencrypts"]) == (True, False)
    assert notes["rotate"] == "monthly"


def test_outside_the_quiet_hours_a_class_waits_and_is_not_touched(run: Run, keyring: Path) -> None:
    content = keyring.read_bytes()
    words = ("--quiet", OUTSIDE, "--uri", "mongodb://127.0.0.1:1/")
    plan = planned(run, *words, code=1)  # the notes were due 70 days ago
    assert outcomes(plan) == {"nhs_number": "waits", "notes": "waits"}
    assert OUTSIDE[:5] in plan[0]["why"]
    assert keyring.read_bytes() == content
    assert f"waits until {OUTSIDE[:5]}" in run("rotate", "--due", *words).out


def test_what_waits_is_no_fault_until_it_is_overdue(run: Run, keyring: Path) -> None:
    aged(31)
    assert outcomes(planned(run, "--quiet", OUTSIDE)) == {"notes": "waits"}
    aged(44)
    assert outcomes(planned(run, "--quiet", OUTSIDE, code=1)) == {"notes": "waits"}


def test_a_random_class_gets_its_key_in_the_quiet_hours_and_a_class_without_a_server_is_left(
    run: Run, keyring: Path
) -> None:
    done = run(*DUE, "--quiet", INSIDE)
    document = json.loads(done.out)
    assert outcomes(document["plan"]) == {"nhs_number": "left", "notes": "done"}
    assert document["keys"] == [{"class": "notes", "version": 2, "state": "active"}]
    assert document["next"] == ["sealwire keys rotate nhs_number"]
    assert versions(keyring) == {"nhs_number": 1, "tenant_number": 1, "notes": 2, "free": 1}
    assert done.code == 0  # the numbers are not overdue


def test_a_class_with_a_key_for_each_context_needs_no_move(run: Run, keyring: Path) -> None:
    aged(366)
    plan = planned(run, code=1)
    assert outcomes(plan) == {"nhs_number": "left", "tenant_number": "done", "notes": "done"}
    assert versions(keyring)["tenant_number"] == 2


def test_the_interval_of_a_class_goes_before_that_of_all(run: Run, keyring: Path) -> None:
    aged(10)
    assert outcomes(planned(run, "--rotate-every", "5d")) == {"free": "done"}


def test_a_dry_run_changes_nothing(run: Run, keyring: Path) -> None:
    content = keyring.read_bytes()
    assert outcomes(planned(run, "--dry-run")) == {"nhs_number": "left", "notes": "planned"}
    assert keyring.read_bytes() == content


def test_nothing_is_rotated_while_an_erasure_runs(run: Run, keyring: Path, tmp_path: Path) -> None:
    holds = tmp_path / "holds.json"
    holds.touch()
    content = keyring.read_bytes()
    with writer_lock(holds):
        plan = planned(run, "--holds", str(holds), code=1)
    assert outcomes(plan) == {"nhs_number": "left", "notes": "waits"}
    assert keyring.read_bytes() == content
    assert outcomes(planned(run, "--holds", str(holds)))["notes"] == "done"


def test_a_class_that_lends_its_key_is_left(run: Run, keyring: Path) -> None:
    borrower = "  visits: {mode: deterministic, type: string}\n  notes:"
    Path("policy.yaml").write_text(POLICY.replace("  notes:", borrower))
    assert run("create", "visits", "--sharing", "nhs_number", "--policy", "policy.yaml").code == 0
    plan = planned(run, "--uri", "mongodb://127.0.0.1:1/")
    assert outcomes(plan) == {"nhs_number": "left", "notes": "done"}


def test_the_trouble_of_a_class_is_its_own_and_ends_with_its_exit_code(run: Run, keyring: Path) -> None:
    done = run(*DUE, "--uri", "nonsense", code=78)
    assert outcomes(json.loads(done.out)["plan"]) == {"nhs_number": "refused", "notes": "done"}
    assert "class nhs_number" in done.err
    assert versions(keyring)["nhs_number"] == 1


def test_each_rotation_is_on_record(run: Run, keyring: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEALWIRE_AUDIT_PATH", "audit.log")
    assert run(*DUE, "--dry-run").code == 0
    assert run(*DUE, "--uri", "nonsense").code == 78
    lines = [json.loads(line) for line in Path("audit.log").read_text().splitlines()]
    found = [line for line in lines if line["event"] == "rotation"]
    assert [(line["class"], line["outcome"]) for line in found] == [
        ("nhs_number", "refused"),
        ("notes", "done"),
    ]


@pytest.mark.parametrize("hours", ["1-5", "01:00", "01:00-24:00", "01:00-01:00", "night"])
def test_quiet_hours_are_two_times_of_day(run: Run, keyring: Path, hours: str) -> None:
    assert run("rotate", "--due", "--quiet", hours).code == 2


def test_quiet_hours_are_for_the_calendar(run: Run, keyring: Path) -> None:
    assert run("rotate", "notes", "--quiet", INSIDE).code == 2


def test_status_says_when_each_class_is_due(run: Run, keyring: Path) -> None:
    aged(20)
    shown = json.loads(run("status", "--json").out)
    assert set(shown["rotations"]) == {"nhs_number", "tenant_number", "notes"}
    assert (shown["due"], shown["overdue"]) == ([], False)
    day = datetime.fromisoformat(shown["rotations"]["nhs_number"])
    assert f"due on {day:%Y-%m-%d}: sealwire keys rotate nhs_number" in run("status").out
    aged(104)
    late = run("status", "--json", "--rewrap-every", "never", code=1)
    overdue = {each["class"]: each["overdue"] for each in json.loads(late.out)["due"]}
    assert overdue == {"nhs_number": True, "notes": True}
