"""`sealwire keys shred`: two steps, or one that was confirmed; and a receipt that can be checked."""

import json
from pathlib import Path

import pytest

from sealwire.keys.contexts.resolver import Resolver
from sealwire.keys.contexts.sqlite_store import SqliteContextStore
from sealwire.keys.kek.kek import EnvironmentKek
from sealwire.keys.keyring.file import load_keyring
from tests.cli.keys.test_contexts import Fill, fill_store
from tests.cli.runs import Run


@pytest.fixture
def fill(run: Run, policy: Path, monkeypatch: pytest.MonkeyPatch) -> Fill:
    return fill_store(run, policy, monkeypatch)


def is_destroyed(context: bytes) -> bool:
    keyring = load_keyring(Path("k.json"), EnvironmentKek())
    store = SqliteContextStore(Path("contexts.db"))
    row = Resolver(store).row_of(keyring, "notes", context)
    store.close()
    assert row is not None
    return row.is_destroyed


def test_a_destruction_is_announced_first(run: Run, fill: Fill) -> None:
    fill(b"\x02someone")
    first = run("shred", "notes", "someone", "--json")
    assert first.code == 0
    assert json.loads(first.out)["shred_after"] is not None
    early = run("shred", "notes", "someone")
    assert early.code == 78
    assert not is_destroyed(b"\x02someone")
    back = run("shred", "notes", "someone", "--cancel", "--json")
    assert json.loads(back.out)["shred_after"] is None
    assert run("shred", "notes", "someone", "--cancel").code == 78


def test_at_once_it_has_to_be_confirmed(run: Run, fill: Fill) -> None:
    fill(b"\x02someone")
    assert run("shred", "notes", "someone", "--now", stdin="").code == 2
    assert run("shred", "notes", "someone", "--now", "--confirm", "other").code == 2
    assert not is_destroyed(b"\x02someone")
    done = run("shred", "notes", "someone", "--now", "--confirm", "notes")
    assert done.code == 0
    assert json.loads(done.out)["key_in_files"] == "no"
    assert is_destroyed(b"\x02someone")
    assert run("shred", "notes", "someone", "--now", "--confirm", "notes").code == 78


def test_one_that_waits_can_be_done_at_once(run: Run, fill: Fill) -> None:
    fill(b"\x02someone")
    assert run("shred", "notes", "someone").code == 0
    assert run("shred", "notes", "someone", "--now", "--confirm", "notes", "--receipt", "r.json").code == 0
    assert is_destroyed(b"\x02someone")


def test_a_receipt_is_checked_against_keyring_and_store(run: Run, fill: Fill) -> None:
    fill(b"\x02someone", b"\x02other")
    done = run("shred", "notes", "-", "--now", "--confirm", "notes", "--receipt", "r.json", stdin="someone\n")
    assert done.code == 0
    assert run("shred", "notes", "--verify", "r.json").code == 0
    assert run("shred", "notes", "someone", "--verify", "r.json", "--json").code == 0
    assert run("shred", "notes", "other", "--verify", "r.json").code == 65
    text = Path("r.json").read_text()
    assert "someone" not in text + done.out + done.err
    Path("r.json").write_text(text.replace('"no"', '"yes"', 1))
    assert run("shred", "notes", "--verify", "r.json").code == 65


def test_a_dry_run_changes_nothing(run: Run, fill: Fill) -> None:
    fill(b"\x02someone")
    for words in (["--now", "--confirm", "notes"], [], ["--cancel"]):
        assert run("shred", "notes", "someone", "--dry-run", *words).code == 0
    assert not is_destroyed(b"\x02someone")
    assert run("shred", "notes", "someone", "--cancel").code == 78


def test_what_is_not_there_is_said_without_the_value(run: Run, fill: Fill) -> None:
    fill(b"\x02someone")
    for words in (
        ["nobody"],
        ["7", "--type", "int"],
        ["00000000-0000-0000-0000-000000000000", "--type", "uuid"],
    ):
        missing = run("shred", "notes", *words)
        assert missing.code == 65
        assert words[0] not in missing.err.replace("5 and '5'", "")


@pytest.mark.parametrize(
    "words",
    [
        ["notes"],
        ["notes", ""],
        ["notes", "x", "--type", "int"],
        ["notes", "x", "--type", "objectId"],
        ["notes", "x", "--type", "uuid"],
        ["notes", "x", "--wait", "0d"],
        ["notes", "x", "--wait", "never"],
    ],
)
def test_mistakes_are_wrong_usage(run: Run, fill: Fill, words: list[str]) -> None:
    fill()
    assert run("shred", *words).code == 2


def test_nothing_is_written_over_another_file(run: Run, fill: Fill) -> None:
    fill(b"\x02someone")
    Path("r.json").touch()
    given = ["--now", "--confirm", "notes", "--receipt", "r.json"]
    assert run("shred", "notes", "someone", *given).code == 73
    assert not is_destroyed(b"\x02someone")


def test_while_values_may_lie_in_clear_no_key_is_destroyed(run: Run, policy: Path, fill: Fill) -> None:
    """A receipt would say of them what is not so."""
    fill(b"\x02someone")
    assert run("create", "--keyring", "clear.json", "--plaintext", "notes").code == 0
    refused = run("shred", "notes", "someone", "--keyring", "clear.json")
    assert refused.code == 78
    assert "sealwire migrate encrypt POLICY notes" in refused.err
