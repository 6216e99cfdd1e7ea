"""`sealwire keys move-contexts`: the store of context keys changes its place, or the move is called off."""

import json
from contextlib import closing
from pathlib import Path

import pytest

from sealwire.keys.contexts.sqlite_store import SqliteContextStore
from sealwire.keys.contexts.store import MarkKind, StoreMark
from sealwire.keys.errors import KekUnavailable
from tests.cli.keys.test_contexts import Fill, counts, fill_store
from tests.cli.runs import Run
from tests.keys.contexts.store_contract import row


@pytest.fixture
def fill(run: Run, policy: Path, monkeypatch: pytest.MonkeyPatch) -> Fill:
    return fill_store(run, policy, monkeypatch)


def test_all_keys_move_and_the_next_steps_are_named(
    run: Run, fill: Fill, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(b"\x02a", b"\x02b")
    assert run("shred", "notes", "a", "--now", "--confirm", "notes").code == 0
    dry = json.loads(run("move-contexts", "--to", "new.db", "--dry-run", "--json").out)
    assert (dry["dry_run"], dry["keys"], dry["destroyed"]) == (True, 3, 1)
    assert not Path("new.db").exists()
    done = run("move-contexts", "--to", "new.db", "--json")
    assert done.code == 0
    told = json.loads(done.out)
    assert (told["keys"], told["destroyed"]) == (3, 1)
    assert told["to"] == str(Path("new.db").resolve())
    assert "keys.contexts" in told["next"][0]
    assert run("contexts", "notes").code == 78
    monkeypatch.setenv("SEALWIRE_KEYS_CONTEXTS", "new.db")
    assert (counts(run)["live"], counts(run)["destroyed"]) == (1, 1)
    # once more says the same
    again = run("move-contexts", "--contexts", "contexts.db", "--to", "new.db", "--json")
    assert json.loads(again.out) == told


def test_a_move_that_is_not_over_is_called_off(run: Run, fill: Fill) -> None:
    fill(b"\x02a")
    assert run("move-contexts", "--to", "new.db", "--cancel").code == 78
    with closing(SqliteContextStore(Path("contexts.db").resolve(), for_move=True)) as old:
        assert old.set_mark(None, StoreMark(MarkKind.LEAVING, str(Path("new.db").resolve())))
    with pytest.raises(KekUnavailable):
        fill(b"\x02b")
    assert run("move-contexts", "--to", "new.db", "--cancel", "--dry-run").code == 0
    assert run("move-contexts", "--to", "other.db").code == 78
    assert run("move-contexts", "--to", "new.db", "--cancel").code == 0
    fill(b"\x02b")
    assert counts(run)["live"] == 2


def test_mistakes_have_their_exit_codes(run: Run, fill: Fill) -> None:
    assert run("move-contexts", "--to", "new.db").code == 78
    fill(b"\x02a")
    assert run("move-contexts").code == 2
    assert run("move-contexts", "--to", "contexts.db").code == 2
    assert run("move-contexts", "--to", "vault:secret").code == 78
    with closing(SqliteContextStore(Path("new.db"))) as store:
        store.create([row(1)])
    assert run("move-contexts", "--to", "new.db").code == 73
    assert run("move-contexts", "--to", "new.db", "--dry-run").code == 73
