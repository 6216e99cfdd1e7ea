"""`sealwire keys shred`: two steps, or one that was confirmed; and a receipt that can be checked."""

import json
import uuid
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import bson
import click
import pytest
from bson.binary import Binary, UuidRepresentation

from sealwire.cli.keys.contexts import read_context
from sealwire.cli.recording import operator_at_host
from sealwire.keys.contexts.cache import ContextWanted
from sealwire.keys.contexts.resolver import Resolver
from sealwire.keys.contexts.sqlite_store import SqliteContextStore
from sealwire.keys.contexts.store import MarkKind, StoreMark
from sealwire.keys.errors import KekUnavailable
from sealwire.keys.kek.kek import EnvironmentKek
from sealwire.keys.keyring.file import load_keyring
from sealwire.policies.planning.contexts import context_of, database_context
from sealwire.wire.raw_bson import elements
from tests.cli.runs import Run
from tests.keys.contexts.store_contract import row

Fill = Callable[..., None]


@pytest.fixture
def fill(run: Run, policy: Path, monkeypatch: pytest.MonkeyPatch) -> Fill:
    """A keyring, a store, and what gives contexts of the class `notes` their keys."""
    monkeypatch.setenv("SEALWIRE_KEYRING", "k.json")
    monkeypatch.setenv("SEALWIRE_KEYS_CONTEXTS", "contexts.db")
    assert run("create", "--policy", policy).code == 0

    def fill(*contexts: bytes) -> None:
        keyring = load_keyring(Path("k.json"), EnvironmentKek())
        with closing(SqliteContextStore(Path("contexts.db"))) as store:
            Resolver(store).find(keyring, [ContextWanted("notes", each, True) for each in contexts])

    return fill


def is_destroyed(context: bytes) -> bool:
    keyring = load_keyring(Path("k.json"), EnvironmentKek())
    store = SqliteContextStore(Path("contexts.db"))
    row = Resolver(store).row_of(keyring, "notes", context)
    store.close()
    assert row is not None
    return row.is_destroyed


def test_a_destruction_is_announced_first(run: Run, fill: Fill) -> None:
    fill(b"\x02someone")
    first = run("shred", "notes", "someone", "--json", code=0)
    assert json.loads(first.out)["shred_after"] is not None
    run("shred", "notes", "someone", code=78)
    assert not is_destroyed(b"\x02someone")
    back = run("shred", "notes", "someone", "--cancel", "--json")
    assert json.loads(back.out)["shred_after"] is None
    assert run("shred", "notes", "someone", "--cancel").code == 78


def test_at_once_it_has_to_be_confirmed(run: Run, fill: Fill) -> None:
    fill(b"\x02someone")
    assert run("shred", "notes", "someone", "--now", stdin="").code == 2
    assert run("shred", "notes", "someone", "--now", "--confirm", "other").code == 2
    assert not is_destroyed(b"\x02someone")
    done = run("shred", "notes", "someone", "--now", "--confirm", "notes", code=0)
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


def test_a_dry_run_says_what_would_be_done_and_changes_nothing(run: Run, fill: Fill) -> None:
    fill(b"\x02someone")
    dry = ("shred", "notes", "someone", "--dry-run")
    assert "would be destroyed" in run(*dry, "--now", "--confirm", "notes").out
    assert "may be destroyed after" in run(*dry).out
    assert run(*dry, "--cancel").code == 78
    assert not is_destroyed(b"\x02someone")
    assert run("shred", "notes", "someone", "--cancel").code == 78
    assert run("shred", "notes", "someone").code == 0
    assert "the key stays" in run(*dry, "--cancel").out
    assert run(*dry).code == run("shred", "notes", "someone").code == 78


