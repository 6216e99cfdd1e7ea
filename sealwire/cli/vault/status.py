"""`sealwire vault status`: whether everything that `setup` makes is still there, and fresh enough."""

import sys
from collections.abc import Sequence
from datetime import UTC, datetime

import click

from sealwire.cli.options import json_option
from sealwire.cli.vault import EXIT_DRIFT
from sealwire.cli.vault.options import ServerOptions, names_options, server_options, wish_options
from sealwire.cli.vault.show import show_outcome
from sealwire.keys.vault.seal import SealStatus
from sealwire.sidecars.vault_setup import plan
from sealwire.sidecars.vault_setup.credentials import Login, logins
from sealwire.sidecars.vault_setup.initialise import require_unsealed
from sealwire.sidecars.vault_setup.rotation import KeyAge, ages
from sealwire.sidecars.vault_setup.settings import SetupSettings, format_period
from sealwire.sidecars.vault_setup.step import State


@click.command()
@server_options
@names_options
@wish_options
@json_option
def command(server: ServerOptions, setup: SetupSettings, *, as_json: bool) -> None:
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
    steps = plan.compare_all(admin, setup)
    drift = plan.outstanding(steps)
    keys = () if any(step.state is State.TO_DO for step in steps) else ages(admin, setup)
    found = () if drift else logins(admin, setup)
    more = {
        "seal": _seal_row(seal),
        "keys": [_key_row(key) for key in keys],
        "logins": [_login_row(login) for login in found],
    }
    show_outcome(steps, more, as_json=as_json)
    late = _late(keys, found, datetime.now(UTC))
    for line in late:
        click.echo(line, err=True)
    sys.exit(EXIT_DRIFT if drift or late else 0)


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


def _seal_row(seal: SealStatus) -> dict[str, object]:
    return {"shares": seal.shares, "threshold": seal.threshold, "unseals_itself": seal.unseals_itself}


def _login_row(login: Login) -> dict[str, object]:
    return {"role": login.role, "secret_ids": login.secret_ids, "ends": login.ends.isoformat()}


def _key_row(key: KeyAge) -> dict[str, object]:
    period = format_period(key.period_s) if key.period_s else None
    return {"name": key.name, "version": key.version, "made": key.made.isoformat(), "rotation_period": period}
