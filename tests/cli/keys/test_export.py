"""`sealwire keys export` and `import`."""

import json
from pathlib import Path

import pytest

from tests.cli.runs import Run

SHARES = ("--share", "a.txt", "--share", "b.txt", "--share", "c.txt")


def test_a_passphrase_brings_a_keyring_elsewhere(run: Run, keyring: Path, passphrase_file: Path) -> None:
    opening = ("--export-passphrase-file", str(passphrase_file))
    assert run("export", "keys.export", "--keyring", "k.json", *opening).code == 0
    assert Path("keys.export").stat().st_mode & 0o777 == 0o600
    run("import", "keys.export", "--keyring", "new.json", "--kek", "env:NEW_KEK", *opening, code=0)
    assert run("verify", "--keyring", "new.json", "--kek", "env:NEW_KEK").code == 0


def test_two_of_three_shares_bring_it_back(run: Run, keyring: Path) -> None:
    done = run("export", "keys.export", "--keyring", "k.json", "--threshold", "2", *SHARES, "--json")
    assert json.loads(done.out) == {"keys": 2, "shares": 3, "threshold": 2}
    share = Path("c.txt").read_text()
    assert len(share.split()) == 33
    assert not any(word in done.out + done.err for word in share.split()[4:])
    # copied by hand: in capitals and over several lines
    Path("c.txt").write_text(share.upper().replace(" ", "\n"))
    arguments = ("--share", "a.txt", "--share", "c.txt")
    assert run("import", "keys.export", "--keyring", "new.json", *arguments).code == 0
    assert run("verify", "--keyring", "new.json").code == 0


def test_an_import_replaces_nothing(run: Run, keyring: Path) -> None:
    run("export", "keys.export", "--keyring", "k.json", "--threshold", "2", *SHARES)
    content = keyring.read_bytes()
    assert run("import", "keys.export", "--keyring", "k.json", *SHARES).code == 73
    assert keyring.read_bytes() == content
    assert run("export", "keys.export", "--keyring", "k.json", "--threshold", "2", *SHARES).code == 73


@pytest.mark.parametrize(
    ("code", "arguments"),
    [
        (77, ["import", "keys.export", "--keyring", "n.json", "--share", "a.txt"]),
        (78, ["import", "keys.export", "--keyring", "n.json", "--export-passphrase-file", "passphrase"]),
        (77, ["import", "keys.export", "--keyring", "n.json", "--share", "a.txt", "--share", "wrong.txt"]),
        (78, ["import", "keys.export", "--keyring", "n.json", "--share", "a.txt", "--share", "latin.txt"]),
        (65, ["import", "k.json", "--keyring", "n.json", "--share", "a.txt"]),
        (78, ["import", "missing", "--keyring", "n.json", "--share", "a.txt"]),
        (78, ["export", "n.export", "--keyring", "k.json", "--threshold", "9", "--share", "n.txt"]),
        (
            67,
            [
                "export",
                "n.export",
                "--keyring",
                "k.json",
                "--kek",
                "env:NEW_KEK",
                "--export-passphrase-file",
                "passphrase",
            ],
        ),
        (2, ["export", "n.export", "--keyring", "k.json", "--threshold", "2"]),
        (2, ["export", "n.export", "--keyring", "k.json", "--share", "n.txt"]),
        (
            2,
            [
                "import",
                "keys.export",
                "--keyring",
                "n.json",
                "--share",
                "a.txt",
                "--export-passphrase-file",
                "passphrase",
            ],
        ),
    ],
)
def test_each_mistake_has_its_exit_code_and_leaves_nothing(
    run: Run, keyring: Path, passphrase_file: Path, code: int, arguments: list[str]
) -> None:
    run("export", "keys.export", "--keyring", "k.json", "--threshold", "2", *SHARES)
    for name, content in (("wrong.txt", b"academic acid"), ("latin.txt", b"\xe9")):
        Path(name).touch(0o600)
        Path(name).write_bytes(content)
    run(*arguments, code=code)
    assert not {"n.json", "n.export", "n.txt"} & {entry.name for entry in Path().iterdir()}
