"""What a command imports before it does anything: sets that may not grow, since each start pays for them."""

import json
import subprocess
import sys

import click
import pytest

from sealwire.cli import sealwire
from tests.build_context import ROOT

FRONT_DOOR = frozenset({"sealwire", "sealwire.cli", "sealwire.cli.exit_codes", "sealwire.cli.groups"})
CONFIGURATION = frozenset(
    """
    sealwire.audit sealwire.audit.errors sealwire.audit.files sealwire.audit.line sealwire.audit.log
    sealwire.audit.signing sealwire.cli.healthcheck sealwire.cli.options sealwire.files
    sealwire.files.errors sealwire.files.yaml_source sealwire.keys sealwire.keys.errors sealwire.keys.kek
    sealwire.keys.keyring sealwire.keys.keyring.store sealwire.keys.private_file sealwire.keys.providers
    sealwire.keys.vault sealwire.keys.vault.settings sealwire.proxy sealwire.proxy.server
    sealwire.proxy.server.audit_writer sealwire.proxy.server.audit_writer.destinations
    sealwire.proxy.server.config sealwire.proxy.server.config.reader
    sealwire.proxy.server.config.sections sealwire.proxy.server.config.seeds
    sealwire.proxy.server.config.settings sealwire.proxy.server.errors
    sealwire.proxy.server.observability sealwire.proxy.server.observability.audit_settings
    sealwire.proxy.server.observability.logs sealwire.proxy.session sealwire.proxy.session.choices
    sealwire.crypto sealwire.crypto.host_names sealwire.policies sealwire.policies.questions
    sealwire.sidecars sealwire.sidecars.errors sealwire.wire sealwire.wire.compressors
    """.split()  # noqa: SIM905 - one line for each name says no more
)
SLOW = frozenset(
    {"cryptography", "pymongo", "bson", "hvac", "requests", "urllib3", "jinja2", "rich"}
    | {"prometheus_client", "asyncio"}
)
"""Each takes 10 ms or more."""
SPARED = frozenset({"http.client", "email", "urllib.parse", "ipaddress", "secrets", "random"})
"""Of the standard library: together a tenth of a health check, which the image makes every 15 seconds."""
EXAMPLE = str(ROOT / "deploy" / "sealwire.example.yaml")
CHECK = f"load_config(Path({EXAMPLE!r}), {{}})"


def imported(program: str) -> frozenset[str]:
    """The modules that a new process has after this program."""
    program += "\nimport json, sys; print(json.dumps(sorted(sys.modules)))"
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return frozenset(json.loads(done.stdout.splitlines()[-1]))


def after(*arguments: str) -> frozenset[str]:
    """The same after `sealwire` with these arguments."""
    return imported(
        f"from sealwire.cli import sealwire\nsealwire({list(arguments)!r}, standalone_mode=False)"
    )


def of_sealwire(modules: frozenset[str]) -> frozenset[str]:
    return frozenset(each for each in modules if each.split(".")[0] == "sealwire")


def test_the_help_imports_no_command() -> None:
    modules = after("--help")
    assert of_sealwire(modules) <= FRONT_DOOR
    assert not {"yaml", *SLOW} & modules


def test_the_first_lines_in_the_help_are_those_of_the_commands() -> None:
    context = click.Context(sealwire)
    known, found = click.HelpFormatter(width=200), click.HelpFormatter(width=200)
    sealwire.format_commands(context, known)
    click.Group.format_commands(sealwire, context, found)
    assert known.getvalue() == found.getvalue()


def test_a_health_check_imports_what_reads_a_configuration() -> None:
    modules = imported(f"from pathlib import Path\nfrom sealwire.cli.healthcheck import load_config\n{CHECK}")
    assert of_sealwire(modules) <= FRONT_DOOR | CONFIGURATION
    assert not (SLOW | SPARED) & modules


@pytest.mark.parametrize(
    ("command", "needed"),
    [
        ("audit verify", set()),
        ("compliance verify", set()),
        ("erase verify-receipt", {"cryptography"}),
        ("hold list", {"cryptography"}),
        ("keys list", {"cryptography"}),
        ("policy check", {"bson"}),
        ("policy lint", {"bson"}),
        ("policy test", {"bson"}),
    ],
)
def test_what_only_reads_a_file_imports_neither_driver_nor_drawing(command: str, needed: set[str]) -> None:
    assert SLOW & after(*command.split(), "--help") <= needed
