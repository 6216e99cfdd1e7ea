"""`sealwire keys create` and `create-kek`: what is made, and what is warned of."""

import json
from pathlib import Path

import pytest

from sealwire.keys.keyring.file import read_record
from tests.cli.runs import Run
from tests.keys.samples import PASSPHRASE
from tests.support.fake_gcp import CLOUD_KEYS, cloud_key
from tests.support.fake_https import Answer


def test_create_makes_a_keyring_then_adds_to_it(run: Run) -> None:
    first = run("create", "--keyring", "k.json", "nhs_number", "postcode")
    second = run("create", "--keyring", "k.json", "notes")
    assert (first.code, second.code) == (0, 0)
    assert [entry.name for entry in read_record(Path("k.json")).classes] == [
        "nhs_number",
        "postcode",
        "notes",
    ]


def test_create_takes_the_classes_of_a_policy_and_may_be_run_again(run: Run, tmp_path: Path) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text(
        "version: 1\n"
        "classes:\n"
        "  nhs_number: {mode: deterministic, type: string}\n"
        "  notes: {mode: random}\n"
        "collections:\n"
        "  clinic.patients: {nhs_number: nhs_number, notes: notes}\n"
    )
    assert run("create", "--keyring", "k.json", "notes").code == 0
    before = read_record(Path("k.json")).classes
    assert run("create", "--keyring", "k.json", "--policy", "policy.yaml").code == 0
    after = read_record(Path("k.json"))
    assert [entry.name for entry in after.classes] == ["notes", "nhs_number"]
    assert after.classes[:1] == before
    run("create", "--keyring", "k.json", "--policy", "policy.yaml", code=0)
    assert read_record(Path("k.json")) == after


def plaintext_of(path: str) -> dict[str, bool]:
    return {entry.name: entry.keys[-1].is_plaintext for entry in read_record(Path(path)).classes}


def test_a_class_whose_collections_hold_plaintext_begins_in_clear(run: Run, policy: Path) -> None:
    done = run("create", "--keyring", "k.json", "--policy", policy, "--plaintext", "nhs_number", code=0)
    assert plaintext_of("k.json") == {"nhs_number": True, "notes": False}
    clear = [line for line in done.out.splitlines() if "in clear" in line]
    assert len(clear) == 1
    assert "nhs_number" in clear[0]
    # one that the policy does not have, and a keyring that is there
    assert run("create", "--keyring", "k.json", "postcode", "--plaintext", "postcode").code == 0
    assert run("create", "--keyring", "k.json", "--plaintext", "phone").code == 0
    assert plaintext_of("k.json") == {"nhs_number": True, "notes": False, "postcode": True, "phone": True}


def test_all_deterministic_classes_of_a_policy_may_begin_in_clear(run: Run, policy: Path) -> None:
    line = ("create", "--keyring", "k.json", "--policy", policy, "--plaintext-all")
    assert run(*line).code == 0
    assert plaintext_of("k.json") == {"nhs_number": True, "notes": False}
    before = read_record(Path("k.json"))
    assert run(*line).code == 0
    assert read_record(Path("k.json")) == before
    assert run("create", "--keyring", "k.json", "--plaintext-all").code == 2


def test_a_class_that_has_a_key_does_not_begin_in_clear_again(run: Run, policy: Path) -> None:
    assert run("create", "--keyring", "k.json", "nhs_number").code == 0
    before = read_record(Path("k.json"))
    again = run("create", "--keyring", "k.json", "--policy", policy, "--plaintext", "nhs_number")
    assert again.code != 0
    assert read_record(Path("k.json")) == before
    assert run("create", "--keyring", "k.json", "--policy", policy, "--plaintext-all").code == 0
    assert plaintext_of("k.json") == {"nhs_number": False, "notes": False}


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (("nhs_nunber",), "did you mean nhs_number?"),
        (("notes", "zzz"), "declare the class"),
        (("--plaintext", "note"), "did you mean notes?"),
    ],
)
def test_a_class_that_the_policy_lacks_gets_no_key(
    run: Run, policy: Path, arguments: tuple[str, ...], hint: str
) -> None:
    refused = run("create", "--keyring", "k.json", "--policy", policy, *arguments, code=78)
    assert hint in refused.err
    assert not Path("k.json").exists()


def test_a_random_class_needs_no_beginning_in_clear(run: Run, policy: Path) -> None:
    refused = run("create", "--keyring", "k.json", "--policy", policy, "--plaintext", "notes")
    assert refused.code != 0
    assert "--plaintext notes" in refused.err
    assert not Path("k.json").exists()


