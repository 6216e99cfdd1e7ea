"""`sealwire keys shred`: destroy the key of one tenant or subject, and prove it."""

import getpass
import platform
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click

from sealwire.cli.keys.contexts import (
    ClassOfContexts,
    OpenClass,
    class_options,
    context_argument,
    read_context,
    type_option,
)
from sealwire.cli.keys.options import require_typed
from sealwire.cli.options import PATH, PRESENT_FILE, Interval
from sealwire.cli.output import Manner, manner_options
from sealwire.keys.contexts import shredding
from sealwire.keys.contexts.resolver import tag_of
from sealwire.keys.contexts.shredding import MAX_BYTES, check_receipt, parse_receipt, receipt_of
from sealwire.keys.contexts.store import ContextRow
from sealwire.keys.errors import DamagedFile, KeySettingError, KeysReason
from sealwire.keys.keyring.record import format_time
from sealwire.keys.keyring.turning import DEFAULT_WAIT, MINIMUM_WAIT, moving_command
from sealwire.keys.private_file import create_public, require_free


@click.command()
@class_options()
@context_argument
@type_option
@click.option(
    "--wait",
    type=Interval(),
    metavar="30d",
    default=f"{DEFAULT_WAIT.days}d",
    show_default=True,
    help="How long it can be taken back; one day at least.",
)
@click.option("--now", "at_once", is_flag=True, help="Without waiting; needs --confirm.")
@click.option("--confirm", metavar="CLASS", help="The class once more, for --now.")
@click.option("--cancel", is_flag=True, help="Take an announced destruction back.")
@click.option("--receipt", type=PATH, help="Where the receipt goes; else it is printed.")
@click.option("--verify", "to_verify", type=PRESENT_FILE, help="Check a receipt against keyring and store.")
@manner_options
def shred(  # noqa: PLR0913, PLR0917 - one parameter an option
    subject: ClassOfContexts,
    context: str | None,
    context_type: str,
    wait: timedelta | None,
    confirm: str | None,
    receipt: Path | None,
    to_verify: Path | None,
    manner: Manner,
    *,
    at_once: bool,
    cancel: bool,
) -> None:
    """Destroy the key of one CONTEXT of CLASS, in two steps: announce it, and run this again after --wait.

    What it encrypted cannot be read again by anyone, in no replica and no backup of the data. Only backups
    of the store itself still have the key: keep few, and apart. Proxies that run forget it within
    keys.refresh_s.

    \b
    Examples:
      sealwire keys shred notes patient-17 --contexts contexts.db --keyring keyring.json
      sealwire keys shred notes - --contexts contexts.db --keyring keyring.json < patient.txt
      sealwire keys shred notes 17 --type int --now --confirm notes --receipt receipt.json
      sealwire keys shred notes --verify receipt.json --contexts contexts.db --keyring keyring.json
    """
    if to_verify is not None:
        wanted = None if context is None else read_context(context, context_type)
        with subject.opened() as opened:
            _verify(opened, to_verify, wanted, manner)
        return
    named = read_context(context, context_type)
    if receipt is not None:
        require_free(receipt)
    now = datetime.now(UTC)
    if at_once:
        require_typed(subject.class_name, confirm)
    elif wait is None or wait < MINIMUM_WAIT:
        raise click.UsageError("--wait is one day at least; --now is for less")
    with subject.opened() as opened:
        if not cancel:
            _refuse_in_clear(opened)
        row = opened.row_of(named)
        if cancel:
            if not manner.dry_run:
                row = shredding.cancel(opened.store, row)
            _tell(row, manner)
        elif at_once or row.shred_after is not None:
            _destroy(opened, row, now, receipt, manner, at_once=at_once)
        else:
            if not manner.dry_run:
                row = shredding.announce(opened.store, row, now, wait or MINIMUM_WAIT)
            _tell(row, manner)


def _refuse_in_clear(opened: OpenClass) -> None:
    """Values in clear outlive every key. Raises KeySettingError KEY_STATE."""
    name = opened.class_name
    if name in opened.keyring.partly_plaintext:
        raise KeySettingError(
            KeysReason.KEY_STATE,
            f"values of class {name} may be stored in clear still, which the end of a key does not touch",
            "delete them in the application; or let the class be encrypted, by "
            f"{moving_command(name, from_plaintext=True)}, and then destroy the key",
        )


def _destroy(
    opened: OpenClass, row: ContextRow, now: datetime, receipt: Path | None, manner: Manner, *, at_once: bool
) -> None:
    if manner.dry_run:
        _tell(row, manner)
        return
    store, wrapped = opened.store, row.wrapped or b""
    tag_key = opened.tag_key()
    if at_once and row.shred_after is not None and row.shred_after > now:
        row = shredding.cancel(store, row)
    if at_once and not row.is_destroyed and row.shred_after is None:
        row = shredding.announce(store, row, now, timedelta(0))
    row = shredding.shred(store, row, now)
    standing = store.find_ids([row.key_id])
    still = store.has_bytes(wrapped)
    found = {
        "key_in_row": not all(each.is_destroyed for each in standing),
        "key_in_files": {True: "yes", False: "no", None: "unknown"}[still],
    }
    by = f"{getpass.getuser()}@{platform.node()}"
    text = receipt_of(row, opened.class_name, by, str(store), found).serialize(tag_key)
    if receipt is None:
        click.echo(text.decode())
        return
    create_public(receipt, text)
    document = {"class": opened.class_name, "key_id": row.key_id.hex(), "receipt": str(receipt), **found}
    manner.answer(f"{store}: the key is destroyed; the receipt is {receipt}", document)


def _verify(opened: OpenClass, path: Path, context: bytes | None, manner: Manner) -> None:
    with path.open("rb") as file:
        raw = file.read(MAX_BYTES + 1)
    receipt, tag = parse_receipt(raw, str(path))
    tag_key = opened.tag_key()
    row = next(iter(opened.store.find_ids([receipt.key_id])), None)
    check_receipt(receipt, tag, tag_key, row, str(path))
    if context is not None and tag_of(tag_key, context) != receipt.context_tag:
        raise DamagedFile(KeysReason.TAMPERED, f"{path} is of another context", "look for the right one")
    document = {"class": receipt.class_name, "key_id": receipt.key_id.hex(), "destroyed": receipt.destroyed}
    manner.answer(f"{path}: genuine; the key was destroyed at {receipt.destroyed} by {receipt.by}", document)


def _tell(row: ContextRow, manner: Manner) -> None:
    until = None if row.shred_after is None else format_time(row.shred_after)
    text = "the key stays" if until is None else f"the key may be destroyed after {until}"
    manner.answer(text, {"key_id": row.key_id.hex(), "shred_after": until})
