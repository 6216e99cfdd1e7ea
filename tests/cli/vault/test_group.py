"""Every `sealwire vault` command without a server: help, usage, and what is never an option."""

import click
import pytest

from sealwire.cli.vault import command
from sealwire.keys.errors import KeySettingError, KeysReason
from sealwire.sidecars.vault_setup.errors import SetupReason, UnusableSetting
from tests.cli.runs import Run
from tests.cli.vault.runs import SUBCOMMANDS, refusal


@pytest.mark.parametrize("name", SUBCOMMANDS)
def test_every_subcommand_shows_examples(run: Run, name: str) -> None:
    result = run(name, "--help")
    assert result.code == 0
    assert "Examples:" in result.out


@pytest.mark.parametrize("name", SUBCOMMANDS)
def test_no_option_takes_a_token_or_a_share(name: str) -> None:
    found = command.get_command(click.Context(command), name)
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
    ("arguments", "reason"),
    [
        (("setup", "--prefix", "*"), SetupReason.NAME),
        (("setup", "--rotation-period", "5m"), SetupReason.PERIOD),
        (("setup", "--bound-cidr", "anywhere"), SetupReason.AUTH),
        (("setup", "--audit-file", "relative.log"), SetupReason.NAME),
        (("init", "--output", "x", "--shares", "3", "--threshold", "1"), SetupReason.SHARES),
        (("init", "--output", "x", "--holder", "nobody.pgp"), SetupReason.HOLDER),
        (("rotate-policy", "--period", "1m"), SetupReason.PERIOD),
        (("credentials", "proxy", "--secret-id-file", "x", "--wrap-ttl", "forever"), SetupReason.PERIOD),
    ],
)
def test_a_setting_is_refused_before_any_server_is_asked(
    arguments: tuple[str, ...], reason: SetupReason
) -> None:
    error = refusal(*arguments)
    assert isinstance(error, UnusableSetting)
    assert error.reason is reason


def test_without_an_address_the_setting_is_missing() -> None:
    error = refusal("status")
    assert isinstance(error, KeySettingError)
    assert error.reason is KeysReason.VAULT_SETTING
