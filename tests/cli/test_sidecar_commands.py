"""What every command of the sidecars offers: examples, JSON, a dry run, exit codes."""

import re
from collections.abc import Iterator

import click
import pytest

from sealwire.cli import sealwire
from sealwire.cli.groups import ALWAYS, DocumentedGroup
from tests.build_context import ROOT


def _group(name: str) -> DocumentedGroup:
    found = sealwire.get_command(click.Context(sealwire), name)
    assert isinstance(found, DocumentedGroup)
    return found


GROUPS = {
    name: _group(name) for name in ("audit", "backup", "erase", "hold", "luks", "migrate", "tls", "vault")
}

ONLY_LOOKS = {
    ("audit", "report"),
    ("audit", "subject"),
    ("audit", "tail"),
    ("audit", "verify"),
    ("backup", "list"),
    ("backup", "transition"),
    ("backup", "verify"),  # it notes its verdict beside the backup, and nothing else
    ("erase", "check"),
    ("erase", "find"),
    ("erase", "verify-receipt"),
    ("hold", "list"),
    ("luks", "plan"),
    ("luks", "status"),
    ("migrate", "plan"),
    ("migrate", "rehearse"),
    ("migrate", "remains"),
    ("migrate", "status"),
    ("migrate", "verify"),
    ("tls", "rules"),
    ("tls", "verify"),
    ("vault", "status"),
}


def _commands() -> Iterator[tuple[str, str]]:
    for name, group in GROUPS.items():
        for subcommand in group.list_commands(click.Context(group)):
            yield name, subcommand


COMMANDS = list(_commands())


def find(name: str, subcommand: str) -> click.Command:
    found = GROUPS[name].get_command(click.Context(GROUPS[name]), subcommand)
    assert found is not None
    return found


def options(command: click.Command) -> set[str]:
    return {text for parameter in command.params for text in parameter.opts}


@pytest.mark.parametrize(("name", "subcommand"), COMMANDS)
def test_a_command_has_examples_and_json(name: str, subcommand: str) -> None:
    command = find(name, subcommand)
    assert f"sealwire {name} {subcommand}" in (command.help or "").partition("Example")[2]
    assert "--json" in options(command)


@pytest.mark.parametrize(("name", "subcommand"), COMMANDS)
def test_a_command_that_changes_something_can_be_run_dry(name: str, subcommand: str) -> None:
    assert ("--dry-run" in options(find(name, subcommand))) is ((name, subcommand) not in ONLY_LOOKS)


@pytest.mark.parametrize(("name", "subcommand"), COMMANDS)
def test_help_ends_with_the_exit_codes(name: str, subcommand: str) -> None:
    command, group = find(name, subcommand), GROUPS[name]
    shown = command.get_help(click.Context(command, info_name=subcommand))
    for code in group.exit_codes:
        assert re.search(rf"^ +{code} ", shown, re.M)


@pytest.mark.parametrize(
    ("name", "pages"),
    [
        ("backup", ("backup", "restore-drill")),
        ("migrate", ("migration",)),
        ("tls", ("tls",)),
        ("vault", ("vault",)),
    ],
)
def test_the_codes_of_a_page_are_those_of_the_commands(name: str, pages: tuple[str, ...]) -> None:
    text = "".join((ROOT / "docs" / "operations" / f"{page}.md").read_text() for page in pages)
    tables = re.findall(r"^\| exit \|.*\n\|---.*\n((?:\|.*\n)+)", text, re.M)
    codes = {int(code) for table in tables for code in re.findall(r"^\| (\d+) \|", table, re.M)}
    assert codes | set(ALWAYS) == set(GROUPS[name].exit_codes)
