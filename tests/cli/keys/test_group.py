"""Every `sealwire keys` command: mistakes, secrets, help."""

import ast
import base64
import json
import re
from pathlib import Path
from typing import NamedTuple

import pytest

from sealwire.keys.keyring.file import open_record, read_record
from sealwire.keys.providers import Providers, parse_provider
from tests.build_context import ROOT
from tests.cli.runs import Run
from tests.keys.samples import edit_json

# What the tests of `sealwire keys` share.


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
    (67, ["verify", "--keyring", "k.json", "--kek", "env:OTHER"]),
    (78, ["verify", "--keyring", "k.json", "--kek", "env:UNSET"]),
    (78, ["verify", "--keyring", "k.json", "--kek", "nonsense"]),
    (78, ["verify", "--keyring", "k.json", "--kek", "file:missing.json", "--passphrase-file", "passphrase"]),
    (78, ["verify", "--keyring", "k.json", "--kek", "file:k.json"]),
    (78, ["create-kek", "--output", "kek.json", "--passphrase-file", "passphrase"]),
    (67, ["rewrap", "--keyring", "k.json", "--kek", "env:OTHER"]),
    (78, ["rewrap", "--keyring", "k.json", "--to", "env:UNSET"]),
    (78, ["rewrap", "--keyring", "k.json", "--to", "nonsense"]),
    (78, ["rewrap", "--keyring", "missing.json"]),
    (65, ["rotate", "other", "--keyring", "k.json", "--policy", "other.yaml"]),
    (78, ["rotate", "a", "--keyring", "k.json"]),
    (78, ["rotate", "a", "--keyring", "k.json", "--policy", "other.yaml"]),
    (78, ["rotate", "--due", "--keyring", "missing.json"]),
    (78, ["rotate", "--due", "--keyring", "k.json", "--rotate-every", "0d"]),
    (67, ["rotate", "--due", "--keyring", "k.json", "--rewrap-every", "0d", "--kek", "env:OTHER"]),
    (65, ["rotate", "--due", "--keyring", "forged.json", "--rewrap-every", "0d"]),
    (78, ["status", "--keyring", "missing.json"]),
    (77, ["status", "--keyring", "open.json"]),
    (65, ["status", "--keyring", "text.json"]),
    (65, ["retire", "a", "9", "--keyring", "k.json", "--yes"]),
    (65, ["retire", "other", "1", "--keyring", "k.json", "--yes"]),
    (78, ["retire", "a", "1", "--keyring", "k.json", "--dry-run"]),
    (78, ["retire", "a", "1", "--keyring", "k.json", "--undo"]),
    (65, ["destroy", "a", "9", "--keyring", "k.json", "--yes"]),
    (78, ["destroy", "a", "1", "--keyring", "k.json", "--dry-run"]),
    (78, ["destroy", "a", "1", "--keyring", "k.json", "--cancel"]),
    (2, ["rotate", "--keyring", "k.json"]),
    (2, ["rotate", "a", "--due", "--keyring", "k.json"]),
    (2, ["rotate", "--due", "--keyring", "k.json", "--rewrap-every", "soon"]),
    (2, ["retire", "a", "0", "--keyring", "k.json"]),
    (2, ["destroy", "a", "1", "--keyring", "k.json", "--wait", "never"]),
    (2, ["destroy", "a", "1", "--keyring", "k.json", "--wait", "0d", "--yes"]),
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
    shown = run(subcommand, "--help", code=0)
    assert "Examples:" in shown.out


# ------- whoever has lost a key-encryption key is never told to make a fresh one: that would end the search


_MAKING = re.compile(
    r"\b(creates?|create-kek|generates?|fresh|new key|new one|makes? (?:one|it|a key|the key))\b"
)
PLACES = ("keys/kek", "keys/vault", "keys/providers.py", "keys/private_file.py")
# These speak of a secret that logs in, not of a key.
ALLOWED = {
    "if you did not use it, somebody else has: revoke the credential, find out who, and make a fresh one",
    "if you did not use it, somebody else has: revoke it, find out who, and write a fresh one",
}


