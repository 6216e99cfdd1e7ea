"""`sealwire observe report`: what it makes of the figures of a running proxy, for people and for programs."""

import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import yaml

from sealwire.cli import sealwire
from sealwire.cli.groups import ALWAYS, DocumentedGroup
from sealwire.proxy.server.observability.metrics import Metrics
from sealwire.proxy.session.effects import ObservedCommand
from sealwire.proxy.session.effects import ObservedVerdict as Verdict
from tests.build_context import ROOT
from tests.cli.runs import Listener, Run

ANSWERED = ObservedCommand(Verdict.ANSWERED, "insert", "clinic.patients", application="ward")
REFUSED = ObservedCommand(Verdict.REFUSED, "find", "clinic.patients", "$gt", "nhs", "range", "ward")


class Admin:
    """What the admin address answers."""

    def __init__(self) -> None:
        self.metrics = Metrics()
        self.metrics.observed.use_policy(1)
        self.status = 200
        self.is_away = False
        self.text: bytes | None = None


@pytest.fixture
def admin() -> Admin:
    return Admin()


@pytest.fixture
def begins_with(tmp_path: Path, admin: Admin, monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    def answer() -> bytes:
        if admin.is_away:
            raise OSError
        text = admin.metrics.render() if admin.text is None else admin.text
        return b"HTTP/1.0 %d Said\r\n\r\n%b" % (admin.status, text)

    listener = Listener(answer)

    def connected(address: tuple[str, int], timeout: float) -> Listener:
        assert (address, timeout > 0) == (("127.0.0.1", 9464), True)
        return listener.connect()

    monkeypatch.setattr(socket, "create_connection", connected)
    config = {
        "listen": {"address": "127.0.0.1:0", "advertise": "127.0.0.1:1", "tls": {"mode": "plaintext"}},
        "upstream": {"address": "127.0.0.1:1", "access_control": "none", "tls": {"mode": "plaintext"}},
        "policy": "policy.yaml",
        "keyring": "keyring.json",
        "kek": {"provider": "environment"},
        "admin": {"address": "127.0.0.1:9464"},
    }
    file = tmp_path / "sealwire.yaml"
    file.write_text(yaml.safe_dump(config))
    return ("observe", "report", "--config", str(file))


def test_refused_commands_are_listed_first_and_the_answer_is_no(run: Run, admin: Admin) -> None:
    for each in (ANSWERED, ANSWERED, REFUSED):
        admin.metrics.observed.add(each)
    done = run("--json", code=1)
    said = json.loads(done.out)
    assert said["collections"] == 1
    assert said["commands"] == {"untouched": 0, "answered": 2, "two-steps": 0, "name-asked": 0, "refused": 1}
    first, second = said["shapes"]
    assert first | {"look_at": ""} == {
        "count": 1,
        "verdict": "refused",
        "command": "find",
        "namespace": "clinic.patients",
        "operator": "$gt",
        "path": "nhs",
        "reason": "range",
        "application": "ward",
        "look_at": "",
    }
    assert "docs/policies.md#ranges" in first["look_at"]
    assert (second["count"], second["look_at"]) == (2, "")


def test_people_read_first_that_nothing_is_protected(run: Run, admin: Admin) -> None:
    admin.metrics.observed.add(ANSWERED)
    done = run(code=0)
    first, second, *_ = done.out.splitlines()
    assert first.startswith("NOT PROTECTED: 1 ")
    assert second == "0 untouched, 1 answered, 0 two-steps, 0 name-asked, 0 refused"


def test_a_proxy_that_enforces_its_policy_has_nothing_to_report(run: Run, admin: Admin) -> None:
    admin.metrics.observed.use_policy(0)
    done = run(code=69)
    assert "observes nothing" in done.err


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("status", 503),
        ("is_away", True),
        ("text", b"<html>"),
        ("text", b"sealwire_observed_collections NaN\n"),
    ],
    ids=["no figures", "away", "a page", "no number"],
)
def test_a_proxy_that_gives_no_figures_is_not_ready(run: Run, admin: Admin, name: str, value: object) -> None:
    setattr(admin, name, value)
    run(code=69)


def test_names_do_not_steer_a_terminal(run: Run, admin: Admin) -> None:
    admin.text = (
        b"sealwire_observed_collections 1\n"
        b'sealwire_observed_shapes_total{verdict="refused",application="\x1b[31mx"} 1\n'
    )
    done = run()
    assert (done.code, "?[31mx" in done.out, "\x1b" in done.out) == (0, True, False)


# What every command of the sidecars offers: examples, JSON, a dry run, exit codes.


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
