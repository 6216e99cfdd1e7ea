"""`sealwire backup` with a store and two keys."""

import base64
import hashlib
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from sealwire.audit.pseudonyms import PseudonymKey
from sealwire.audit.signing import make_key
from sealwire.keys.kek.key_pair import create_key_pair, load_public_key
from sealwire.keys.private_file import create_private
from sealwire.sidecars.backup.restoring.plan import RestorePlan
from sealwire.sidecars.backup.restoring.restore import CollectionResult, RestoreOutcome, RestoreReport
from sealwire.sidecars.backup.server_commands import finish, show_plan
from sealwire.sidecars.erasure.holds import create_holds, place, release
from tests.cli.runs import Run
from tests.keys.samples import CHEAP_SCRYPT, KEK_A, KEK_B, NOW, PASSPHRASE
from tests.sidecars.backup.samples import KEK, OTHER_KEK, SIGNING, change, local, make_dump, seal


@pytest.fixture
def store(tmp_path: Path) -> Path:
    directory = tmp_path / "store"
    directory.mkdir()
    return directory


@pytest.fixture
def begins_with(tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    """With a store and two KEKs in the environment."""
    monkeypatch.chdir(tmp_path)
    signing = ("SEALWIRE_BACKUP_SIGN_WITH", "SEALWIRE_BACKUP_SIGNED_BY")
    for variable in ("SEALWIRE_BACKUP_KEYS", "SEALWIRE_BACKUP_RECIPIENTS", "SEALWIRE_PASSPHRASE", *signing):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("SEALWIRE_BACKUP_STORE", str(store))
    monkeypatch.setenv("OLD_KEK", base64.b64encode(KEK_A).decode())
    monkeypatch.setenv("NEW_KEK", base64.b64encode(KEK_B).decode())
    return ("backup",)


def test_the_list_shows_what_there_is(run: Run, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    seal(local(store), "one")
    seal(local(store), "two", created=NOW + timedelta(days=1))
    (store / "two.tar.gz.enc.json").unlink()
    document = json.loads(run("list", "--json").out)
    assert document["authenticated"] is False
    rows = {row["name"]: row for row in document["backups"]}
    assert (rows["one"]["documents"], rows["one"]["key_ids"], rows["one"]["problem"]) == (20, [KEK.id], None)
    assert rows["two"]["problem"] == "sidecar-missing"
    outcome = run("list", code=0)
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


def test_a_key_pair_is_made_and_no_passphrase_shown(run: Run, tmp_path: Path, passphrase_file: Path) -> None:
    outcome = run("create-key", "key", "--passphrase-file", str(passphrase_file), code=0)
    assert load_public_key(tmp_path / "key.pub").id in outcome.out
    assert PASSPHRASE not in outcome.out + outcome.err
    assert run("create-key", "key", "--passphrase-file", str(passphrase_file)).code == 73


def test_a_dry_run_makes_no_key_pair_and_needs_no_passphrase(run: Run, tmp_path: Path) -> None:
    document = json.loads(run("create-key", "key", "--dry-run", "--json").out)
    assert document == {"dry_run": True, "private": "key", "public": "key.pub"}
    assert not (tmp_path / "key").exists()
    (tmp_path / "key.pub").touch()
    assert run("create-key", "key", "--dry-run").code == 73


@pytest.fixture
def three(store: Path) -> None:
    for day in range(3):
        seal(local(store), f"d{day}", created=NOW + timedelta(days=day))


def left(store: Path) -> list[str]:
    return sorted(path.name.partition(".")[0] for path in store.glob("*.enc"))


@pytest.mark.usefixtures("three")
def test_a_backup_goes_with_its_sidecar_and_once_it_was_confirmed(run: Run, store: Path) -> None:
    assert run("delete", "d0", stdin="n\n").code == 1
    assert left(store) == ["d0", "d1", "d2"]
    assert run("delete", "d0", stdin="y\n").code == 0
    assert left(store) == ["d1", "d2"]
    assert not list(store.glob("d0*"))


@pytest.mark.usefixtures("three")
def test_a_dry_run_and_json_say_what_would_go(run: Run, store: Path) -> None:
    document = json.loads(run("delete", "d0", "d1", "--dry-run", "--json").out)
    assert document["dry_run"] is True
    assert [row["name"] for row in document["deleted"]] == ["d0", "d1"]
    assert left(store) == ["d0", "d1", "d2"]
    assert [
        row["documents"] for row in json.loads(run("delete", "d0", "--yes", "--json").out)["deleted"]
    ] == [20]


@pytest.mark.usefixtures("three")
def test_what_would_be_restored_today_stays_and_nothing_goes_beside_it(run: Run, store: Path) -> None:
    assert run("delete", "d1", "d2", "--yes").code == 77
    run("verify", "d0", "--key", "env:OLD_KEK")
    assert run("delete", "d0", "--yes").code == 77
    assert left(store) == ["d0", "d1", "d2"]
    assert run("delete", "d2", "--yes").code == 0
    assert run("delete", "d0", "d1", "--yes", "--even-last").code == 0
    assert left(store) == []


@pytest.mark.usefixtures("three")
def test_a_damaged_backup_can_be_deleted(run: Run, store: Path) -> None:
    (store / "d0.tar.gz.enc.json").unlink()
    (store / "d1.tar.gz.enc.json").write_text("{}")
    assert run("delete", "d0", "d1", "--yes").code == 0
    assert left(store) == ["d2"]


@pytest.mark.usefixtures("three")
def test_one_that_is_missing_keeps_all_from_going(run: Run, store: Path) -> None:
    assert run("delete", "d0", "gone", "--yes").code == 66
    assert run("delete", "d0", "../d1", "--yes").code == 78
    assert left(store) == ["d0", "d1", "d2"]
    assert run("delete", "--yes").code == 2


@pytest.mark.usefixtures("three")
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


def test_the_halves_of_a_key_pair_are_not_confused(run: Run, store: Path) -> None:
    seal(local(store))
    assert run("verify", "--key", "public:key.pub").code == 78
    assert run("rekey", "--key", "env:OLD_KEK", "--recipient", "private:key").code == 78


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
    outcome = run("rekey", "--reencrypt", "--key", "env:OLD_KEK", "--recipient", "env:NEW_KEK", code=0)
    assert outcome.out.startswith("b -> b-r1: ")
    assert run("verify", "b-r1", "--key", "env:NEW_KEK").code == 0
    assert not (store / "b.tar.gz.enc").exists()


def test_rekey_keeps_a_signature_and_signs_nothing_unsigned(run: Run, store: Path, tmp_path: Path) -> None:
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


LEFT_OUT = (("clinic.old", "no such collection"),)
REPORT = RestoreReport(
    (
        CollectionResult("clinic.patients", "restored.patients", 1234, RestoreOutcome.RESTORED),
        CollectionResult("clinic.[w]", "restored.[w]", 2, RestoreOutcome.DIFFERENT, ("two differ",)),
    ),
    LEFT_OUT,
    ("an index",),
)


def test_every_collection_is_shown_with_its_outcome_and_what_was_left_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    with pytest.raises(SystemExit) as ended:
        finish(REPORT, as_json=False)
    shown = capsys.readouterr().out
    words = ("restored.patients", "1,234", "restored.[w]", "two differ", "clinic.old", "an index")
    for word in (*words, RestoreOutcome.DIFFERENT.value):
        assert word in shown
    assert ended.value.code == 65


def test_programs_read_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        finish(REPORT, as_json=True, more={"drill": True})
    read = json.loads(capsys.readouterr().out)
    assert read["drill"]
    assert read["holds"] is REPORT.holds is False
    assert [(row["target"], row["documents"], row["outcome"]) for row in read["collections"]] == [
        ("restored.patients", 1234, RestoreOutcome.RESTORED.value),
        ("restored.[w]", 2, RestoreOutcome.DIFFERENT.value),
    ]
    assert read["left_out"] == [{"source": "clinic.old", "reason": "no such collection"}]
    assert read["remarks"] == ["an index"]


def test_a_plan_names_what_it_leaves_out(capsys: pytest.CaptureFixture[str]) -> None:
    plan = RestorePlan((), LEFT_OUT)
    show_plan(plan, ["clinic.wards"], as_json=False)
    shown = capsys.readouterr().out
    assert "clinic.old" in shown
    assert "clinic.wards" in shown
    show_plan(plan, ["clinic.wards"], as_json=True)
    read = json.loads(capsys.readouterr().out)
    assert read["left_out"] == [{"source": "clinic.old", "reason": "no such collection"}]
    assert read["occupied"] == ["clinic.wards"]


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
    late = run(*options, "--since", (today - timedelta(days=7)).isoformat(), "--json", code=65)
    assert json.loads(late.out)["overdue"] is True
    assert "dump.gz" in late.err
    assert "sealwire_backup_plaintext_overdue 1.0" in (tmp_path / "m.prom").read_text()


@pytest.mark.parametrize(
    ("arguments", "task"),
    [
        (("create", "--recipient", "env:OLD_KEK"), "backup"),
        (("restore", "missing", "--drill", "--key", "env:OLD_KEK"), "restore_drill"),
    ],
    ids=["backup", "drill"],
)
def test_a_task_that_fails_has_left_since_when(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, arguments: tuple[str, ...], task: str
) -> None:
    monkeypatch.delenv("SEALWIRE_SERVER_URI", raising=False)
    file = tmp_path / "task.prom"
    assert run(*arguments, "--metrics-file", file).code != 0
    assert f"sealwire_{task}_first_run_timestamp_seconds " in file.read_text(encoding="utf-8")


def test_a_look_at_what_would_be_done_is_no_run(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "task.prom"
    run("create", "--recipient", "env:OLD_KEK", "--dry-run", "--metrics-file", file)
    assert not file.exists()


def test_a_dry_run_of_unpacking_verifies_and_writes_nothing(run: Run, store: Path, tmp_path: Path) -> None:
    seal(local(store))
    key = ("--key", "env:OLD_KEK")
    document = json.loads(run("unpack", "b", "dump", *key, "--dry-run", "--json").out)
    assert document["bytes"] == make_dump()[1].size
    assert not (tmp_path / "dump").exists()
    document = json.loads(run("unpack", "b", "dump", *key, "--json").out)
    assert document["files"] == len([path for path in (tmp_path / "dump").rglob("*") if path.is_file()])
    assert run("unpack", "b", "dump", *key, "--dry-run").code == 78


def test_verify_says_sound_and_the_list_remembers(run: Run, store: Path) -> None:
    seal(local(store))
    outcome = run("verify", "--key", "env:OLD_KEK")
    verdict = f"unsigned, made by somebody who may use {KEK.id}"
    assert (outcome.code, outcome.out) == (0, f"b: sound, 20 documents in 3 files; {verdict}\n")
    assert json.loads(run("list", "--json").out)["backups"][0]["verified"] is not None


def test_verify_with_a_private_key(run: Run, store: Path, tmp_path: Path, passphrase_file: Path) -> None:
    create_key_pair(tmp_path / "key", PASSPHRASE, CHEAP_SCRYPT)
    seal(local(store), recipients=[load_public_key(tmp_path / "key.pub")])
    outcome = run("verify", "--key", "private:key", "--passphrase-file", str(passphrase_file), "--json")
    assert outcome.code == 0
    assert json.loads(outcome.out)["sound"][0]["documents"] == 20


def test_verify_names_a_forged_backup_and_signed_by_refuses_it(
    run: Run, store: Path, tmp_path: Path, passphrase_file: Path
) -> None:
    """The forger has the public key, may write to the store, and signs with a key of the same name."""
    create_key_pair(tmp_path / "key", PASSPHRASE, CHEAP_SCRYPT)
    public = load_public_key(tmp_path / "key.pub")
    (tmp_path / "signing.pub").write_text(f"{SIGNING.verification}\n")
    seal(local(store), "genuine", recipients=[public], sign_with=SIGNING)
    seal(local(store), "plain", recipients=[public])
    seal(local(store), "other", recipients=[public], sign_with=make_key(SIGNING.verification.name, bytes(32)))
    options = ("--key", "private:key", "--passphrase-file", str(passphrase_file))
    said = dict(line.split(": ", 1) for line in run("verify", *options).out.splitlines())
    assert f"sealed for you, by anybody who has the public key {public.id}" in said["plain"]
    assert f"sealed for you, by anybody who has the public key {public.id}" in said["other"]
    assert all("signed by" not in verdict for verdict in said.values())

    outcome = run("verify", *options, "--signed-by", "signing.pub", "--json", code=65)
    (row,) = json.loads(outcome.out)["sound"]
    file_sum = hashlib.sha256((tmp_path / "signing.pub").read_bytes()).hexdigest()
    assert (row["name"], row["signed_by"], row["writer"]) == ("genuine", file_sum, "signer")
    rows = json.loads(run("verify", *options, "--json").out)["sound"]
    assert [(row["signed_by"], row["writer"]) for row in rows] == [(None, "anybody")] * 3

    key = ("--signed-by", "signing.pub", "--dry-run", "--json", *options)
    assert json.loads(run("unpack", "genuine", "dump", *key).out)["signed_by"] == file_sum
    for name in ("plain", "other"):
        assert run("unpack", name, "dump", *key).code == 65
        assert run("restore", name, *key).code == 65


def test_one_damaged_backup_does_not_keep_the_others_from_being_read(run: Run, store: Path) -> None:
    for day, name in enumerate(("a", "b", "c")):
        seal(local(store), name, created=NOW + timedelta(days=day))
    change(store / "b.tar.gz.enc", lambda content: content[:-1])
    outcome = run("verify", "--key", "env:OLD_KEK", code=65)
    assert [line.split(":")[0] for line in outcome.out.splitlines()] == ["a", "c"]
    assert "error: b.tar.gz.enc " in outcome.err
    assert run("verify", "--latest", "--key", "env:OLD_KEK").code == 0


def test_the_wrong_key_and_a_missing_backup_have_their_exit_codes(run: Run, store: Path) -> None:
    assert run("verify", "--key", "env:OLD_KEK").code == 66
    seal(local(store))
    denied = run("verify", "--key", "env:NEW_KEK", code=77)
    assert KEK.id in denied.err
    assert run("verify", "other", "--key", "env:OLD_KEK").code == 66
    assert run("verify").code == 2
    assert run("list", "--store", "/no/such/place").code == 66
