"""Several options become one argument, and stand in the help in their order."""

from dataclasses import dataclass

import click
from click.testing import CliRunner

from sealwire.cli.options import declare, settings


@dataclass(frozen=True)
class Pair:
    first: int
    second: int = 2
    rest: str = "kept"


PAIR = (click.option("--first", type=int, default=1), click.option("--second", type=int, default=0))


def run(command: click.Command, *arguments: str) -> str:
    result = CliRunner().invoke(command, arguments)
    assert result.exit_code == 0, result.output
    return result.output


def test_the_command_gets_what_is_made_of_the_options_and_keeps_the_others() -> None:
    @click.command()
    @settings("pair", Pair, *PAIR)
    @click.option("--other", default="x")
    def command(pair: Pair, other: str) -> None:
        click.echo(f"{pair} {other}")

    assert run(command, "--first", "7", "--other", "y") == f"{Pair(7, 0, 'kept')} y\n"


def test_a_parameter_without_an_option_keeps_its_default() -> None:
    @click.command()
    @settings("pair", Pair, PAIR[0])
    def command(pair: Pair) -> None:
        click.echo(repr(pair))

    assert run(command) == f"{Pair(1)!r}\n"


def test_settings_below_others_can_go_on_from_theirs() -> None:
    def more(pair: Pair, twice: bool) -> Pair:
        return Pair(pair.first * 2) if twice else pair

    @click.command()
    @settings("pair", Pair, *PAIR)
    @settings("pair", more, click.option("--twice", is_flag=True))
    def command(pair: Pair) -> None:
        click.echo(pair.first)

    assert run(command, "--first", "4", "--twice") == "8\n"


def test_options_stand_in_the_help_as_they_were_declared() -> None:
    @click.command()
    @declare(*PAIR, click.option("--third"))
    def command(**_: object) -> None:
        """Nothing."""

    shown = run(command, "--help")
    assert shown.index("--first") < shown.index("--second") < shown.index("--third")
