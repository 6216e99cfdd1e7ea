"""`sealwire vault init` and `unseal`: a server's first keys, and its shares after every restart."""

import sys
from collections.abc import Iterable, Iterator
from itertools import takewhile
from pathlib import Path

import click

from sealwire.cli.exit_codes import EX_NO
from sealwire.cli.options.common import PATH
from sealwire.cli.output import Manner, answer, manner_options
from sealwire.cli.signals import uninterrupted
from sealwire.cli.vault.options import ServerOptions, server_options
from sealwire.keys.vault.admin import SealStatus
from sealwire.sidecars.vault_setup import initialise as first
from sealwire.sidecars.vault_setup.errors import HandOverFailed, SetupReason
from sealwire.sidecars.vault_setup.initialise import MAX_SHARES, Places, parse_holders
from sealwire.sidecars.vault_setup.initialise import unseal as give


@click.command()
@server_options
@click.option("--shares", type=int, default=5, show_default=True, help="How many shares there are.")
@click.option(
    "--threshold", type=int, default=3, show_default=True, help="How many of them unseal the server."
)
@click.option(
    "--holder",
    "holders",
    multiple=True,
    help="An age recipient, or a file with a PGP public key; once for each share. Encrypts the shares.",
)
@click.option("--output", type=PATH, help="New directory for a file a share; else the terminal.")
@click.option(
    "--root-token-file",
    type=PATH,
    help="Write the root token here, in clear, for `setup`. Revoke it afterwards.",
)
@manner_options
def init(  # noqa: PLR0913 - one parameter an option
    server: ServerOptions,
    shares: int,
    threshold: int,
    holders: tuple[str, ...],
    output: Path | None,
    root_token_file: Path | None,
    *,
    manner: Manner,
) -> None:
    """Make the first keys of an empty server and hand over its unseal shares, once.

    Nobody keeps a copy. Without --holder the shares are in clear: for tests, or for holders who stand by. The
    server is unsealed at once unless PGP keys are given; then the holders do it.

    \b
    Examples:
      sealwire vault init --holder age1... --holder age1... --holder age1... --shares 3 --threshold 2
      sealwire vault init --shares 2 --threshold 2 --holder a.pgp --holder b.pgp --output shares
    """
    people = parse_holders(holders)
    if output is None and manner.as_json:
        raise click.UsageError("--json needs --output: no share is printed for programs")
    if output is None and not sys.stdout.isatty():
        text = "shares are shown on a terminal only, not where they would be kept by accident"
        raise HandOverFailed(SetupReason.NOT_A_TERMINAL, text, "give --output DIRECTORY")
    first.check_numbers(shares, threshold, people)
    seal = server.seal()
    places = Places(output, root_token_file)
    sealed = None
    if manner.dry_run:
        first.require_empty(seal)
        places.prepare()
        places.give_up()
        text = f"{shares} shares would be made, {threshold} of which unseal the server"
    else:
        places.prepare()
        with uninterrupted():
            clear = root_token_file is not None
            made = places.fill(
                lambda: first.initialise(seal, shares, threshold, people, clear_root_token=clear), click.echo
            )
            secrets = len(made.shares) + (root_token_file is None)
            where = output or "the terminal; clear it when they are written down"
            click.echo(f"{secrets} secrets went to {where}. Nobody has a copy of them.", err=True)
        status = first.unseal(seal, made.clear_shares) if made.clear_shares else seal.status()
        sealed = status.sealed
        text = "sealed: the holders unseal it" if sealed else "unsealed"
    directory = None if output is None else str(output)
    document = {"shares": shares, "threshold": threshold, "output": directory, "sealed": sealed}
    manner.answer(text, document)


_MAX_SHARE_CHARACTERS = 4096


@click.command()
@server_options
@manner_options
def unseal(server: ServerOptions, manner: Manner) -> None:
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
    if not manner.dry_run:
        shares = _typed(seal.status()) if sys.stdin.isatty() else _piped()
    status = give(seal, takewhile(bool, shares))
    text = (
        f"sealed; {status.progress} of {status.threshold} shares were given" if status.sealed else "unsealed"
    )
    document = {"sealed": status.sealed, "progress": status.progress, "threshold": status.threshold}
    answer(text, document, as_json=manner.as_json)
    sys.exit(EX_NO if status.sealed else 0)


def _typed(status: SealStatus) -> Iterator[str]:
    for number in range(status.progress + 1, status.threshold + 1):
        prompt = f"Share ({number} of {status.threshold}, empty to stop)"
        yield str(click.prompt(prompt, hide_input=True, default="", show_default=False, err=True)).strip()


def _piped() -> Iterator[str]:
    return (sys.stdin.readline(_MAX_SHARE_CHARACTERS).strip() for _ in range(MAX_SHARES))
