"""`sealwire backup list` and `prune`: what there is, and what goes."""

import json
from datetime import timedelta
from pathlib import Path

from tests.cli.runs import Run
from tests.keys.samples import NOW
from tests.sidecars.backup.samples import KEK, local, seal


def test_the_list_shows_what_there_is(run: Run, store: Path) -> None:
    seal(local(store), "one")
    seal(local(store), "two", created=NOW + timedelta(days=1))
    (store / "two.tar.gz.enc.json").unlink()
    document = json.loads(run("list", "--json").out)
    assert document["authenticated"] is False
    rows = {row["name"]: row for row in document["backups"]}
    assert (rows["one"]["documents"], rows["one"]["key_ids"], rows["one"]["problem"]) == (20, [KEK.id], None)
    assert rows["two"]["problem"] == "sidecar-missing"
    outcome = run("list")
    assert outcome.code == 0
    assert "one" in outcome.out
    assert rows["one"]["consistency"] in outcome.out
    assert f"{KEK.id} opens 1 of 2" in outcome.out


def test_prune_shows_first_and_then_does_it(run: Run, store: Path) -> None:
    for day in range(3):
        seal(local(store), f"d{day}", created=NOW + timedelta(days=day))
    run("verify", "d0", "--key", "env:OLD_KEK")
    plan = json.loads(run("prune", "--keep-last", "1", "--dry-run", "--json").out)
    assert plan["removed"] == ["d1"]
    assert plan["kept"] == {"d0": ["last verified"], "d2": ["last"]}
    assert (store / "d1.tar.gz.enc").exists()
    assert run("prune", "--keep-last", "1").code == 0
    assert sorted(path.name for path in store.glob("*.enc")) == ["d0.tar.gz.enc", "d2.tar.gz.enc"]
    assert run("prune").code == 78
