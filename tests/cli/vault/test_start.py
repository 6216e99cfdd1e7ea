"""`sealwire vault init`: nobody loses a share or a token."""

import signal
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from sealwire.cli.vault import command
from sealwire.cli.vault.options import ServerOptions
from sealwire.keys.errors import AlreadyExists, KeySettingError, KeysReason
from sealwire.keys.vault.admin import FirstKeys
from sealwire.sidecars.vault_setup import initialise
from sealwire.sidecars.vault_setup.errors import HandOverFailed, SetupReason
from tests.cli.vault.runs import refusal
from tests.sidecars.vault_setup.fake_seal import FakeSeal


def test_shares_are_not_printed_where_no_terminal_is() -> None:
    error = refusal("init")
    assert isinstance(error, HandOverFailed)
    assert error.reason is SetupReason.NOT_A_TERMINAL


def test_shares_that_could_not_be_written_are_not_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seal, written = FakeSeal(), []

    def create(path: Path, content: bytes) -> None:
        if path.name == "share-3":
            raise KeySettingError(KeysReason.FILE_UNWRITABLE, "no space")
        written.append(path.name)

    monkeypatch.setattr(initialise, "create_private", create)
    monkeypatch.setattr(ServerOptions, "seal", lambda _: seal)
    error = refusal("init", "--shares", "3", "--threshold", "2", "--output", str(tmp_path / "shares"))
    assert isinstance(error, HandOverFailed)
    assert error.reason is SetupReason.OUTPUT
    assert (written, seal.given) == (["share-1", "share-2"], [])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_while_keys_are_made_waits_until_somebody_holds_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    class Interrupted(FakeSeal):
        def initialise(self, *arguments: Any) -> FirstKeys:
            signal.raise_signal(number)
            return super().initialise(*arguments)

    def leave(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(number, leave)
    try:
        monkeypatch.setattr(ServerOptions, "seal", lambda _: Interrupted())
        options = ("--shares", "3", "--threshold", "2", "--output", str(tmp_path / "shares"))
        ended = CliRunner().invoke(command, ["init", *options])
    finally:
        signal.signal(number, before)
    assert ended.exit_code == 1
    held = {path.name for path in (tmp_path / "shares").iterdir()}
    assert held == {"share-1", "share-2", "share-3", "root-token"}


def test_a_root_token_that_has_no_place_leaves_no_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "token").touch()
    monkeypatch.setattr(ServerOptions, "seal", lambda _: FakeSeal())
    options = ("--output", str(tmp_path / "shares"), "--root-token-file", str(tmp_path / "token"))
    assert isinstance(refusal("init", *options), AlreadyExists)
    assert not (tmp_path / "shares").exists()
