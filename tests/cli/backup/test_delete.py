"""`sealwire backup delete`: what is named goes, what has to stay does not, and nothing goes unasked."""

import json
from datetime import timedelta
from pathlib import Path

import pytest

from sealwire.audit.pseudonyms import PseudonymKey
from sealwire.keys.private_file import create_private
from sealwire.sidecars.erasure.holds import create_holds, place, release
from tests.cli.runs import Run
from tests.keys.samples import NOW
from tests.sidecars.backup.samples import local, seal


@pytest.fixture(autouse=True)
def three(store: Path) -> None:
    for day in range(3):
        seal(local(store), f"d{day}", created=NOW + timedelta(days=day))


def left(store: Path) -> list[str]:
    return sorted(path.name.partition(".")[0] for path in store.glob("*.enc"))


def test_a_backup_goes_with_its_sidecar_and_once_it_was_confirmed(run: Run, store: Path) -> None:
    assert run("delete", "d0", stdin="n\n").code == 1
    assert left(store) == ["d0", "d1", "d2"]
    assert run("delete", "d0", stdin="y\n").code == 0
    assert left(store) == ["d1", "d2"]
    assert not list(store.glob("d0*"))


def test_a_dry_run_and_json_say_what_would_go(run: Run, store: Path) -> None:
    document = json.loads(run("delete", "d0", "d1", "--dry-run", "--json").out)
    assert document["dry_run"] is True
    assert [row["name"] for row in document["deleted"]] == ["d0", "d1"]
    assert left(store) == ["d0", "d1", "d2"]
    assert [
        row["documents"] for row in json.loads(run("delete", "d0", "--yes", "--json").out)["deleted"]
    ] == [20]


def test_what_would_be_restored_today_stays_and_nothing_goes_beside_it(run: Run, store: Path) -> None:
    assert run("delete", "d1", "d2", "--yes").code == 77
    run("verify", "d0", "--key", "env:OLD_KEK")
    assert run("delete", "d0", "--yes").code == 77
    assert left(store) == ["d0", "d1", "d2"]
    assert run("delete", "d2", "--yes").code == 0
    assert run("delete", "d0", "d1", "--yes", "--even-last").code == 0
    assert left(store) == []


def test_a_damaged_backup_can_be_deleted(run: Run, store: Path) -> None:
    (store / "d0.tar.gz.enc.json").unlink()
    (store / "d1.tar.gz.enc.json").write_text("{}")
    assert run("delete", "d0", "d1", "--yes").code == 0
    assert left(store) == ["d2"]


def test_one_that_is_missing_keeps_all_from_going(run: Run, store: Path) -> None:
    assert run("delete", "d0", "gone", "--yes").code == 66
    assert run("delete", "d0", "../d1", "--yes").code == 78
    assert left(store) == ["d0", "d1", "d2"]
    assert run("delete", "--yes").code == 2


def test_while_a_legal_hold_stands_nothing_goes(run: Run, store: Path, tmp_path: Path) -> None:
    key_file, holds = tmp_path / "subjects.key", tmp_path / "holds.json"
    key = PseudonymKey(bytes(range(32)))
    create_private(key_file, key.written())
    create_holds(holds, key)
    options = ("--yes", "--holds", holds, "--subjects-key", key_file)
    place(holds, key, "a" * 32, "case 7", "me@here", NOW)
    assert run("delete", "d0", *options).code == 77
    assert run("delete", "d0", "--dry-run", *options).code == 77
    assert left(store) == ["d0", "d1", "d2"]
    release(holds, key, 1, "me@here", NOW)
    assert run("delete", "d0", *options).code == 0
    assert run("delete", "d1", "--yes", "--holds", holds).code == 2
    assert run("delete", "d1", "--yes", "--holds", tmp_path / "none", "--subjects-key", key_file).code != 0
    assert left(store) == ["d1", "d2"]
