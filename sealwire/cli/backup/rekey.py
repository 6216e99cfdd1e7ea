"""`sealwire backup rekey`: other keys for backups that exist."""

import json
from collections.abc import Callable
from typing import Any

import click

from sealwire.cli.backup.options import (
    Failures,
    KeyOptions,
    dry_run_option,
    json_option,
    names_argument,
    progress_bar,
    rekeying_options,
    store_option,
)
from sealwire.cli.signals import ended_in_order
from sealwire.crypto import selftest
from sealwire.sidecars.backup.catalog import Entry, choose, read_catalog
from sealwire.sidecars.backup.key_slots import Identity, Recipient
from sealwire.sidecars.backup.open_store import open_store
from sealwire.sidecars.backup.rekey import Rekeyed, reencrypt, rewrap, successor
from sealwire.sidecars.backup.store import Store


@click.command()
@names_argument
@click.option("--reencrypt", "anew", is_flag=True, help="Encrypt the payloads anew, under fresh data keys.")
@store_option
@rekeying_options
@dry_run_option
@json_option
def command(
    names: tuple[str, ...],
    anew: bool,
    store_address: str,
    keys: KeyOptions,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Let other keys open the backups: those of --recipient, and no other. --key opens them now.

    After a scheduled rotation, wrap anew: only the sidecars change. A payload's own header keeps naming the
    old key, which opens it where the sidecar is lost; so keep that key until those backups are pruned.

    After a key was seen by others, give --reencrypt: each backup NAME is copied to NAME-r1 under a fresh key,
    read back, and removed. Room for the largest backup is needed.

    \b
    Examples:
      sealwire backup rekey --key env:OLD_KEK --recipient env:NEW_KEK --dry-run
      sealwire backup rekey --key env:OLD_KEK --recipient env:NEW_KEK
      sealwire backup rekey --reencrypt --key private:seen-key --recipient public:new-key.pub
    """
    selftest.run()
    store = open_store(store_address)
    entries = choose(read_catalog(store), names)
    identities = keys.identities()
    recipients = keys.recipients()
    failures = Failures()
    rows = []
    for entry in entries:
        with ended_in_order(), failures.collect(entry.name), progress_bar(entry.name, entry.size) as progress:
            if dry_run:
                row = _plan(entry, identities, recipients, anew=anew)
            else:
                row = _row(_rekey(store, entry, identities, recipients, progress if anew else None))
            rows.append(row)
            if not as_json:
                click.echo(_line(row, dry_run=dry_run))
    if as_json:
        click.echo(json.dumps({"dry_run": dry_run, "backups": rows}, indent=2))
    failures.exit()


def _rekey(
    store: Store,
    entry: Entry,
    identities: list[Identity],
    recipients: list[Recipient],
    progress: Callable[[int], None] | None,
) -> Rekeyed:
    """Encrypt anew where there is progress to tell, wrap anew else."""
    if progress is None:
        return rewrap(store, entry.name, identities, recipients)
    return reencrypt(store, entry.name, identities, recipients, progress)


def _plan(
    entry: Entry, identities: list[Identity], recipients: list[Recipient], *, anew: bool
) -> dict[str, Any]:
    before = [] if entry.sidecar is None else [slot.key_id for slot in entry.sidecar.slots]
    return {
        "name": successor(entry.name) if anew else entry.name,
        "replaced": entry.name if anew else None,
        "before": before,
        "after": [recipient.id for recipient in recipients],
        "key_given": any(identity.id in before for identity in identities),
    }


def _row(done: Rekeyed) -> dict[str, Any]:
    return {
        "name": done.name,
        "replaced": done.replaced,
        "before": done.before,
        "after": done.after,
        "key_given": True,
    }


def _line(row: dict[str, Any], *, dry_run: bool) -> str:
    moved = f"{row['replaced']} -> {row['name']}" if row["replaced"] else row["name"]
    left = [key_id for key_id in row["before"] if key_id not in row["after"]]
    no_more = f", no more with {', '.join(left)}" if left else ""
    missing = "" if row["key_given"] else "; but no --key opens it"
    return f"{moved}: {'would open' if dry_run else 'opens'} with {', '.join(row['after'])}{no_more}{missing}"
