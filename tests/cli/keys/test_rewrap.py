"""`sealwire keys rewrap`: another key-encryption key for the same data keys."""

import json
from pathlib import Path

import pytest

from sealwire.keys.keyring.file import read_record
from tests.cli.runs import Run


@pytest.fixture
def keyring(run: Run, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NEW_KEK", run("create-kek").out.strip())
    assert run("create", "--keyring", "k.json", "a", "b").code == 0
    return Path("k.json")


def test_only_the_new_key_opens_what_was_rewrapped(run: Run, keyring: Path) -> None:
    outcome = run("rewrap", "--keyring", "k.json", "--to", "env:NEW_KEK")
    assert outcome.code == 0
    assert read_record(keyring).kek_id in outcome.out
    assert run("verify", "--keyring", "k.json", "--kek", "env:NEW_KEK").code == 0
    assert run("verify", "--keyring", "k.json").code == 77


def test_a_change_of_provider_to_a_key_file(run: Run, keyring: Path, passphrase_file: Path) -> None:
    passphrase = str(passphrase_file)
    assert run("create-kek", "--file", "kek.json", "--passphrase-file", passphrase).code == 0
    arguments = ("--to", "file:kek.json", "--to-passphrase-file", passphrase)
    assert run("rewrap", "--keyring", "k.json", *arguments).code == 0
    opening = ("--kek", "file:kek.json", "--passphrase-file", passphrase)
    assert run("verify", "--keyring", "k.json", *opening).code == 0


def test_a_dry_run_says_what_would_be_done(run: Run, keyring: Path) -> None:
    content = keyring.read_bytes()
    document = json.loads(
        run("rewrap", "--keyring", "k.json", "--to", "env:NEW_KEK", "--dry-run", "--json").out
    )
    assert keyring.read_bytes() == content
    kek_id = document.pop("kek_id")
    assert document == {"dry_run": True, "keys": 2, "generation": 2, "before": read_record(keyring).kek_id}
    assert kek_id != document["before"]


def test_without_a_new_key_the_old_one_wraps_anew(run: Run, keyring: Path) -> None:
    before = read_record(keyring)
    assert run("rewrap", "--keyring", "k.json").code == 0
    after = read_record(keyring)
    assert (after.kek_id, after.generation) == (before.kek_id, 2)
    assert run("verify", "--keyring", "k.json").code == 0
