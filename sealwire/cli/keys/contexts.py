"""`sealwire keys shred`, `contexts`, `rewrap-contexts`, `move-contexts`: keys of contexts and their store."""

import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import bson
import click

from sealwire.cli import key_options, options
from sealwire.cli.keys.options import require_typed
from sealwire.cli.output import Manner, document_count_bar, manner_options
from sealwire.cli.recording import operator_at_host
from sealwire.cli.subjects import bson_value
from sealwire.crypto import selftest
from sealwire.keys.contexts import shredding, transfer
from sealwire.keys.contexts.resolver import Resolver, tag_of, wrapping_cipher
from sealwire.keys.contexts.store import ContextRow, ContextStore, every_row
from sealwire.keys.errors import DamagedFile, KeySettingError, KeysReason, UnknownKey
from sealwire.keys.keyring.keyring import Keyring
from sealwire.keys.keyring.record import format_time
from sealwire.keys.keyring.store import Place, parse_place
from sealwire.keys.keyring.turning import DEFAULT_WAIT, MINIMUM_WAIT, moving_command
from sealwire.keys.private_file import create_public, require_free
from sealwire.keys.providers import Providers
from sealwire.policies.file.schema import ValueType
from sealwire.policies.planning.contexts import context_of, database_context
from sealwire.wire.raw_bson import find_element

# -------------------------- options that name one context of a class, and the store of the keys of contexts

_TYPES = {
    "string": ValueType.STRING,
    "int": ValueType.LONG,
    "objectId": ValueType.OBJECT_ID,
    "uuid": ValueType.BIN_DATA,
}
_DATABASE = "database"
_FROM_STDIN = "-"


@dataclass(frozen=True, slots=True)
class ClassOfContexts:
    """A class, its keyring and its store, opened when they are asked for."""

    class_name: str
    keys: key_options.KeyringOptions
    contexts: str

    @contextmanager
    def opened(self) -> "Iterator[OpenClass]":
        """Raises what opening a keyring and a store raises."""
        selftest.run()
        loaded = self.keys.load()
        with closing(self.keys.context_store(self.contexts)) as store:
            yield OpenClass(self.class_name, loaded, store, Resolver(store))


@dataclass(frozen=True, slots=True)
class OpenClass:
    """The same, open. Holds keys."""

    class_name: str
    keyring: Keyring
    store: ContextStore
    resolver: Resolver

    def __repr__(self) -> str:
        return f"OpenClass({self.class_name!r})"

    @property
    def class_id(self) -> int:
        """The number that stands for the class."""
        return self.keyring.cipher_for(self.class_name).class_id

    def tag_key(self) -> bytes:
        """What makes tags and receipts. Raises UnknownKey CONTEXT_UNKNOWN."""
        tag_key = self.resolver.tag_key(self.keyring, self.class_name)
        if tag_key is None:
            raise self._unknown("has no contexts")
        return tag_key

    def row_of(self, context: bytes) -> ContextRow:
        """Raises UnknownKey CONTEXT_UNKNOWN, which does not show the context."""
        row = self.resolver.row_of(self.keyring, self.class_name, context)
        if row is None:
            raise self._unknown("has no key for this context")
        return row

    def _unknown(self, what: str) -> UnknownKey:
        return UnknownKey(
            KeysReason.CONTEXT_UNKNOWN,
            f"class {self.class_name} {what} in {self.store}",
            "check the store, the value and its --type: 5 and '5' are two contexts",
        )


# Gives the command `subject: ClassOfContexts`.
class_options = options.settings(
    "subject",
    ClassOfContexts,
    click.argument("class_name", metavar="CLASS"),
    key_options.keys_options,
    key_options.contexts_option(
        "The store of the keys of contexts, as keys.contexts names it.", required=True
    ),
)
context_argument = click.argument("context", metavar="[CONTEXT|-]", required=False)
type_option = click.option(
    "--type",
    "context_type",
    type=click.Choice([*_TYPES, _DATABASE]),
    default="string",
    show_default=True,
    help="The type of the context's field; `database` for a class with a key for each database.",
)


def read_context(text: str | None, context_type: str) -> bytes:
    """The context that was named; `-` reads a line from stdin. Raises click.UsageError, without the value."""
    if text == _FROM_STDIN:
        text = sys.stdin.readline().rstrip("\n")
    if not text:
        raise click.UsageError("name a context, or - to read it from stdin")
    if context_type == _DATABASE:
        return database_context(text)
    try:
        document = bson.encode({"": bson_value(text, _TYPES[context_type])})
    except (ValueError, bson.errors.BSONError, OverflowError):
        raise click.UsageError(f"the context is no {context_type}") from None
    element = find_element(document, 0, b"")
    context = None if element is None else context_of(document, element)
    if context is None:
        raise click.UsageError(f"no context has the type {context_type}")
    return context


