"""How an interval is written."""

import json
from datetime import timedelta
from pathlib import Path

import click
import pytest

from sealwire.cli.options import Interval
from sealwire.keys.keyring.file import read_record
from tests.cli.runs import Run


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90d", timedelta(days=90)),
        ("13w", timedelta(days=91)),
        ("36h", timedelta(hours=36)),
        ("0d", timedelta(0)),
        ("99999d", timedelta(days=99_999)),
        ("never", None),
    ],
)
def test_hours_days_and_weeks_are_read(text: str, expected: timedelta | None) -> None:
    assert Interval().convert(text, None, None) == expected


def test_what_is_read_already_stays() -> None:
    assert Interval().convert(timedelta(days=3), None, None) == timedelta(days=3)


@pytest.mark.parametrize(
    "text", ["", "90", "d", "-1d", "1.5d", "90 d", "90D", "100000d", "3m", "90d\n", "٣d"]
)
def test_anything_else_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(click.BadParameter, match="90d"):
        Interval().convert(text, None, None)


# --------------------------- keys that are borrowed, from the command line: begun, shown, refused and ended


ALIKE = """\
version: 1
classes:
  nhs: {mode: deterministic, type: string}
  intake: {mode: deterministic, type: string}
  visits: {mode: deterministic, type: string}
  age: {mode: deterministic, type: int}
  notes: {mode: random}
collections:
  clinic.patients: {nhs: nhs, age: age, notes: notes}
  clinic.intake: {nhs: intake, visits: visits}
"""
JOINED = """\
version: 1
classes:
  nhs: {mode: deterministic, type: string}
collections:
  clinic.patients: {nhs: nhs}
  clinic.intake: {nhs: nhs}
"""


@pytest.fixture
def keyring(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`intake` is in clear, `visits` has no key."""
    (tmp_path / "policy.yaml").write_text(ALIKE)
    (tmp_path / "joined.yaml").write_text(JOINED)
    monkeypatch.setenv("SEALWIRE_KEYRING", "k.json")
    monkeypatch.setenv("SEALWIRE_POLICY", "policy.yaml")
    assert run("create", "nhs", "age", "notes", "--plaintext", "intake").code == 0
    return Path("k.json")


def states(keyring: Path) -> dict[str, list[str]]:
    return {entry.name: [key.state.value for key in entry.keys] for entry in read_record(keyring).classes}


def test_a_class_in_clear_is_to_move_to_the_key_of_another(run: Run, keyring: Path) -> None:
    dry = run("rotate", "intake", "--onto", "nhs", "--dry-run", "--json")
    assert states(keyring)["intake"] == ["active"]
    done = run("rotate", "intake", "--onto", "nhs", "--json")
    assert (dry.code, done.code) == (0, 0)
    wanted = {
        "keys": [{"class": "intake", "version": 2, "state": "pending"}],
        "key_of": {"class": "nhs", "version": 1},
        "next": ["sealwire migrate encrypt POLICY intake"],
    }
    assert json.loads(dry.out) == {"dry_run": True, **wanted}
    assert json.loads(done.out) == {"dry_run": False, **wanted}
    assert states(keyring)["intake"] == ["active", "pending"]


def test_a_new_class_begins_with_the_key_of_another_and_may_move_to_its_own(run: Run, keyring: Path) -> None:
    done = run("create", "visits", "--sharing", "nhs", "--policy", "policy.yaml", code=0)
    assert "key of nhs 1" in done.out
    assert run("rotate", "visits").code == 0
    back = run("rotate", "visits", "--onto", "nhs", code=78)
    assert "encrypts with that key already" in back.err
    assert states(keyring)["visits"] == ["active", "pending"]


def test_every_list_shows_whose_a_key_is(run: Run, keyring: Path) -> None:
    assert run("create", "visits", "--sharing", "nhs", "--policy", "policy.yaml").code == 0
    for command in ("list", "verify", "status"):
        shown = run(command, "--json")
        found = {key["class"]: key["key_of"] for key in json.loads(shown.out)["keys"]}
        assert found["visits"] == {"class": "nhs", "version": 1}
        assert found["nhs"] is None
        assert "key of nhs 1" in " ".join(run(command).out.split())


@pytest.mark.parametrize(
    ("code", "args"),
    [
        (2, ["create", "--sharing", "nhs"]),
        (2, ["create", "visits", "other", "--sharing", "nhs"]),
        (2, ["create", "visits", "--sharing", "nhs", "--plaintext", "visits"]),
        (2, ["create", "visits", "--sharing", "nhs", "--plaintext-all", "--policy", "policy.yaml"]),
        (78, ["create", "visits", "--sharing", "nhs"]),
        (78, ["create", "visits", "--sharing", "age", "--policy", "policy.yaml"]),
        (78, ["create", "visits", "--sharing", "notes", "--policy", "policy.yaml"]),
        (78, ["create", "visits", "--sharing", "intake", "--policy", "policy.yaml"]),
        (78, ["create", "unknown", "--sharing", "nhs", "--policy", "policy.yaml"]),
        (65, ["create", "nhs", "--sharing", "visits", "--policy", "policy.yaml"]),
        (2, ["rotate", "--onto", "nhs", "--due"]),
        (2, ["rotate", "intake", "age", "--onto", "nhs"]),
        (78, ["rotate", "intake", "--onto", "age"]),
        (78, ["rotate", "intake", "--onto", "unknown"]),
        (65, ["rotate", "visits", "--onto", "nhs"]),
        (78, ["rotate", "nhs", "--onto", "intake"]),
    ],
)
def test_what_cannot_be_lent_is_refused_and_changes_nothing(
    run: Run, keyring: Path, code: int, args: list[str]
) -> None:
    before = keyring.read_bytes()
    done = run(*args, code=code)
    assert code == 2 or "hint:" in done.err
    assert keyring.read_bytes() == before


def test_a_class_that_lends_is_not_rotated_and_keeps_no_other_from_it(run: Run, keyring: Path) -> None:
    assert run("create", "visits", "--sharing", "nhs", "--policy", "policy.yaml").code == 0
    refused = run("rotate", "nhs", code=78)
    assert "visits" in refused.err
    assert "hint:" in refused.err
    done = json.loads(run("rotate", "--due", "--rotate-every", "0d", "--json").out)
    assert {each["class"] for each in done["keys"]} == {"age", "notes"}
    assert "sealwire keys rotate nhs" in done["next"]


def test_an_active_key_is_given_back_when_no_policy_names_its_class(run: Run, keyring: Path) -> None:
    assert run("create", "visits", "--sharing", "nhs", "--policy", "policy.yaml").code == 0
    assert run("retire", "visits", "1", "--yes").code == 78  # the policy of the environment has the class
    assert states(keyring)["visits"] == ["active"]
    run("retire", "visits", "1", "--yes", "--policy", "joined.yaml", code=0)
    assert states(keyring)["visits"] == ["retired"]
    assert run("rotate", "nhs").code == 0
    assert run("retire", "visits", "1", "--undo").code == 78
    assert run("retire", "nhs", "1", "--yes", "--policy", "joined.yaml").code == 78


def test_an_active_key_is_not_given_back_without_a_policy(
    run: Run, keyring: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("create", "visits", "--sharing", "nhs", "--policy", "policy.yaml").code == 0
    monkeypatch.delenv("SEALWIRE_POLICY")
    refused = run("retire", "visits", "1", "--yes", code=78)
    assert "--policy" in refused.err
    assert states(keyring)["visits"] == ["active"]
