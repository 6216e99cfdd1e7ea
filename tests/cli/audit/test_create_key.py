"""`sealwire audit create-key`: both halves, what is shown, and what is in the way."""

import json
import stat
from pathlib import Path

from sealwire.audit.files import load_signing_key, load_verification_key
from sealwire.audit.pseudonyms import load_pseudonym_key
from tests.cli.runs import Run


def test_both_halves_are_made_and_only_the_public_one_is_shown(run: Run, tmp_path: Path) -> None:
    outcome = run("create-key", "audit.key", "--name", "clinic.example/sealwire")
    assert outcome.code == 0
    key = load_signing_key(tmp_path / "audit.key")
    assert load_verification_key(tmp_path / "audit.key.pub") == key.verification
    assert str(key.verification) in outcome.out
    secret = key.written().decode().strip().split("+", 4)[4]
    assert secret not in outcome.out + outcome.err
    assert stat.S_IMODE((tmp_path / "audit.key").stat().st_mode) == 0o600


def test_two_keys_differ(run: Run, tmp_path: Path) -> None:
    for name in ("one", "two"):
        run("create-key", name, "--name", "clinic.example/sealwire")
    assert (tmp_path / "one").read_bytes() != (tmp_path / "two").read_bytes()


def test_nothing_is_overwritten(run: Run, tmp_path: Path) -> None:
    (tmp_path / "audit.key.pub").touch()
    assert run("create-key", "audit.key", "--name", "clinic").code == 73
    assert not (tmp_path / "audit.key").exists()


def test_a_dry_run_makes_nothing(run: Run, tmp_path: Path) -> None:
    outcome = run("create-key", "audit.key", "--name", "clinic", "--dry-run", "--json")
    said = {"private": "audit.key", "public": "audit.key.pub", "dry_run": True}
    assert (outcome.code, json.loads(outcome.out)) == (0, said)
    assert not list(tmp_path.glob("audit.key*"))


def test_a_name_that_no_key_may_have(run: Run, tmp_path: Path) -> None:
    outcome = run("create-key", "audit.key", "--name", "a clinic")
    assert outcome.code == 65
    assert "hint:" in outcome.err
    assert not list(tmp_path.glob("audit.key*"))


def test_a_key_of_pseudonyms_beside_or_alone(run: Run, tmp_path: Path) -> None:
    outcome = run("create-key", "--subjects-key", "subjects.key", "--json")
    assert (outcome.code, json.loads(outcome.out)) == (0, {"dry_run": False, "subjects_key": "subjects.key"})
    written = (tmp_path / "subjects.key").read_bytes()
    assert load_pseudonym_key(tmp_path / "subjects.key").written() == written
    assert written.decode().strip()[13:] not in outcome.out
    assert run("create-key", "audit.key", "--name", "clinic", "--subjects-key", "subjects.key").code == 73
    assert not (tmp_path / "audit.key").exists()
    assert run("create-key", "audit.key", "--name", "clinic", "--subjects-key", "other.key").code == 0
    assert stat.S_IMODE((tmp_path / "other.key").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "audit.key.pub").stat().st_mode) == 0o644


def test_what_is_to_be_made_has_to_be_said(run: Run) -> None:
    assert run("create-key").code == 2
    assert run("create-key", "audit.key").code == 2
