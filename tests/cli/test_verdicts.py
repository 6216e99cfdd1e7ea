"""`sealwire policy test`: commands of an application with the verdicts that it expects."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from sealwire.cli.exit_codes import EX_CONFIG
from tests.cli.runs import Run

POLICY = """\
version: 1
classes:
  nhs: {mode: deterministic, type: string}
  surname: {mode: deterministic, type: string, ask: true}
  notes: {mode: random}
collections:
  clinic.patients: {nhs_number: nhs, surname: surname, notes: notes}
"""
FIND = {"find": "patients", "filter": {"nhs_number": "9434765919"}, "$db": "clinic"}
SEARCH = {"find": "patients", "filter": {"nhs_number": {"$gt": "9434765919"}}, "$db": "clinic"}
ASK = {"find": "patients", "filter": {"surname": {"$regex": "^Jo"}}, "$db": "clinic"}
SORT = {"find": "patients", "sort": {"surname": 1}, "$db": "clinic"}
EXPECTED: list[dict[str, Any]] = [
    {"name": "by number", "command": FIND, "expect": "answered"},
    {"command": SEARCH, "expect": "refused", "reason": "range", "path": "nhs_number"},
    {"command": json.dumps(ASK), "expect": "two-steps"},
    {"command": SORT, "expect": "two-steps"},
    {"command": {"find": "wards"}, "db": "clinic", "expect": "answered"},
    {"command": {**SORT, "returnKey": True}, "expect": "refused"},
]


BEGINS_WITH = ("policy", "test")


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    path = tmp_path / "policy.yaml"
    path.write_text(POLICY)
    return path


def as_yaml(entries: Any) -> str:
    return str(yaml.safe_dump(json.loads(json.dumps(entries)), sort_keys=False))  # without aliases


def as_lines(entries: Any) -> str:
    return "".join(f"{json.dumps(each)}\n\n" for each in entries)


@pytest.mark.parametrize("written", [as_yaml, as_lines])
def test_verdicts_that_are_as_expected_pass(policy: Path, run: Run, tmp_path: Path, written: Any) -> None:
    cases = tmp_path / "commands"
    cases.write_text(written(EXPECTED))
    done = run(policy, cases)
    assert (done.code, "6 commands, 0 not" in done.out) == (0, True)


@pytest.mark.parametrize(
    ("index", "entry", "expected"),
    [
        (0, {"expect": "refused"}, {"expect": "refused", "reason": None, "path": None}),
        (1, {"reason": "pattern"}, {"expect": "refused", "reason": "pattern", "path": "nhs_number"}),
        (1, {"path": "mrn"}, {"expect": "refused", "reason": "range", "path": "mrn"}),
        (2, {"expect": "answered"}, {"expect": "answered", "reason": None, "path": None}),
    ],
)
def test_a_verdict_that_differs_is_shown_without_values(
    policy: Path, run: Run, tmp_path: Path, index: int, entry: dict[str, str], expected: dict[str, str]
) -> None:
    cases = tmp_path / "commands.jsonl"
    cases.write_text(
        "".join(
            json.dumps({**each, **(entry if number == index else {})}) + "\n"
            for number, each in enumerate(EXPECTED)
        )
    )
    done = run(policy, cases, "--json", code=1)
    found = json.loads(done.out)
    assert (found["commands"], len(found["differences"])) == (6, 1)
    difference = found["differences"][0]
    assert (difference["line"], difference["expected"]) == (index + 1, expected)
    assert difference["command"] == "find patients"
    shown = run(policy, cases)
    assert (shown.code, "1 not as expected" in shown.out) == (1, True)
    assert "9434765919" not in done.out + shown.out


@pytest.mark.parametrize("written", [as_yaml, as_lines])
def test_a_byte_order_mark_is_no_part_of_a_file(policy: Path, run: Run, tmp_path: Path, written: Any) -> None:
    cases = tmp_path / "commands"
    cases.write_text(written(EXPECTED), encoding="utf-8-sig")
    assert run(policy, cases).code == 0


@pytest.mark.parametrize(("name", "written"), [("c.yaml", as_yaml), ("c.jsonl", as_lines)])
def test_todays_verdicts_are_recorded_beside_commands(
    policy: Path, run: Run, tmp_path: Path, name: str, written: Any
) -> None:
    cases = tmp_path / name
    cases.write_text(written([FIND, {**EXPECTED[1], "reason": "pattern"}, EXPECTED[2]]))
    cases.chmod(0o640)
    assert run(policy, cases).code == 1
    done = run(policy, cases, "--record")
    assert (done.code, "2 of 3" in done.out) == (0, True)
    assert run(policy, cases).code == 0
    assert cases.stat().st_mode & 0o777 == 0o640
    text = cases.read_text()
    entries = yaml.safe_load(text) if name == "c.yaml" else [json.loads(each) for each in text.splitlines()]
    assert entries == [{"command": FIND, "expect": "answered"}, EXPECTED[1], EXPECTED[2]]


@pytest.mark.parametrize(("name", "written"), [("c.yaml", as_yaml), ("c.jsonl", as_lines)])
def test_a_name_that_has_no_utf_8_does_not_cost_the_file(
    policy: Path, run: Run, tmp_path: Path, name: str, written: Any
) -> None:
    cases = tmp_path / name
    cases.write_text(written([{"name": "\ud800", "command": FIND}]))
    assert run(policy, cases, "--record").code == 0
    assert run(policy, cases).code == 0


def test_a_file_in_which_every_verdict_stands_is_not_written(policy: Path, run: Run, tmp_path: Path) -> None:
    cases = tmp_path / "c.yaml"
    text = f"# why\n{as_yaml(EXPECTED)}"
    cases.write_text(text)
    done = run(policy, cases, "--record", "--json")
    assert (done.code, json.loads(done.out), cases.read_text()) == (0, {"written": 0}, text)


def test_a_file_that_cannot_be_written_is_told(
    policy: Path, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cases = tmp_path / "c.yaml"
    cases.write_text(as_yaml([FIND]))

    def refuse(*_arguments: object, **_more: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", refuse)
    assert run(policy, cases, "--record").code == EX_CONFIG


def test_the_database_may_be_given_for_all(policy: Path, run: Run, tmp_path: Path) -> None:
    cases = tmp_path / "c.yaml"
    cases.write_text("- {command: {find: patients}, expect: answered}\n")
    assert run(policy, cases).code == EX_CONFIG
    assert run(policy, cases, "--db", "clinic").code == 0


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", 1),
        ("find: patients\n", 1),
        ("- 1\n", 1),
        ("\n- {}\n", 2),
        ("- {expect: answered}\n", 1),
        ("- {command: {ping: 1}, db: x, expected: answered}\n", 1),
        ("- {command: {ping: 1}, db: x, expect: maybe}\n", 1),
        ("- {command: {ping: 1}, db: x, reason: because}\n", 1),
        ("- {command: {ping: 1}, db: x}\n- {command: [], db: x}\n", 2),
        ("- {command: '{', db: x}\n", 1),
        ("- {command: {find: c, filter: {a: 1990-01-31}}, db: x}\n", 1),
        ('{"ping": 1, "$db": "x"}\n{"ping": \n', 2),
        ('{"find": "a\\u0000b", "filter": {"a\\u0000b": 1}, "$db": "x"}\n', 1),
        ('{"ping": 1, "$db": "x"}\n' * 50_000, 1),
    ],
)
def test_a_file_that_cannot_be_understood_is_told_by_line(
    policy: Path, run: Run, tmp_path: Path, text: str, line: int
) -> None:
    cases = tmp_path / "commands"
    cases.write_text(text)
    done = run(policy, cases, code=EX_CONFIG)
    assert f"{cases}:{line}:" in done.err


def test_every_entry_that_is_wrong_is_told(policy: Path, run: Run, tmp_path: Path) -> None:
    cases = tmp_path / "commands"
    cases.write_text("- {expect: answered}\n- {command: {ping: 1}, db: x, expect: maybe}\n")
    assert run(policy, cases).err.count("sealwire: error:") == 2
