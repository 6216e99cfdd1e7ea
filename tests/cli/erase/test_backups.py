"""Which backups a receipt names."""

import os
from datetime import timedelta
from pathlib import Path

from sealwire.cli.erase.backups import backups_with
from sealwire.sidecars.backup.keeping.catalog import read_catalog
from sealwire.sidecars.backup.keeping.retention import RetentionPolicy
from tests.keys.samples import NOW
from tests.sidecars.backup.samples import local, seal

LATER = NOW + timedelta(days=9)


def test_those_that_hold_the_collections_or_may(tmp_path: Path) -> None:
    for name, day in (("one", 0), ("two", 1), ("three", 2), ("four", 20)):
        seal(local(tmp_path), name, created=NOW + timedelta(days=day))
    (tmp_path / "two.tar.gz.enc.json").unlink()
    # without its manifest a backup is as old as its file
    made = (NOW + timedelta(days=1)).timestamp()
    os.utime(tmp_path / "two.tar.gz.enc", (made, made))
    namespace = next(iter(make_namespaces(tmp_path)))
    found = {row["name"]: row for row in backups_with(str(tmp_path), {namespace}, None, LATER)}
    assert found["one"] == {"name": "one", "created": "2026-01-31T12:30:15Z", "holds": "ciphertext"}
    assert "three" in found
    assert "four" not in found
    others = backups_with(str(tmp_path), {"other.collection"}, RetentionPolicy(daily=7), LATER)
    assert [(row["name"], row["holds"]) for row in others] == [("two", "unknown")]
    dated = backups_with(str(tmp_path), {namespace}, RetentionPolicy(daily=7), LATER)
    assert {row["name"]: row["until"] for row in dated}["one"] == "2026-02-07T12:30:15Z"


def make_namespaces(folder: Path) -> tuple[str, ...]:
    """What the sample backups hold."""
    manifest = read_catalog(local(folder)).entries[0].manifest
    assert manifest is not None
    return manifest.namespaces
