"""`sealwire vault setup`: make on the server what Sealwire needs."""

import sys

import click

from sealwire.cli.options import dry_run_option, json_option, yes_option
from sealwire.cli.output import question_console, with_bar
from sealwire.cli.vault import EXIT_DRIFT
from sealwire.cli.vault.options import ServerOptions, names_options, server_options, wish_options
from sealwire.cli.vault.show import show_outcome, show_steps
from sealwire.sidecars.vault_setup import plan
from sealwire.sidecars.vault_setup.initialise import require_unsealed
from sealwire.sidecars.vault_setup.settings import SetupSettings
from sealwire.sidecars.vault_setup.step import State


@click.command()
@server_options
@names_options
@wish_options
@dry_run_option
@yes_option
@json_option
def command(server: ServerOptions, setup: SetupSettings, *, dry_run: bool, yes: bool, as_json: bool) -> None:
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
    steps = plan.compare_all(admin, setup)
    if not dry_run:
        plan.require_changeable(steps)
        pending = [step for step in steps if step.request is not None]
        if pending and not yes:
            show_steps(steps, question_console())
            click.confirm(f"Change {len(pending)} things on the server?", abort=True, err=True)
        if pending:
            done = with_bar(
                plan.carry_out(admin, steps), len(steps), lambda _: "setting up", lambda step: step
            )
            steps = plan.verify(admin, setup, done)
    show_outcome(steps, {"dry_run": dry_run}, as_json=as_json)
    left = [step for step in steps if step.state is State.BY_HAND] if dry_run else plan.outstanding(steps)
    sys.exit(EXIT_DRIFT if left else 0)