@click.command()
@class_options
@context_argument
@type_option
@click.option("--readmit", is_flag=True, help="Let a context whose key was destroyed have another one.")
@manner_options
def contexts(
    subject: ClassOfContexts, context: str | None, context_type: str, manner: Manner, *, readmit: bool
) -> None:
    """Count the contexts of CLASS; with --readmit, let a destroyed CONTEXT be written to again.

    \b
    Examples:
      sealwire keys contexts notes --contexts contexts.db --keyring keyring.json --json
      sealwire keys contexts notes patient-17 --readmit --contexts contexts.db --keyring keyring.json
    """
    if readmit:
        named = read_context(context, context_type)
        with subject.opened() as opened:
            row = opened.row_of(named)
            shredding.readmit(None if manner.dry_run else opened.store, row)
        manner.answer("the context gets a new key with its next value", {"former_key_id": row.key_id.hex()})
        return
    with subject.opened() as opened:
        count = opened.store.count(opened.class_id)
    versions = {str(version): number for version, number in count.wrapped_by.items()}
    document = {
        "class": opened.class_name,
        "live": count.live,
        "announced": count.announced,
        "destroyed": count.destroyed,
        "wrapped_by_version": versions,
    }
    by = ", ".join(f"{number} by version {version}" for version, number in versions.items()) or "none"
    text = f"{count.live} contexts, {count.announced} to be destroyed; {count.destroyed} destroyed"
    manner.answer(f"{opened.class_name}: {text}\nkeys wrapped: {by}", document)


@click.command(name="rewrap-contexts")
@class_options
@manner_options
def rewrap_contexts(subject: ClassOfContexts, manner: Manner) -> None:
    """Wrap the keys of all contexts of CLASS with the class's active key. No data is touched.

    Do so after `sealwire keys rotate CLASS`, before the older version is retired. It may be repeated.

    \b
    Examples:
      sealwire keys rewrap-contexts notes --contexts contexts.db --keyring keyring.json
    """
    with subject.opened() as opened:
        if manner.dry_run:
            active = wrapping_cipher(opened.keyring, opened.class_name).key_version
            rows = every_row(opened.store, opened.class_id)
            done = sum(not row.is_destroyed and row.wrap_version != active for row in rows)
        else:
            done = sum(shredding.rewrap(opened.store, opened.keyring, opened.class_name))
    verb = "would be wrapped" if manner.dry_run else "wrapped"
    manner.answer(f"{opened.store}: {done} keys {verb} anew", {"class": opened.class_name, "keys": done})


# ----------- `sealwire keys move-contexts`: the store of the keys of contexts from a file to Vault, or back


@click.command(name="move-contexts")
@key_options.contexts_option("The store that is to be left, as keys.contexts names it.", required=True)
@click.option("--to", metavar="PATH|vault:MOUNT/PATH", required=True, help="Where no store is yet.")
@click.option("--cancel", is_flag=True, help="Call off a move that is not over: use the old store again.")
@manner_options
def move_contexts(contexts: str, to: str, manner: Manner, *, cancel: bool) -> None:
    """Move the keys of all contexts, destroyed ones too, to another store. No keyring is needed.

    From the first moment on, the old store makes and changes no key: proxies serve the keys that are there,
    and a command that needs a new one fails with code 262 and may be tried again. When the move is over, set
    keys.contexts to the new place on every proxy, and restart them one after the other. Shred nothing before
    all have it; then delete the old store, which has copies of all keys.

    Run it again after it was killed. With --cancel the old store is used as before.

    \b
    Examples:
      sealwire keys move-contexts --contexts contexts.db --to vault:secret/sealwire/contexts --dry-run
      sealwire keys move-contexts --contexts contexts.db --to vault:secret/sealwire/contexts
      sealwire keys move-contexts --contexts vault:secret/sealwire/contexts --to contexts.db --json
      sealwire keys move-contexts --contexts contexts.db --to vault:secret/sealwire/contexts --cancel
    """
    old_place, new_place = _place(contexts), _place(to)
    if old_place == new_place:
        raise click.UsageError("--to names the store that is to be left")
    providers = Providers()
    with ExitStack() as stack:
        old = stack.enter_context(closing(providers.context_store(old_place, create=False, for_move=True)))
        if cancel:
            if not manner.dry_run:
                transfer.call_off(old, str(new_place))
            _show_call_off(str(old), str(new_place), manner)
            return
        transfer.require_room(old, _present(providers, new_place, stack), str(new_place))
        if manner.dry_run:
            done = transfer.count_rows(old)
        else:
            new = providers.context_store(new_place, create=True, for_move=True)
            stack.enter_context(closing(new))
            with document_count_bar(f"to {new}", old.size()) as moved:
                done = transfer.transfer(old, new, moved)
    _show_moved(str(old), str(new_place), done, manner)


def _place(setting: str) -> Place:
    """A file by its full path, so that both stores name each other alike from wherever they are looked at."""
    place = parse_place(setting)
    return place.resolve() if isinstance(place, Path) else place


