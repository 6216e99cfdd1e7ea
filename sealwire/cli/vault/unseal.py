"""`sealwire vault unseal`: shares for a sealed server, after every restart."""

import sys
from collections.abc import Iterable, Iterator

import click

from sealwire.cli.options import dry_run_option, json_option
from sealwire.cli.output import answer
from sealwire.cli.vault import EXIT_DRIFT
from sealwire.cli.vault.options import ServerOptions, server_options
from sealwire.keys.vault.seal import SealStatus
from sealwire.sidecars.vault_setup.initialise import MAX_SHARES
from sealwire.sidecars.vault_setup.initialise import unseal as give

_MAX_SHARE_CHARACTERS = 4096


@click.command()
@server_options
@dry_run_option
@json_option
def command(server: ServerOptions, *, dry_run: bool, as_json: bool) -> None:
    """Give one or more shares to a sealed server, one a line; asks for them on a terminal.

    Each holder may do it from his own machine: the server counts. Exit code 1 while it is still sealed. With
    --dry-run no share is taken: it only says how many are missing.

    \b
    Examples:
      sealwire vault unseal --address https://vault.example:8200
      age -d -i my.key share-2.age | sealwire vault unseal
    """
    seal = server.seal()
    shares: Iterable[str] = ()
    if not dry_run:
        shares = _typed(seal.status()) if sys.stdin.isatty() else _piped()
    status = give(seal, shares)
    text = (
        f"sealed; {status.progress} of {status.threshold} shares were given" if status.sealed else "unsealed"
    )
    document = {"sealed": status.sealed, "progress": status.progress, "threshold": status.threshold}
    answer(text, document, as_json=as_json)
    sys.exit(EXIT_DRIFT if status.sealed else 0)


def _typed(status: SealStatus) -> Iterator[str]:
    for number in range(status.progress + 1, status.threshold + 1):
        prompt = f"Share ({number} of {status.threshold}, empty to stop)"
        share = str(click.prompt(prompt, hide_input=True, default="", show_default=False, err=True)).strip()
        if not share:
            return
        yield share


def _piped() -> Iterator[str]:
    for _ in range(MAX_SHARES):
        share = sys.stdin.readline(_MAX_SHARE_CHARACTERS).strip()
        if not share:
            return
        yield share
