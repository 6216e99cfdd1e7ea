"""`sealwire vault setup` and `status`: make what Sealwire needs, and check that it still is there."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime

import click
from rich.console import Console

from sealwire.cli.exit_codes import EX_NO
from sealwire.cli.options.common import json_option, yes_option
from sealwire.cli.output import Manner, manner_options, print_json, question_console, show_table, with_bar
from sealwire.cli.vault.options import ServerOptions, names_options, server_options, wish_options
from sealwire.sidecars.vault_setup import plan
from sealwire.sidecars.vault_setup.credentials import Login, logins
from sealwire.sidecars.vault_setup.desired import KeyAge, ages
from sealwire.sidecars.vault_setup.initialise import require_unsealed
from sealwire.sidecars.vault_setup.resource import AtMost, Difference, State, Step
from sealwire.sidecars.vault_setup.settings import SetupSettings, format_period


@click.command()
@server_options
@names_options
@wish_options
@yes_option
@manner_options
def setup(server: ServerOptions, settings: SetupSettings, manner: Manner, *, yes: bool) -> None:
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
    require_unsealed(server.seal().status())
    admin = server.admin()
    steps = plan.compare_all(admin, settings)
    if not manner.dry_run:
        plan.require_changeable(steps)
        pending = [step for step in steps if step.request is not None]
        if pending and not yes:
            show_steps(steps, question_console())
            click.confirm(f"Change {len(pending)} things on the server?", abort=True, err=True)
        if pending:
            making = plan.carry_out(admin, steps)
            done = with_bar(making, len(steps), lambda _: "setting up", lambda step: step)
            steps = plan.verify(admin, settings, done)
    show_outcome(steps, {"dry_run": manner.dry_run}, as_json=manner.as_json)
    outstanding = plan.outstanding(steps)
    left = [step for step in outstanding if step.state is State.BY_HAND or not manner.dry_run]
    sys.exit(EX_NO if left else 0)


@click.command()
@server_options
@names_options
@wish_options
@json_option
def status(server: ServerOptions, settings: SetupSettings, *, as_json: bool) -> None:
    """Check the seal and everything that `setup` makes; exit code 1 when anything differs.

    Also when a key was not rotated in time, or the last secret id of a role ends within two weeks.
    Changes nothing. The auditor's login is enough. Give the options that `setup` was given.

    \b
    Examples:
      sealwire vault status --token-file auditor-token
      SEALWIRE_VAULT_AUTH=approle SEALWIRE_VAULT_ROLE_ID=... sealwire vault status --json
    """
    seal = server.seal().status()
    require_unsealed(seal)
    admin = server.admin()
    steps = plan.compare_all(admin, settings)
    drift = plan.outstanding(steps)
    keys = () if any(step.state is State.TO_DO for step in steps) else ages(admin, settings)
    found = () if drift else logins(admin, settings)
    seal_row = {"shares": seal.shares, "threshold": seal.threshold, "unseals_itself": seal.unseals_itself}
    ends = [asdict(login) | {"ends": login.ends.isoformat()} for login in found]
    more = {"seal": seal_row, "keys": [_key_row(key) for key in keys], "logins": ends}
    show_outcome(steps, more, as_json=as_json)
    late = _late(keys, found, datetime.now(UTC))
    for line in late:
        click.echo(line, err=True)
    sys.exit(EX_NO if drift or late else 0)


def _late(keys: Sequence[KeyAge], found: Sequence[Login], now: datetime) -> list[str]:
    overdue = [key.name for key in keys if key.overdue(now)]
    soon = [login for login in found if login.ends_soon(now)]
    lines = [f"{name} should have been rotated by the server and was not" for name in overdue]
    ends = [f"{login.role} ends on {login.ends:%Y-%m-%d}: hand out a new one" for login in soon]
    return lines + [f"the last secret id of {end}" for end in ends]


def _key_row(key: KeyAge) -> dict[str, object]:
    period = format_period(key.period_s) or None
    return {"name": key.name, "version": key.version, "made": key.made.isoformat(), "rotation_period": period}


_SHORT = 40


def show_outcome(steps: Sequence[Step], more: Mapping[str, object], *, as_json: bool) -> None:
    """The steps; for programs `more` as well."""
    if as_json:
        print_json({**more, "steps": [_step_row(step) for step in steps]})
    else:
        show_steps(steps, Console(markup=False))


def show_steps(steps: Sequence[Step], console: Console) -> None:
    """A line a step, and what is left for an operator."""
    rows = (
        (step.kind.value, step.name, step.state.value, "\n".join(map(_in_short, step.differences)))
        for step in steps
    )
    show_table(("what", "name", "state", "differs in"), rows, console)
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
            # servers' values are JSON; what is only bounded is said in words
            asdict(each) | {"wanted": str(each.wanted) if isinstance(each.wanted, AtMost) else each.wanted}
            for each in step.differences
        ],
        "advice": step.advice if step.state is State.BY_HAND else "",
        "request": step.request and {"path": step.request.path, "body": dict(step.request.body)},
    }