class Loss(NamedTuple):
    """How a key is lost: the options of a command, the environment, the mode and text of the file."""

    options: tuple[str, ...] = ()
    kek: str | None = ""
    """What takes its place; None: nothing."""
    file: tuple[int, str] | None = None

    def happen(self, folder: Path, environment: pytest.MonkeyPatch) -> tuple[str, ...]:
        if self.kek is None:
            environment.delenv("SEALWIRE_KEK")
        elif self.kek:
            environment.setenv("SEALWIRE_KEK", self.kek)
        if self.file is not None:
            mode, text = self.file
            (folder / "kek.json").touch(mode)
            (folder / "kek.json").write_text(text)
        return self.options


KEY_FILE = ("--kek", "file:kek.json", "--passphrase-file", "passphrase")
LOSSES = {
    "other": Loss(("--kek", "env:OTHER")),
    "unset": Loss(kek=None),
    "malformed": Loss(kek="c2hvcnQ="),
    "no_file": Loss(KEY_FILE),
    "no_passphrase": Loss(KEY_FILE[:2]),
    "damaged_file": Loss(KEY_FILE, file=(0o600, "{}")),
    "open_file": Loss(KEY_FILE, file=(0o644, "")),
    "no_token": Loss(("--kek", "pkcs11:token=a;object=b?module-path=/no/such.so")),
}


COMMANDS: tuple[tuple[str, ...], ...] = (
    ("create", "new_class"),
    ("verify",),
    ("rewrap",),
    ("export", "keys.export"),
    ("retire", "a", "1", "--yes"),
    ("rotate", "--due", "--rewrap-every", "0d"),
)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.usefixtures("passphrase_file")
def test_no_command_on_a_keyring_says_to_make_its_key_anew(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loss: str, command: tuple[str, ...]
) -> None:
    assert run("create", "--keyring", "k.json", "a").code == 0
    content = Path("k.json").read_bytes()
    monkeypatch.setenv("OTHER", base64.b64encode(bytes(range(32))).decode())
    options = LOSSES[loss].happen(tmp_path, monkeypatch)
    if command[0] == "export":
        options = (*options, "--export-passphrase-file", "passphrase")
    outcome = run(*command, "--keyring", "k.json", *options)
    assert outcome.code in {65, 67, 69, 77, 78}
    (_, hint) = outcome.err.splitlines()[-2:]
    assert hint.startswith("sealwire: hint: ")
    assert not _MAKING.search(hint)
    assert Path("k.json").read_bytes() == content


@pytest.mark.parametrize("loss", ["unset", "malformed", "no_file"])
@pytest.mark.usefixtures("passphrase_file")
def test_for_a_first_keyring_it_says_how_to_make_one(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loss: str
) -> None:
    outcome = run("create", "--keyring", "k.json", "a", *LOSSES[loss].happen(tmp_path, monkeypatch), code=78)
    assert "sealwire keys create-kek" in outcome.err


def texts_of(path: Path) -> list[str]:
    """The texts in what is raised and returned as an error, and those of constants called a hint."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    calls = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and ast.unparse(node.func)[:1].isupper()
        and "KeysReason" in ast.unparse(node)
    ]
    hints = [node for node in ast.walk(tree) if isinstance(node, ast.Assign) and "HINT" in ast.unparse(node)]
    return [
        part.value
        for node in (*calls, *hints)
        for part in ast.walk(node)
        if isinstance(part, ast.Constant) and isinstance(part.value, str)
    ]


def test_no_error_of_a_provider_says_so_either() -> None:
    """Providers whose service is not here are read: Vault, AWS KMS, a token, and those to come."""
    files = [
        file
        for place in PLACES
        for file in ([ROOT / place] if place.endswith(".py") else sorted((ROOT / place).glob("*.py")))
    ]
    found = {text for file in files for text in texts_of(file) if _MAKING.search(text)}
    assert len(files) > 10
    assert found == ALLOWED
