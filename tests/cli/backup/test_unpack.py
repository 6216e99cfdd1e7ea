"""`sealwire backup unpack`: nothing is written before the backup is verified."""

import json
from pathlib import Path

from tests.cli.runs import Run
from tests.sidecars.backup.samples import local, make_dump, seal


def test_a_dry_run_of_unpacking_verifies_and_writes_nothing(run: Run, store: Path, tmp_path: Path) -> None:
    seal(local(store))
    key = ("--key", "env:OLD_KEK")
    document = json.loads(run("unpack", "b", "dump", *key, "--dry-run", "--json").out)
    assert document["bytes"] == make_dump()[1].size
    assert not (tmp_path / "dump").exists()
    document = json.loads(run("unpack", "b", "dump", *key, "--json").out)
    assert document["files"] == len([path for path in (tmp_path / "dump").rglob("*") if path.is_file()])
    assert run("unpack", "b", "dump", *key, "--dry-run").code == 78
