"""`sealwire vault init` and `unseal`: a server's first keys, and its shares after every restart."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from sealwire.cli.signals import uninterrupted
from sealwire.cli.vault.options import ServerOptions, dry_run_option, json_option, server_options
from sealwire.keys.errors import KeysError
from sealwire.keys.private_file import create_private
from sealwire.keys.vault.seal import SealStatus, VaultSeal
from sealwire.sidecars.vault_setup import initialise as start
from sealwire.sidecars.vault_setup.errors import HandOverFailed, SetupReason
from sealwire.sidecars.vault_setup.holders import Holders, parse_holders

_EXIT_SEALED = 1
_MAX_SHARE_CHARACTERS = 4096


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
@click.option(
    "--output", type=click.Path(path_type=Path), help="New directory for a file a share; else the terminal."
)
@click.option(
    "--root-token-file",
    type=click.Path(path_type=Path),
    help="Write the root token here, in clear, for `setup`. Revoke it afterwards.",
)
@dry_run_option
@json_option
def init(  # noqa: PLR0913 - one parameter an option
    *,
    server: ServerOptions,
    shares: int,
    threshold: int,
    holders: tuple[str, ...],
    output: Path | None,
    root_token_file: Path | None,
    dry_run: bool,
    as_json: bool,
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
    if output is None and as_json:
        raise click.UsageError("--json needs --output: no share is printed for programs")
    if output is None and not sys.stdout.isatty():
        raise HandOverFailed(
            SetupReason.NOT_A_TERMINAL,
            "shares are shown on a terminal only, not where they would be kept by accident",
            "give --output DIRECTORY",
        )
    start.check_numbers(shares, threshold, people)
    seal = server.seal()
    if dry_run:
        start.require_empty(seal)
        _prepare(output, root_token_file)
        if output is not None:
            output.rmdir()
        _report_init(shares, threshold, output, None, as_json=as_json)
        return
    _prepare(output, root_token_file)
    with uninterrupted():
        made = _make(seal, shares, threshold, people, output, root_token_file)
    status = start.unseal(seal, made.clear_shares) if made.clear_shares else seal.status()
    _report_init(shares, threshold, output, status.sealed, as_json=as_json)


def _make(
    seal: VaultSeal,
    shares: int,
    threshold: int,
    people: Holders,
    output: Path | None,
    root_token_file: Path | None,
) -> start.HandOver:
    """The server's first keys, and their only copy where it belongs."""
    try:
        made = start.initialise(seal, shares, threshold, people, clear_root_token=root_token_file is not None)
    except BaseException:
        if output is not None:
            output.rmdir()
        raise
    try:
        _hand_over(made, output, root_token_file)
    except KeysError as error:
        raise HandOverFailed(
            SetupReason.OUTPUT,
            f"the server has keys that nobody holds: {error}",
            "empty the server's storage, and begin again",
        ) from None
    return made


def _report_init(
    shares: int, threshold: int, output: Path | None, sealed: bool | None, *, as_json: bool
) -> None:
    """What was done, or would be where `sealed` is None. No share and no token."""
    if as_json:
        row = {
            "dry_run": sealed is None,
            "shares": shares,
            "threshold": threshold,
            "output": None if output is None else str(output),
            "sealed": sealed,
        }
        click.echo(json.dumps(row, indent=2))
    elif sealed is None:
        click.echo(f"{shares} shares would be made, {threshold} of which unseal the server")
    else:
        click.echo("sealed: the holders unseal it" if sealed else "unsealed")


def _prepare(output: Path | None, root_token_file: Path | None) -> None:
    """What can go wrong with the places has to go wrong before there is anything to lose.

    No writer's lock: the server makes its first keys once, so nobody else gets as far as writing.
    """
    if root_token_file is not None:
        create_private(root_token_file, b"")
        root_token_file.unlink()
    if output is not None:
        try:
            output.mkdir(mode=0o700)
        except OSError as error:
            raise HandOverFailed(
                SetupReason.OUTPUT, f"{output} cannot be made: {error.strerror}", "name a new directory"
            ) from None


def _hand_over(made: start.HandOver, output: Path | None, root_token_file: Path | None) -> None:
    items = {f"share-{number}{made.suffix}": share for number, share in enumerate(made.shares, start=1)}
    if root_token_file is None:
        items[f"root-token{made.suffix}"] = made.root_token
    else:
        create_private(root_token_file, made.root_token + b"\n")
    for name, content in items.items():
        if output is not None:
            create_private(output / name, content + (b"" if name.endswith((".age", ".pgp")) else b"\n"))
        else:
            shown = content.hex() if name.endswith(".pgp") else content.decode("ascii")
            click.echo(f"{name}:\n{shown}\n")
    where = "the terminal; clear it when they are written down" if output is None else str(output)
    click.echo(f"{len(items)} secrets went to {where}. Nobody has a copy of them.", err=True)


@click.command()
@server_options
@dry_run_option
@json_option
def unseal(*, server: ServerOptions, dry_run: bool, as_json: bool) -> None:
    """Give one or more shares to a sealed server, one a line; asks for them on a terminal.

    Each holder may do it from his own machine: the server counts. Exit code 1 while it is still sealed. With
    --dry-run no share is taken: it only says how many are missing.

    \b
    Examples:
      sealwire vault unseal --address https://vault.example:8200
      age -d -i my.key share-2.age | sealwire vault unseal
    """
    seal = server.seal()
    if dry_run:
        status = start.unseal(seal, ())
        _report(status, as_json=as_json)
        sys.exit(_EXIT_SEALED if status.sealed else 0)
    shares = _typed(seal.status()) if sys.stdin.isatty() else _piped()
    status = start.unseal(seal, shares)
    _report(status, as_json=as_json)
    sys.exit(_EXIT_SEALED if status.sealed else 0)


def _typed(status: SealStatus) -> Iterator[str]:
    for number in range(status.progress + 1, status.threshold + 1):
        prompt = f"Share ({number} of {status.threshold}, empty to stop)"
        share = str(click.prompt(prompt, hide_input=True, default="", show_default=False, err=True)).strip()
        if not share:
            return
        yield share


def _piped() -> Iterator[str]:
    for _ in range(start.MAX_SHARES):
        share = sys.stdin.readline(_MAX_SHARE_CHARACTERS).strip()
        if not share:
            return
        yield share


def _report(status: SealStatus, *, as_json: bool = False) -> None:
    if as_json:
        row = {"sealed": status.sealed, "progress": status.progress, "threshold": status.threshold}
        click.echo(json.dumps(row, indent=2))
    elif status.sealed:
        click.echo(f"sealed; {status.progress} of {status.threshold} shares were given")
    else:
        click.echo("unsealed")
