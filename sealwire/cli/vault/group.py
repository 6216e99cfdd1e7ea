"""`sealwire vault`: set up Vault or OpenBao for Sealwire, and check that it still is."""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from sealwire.cli.documented_group import DocumentedGroup
from sealwire.cli.vault.change import remove, rotate_policy
from sealwire.cli.vault.options import (
    ServerOptions,
    dry_run_option,
    json_option,
    names_options,
    server_options,
    wish_options,
    yes_option,
)
from sealwire.cli.vault.roles import credentials, revoke, unwrap
from sealwire.cli.vault.start import init, unseal
from sealwire.keys.vault.seal import SealStatus
from sealwire.sidecars.vault_setup import plan
from sealwire.sidecars.vault_setup.credentials import Login, logins
from sealwire.sidecars.vault_setup.errors import ServerState, SetupReason
from sealwire.sidecars.vault_setup.resource import Difference
from sealwire.sidecars.vault_setup.rotation import KeyAge, ages
from sealwire.sidecars.vault_setup.settings import SetupSettings, format_period
from sealwire.sidecars.vault_setup.step import State, Step

_EXIT_DRIFT = 1
_SHORT = 40


EXIT_CODES = {
    _EXIT_DRIFT: "something differs, a share is missing, or an operator has to do a step",
    69: "the server is down, sealed, not initialised or not set up",
    73: "an output file exists, a share could not be handed over, or a needed name is another thing's",
    77: "the login is refused, or the role may not do this",
    78: "an option, a name or a period cannot be used",
}


@click.group(cls=DocumentedGroup, exit_codes=EXIT_CODES)
def command() -> None:
    """Set up Vault or OpenBao, check it, rotate its keys, hand out and revoke logins."""


for _subcommand in (init, unseal, credentials, unwrap, revoke, rotate_policy, remove):
    command.add_command(_subcommand)


@command.command()
@server_options
@names_options
@wish_options
@dry_run_option
@yes_option
@json_option
def setup(*, server: ServerOptions, settings: SetupSettings, dry_run: bool, yes: bool, as_json: bool) -> None:
    """Make what Sealwire needs on the server: keys, policies, roles, storage, audit log.

    Compares first, and does only what is left to do, so it may be run again at any time. Things of the same
    name that differ for good are never changed. Needs an administrator's token. Exit code 1 when something is
    left that only an operator can do.

    \b
    Examples:
      sealwire vault setup --address https://vault.example:8200 --token-file root-token --dry-run
      sealwire vault setup --token-file root-token --yes --audit-file /var/log/openbao/audit.log
      sealwire vault setup --auth kubernetes --kubernetes-host https://k8s:6443 --kubernetes-ca ca.crt
    """
    _require_unsealed(server.seal().status())
    admin = server.admin()
    steps = plan.survey(admin, settings)
    if not dry_run:
        plan.require_changeable(steps)
        pending = [step for step in steps if step.request is not None]
        if pending and not yes:
            _show(steps, Console(stderr=True, markup=False))
            click.confirm(f"Change {len(pending)} things on the server?", abort=True, err=True)
        if pending:
            steps = plan.verify(admin, settings, _with_progress(plan.carry_out(admin, steps), len(steps)))
    _print(steps, as_json=as_json, more={"dry_run": dry_run})
    left = [step for step in steps if step.state is State.BY_HAND] if dry_run else plan.outstanding(steps)
    sys.exit(_EXIT_DRIFT if left else 0)


