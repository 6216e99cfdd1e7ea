"""`sealwire backup rekey`: other keys for backups that exist."""

from dataclasses import asdict
from typing import Any

import click

from sealwire.cli.backup.options import Failures, KeyOptions, names_argument, rekeying_options, store_option
from sealwire.cli.options.common import dry_run_option, json_option
from sealwire.cli.output import print_json, progress_bar
from sealwire.cli.signals import ended_in_order
from sealwire.crypto import selftest
from sealwire.sidecars.backup.keeping.catalog import choose, read_catalog
from sealwire.sidecars.backup.keeping.rekey import plan_rekey, reencrypt, rewrap
from sealwire.sidecars.backup.stores.store import Store


@click.command()
@names_argument
@click.option("--reencrypt", "anew", is_flag=True, help="Encrypt the payloads anew, under fresh data keys.")
@store_option
@rekeying_options
@dry_run_option
@json_option
def rekey(
    names: tuple[str, ...], anew: bool, store: Store, keys: KeyOptions, dry_run: bool, as_json: bool
) -> None:
    """Let other keys open the backups: those of --recipient, and no other. --key opens them now.

    After a scheduled rotation, wrap anew: only the sidecars change. A payload's own header keeps naming the
    old key, which opens it where the sidecar is lost; so keep that key until those backups are pruned.

    After a key was seen by others, give --reencrypt: each backup NAME is copied to NAME-r1 under a fresh key,
    read back, and removed. Room for the largest backup is needed. A signature survives wrapping anew;
    --reencrypt needs --sign-with for a signed backup, and signs none that the key has not signed before.

    \b
    Examples:
      sealwire backup rekey --key env:OLD_KEK --recipient env:NEW_KEK --dry-run
      sealwire backup rekey --key env:OLD_KEK --recipient env:NEW_KEK
      sealwire backup rekey --reencrypt --key private:seen-key --recipient public:new-key.pub
      sealwire backup rekey --reencrypt --key private:seen-key --recipient public:new-key.pub \\
          --signed-by backup-signing.key.pub --sign-with new-signing.key
    """
    selftest.run()
    entries = choose(read_catalog(store), names)
    identities = keys.identities()
    recipients = keys.recipients()
    signers, signing_key = keys.signers(), keys.signing_key()
    failures = Failures()
    rows = []
    for entry in entries:
        with ended_in_order(), failures.collect(entry.name), progress_bar(entry.name, entry.size) as progress:
            if dry_run:
                done = plan_rekey(entry, recipients, anew=anew)
            elif anew:
                done = reencrypt(
                    store, entry.name, identities, recipients, progress, signers, sign_with=signing_key
                )
            else:
                done = rewrap(store, entry.name, identities, recipients, signers)
            opens = not dry_run or any(identity.id in done.before for identity in identities)
            rows.append(asdict(done) | {"key_given": opens})
            if not as_json:
                click.echo(_line(rows[-1], dry_run=dry_run))
    if as_json:
        print_json({"dry_run": dry_run, "backups": rows})
    failures.exit()


def _line(row: dict[str, Any], *, dry_run: bool) -> str:
    moved = f"{row['replaced']} -> {row['name']}" if row["replaced"] else row["name"]
    left = [key_id for key_id in row["before"] if key_id not in row["after"]]
    no_more = f", no more with {', '.join(left)}" if left else ""
    missing = "" if row["key_given"] else "; but no --key opens it"
    return f"{moved}: {'would open' if dry_run else 'opens'} with {', '.join(row['after'])}{no_more}{missing}"
