"""`sealwire backup verify`: what is sound is said and noted, and the exit code of what is not."""

import hashlib
import json
from datetime import timedelta
from pathlib import Path

from sealwire.audit.signing import make_key
from sealwire.keys.kek.key_pair import create_key_pair, load_public_key
from tests.cli.runs import Run
from tests.keys.samples import CHEAP_SCRYPT, NOW, PASSPHRASE
from tests.sidecars.backup.samples import KEK, SIGNING, change, local, seal


def test_verify_says_sound_and_the_list_remembers(run: Run, store: Path) -> None:
    seal(local(store))
    outcome = run("verify", "--key", "env:OLD_KEK")
    verdict = f"unsigned, made by somebody who may use {KEK.id}"
    assert (outcome.code, outcome.out) == (0, f"b: sound, 20 documents in 3 files; {verdict}\n")
    assert json.loads(run("list", "--json").out)["backups"][0]["verified"] is not None


def test_verify_with_a_private_key(run: Run, store: Path, tmp_path: Path, passphrase_file: Path) -> None:
    create_key_pair(tmp_path / "key", PASSPHRASE, CHEAP_SCRYPT)
    seal(local(store), recipients=[load_public_key(tmp_path / "key.pub")])
    outcome = run("verify", "--key", "private:key", "--passphrase-file", str(passphrase_file), "--json")
    assert outcome.code == 0
    assert json.loads(outcome.out)["sound"][0]["documents"] == 20


def test_verify_names_a_forged_backup_and_signed_by_refuses_it(
    run: Run, store: Path, tmp_path: Path, passphrase_file: Path
) -> None:
    """The forger has the public key, may write to the store, and signs with a key of the same name."""
    create_key_pair(tmp_path / "key", PASSPHRASE, CHEAP_SCRYPT)
    public = load_public_key(tmp_path / "key.pub")
    (tmp_path / "signing.pub").write_text(f"{SIGNING.verification}\n")
    seal(local(store), "genuine", recipients=[public], sign_with=SIGNING)
    seal(local(store), "plain", recipients=[public])
    seal(local(store), "other", recipients=[public], sign_with=make_key(SIGNING.verification.name, bytes(32)))
    options = ("--key", "private:key", "--passphrase-file", str(passphrase_file))
    said = dict(line.split(": ", 1) for line in run("verify", *options).out.splitlines())
    assert f"sealed for you, by anybody who has the public key {public.id}" in said["plain"]
    assert f"sealed for you, by anybody who has the public key {public.id}" in said["other"]
    assert all("signed by" not in verdict for verdict in said.values())

    outcome = run("verify", *options, "--signed-by", "signing.pub", "--json")
    assert outcome.code == 65
    (row,) = json.loads(outcome.out)["sound"]
    file_sum = hashlib.sha256((tmp_path / "signing.pub").read_bytes()).hexdigest()
    assert (row["name"], row["signed_by"], row["writer"]) == ("genuine", file_sum, "signer")
    rows = json.loads(run("verify", *options, "--json").out)["sound"]
    assert [(row["signed_by"], row["writer"]) for row in rows] == [(None, "anybody")] * 3

    key = ("--signed-by", "signing.pub", "--dry-run", "--json", *options)
    assert json.loads(run("unpack", "genuine", "dump", *key).out)["signed_by"] == file_sum
    for name in ("plain", "other"):
        assert run("unpack", name, "dump", *key).code == 65
        assert run("restore", name, *key).code == 65


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