@command.command()
@server_options
@names_options
@wish_options
@json_option
def status(*, server: ServerOptions, settings: SetupSettings, as_json: bool) -> None:
    """Check the seal and everything that `setup` makes; exit code 1 when anything differs.

    Also when a key was not rotated in time, or the last secret id of a role ends within two weeks.
    Changes nothing. The auditor's login is enough. Give the options that `setup` was given.

    \b
    Examples:
      sealwire vault status --token-file auditor-token
      SEALWIRE_VAULT_AUTH=approle SEALWIRE_VAULT_ROLE_ID=... sealwire vault status --json
    """
    seal = server.seal().status()
    _require_unsealed(seal)
    admin = server.admin()
    steps = plan.survey(admin, settings)
    drift = plan.outstanding(steps)
    keys = () if any(step.state is State.TO_DO for step in steps) else ages(admin, settings)
    found = () if drift else logins(admin, settings)
    more = {
        "seal": _seal_row(seal),
        "keys": [_key_row(key) for key in keys],
        "logins": [_login_row(login) for login in found],
    }
    _print(steps, as_json=as_json, more=more)
    late = _late(keys, found, datetime.now(UTC))
    for line in late:
        click.echo(line, err=True)
    sys.exit(_EXIT_DRIFT if drift or late else 0)


def _late(keys: Sequence[KeyAge], found: Sequence[Login], now: datetime) -> list[str]:
    return [
        *(
            f"{key.name} should have been rotated by the server and was not"
            for key in keys
            if key.overdue(now)
        ),
        *(
            f"the last secret id of {login.role} ends on {login.ends:%Y-%m-%d}: hand out a new one"
            for login in found
            if login.ends_soon(now)
        ),
    ]


def _require_unsealed(seal: SealStatus) -> None:
    if not seal.initialised:
        raise ServerState(
            SetupReason.NOT_INITIALISED, "the server has no keys yet", "make them: sealwire vault init"
        )
    if seal.sealed:
        raise ServerState(
            SetupReason.SEALED,
            f"the server is sealed; {seal.progress} of {seal.threshold} shares were given",
            "give the shares: sealwire vault unseal",
        )


def _with_progress(steps: Iterable[Step], total: int) -> list[Step]:
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn())
    done = []
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("setting up", total=total)
        for step in steps:
            done.append(step)
            progress.advance(task)
    return done


def _print(steps: Sequence[Step], *, as_json: bool, more: Mapping[str, object]) -> None:
    if as_json:
        click.echo(json.dumps({**more, "steps": [_step_row(step) for step in steps]}, indent=2))
    else:
        _show(steps, Console(markup=False))


def _show(steps: Sequence[Step], console: Console) -> None:
    table = Table("what", "name", "state", "differs in")
    for step in steps:
        fields = "\n".join(_in_short(difference) for difference in step.differences)
        table.add_row(step.kind.value, step.name, step.state.value, fields)
    console.print(table)
    for step in steps:
        if step.state is State.BY_HAND:
            console.print(f"{step.kind.value} {step.name}: {step.advice}")


def _in_short(difference: Difference) -> str:
    """The field, and what it is and should be where that is short; a policy is for `--json`."""
    found, wanted = str(difference.found), str(difference.wanted)
    if max(len(found), len(wanted)) > _SHORT:
        return difference.field
    return f"{difference.field}: {found}, wanted {wanted}"


def _step_row(step: Step) -> dict[str, object]:
    return {
        "kind": step.kind.value,
        "name": step.name,
        "state": step.state.value,
        "differences": [
            {"field": each.field, "wanted": _plain(each.wanted), "found": _plain(each.found)}
            for each in step.differences
        ],
        "advice": step.advice if step.state is State.BY_HAND else "",
        "request": step.request and {"path": step.request.path, "body": dict(step.request.body)},
    }


def _plain(value: object) -> object:
    return value if value is None or isinstance(value, str | int | list | dict) else str(value)


def _seal_row(seal: SealStatus) -> dict[str, object]:
    return {"shares": seal.shares, "threshold": seal.threshold, "unseals_itself": seal.unseals_itself}


def _login_row(login: Login) -> dict[str, object]:
    return {"role": login.role, "secret_ids": login.secret_ids, "ends": login.ends.isoformat()}


def _key_row(key: KeyAge) -> dict[str, object]:
    period = format_period(key.period_s) if key.period_s else None
    return {"name": key.name, "version": key.version, "made": key.made.isoformat(), "rotation_period": period}
