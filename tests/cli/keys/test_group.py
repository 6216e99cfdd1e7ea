"""Every `sealwire keys` command: mistakes, secrets, help."""

import json
from pathlib import Path

import pytest

from sealwire.keys.keyring.file import open_record, read_record
from sealwire.keys.providers import Providers, parse_provider
from tests.cli.keys.runs import MISTAKES
from tests.cli.runs import Run
from tests.keys.samples import edit_json


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
    (tmp_path / "other.yaml").write_text(
        "version: 1\nclasses: {other: {mode: random}}\ncollections: {c.d: {x: other}}\n"
    )
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
        run("rewrap", "--keyring", "k.json"),
    ]
    record = read_record(Path("k.json"))
    shown = "".join(outcome.out + outcome.err for outcome in outcomes)
    for key in open_record(record, Providers().kek(parse_provider("env:SEALWIRE_KEK")), Path("k.json")):
        assert key.material is not None
        assert key.material.hex()[:16] not in shown
    for entry in json.loads(Path("k.json").read_bytes())["classes"]:
        assert entry["keys"][0]["wrapped"][:16] not in shown


@pytest.mark.parametrize(
    "subcommand",
    ["create", "create-kek", "destroy", "list", "retire", "rewrap", "rotate", "status", "verify"],
)
def test_help_has_examples(run: Run, subcommand: str) -> None:
    shown = run(subcommand, "--help")
    assert shown.code == 0
    assert "Examples:" in shown.out