def test_a_receipt_names_the_account_and_not_what_the_environment_says(
    run: Run, fill: Fill, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(b"\x02someone")
    monkeypatch.setenv("LOGNAME", "someone-else")
    done = run("shred", "notes", "someone", "--now", "--confirm", "notes")
    assert json.loads(done.out)["by"] == operator_at_host()


def test_what_is_not_there_is_said_without_the_value(run: Run, fill: Fill) -> None:
    fill(b"\x02someone")
    for words in (
        ["nobody"],
        ["7", "--type", "int"],
        ["00000000-0000-0000-0000-000000000000", "--type", "uuid"],
    ):
        missing = run("shred", "notes", *words, code=65)
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
    refused = run("shred", "notes", "someone", "--keyring", "clear.json", code=78)
    assert "sealwire migrate encrypt POLICY notes" in refused.err


# `sealwire keys contexts` and `rewrap-contexts`: counts, keys wrapped anew, a context let in again.


def counts(run: Run) -> dict[str, object]:
    done = run("contexts", "notes", "--json", code=0)
    return dict(json.loads(done.out))


def test_contexts_are_counted(run: Run, fill: Fill) -> None:
    fill(b"\x02a", b"\x02b", b"\x12" + bytes(8))
    assert run("shred", "notes", "a", "--now", "--confirm", "notes").code == 0
    assert run("shred", "notes", "0", "--type", "int").code == 0
    assert counts(run) == {
        "dry_run": False,
        "class": "notes",
        "live": 2,
        "announced": 1,
        "destroyed": 1,
        "wrapped_by_version": {"1": 3},
    }
    assert "2 contexts" in run("contexts", "notes").out


def test_keys_are_wrapped_anew_after_a_rotation(run: Run, fill: Fill, policy: Path) -> None:
    fill(b"\x02a", b"\x02b")
    assert run("rotate", "notes", "--policy", policy).code == 0
    dry = run("rewrap-contexts", "notes", "--dry-run", "--json")
    assert json.loads(dry.out)["keys"] == 3
    assert counts(run)["wrapped_by_version"] == {"1": 3}
    assert json.loads(run("rewrap-contexts", "notes", "--json").out)["keys"] == 3
    assert counts(run)["wrapped_by_version"] == {"2": 3}
    assert json.loads(run("rewrap-contexts", "notes", "--json").out)["keys"] == 0


def test_a_context_is_let_in_again_only_after_its_key_was_destroyed(run: Run, fill: Fill) -> None:
    fill(b"\x02a")
    assert run("contexts", "notes", "a", "--readmit").code == 78
    assert run("shred", "notes", "a", "--now", "--confirm", "notes").code == 0
    assert run("contexts", "notes", "a", "--readmit", "--dry-run").code == 0
    assert run("contexts", "notes", "a", "--readmit").code == 0
    fill(b"\x02a")
    assert (counts(run)["live"], counts(run)["destroyed"]) == (1, 1)


def test_a_deterministic_class_with_contexts_rotates_at_once(run: Run, fill: Fill, policy: Path) -> None:
    fill()
    text = policy.read_text().replace("type: string}", "type: string, key: {per: tenant}}")
    policy.write_text(text)
    done = run("rotate", "nhs_number", "--policy", policy, "--json")
    assert [each["state"] for each in json.loads(done.out)["keys"]] == ["active"]
    assert json.loads(done.out)["next"] == []


def test_mistakes_have_their_exit_codes(run: Run, fill: Fill) -> None:
    assert run("contexts", "notes", "--contexts", "missing.db").code == 78
    fill(b"\x02a")
    assert run("contexts", "other").code == 65
    assert run("contexts", "notes", "--readmit").code == 2
    assert run("contexts", "notes", "b", "--readmit").code == 65


ID = uuid.UUID(int=5)


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("5", "string", "5"),
        ("5", "int", 5),
        ("-5", "int", bson.Int64(-5)),
        ("0" * 24, "objectId", bson.ObjectId(bytes(12))),
        (str(ID), "uuid", Binary.from_uuid(ID, UuidRepresentation.STANDARD)),
    ],
)
def test_it_is_read_by_its_type(text: str, kind: str, value: object) -> None:
    document = bson.encode({"v": value})
    assert read_context(text, kind) == context_of(document, next(elements(document, 0)))


def test_a_database_is_named_as_it_is() -> None:
    assert read_context("clinic", "database") == database_context("clinic")


@pytest.mark.parametrize(("text", "kind"), [("9" * 30, "int"), ("secret", "uuid"), ("\udcff", "string")])
def test_what_cannot_be_one_is_refused_and_not_shown(text: str, kind: str) -> None:
    with pytest.raises(click.UsageError) as caught:
        read_context(text, kind)
    assert text not in str(caught.value)


# ---- `sealwire keys move-contexts`: the store of context keys changes its place, or the move is called off


def test_all_keys_move_and_next_steps_are_said(run: Run, fill: Fill, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(b"\x02a", b"\x02b")
    assert run("shred", "notes", "a", "--now", "--confirm", "notes").code == 0
    dry = json.loads(run("move-contexts", "--to", "new.db", "--dry-run", "--json").out)
    assert (dry["dry_run"], dry["keys"], dry["destroyed"]) == (True, 3, 1)
    assert not Path("new.db").exists()
    done = run("move-contexts", "--to", "new.db", "--json", code=0)
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


def test_mistakes_of_a_move_have_their_exit_codes(run: Run, fill: Fill) -> None:
    assert run("move-contexts", "--to", "new.db").code == 78
    fill(b"\x02a")
    assert run("move-contexts").code == 2
    assert run("move-contexts", "--to", "contexts.db").code == 2
    assert run("move-contexts", "--to", "vault:secret").code == 78
    with closing(SqliteContextStore(Path("new.db"))) as store:
        store.create([row(1)])
    assert run("move-contexts", "--to", "new.db").code == 73
    assert run("move-contexts", "--to", "new.db", "--dry-run").code == 73