def _present(providers: Providers, place: Place, stack: ExitStack) -> ContextStore | None:
    """The store at a place, if there is one."""
    try:
        found = providers.context_store(place, create=False, for_move=True)
    except KeySettingError as error:
        if error.reason is not KeysReason.FILE_MISSING:
            raise
        return None
    return stack.enter_context(closing(found))


def _show_call_off(old: str, new: str, manner: Manner) -> None:
    step = f"run the move again, or delete {new}: what was copied is there, and no key is shredded in it"
    done = "would be" if manner.dry_run else "is"
    document = {"from": old, "to": new, "cancelled": True, "next": [step]}
    manner.answer(f"{old}: {done} in use again\nnext: {step}", document)


def _show_moved(old: str, new: str, done: transfer.Transferred, manner: Manner) -> None:
    steps = [
        f"set keys.contexts to {new} on every proxy, and restart them one after the other",
        f"then delete {old}: it has a copy of each key, and none is shredded there any more",
    ]
    verb = "would be moved" if manner.dry_run else "are moved"
    text = f"{new}: {done.rows} keys, {done.destroyed} of them destroyed, {verb} from {old}"
    document = {"from": old, "to": new, "keys": done.rows, "destroyed": done.destroyed, "next": steps}
    manner.answer("\n".join([text, *(f"next: {step}" for step in steps)]), document)


@click.command()
@class_options
@context_argument
@type_option
@click.option(
    "--wait",
    type=options.Interval(),
    metavar="30d",
    default=f"{DEFAULT_WAIT.days}d",
    show_default=True,
    help="How long it can be taken back; one day at least.",
)
@click.option("--now", "at_once", is_flag=True, help="Without waiting; needs --confirm.")
@click.option("--confirm", metavar="CLASS", help="The class once more, for --now.")
@click.option("--cancel", is_flag=True, help="Take an announced destruction back.")
@click.option("--receipt", type=options.PATH, help="Where the receipt goes; else it is printed.")
@click.option(
    "--verify", "to_verify", type=options.PRESENT_FILE, help="Check a receipt against keyring and store."
)
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

    Nobody can read again what it encrypted, in any replica or backup of the data. Only backups of the store
    itself still contain the key: keep few, and keep them apart. Running proxies forget it within
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
        row, store = opened.row_of(named), None if manner.dry_run else opened.store
        if cancel:
            _tell(shredding.cancel(store, row), manner)
        elif at_once or row.shred_after is not None:
            _destroy(opened, row, now, receipt, manner, at_once=at_once)
        else:
            _tell(shredding.announce(store, row, now, wait or MINIMUM_WAIT), manner)


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
    store, wrapped = opened.store, row.wrapped or b""
    written = None if manner.dry_run else store
    tag_key = opened.tag_key()
    if at_once and row.shred_after is not None and row.shred_after > now:
        row = shredding.cancel(written, row)
    if at_once and not row.is_destroyed and row.shred_after is None:
        row = shredding.announce(written, row, now, timedelta(0))
    row = shredding.shred(written, row, now)
    document: dict[str, object] = {"class": opened.class_name, "key_id": row.key_id.hex()}
    if manner.dry_run:
        manner.answer(f"{store}: the key would be destroyed", document)
        return
    standing = store.find_ids([row.key_id])
    still = store.has_bytes(wrapped)
    found = {
        "key_in_row": not all(each.is_destroyed for each in standing),
        "key_in_files": {True: "yes", False: "no", None: "unknown"}[still],
    }
    by = operator_at_host()
    text = shredding.receipt_of(row, opened.class_name, by, str(store), found).serialize(tag_key)
    if receipt is None:
        click.echo(text.decode())
        return
    create_public(receipt, text)
    document |= {"receipt": str(receipt), **found}
    manner.answer(f"{store}: the key is destroyed; the receipt is {receipt}", document)


def _verify(opened: OpenClass, path: Path, context: bytes | None, manner: Manner) -> None:
    with path.open("rb") as file:
        raw = file.read(shredding.MAX_BYTES + 1)
    receipt, tag = shredding.parse_receipt(raw, str(path))
    tag_key = opened.tag_key()
    row = next(iter(opened.store.find_ids([receipt.key_id])), None)
    shredding.check_receipt(receipt, tag, tag_key, row, str(path))
    if context is not None and tag_of(tag_key, context) != receipt.context_tag:
        raise DamagedFile(KeysReason.TAMPERED, f"{path} is of another context", "look for the right one")
    document = {"class": receipt.class_name, "key_id": receipt.key_id.hex(), "destroyed": receipt.destroyed}
    manner.answer(f"{path}: genuine; the key was destroyed at {receipt.destroyed} by {receipt.by}", document)


def _tell(row: ContextRow, manner: Manner) -> None:
    until = None if row.shred_after is None else format_time(row.shred_after)
    text = "the key stays" if until is None else f"the key may be destroyed after {until}"
    manner.answer(text, {"key_id": row.key_id.hex(), "shred_after": until})
