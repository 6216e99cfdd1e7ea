"""`sealwire backup rekey`: shown first, then done, and said as it is."""

import json
from pathlib import Path

from sealwire.keys.private_file import create_private
from tests.cli.runs import Run
from tests.sidecars.backup.samples import KEK, OTHER_KEK, SIGNING, local, seal


def test_rekey_shows_first_and_then_does_it(run: Run, store: Path) -> None:
    seal(local(store))
    before = {path.name: path.read_bytes() for path in store.iterdir()}
    options = ("--key", "env:OLD_KEK", "--recipient", "env:NEW_KEK")
    plan = json.loads(run("rekey", *options, "--dry-run", "--json").out)
    assert plan["dry_run"] is True
    assert plan["backups"][0] == {
        "name": "b",
        "replaced": None,
        "before": [KEK.id],
        "after": [OTHER_KEK.id],
        "key_given": True,
    }
    assert {path.name: path.read_bytes() for path in store.iterdir()} == before
    assert run("rekey", *options).code == 0
    assert run("verify", "--key", "env:OLD_KEK").code == 77
    assert run("verify", "--key", "env:NEW_KEK").code == 0


def test_rekey_does_not_say_that_a_key_that_stays_is_gone(run: Run, store: Path) -> None:
    seal(local(store))
    options = ("--key", "env:OLD_KEK", "--recipient", "env:OLD_KEK", "--recipient", "env:NEW_KEK")
    assert "no more" not in run("rekey", *options).out
    said = run("rekey", "--key", "env:OLD_KEK", "--recipient", "env:NEW_KEK").out
    assert said.rpartition("no more with ")[2].strip() == KEK.id


def test_rekey_can_encrypt_anew(run: Run, store: Path) -> None:
    seal(local(store))
    outcome = run("rekey", "--reencrypt", "--key", "env:OLD_KEK", "--recipient", "env:NEW_KEK")
    assert outcome.code == 0
    assert outcome.out.startswith("b -> b-r1: ")
    assert run("verify", "b-r1", "--key", "env:NEW_KEK").code == 0
    assert not (store / "b.tar.gz.enc").exists()


def test_rekey_keeps_a_signature_and_does_not_sign_what_was_unsigned(
    run: Run, store: Path, tmp_path: Path
) -> None:
    create_private(tmp_path / "signing", SIGNING.written())
    (tmp_path / "signing.pub").write_text(f"{SIGNING.verification}\n")
    seal(local(store), "plain")
    seal(local(store), "signed", sign_with=SIGNING)
    keys = ("--key", "env:OLD_KEK", "--recipient", "env:NEW_KEK")
    check = ("--key", "env:NEW_KEK", "--signed-by", "signing.pub")
    assert run("rekey", "signed", *keys).code == 0
    assert run("verify", "signed", *check).code == 0
    keys = ("--reencrypt", "--recipient", "env:OLD_KEK", "--key")
    assert run("rekey", "signed", *keys, "env:NEW_KEK").code == 65
    assert run("rekey", "signed", *keys, "env:NEW_KEK", "--sign-with", "signing").code == 0
    assert run("verify", "signed-r1", "--key", "env:OLD_KEK", "--signed-by", "signing.pub").code == 0
    assert run("rekey", "plain", *keys, "env:OLD_KEK", "--sign-with", "signing").code == 65
    assert (store / "plain.tar.gz.enc").exists()