def test_a_key_file_wraps_a_keyring(run: Run, passphrase_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SEALWIRE_KEK")
    assert run("create-kek", "--output", "kek.json", "--passphrase-file", str(passphrase_file)).code == 0
    assert run("create-kek", "--file", "older.json", "--passphrase-file", str(passphrase_file)).code == 0
    assert Path("older.json").exists()
    assert "--file" not in run("create-kek", "--help").out
    monkeypatch.setenv("SEALWIRE_KEK_PROVIDER", "file:kek.json")
    monkeypatch.setenv("SEALWIRE_PASSPHRASE_FILE", str(passphrase_file))
    assert run("create", "--keyring", "k.json", "notes").code == 0
    assert run("verify", "--keyring", "k.json").code == 0
    monkeypatch.delenv("SEALWIRE_PASSPHRASE_FILE")
    monkeypatch.setenv("SEALWIRE_PASSPHRASE", PASSPHRASE + "x")
    wrong = run("verify", "--keyring", "k.json", code=67)
    assert PASSPHRASE not in wrong.err + wrong.out


def test_a_printed_kek_comes_with_a_warning_on_the_other_stream(run: Run) -> None:
    printed = run("create-kek")
    assert len(printed.out.strip()) == 44
    assert printed.err
    assert printed.out.strip() not in printed.err


def test_only_a_first_keyring_says_how_to_make_the_key(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SEALWIRE_KEK")
    first = run("create", "--keyring", "k.json", "a")
    assert (first.code, "create-kek" in first.err) == (78, True)
    unclear = run("create", "--keyring", "k.json", "a", "--kek", "nonsense")
    assert (unclear.code, "create-kek" in unclear.err) == (78, False)
    printed = run("create-kek").out.strip()
    monkeypatch.setenv("SEALWIRE_KEK", printed)
    assert run("create", "--keyring", "k.json", "a").code == 0
    monkeypatch.delenv("SEALWIRE_KEK")
    second = run("create", "--keyring", "k.json", "b")
    assert (second.code, "create-kek" in second.err) == (78, False)


def test_without_a_class_and_a_policy_there_is_nothing_to_make(run: Run) -> None:
    assert run("create", "--keyring", "k.json").code == 2


# -------------------------------- `sealwire keys rewrap`: another key-encryption key for the same data keys


def test_only_the_new_key_opens_what_was_rewrapped(run: Run, keyring: Path) -> None:
    outcome = run("rewrap", "--keyring", "k.json", "--to", "env:NEW_KEK", code=0)
    assert read_record(keyring).kek_id in outcome.out
    assert run("verify", "--keyring", "k.json", "--kek", "env:NEW_KEK").code == 0
    assert run("verify", "--keyring", "k.json").code == 67


def test_a_change_of_provider_to_a_key_file(run: Run, keyring: Path, passphrase_file: Path) -> None:
    passphrase = str(passphrase_file)
    assert run("create-kek", "--output", "kek.json", "--passphrase-file", passphrase).code == 0
    arguments = ("--to", "file:kek.json", "--to-passphrase-file", passphrase)
    assert run("rewrap", "--keyring", "k.json", *arguments).code == 0
    opening = ("--kek", "file:kek.json", "--passphrase-file", passphrase)
    assert run("verify", "--keyring", "k.json", *opening).code == 0


def test_a_dry_run_says_what_would_be_done(run: Run, keyring: Path) -> None:
    content = keyring.read_bytes()
    document = json.loads(
        run("rewrap", "--keyring", "k.json", "--to", "env:NEW_KEK", "--dry-run", "--json").out
    )
    assert keyring.read_bytes() == content
    kek_id = document.pop("kek_id")
    assert document == {"dry_run": True, "keys": 2, "generation": 2, "before": read_record(keyring).kek_id}
    assert kek_id != document["before"]


def test_without_a_new_key_the_old_one_wraps_anew(run: Run, keyring: Path) -> None:
    before = read_record(keyring)
    assert run("rewrap", "--keyring", "k.json").code == 0
    after = read_record(keyring)
    assert (after.kek_id, after.generation) == (before.kek_id, 2)
    assert run("verify", "--keyring", "k.json").code == 0


# ----------------------------------------------------- `sealwire keys` with a key-encryption key of a cloud


@pytest.mark.parametrize("kind", CLOUD_KEYS)
def test_a_keyring_moves_to_a_cloud_and_is_at_home_there(
    run: Run, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keyring = ("--keyring", "k.json")
    with cloud_key(kind, tmp_path, monkeypatch) as (setting, https):
        assert run("create", *keyring, "a", "b").code == 0
        assert run("rewrap", *keyring, "--to", setting).code == 0
        assert read_record(tmp_path / "k.json").kek_id.split(":")[0] == setting.split(":")[0]
        assert run("verify", *keyring, "--kek", setting).code == 0
        assert run("create", *keyring, "--kek", setting, "c").code == 0
        assert run("rewrap", *keyring, "--kek", setting, "--dry-run").code == 0
        assert run("verify", *keyring).code == 67
        https.instead += [lambda _: Answer(503)] * 40
        away = run("verify", *keyring, "--kek", setting, code=69)
        assert "hint:" in away.err
