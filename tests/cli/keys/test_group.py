"""`sealwire keys` as an operator meets it: output, exit codes, and what is never shown."""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from sealwire.cli import main
from sealwire.keys.keyring_file import open_record, read_record
from sealwire.keys.providers import Providers, parse_provider
from tests.keys.samples import PASSPHRASE, edit_json


@dataclass(frozen=True, slots=True)
class Outcome:
    code: int
    out: str
    err: str


Run = Callable[..., Outcome]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the command line in `tmp_path` with a KEK in the environment."""
    monkeypatch.chdir(tmp_path)
    for variable in (
        "SEALWIRE_KEYRING",
        "SEALWIRE_KEK_PROVIDER",
        "SEALWIRE_PASSPHRASE",
        "SEALWIRE_PASSPHRASE_FILE",
    ):
        monkeypatch.delenv(variable, raising=False)

    def run(*arguments: str) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["sealwire", "keys", *arguments])
        with pytest.raises(SystemExit) as caught:
            main()
        captured = capsys.readouterr()
        code = caught.value.code
        assert isinstance(code, int)
        assert "Traceback" not in captured.err
        return Outcome(code, captured.out, captured.err)

    monkeypatch.setenv("SEALWIRE_KEK", run("create-kek").out.strip())
    return run


@pytest.fixture
def passphrase_file(tmp_path: Path) -> Path:
    path = tmp_path / "passphrase"
    path.touch(0o600)
    path.write_text(PASSPHRASE + "\n")
    return path


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
    again = run("create", "--keyring", "k.json", "--policy", "policy.yaml")
    assert again.code == 0
    assert read_record(Path("k.json")) == after


def test_list_needs_no_kek_and_says_that_it_proves_nothing(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    run("create", "--keyring", "k.json", "nhs_number")
    monkeypatch.delenv("SEALWIRE_KEK")
    monkeypatch.setenv("SEALWIRE_KEYRING", "k.json")
    listed = json.loads(run("list", "--json").out)
    assert listed["authenticated"] is False
    (key,) = listed["keys"]
    assert set(key) == {"class", "id", "version", "state", "created"}
    assert (key["class"], key["version"], key["state"]) == ("nhs_number", 1, "active")
    assert "nhs_number" in run("list").out


def test_verify_reports_a_sound_keyring(run: Run) -> None:
    run("create", "--keyring", "k.json", "nhs_number")
    verified = json.loads(run("verify", "--keyring", "k.json", "--json").out)
    assert verified["authenticated"] is True
    assert verified["keys"] == json.loads(run("list", "--keyring", "k.json", "--json").out)["keys"]
    plain = run("verify", "--keyring", "k.json")
    assert plain.code == 0
    assert "1 of 1" in plain.out


def test_a_key_file_protects_a_keyring(
    run: Run, passphrase_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SEALWIRE_KEK")
    assert run("create-kek", "--file", "kek.json", "--passphrase-file", str(passphrase_file)).code == 0
    monkeypatch.setenv("SEALWIRE_KEK_PROVIDER", "file:kek.json")
    monkeypatch.setenv("SEALWIRE_PASSPHRASE_FILE", str(passphrase_file))
    assert run("create", "--keyring", "k.json", "notes").code == 0
    assert run("verify", "--keyring", "k.json").code == 0
    monkeypatch.delenv("SEALWIRE_PASSPHRASE_FILE")
    monkeypatch.setenv("SEALWIRE_PASSPHRASE", PASSPHRASE + "x")
    wrong = run("verify", "--keyring", "k.json")
    assert wrong.code == 77
    assert PASSPHRASE not in wrong.err + wrong.out


def test_a_printed_kek_comes_with_a_warning_on_the_other_stream(run: Run) -> None:
    printed = run("create-kek")
    assert len(printed.out.strip()) == 44
    assert printed.err
    assert printed.out.strip() not in printed.err


# An exit code, and what ends with it.
MISTAKES: tuple[tuple[int, list[str]], ...] = (
    (73, ["create", "--keyring", "k.json", "a"]),
    (73, ["create", "--keyring", "new.json", "a", "a"]),
    (78, ["create", "--keyring", "new.json", "9"]),
    (78, ["create", "--keyring", "no/such/k.json", "a"]),
    (78, ["verify", "--keyring", "missing.json"]),
    (77, ["verify", "--keyring", "open.json"]),
    (77, ["list", "--keyring", "open.json"]),
    (65, ["verify", "--keyring", "text.json"]),
    (65, ["verify", "--keyring", "forged.json"]),
    (77, ["verify", "--keyring", "k.json", "--kek", "env:OTHER"]),
    (78, ["verify", "--keyring", "k.json", "--kek", "env:UNSET"]),
    (78, ["verify", "--keyring", "k.json", "--kek", "nonsense"]),
    (
        78,
        [
            "verify",
            "--keyring",
            "k.json",
            "--kek",
            "file:missing.json",
            "--passphrase-file",
            "passphrase",
        ],
    ),
    (78, ["verify", "--keyring", "k.json", "--kek", "file:k.json"]),
    (78, ["create-kek", "--file", "kek.json", "--passphrase-file", "passphrase"]),
    (2, ["create", "--keyring", "k.json"]),
    (2, ["list"]),
)


def test_each_mistake_has_one_error_a_hint_and_its_exit_code(
    run: Run, tmp_path: Path, passphrase_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("create", "--keyring", "k.json", "a")
    (tmp_path / "open.json").write_bytes((tmp_path / "k.json").read_bytes())
    (tmp_path / "open.json").chmod(0o644)
    for name, content in (("text.json", b"hello"), ("forged.json", (tmp_path / "k.json").read_bytes())):
        (tmp_path / name).write_bytes(content)
        (tmp_path / name).chmod(0o600)
    edit_json(tmp_path / "forged.json", lambda whole: whole.update(generation=7))
    monkeypatch.setenv("OTHER", run("create-kek").out.strip())
    passphrase_file.write_text("short")
    for code, arguments in MISTAKES:
        outcome = run(*arguments)
        assert outcome.code == code, arguments
        if code != 2:
            lines = outcome.err.splitlines()
            assert [line.split(": ")[:2] for line in lines] == [
                ["sealwire", "error"],
                ["sealwire", "hint"],
            ], arguments
    assert not {"new.json", "kek.json"} & {entry.name for entry in tmp_path.iterdir()}


def test_no_output_ever_holds_a_key(run: Run) -> None:
    outcomes = [
        run("create", "--keyring", "k.json", "a", "b"),
        run("list", "--keyring", "k.json"),
        run("list", "--keyring", "k.json", "--json"),
        run("verify", "--keyring", "k.json"),
        run("verify", "--keyring", "k.json", "--json"),
        run("create", "--keyring", "k.json", "a"),
    ]
    record = read_record(Path("k.json"))
    shown = "".join(outcome.out + outcome.err for outcome in outcomes)
    for key in open_record(record, Providers().kek(parse_provider("env:SEALWIRE_KEK")), Path("k.json")):
        assert key.material is not None
        assert key.material.hex()[:16] not in shown
    for entry in json.loads(Path("k.json").read_bytes())["classes"]:
        assert entry["keys"][0]["wrapped"][:16] not in shown


@pytest.mark.parametrize("subcommand", ["create", "create-kek", "list", "verify"])
def test_help_has_examples(run: Run, subcommand: str) -> None:
    shown = run(subcommand, "--help")
    assert shown.code == 0
    assert "Examples:" in shown.out
