"""No server in the environment."""

import signal
from enum import Enum
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from sealwire.cli.groups import vault
from sealwire.keys.errors import AlreadyExists, KeySettingError, KeysReason
from sealwire.keys.vault.admin import FirstKeys
from sealwire.sidecars.errors import CannotCreate, SetupReason, Unusable
from sealwire.sidecars.vault_setup import initialise
from sealwire.sidecars.vault_setup.commands import ServerOptions
from tests.cli.runs import Run
from tests.sidecars.vault_setup.fake_server import FakeSeal


@pytest.fixture(autouse=True)
def no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("VAULT_ADDR", "BAO_ADDR", "VAULT_TOKEN", "BAO_TOKEN", "SEALWIRE_VAULT_ADDRESS"):
        monkeypatch.delenv(name, raising=False)


BEGINS_WITH = ("vault",)


WRAPPED = ("--secret-id-file", "x", "--wrap-ttl")
SUBCOMMANDS = vault.list_commands(click.Context(vault))


def refusal(*arguments: str) -> Any:
    """What running it raises."""
    result = CliRunner().invoke(vault, arguments)
    assert isinstance(result.exception, Exception)
    return result.exception


@pytest.mark.parametrize("name", SUBCOMMANDS)
def test_every_subcommand_shows_examples(run: Run, name: str) -> None:
    result = run(name, "--help", code=0)
    assert "Examples:" in result.out


@pytest.mark.parametrize("name", SUBCOMMANDS)
def test_no_option_takes_a_token_or_a_share(name: str) -> None:
    found = vault.get_command(click.Context(vault), name)
    assert found is not None
    options = {
        option
        for parameter in found.params
        if isinstance(parameter, click.Option)
        for option in parameter.opts
    }
    assert not options & {"--token", "--share", "--root-token", "--secret-id", "--key-share"}


@pytest.mark.parametrize(
    "arguments",
    [
        ("rotate-policy",),
        ("setup", "--auth", "kubernetes"),
        ("credentials", "proxy"),
        ("credentials", "nobody", "--secret-id-file", "x"),
    ],
)
def test_wrong_usage_is_said_at_once(run: Run, arguments: tuple[str, ...]) -> None:
    assert run(*arguments).code == 2


@pytest.mark.parametrize(
    ("arguments", "kind", "reason"),
    [
        (("setup", "--prefix", "*"), Unusable, SetupReason.NAME),
        (("setup", "--rotation-period", "5m"), Unusable, SetupReason.PERIOD),
        (("setup", "--bound-cidr", "anywhere"), Unusable, SetupReason.AUTH),
        (("setup", "--audit-file", "relative.log"), Unusable, SetupReason.NAME),
        (("init", "--output", "x", "--shares", "3", "--threshold", "1"), Unusable, SetupReason.SHARES),
        (("init", "--output", "x", "--holder", "nobody.pgp"), Unusable, SetupReason.HOLDER),
        (("rotate-policy", "--period", "1m"), Unusable, SetupReason.PERIOD),
        (("credentials", "proxy", *WRAPPED, "forever"), Unusable, SetupReason.PERIOD),
        (("status",), KeySettingError, KeysReason.VAULT_SETTING),
        (("init",), CannotCreate, SetupReason.NOT_A_TERMINAL),
    ],
)
def test_what_is_wrong_is_refused_before_any_server_is_asked(
    arguments: tuple[str, ...], kind: type[Exception], reason: Enum
) -> None:
    """Also a missing address, and shares that would be printed where no terminal is."""
    error = refusal(*arguments)
    assert isinstance(error, kind)
    assert error.reason is reason  # type: ignore[attr-defined]


def test_shares_that_are_not_written_are_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seal, written = FakeSeal(), []

    def create(path: Path, content: bytes) -> None:
        if path.name == "share-3":
            raise KeySettingError(KeysReason.FILE_UNWRITABLE, "no space")
        written.append(path.name)

    monkeypatch.setattr(initialise, "create_private", create)
    monkeypatch.setattr(ServerOptions, "seal", lambda _: seal)
    error = refusal("init", "--shares", "3", "--threshold", "2", "--output", str(tmp_path / "shares"))
    assert isinstance(error, CannotCreate)
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
        ended = CliRunner().invoke(vault, ["init", *options])
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
