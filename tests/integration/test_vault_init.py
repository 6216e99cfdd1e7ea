"""`sealwire vault init` and `unseal` against a real OpenBao: the first keys, and who holds them."""

import subprocess

import pytest

from tests.integration.vault_command import SHARES, Command
from tests.support.debian_programs import require_program
from tests.support.openbao import RaftServer

pytestmark = pytest.mark.integration


def test_secrets_are_private_files_and_nowhere_else(empty_vault: tuple[RaftServer, Command]) -> None:
    server, command = empty_vault
    refused = command.run("init", *SHARES)
    assert (refused.code, server.client.sys.is_initialized()) == (73, False)
    assert command.run("init", *SHARES, "--json").code == 2
    planned = command.run("init", *SHARES, "--output", "shares", "--dry-run", "--json")
    assert (planned.code, planned.json["dry_run"], planned.json["sealed"]) == (0, True, None)
    assert not (command.folder / "shares").exists()
    assert server.client.sys.is_initialized() is False
    made = command.run("init", *SHARES, "--output", "shares")
    assert made.code == 0
    files = {path.name: path.stat().st_mode & 0o777 for path in (command.folder / "shares").iterdir()}
    assert files == dict.fromkeys(["share-1", "share-2", "share-3", "root-token"], 0o600)
    for path in (command.folder / "shares").iterdir():
        assert path.read_text().strip() not in made.out + made.err


def test_an_output_that_cannot_be_made_stops_before_there_are_keys(
    empty_vault: tuple[RaftServer, Command],
) -> None:
    server, command = empty_vault
    (command.folder / "shares").mkdir()
    assert command.run("init", *SHARES, "--output", "shares").code == 73
    command.root_token_file.touch()
    options = (*SHARES, "--output", "new", "--root-token-file", command.root_token_file)
    assert command.run("init", *options, "--dry-run").code == 73
    assert command.run("init", *options).code == 73
    assert server.client.sys.is_initialized() is False


def test_shares_for_age_holders_open_with_their_keys_only(
    empty_vault: tuple[RaftServer, Command], age_on_the_path: None
) -> None:
    server, command = empty_vault
    recipients = []
    for number in (1, 2):
        key = command.folder / f"holder-{number}"
        subprocess.run(["age-keygen", "-o", key], check=True, capture_output=True)
        made = subprocess.run(["age-keygen", "-y", key], check=True, capture_output=True, text=True)
        recipients += ["--holder", made.stdout.strip()]
    numbers = ("--shares", "2", "--threshold", "2")
    assert command.run("init", *numbers, *recipients, "--output", "shares").code == 0
    server.stop()
    server.start()

    def opened(name: str, holder: int) -> str:
        decrypt = ["age", "-d", "-i", f"holder-{holder}", f"shares/{name}.age"]
        done = subprocess.run(decrypt, cwd=command.folder, check=True, capture_output=True, text=True)
        return done.stdout

    with pytest.raises(subprocess.CalledProcessError):
        opened("share-1", 2)
    assert command.run("unseal", stdin=opened("share-1", 1)).code == 1
    assert command.run("unseal", stdin=opened("share-2", 2)).code == 0
    server.wait_for_health({200})
    assert server.client_with(opened("root-token", 1)).is_authenticated()


def test_shares_for_pgp_holders_never_leave_the_server_in_clear(
    empty_vault: tuple[RaftServer, Command],
) -> None:
    server, command = empty_vault
    gpg = [
        str(require_program("gpg", "gpg", "--version")),
        "--batch",
        "--quiet",
        "--homedir",
        str(command.folder / "gpg"),
    ]
    (command.folder / "gpg").mkdir(mode=0o700)
    try:
        holders = []
        for number in (1, 2):
            name = f"holder-{number}"
            make = ["--passphrase", "", "--quick-gen-key", name, "default", "default", "never"]
            subprocess.run([*gpg, *make], check=True, capture_output=True)
            key = command.folder / f"{name}.pgp"
            armour = ["--armor"] if number == 2 else []
            subprocess.run([*gpg, *armour, "--output", key, "--export", name], check=True)
            holders += ["--holder", key]
        numbers = ("--shares", "2", "--threshold", "2")
        assert command.run("init", *numbers, *holders, "--output", "shares").code == 0
        assert command.run("status").code == 69

        def opened(name: str) -> str:
            decrypt = [*gpg, "--decrypt", str(command.folder / "shares" / f"{name}.pgp")]
            return subprocess.run(decrypt, check=True, capture_output=True, text=True).stdout

        assert command.run("unseal", stdin=f"{opened('share-1')}\n{opened('share-2')}\n").code == 0
        assert server.client_with(opened("root-token")).is_authenticated()
    finally:
        end = ["gpgconf", "--homedir", str(command.folder / "gpg"), "--kill", "all"]
        subprocess.run(end, check=False, capture_output=True)
