"""`sealwire backup create-key`: what is made, and what is never shown."""

import json
from pathlib import Path

from sealwire.keys.kek.key_pair import load_public_key
from tests.cli.runs import Run
from tests.keys.samples import PASSPHRASE


def test_a_key_pair_is_made_and_the_passphrase_not_shown(
    run: Run, tmp_path: Path, passphrase_file: Path
) -> None:
    outcome = run("create-key", "key", "--passphrase-file", str(passphrase_file))
    assert outcome.code == 0
    assert load_public_key(tmp_path / "key.pub").id in outcome.out
    assert PASSPHRASE not in outcome.out + outcome.err
    assert run("create-key", "key", "--passphrase-file", str(passphrase_file)).code == 73


def test_a_dry_run_makes_no_key_pair_and_needs_no_passphrase(run: Run, tmp_path: Path) -> None:
    document = json.loads(run("create-key", "key", "--dry-run", "--json").out)
    assert document == {"dry_run": True, "private": "key", "public": "key.pub"}
    assert not (tmp_path / "key").exists()
    (tmp_path / "key.pub").touch()
    assert run("create-key", "key", "--dry-run").code == 73
