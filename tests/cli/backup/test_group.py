"""`sealwire backup` as an operator meets it: output, exit codes, and what is never shown."""

import base64
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from sealwire.cli import main
from sealwire.keys.key_pair import create_key_pair, load_public_key
from tests.keys.samples import CHEAP_SCRYPT, KEK_A, KEK_B, NOW, PASSPHRASE
from tests.sidecars.backup.samples import KEK, OTHER_KEK, change, local, make_dump, seal


@dataclass(frozen=True, slots=True)
class Outcome:
    code: int
    out: str
    err: str


Run = Callable[..., Outcome]


@pytest.fixture
def store(tmp_path: Path) -> Path:
    directory = tmp_path / "store"
    directory.mkdir()
    return directory


@pytest.fixture
def run(
    tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Run:
    """Runs the command line with a store and two KEKs in the environment."""
    monkeypatch.chdir(tmp_path)
    for variable in ("SEALWIRE_BACKUP_KEYS", "SEALWIRE_BACKUP_RECIPIENTS", "SEALWIRE_PASSPHRASE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("SEALWIRE_BACKUP_STORE", str(store))
    monkeypatch.setenv("OLD_KEK", base64.b64encode(KEK_A).decode())
    monkeypatch.setenv("NEW_KEK", base64.b64encode(KEK_B).decode())

    def run(*arguments: str) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["sealwire", "backup", *arguments])
        with pytest.raises(SystemExit) as caught:
            main()
        captured = capsys.readouterr()
        code = caught.value.code
        assert isinstance(code, int)
        assert "Traceback" not in captured.err
        return Outcome(code, captured.out, captured.err)

    return run


@pytest.fixture
def passphrase_file(tmp_path: Path) -> Path:
    path = tmp_path / "passphrase"
    path.touch(0o600)
    path.write_text(PASSPHRASE + "\n")
    return path


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


def test_a_dry_run_of_unpacking_verifies_and_writes_nothing(run: Run, store: Path, tmp_path: Path) -> None:
    seal(local(store))
    key = ("--key", "env:OLD_KEK")
    document = json.loads(run("unpack", "b", "dump", *key, "--dry-run", "--json").out)
    assert document["bytes"] == make_dump()[1].size
    assert not (tmp_path / "dump").exists()
    document = json.loads(run("unpack", "b", "dump", *key, "--json").out)
    assert document["files"] == len([path for path in (tmp_path / "dump").rglob("*") if path.is_file()])
    assert run("unpack", "b", "dump", *key, "--dry-run").code == 78


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
    assert f"{KEK.id} opens 1 of 2" in outcome.out


def test_verify_says_sound_and_the_list_remembers(run: Run, store: Path) -> None:
    seal(local(store))
    outcome = run("verify", "--key", "env:OLD_KEK")
    assert (outcome.code, outcome.out) == (0, "b: sound, 20 documents in 3 files\n")
    assert json.loads(run("list", "--json").out)["backups"][0]["verified"] is not None


def test_verify_with_a_private_key(run: Run, store: Path, tmp_path: Path, passphrase_file: Path) -> None:
    create_key_pair(tmp_path / "key", PASSPHRASE, CHEAP_SCRYPT)
    seal(local(store), recipients=[load_public_key(tmp_path / "key.pub")])
    outcome = run("verify", "--key", "private:key", "--passphrase-file", str(passphrase_file), "--json")
    assert outcome.code == 0
    assert json.loads(outcome.out)["sound"][0]["documents"] == 20


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


def test_the_halves_of_a_key_pair_are_not_confused(run: Run, store: Path) -> None:
    seal(local(store))
    assert run("verify", "--key", "public:key.pub").code == 78
    assert run("rekey", "--key", "env:OLD_KEK", "--recipient", "private:key").code == 78


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


def test_a_schedule_is_printed_or_written_and_never_overwritten(run: Run, tmp_path: Path) -> None:
    assert (
        "OnCalendar=*-*-* 04:30:00 UTC" in run("schedule", "systemd", "--at", "04:30", "--keep-last", "3").out
    )
    options = ("schedule", "kubernetes", "--keep-daily", "7", "--output", str(tmp_path))
    assert run(*options, "--dry-run").code == 0
    assert not (tmp_path / "sealwire-backup.yaml").exists()
    assert run(*options).code == 0
    assert (tmp_path / "sealwire-backup.yaml").stat().st_mode & 0o777 == 0o644
    assert run(*options).code == 73
    assert run("schedule", "systemd", "--at", "25:00", "--keep-last", "1").code == 78


def test_the_alarm_comes_after_the_transition(run: Run, store: Path, tmp_path: Path) -> None:
    (store / "dump.gz").write_bytes(b"\x1f\x8b\x08")
    today = datetime.now(UTC).date()
    options = ("transition", "--directory", str(store), "--metrics", str(tmp_path / "m.prom"))
    assert run(*options, "--since", today.isoformat()).code == 0
    late = run(*options, "--since", (today - timedelta(days=7)).isoformat(), "--json")
    assert late.code == 65
    assert json.loads(late.out)["overdue"] is True
    assert "dump.gz" in late.err
    assert "sealwire_backup_plaintext_overdue 1.0" in (tmp_path / "m.prom").read_text()


def test_no_output_holds_a_key(run: Run, store: Path) -> None:
    seal(local(store))
    said = "".join(
        outcome.out + outcome.err
        for outcome in (
            run("list"),
            run("list", "--json"),
            run("verify", "--key", "env:OLD_KEK"),
            run("rekey", "--key", "env:OLD_KEK", "--recipient", "env:NEW_KEK"),
        )
    )
    for key in (KEK_A, KEK_B):
        assert base64.b64encode(key).decode() not in said
        assert key.hex() not in said
