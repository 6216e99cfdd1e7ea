"""`sealwire backup verify`: what is sound is said and noted, and the exit code of what is not."""

import json
from datetime import timedelta
from pathlib import Path

from sealwire.keys.kek.key_pair import create_key_pair, load_public_key
from tests.cli.runs import Run
from tests.keys.samples import CHEAP_SCRYPT, NOW, PASSPHRASE
from tests.sidecars.backup.samples import KEK, change, local, seal


def test_verify_says_sound_and_the_list_remembers(run: Run, store: Path) -> None:
    seal(local(store))
    outcome = run("verify", "--key", "env:OLD_KEK")
    assert (outcome.code, outcome.out) == (0, "b: sound, 20 documents in 3 files\n")
    assert json.loads(run("list", "--json").out)["backups"][0]["verified"] is not None


def test_verify_with_a_private_key(run: Run, store: Path, tmp_path: Path, passphrase_file: Path) -> None:
    create_key_pair(tmp_path / "key", PASSPHRASE, CHEAP_SCRYPT)
    seal(local(store), recipients=[load_public_key(tmp_path / "key.pub")])
    outcome = run("verify", "--key", "private:key", "--passphrase-file", str(passphrase_file), "--json")
    assert outcome.code == 0
    assert json.loads(outcome.out)["sound"][0]["documents"] == 20


def test_one_damaged_backup_does_not_keep_the_others_from_being_read(run: Run, store: Path) -> None:
    for day, name in enumerate(("a", "b", "c")):
        seal(local(store), name, created=NOW + timedelta(days=day))
    change(store / "b.tar.gz.enc", lambda content: content[:-1])
    outcome = run("verify", "--key", "env:OLD_KEK")
    assert outcome.code == 65
    assert [line.split(":")[0] for line in outcome.out.splitlines()] == ["a", "c"]
    assert "error: b.tar.gz.enc " in outcome.err
    assert run("verify", "--latest", "--key", "env:OLD_KEK").code == 0


def test_the_wrong_key_and_a_missing_backup_have_their_exit_codes(run: Run, store: Path) -> None:
    assert run("verify", "--key", "env:OLD_KEK").code == 66
    seal(local(store))
    denied = run("verify", "--key", "env:NEW_KEK")
    assert denied.code == 77
    assert KEK.id in denied.err
    assert run("verify", "other", "--key", "env:OLD_KEK").code == 66
    assert run("verify").code == 2
    assert run("list", "--store", "/no/such/place").code == 66
