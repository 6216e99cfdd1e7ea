"""`sealwire keys retire`, `destroy` and `cancel`: the end of a key, and the way back."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import click

from sealwire.cli import key_options, options
from sealwire.cli.keys.options import policy_option, require_typed, require_unnamed
from sealwire.cli.output import Manner, document_count_bar, manner_options, question_console, show_table
from sealwire.cli.subjects import read_policy
from sealwire.crypto import selftest
from sealwire.keys.errors import KeySettingError, KeysReason, UnknownKey
from sealwire.keys.keyring import turning
from sealwire.keys.keyring.data_key import DataKey
from sealwire.keys.keyring.file import KeyringWriter, load_keyring, open_record, read_record
from sealwire.keys.keyring.keyring import Keyring
from sealwire.keys.keyring.record import KeyRecord, format_time
from sealwire.keys.keyring.store import KeyringStore
from sealwire.keys.keyring.turning import change_version
from sealwire.policies.file.schema import FieldClass, Mode, PolicySet
from sealwire.sidecars.covered import stored_collections
from sealwire.sidecars.direct import Client, connected, identity_of, size_of
from sealwire.sidecars.errors import MigrationReason, Unusable
from sealwire.sidecars.migration.forms import Left
from sealwire.sidecars.migration.job import MAX_REPORTED, LeftValue
from sealwire.sidecars.migration.windows.frontiers import Standstill, pending_version, require_unbegun
from sealwire.sidecars.migration.windows.order import class_paths
from sealwire.sidecars.migration.windows.server import MongoValues
from sealwire.sidecars.migration.windows.strays import needs_key

_COLUMNS = ("class", "version", "state", "created")
_COUNTS = "sealwire migrate verify says how many values still need it"


# ---------------------------------------------- a look for the values that need a key, before it is retired

_RIGHTS = "the user has to read the covered collections, and may read and write the database sealwire"


def require_no_value(key: DataKey, keyring: Keyring, policy: Path | None, uri: str) -> None:
    """See that no stored value of a deterministic class needs a key. A random class is not looked at.

    Raises:  KeySettingError POLICY where nobody says whether the class is deterministic
             Unusable STILL_NEEDED, OTHER_MOVE; what the driver raises
    Cost:    reads every document of the covered collections
    """
    if policy is None:
        text = f"the policy says whether class {key.class_name} is deterministic, and none was given"
        hint = "give --policy; or --no-sweep, if the data of the class is gone"
        raise KeySettingError(KeysReason.POLICY, text, hint)
    policies = read_policy(policy)
    field_class = policies.classes.get(key.class_name)
    if field_class is None:
        if key.lender is not None:
            return  # its lender opens what it made, and no path has the class
        text = f"the policy has no class {key.class_name}, so it says not where its values are"
        hint = "give the policy that has it; or --no-sweep, if the data of the class is gone"
        raise KeySettingError(KeysReason.POLICY, text, hint)
    if field_class.mode is not Mode.DETERMINISTIC:
        return
    with connected(options.required_uri(uri), _RIGHTS) as client:
        found = _found(client, key, keyring, (policies, field_class))
    if found:
        rows = ((each.namespace, each.document_id) for each in found)
        show_table(("collection", "document"), rows, question_console())
        text = f"stored values need version {key.version} of class {key.class_name}"
        hint = (
            f"sealwire migrate repair POLICY {key.class_name} moves those at covered paths; "
            "what is beside them, write anew or remove"
        )
        raise Unusable(MigrationReason.STILL_NEEDED, text, hint)


def _found(
    client: Client, key: DataKey, keyring: Keyring, of: tuple[PolicySet, FieldClass]
) -> Sequence[LeftValue]:
    """The first documents that need a key."""
    policies, field_class = of
    names = [each.namespace for each in stored_collections(client, policies)]
    places = {each.namespace: each for each in class_paths(policies, names, key.class_name)}
    found: list[LeftValue] = []
    with client.start_session(causal_consistency=True) as session:
        still = Standstill(client, session, keyring, key.class_name)
        values = MongoValues(client, session, key.class_id, lambda: list(places.values()))
        still.confirm()
        for name in names:
            needs = needs_key(key, field_class, places.get(name))
            with document_count_bar(name, size_of(client, name)) as progress:
                for raw in values.all(name):
                    progress(1)
                    if len(found) < MAX_REPORTED and needs(raw):
                        found.append(LeftValue(name, "", identity_of(raw), Left.RETIRED_KEY))
        still.require()  # a move that began meanwhile may have been missed
    return found


@dataclass(frozen=True, slots=True)
class Subject:
    """Which key, where, and whether somebody has agreed beforehand."""

    class_name: str
    version: int
    keys: key_options.KeyringOptions
    yes: bool


# Gives the command `subject: Subject`.
_subject_options = options.settings(
    "subject",
    Subject,
    click.argument("class_name", metavar="CLASS"),
    click.argument("version", type=click.IntRange(1)),
    key_options.keys_options,
    click.option("--yes", is_flag=True, help="Do not ask."),
)


@click.command()
@_subject_options
@click.option("--undo", is_flag=True, help="Let a retired key decrypt again.")
@click.option(
    "--no-sweep",
    is_flag=True,
    help="Do not look for values that need the key: only if the data of CLASS is gone.",
)
@policy_option
@options.server_options
@manner_options
def retire(
    *, subject: Subject, undo: bool, no_sweep: bool, policy: Path | None, uri: str, manner: Manner
) -> None:
    """Let version VERSION of CLASS open nothing any more, to see whether something still needs it.

    Only a decrypt-only key can be retired, and only a retired one destroyed. It is kept: a read that needs it
    fails, says so in the log, and works again after --undo.

    --policy says whether CLASS is deterministic. If it is, every document of the collections that the policy
    covers is read first, and the key is not retired while a value needs it: equality would not find that
    value any more. `sealwire migrate repair` moves such values.

    A key that CLASS borrows is retired for CLASS only: its lender goes on with it. It may be the active one,
    once --policy, which every Sealwire has loaded, names CLASS no more. CLASS encrypts nothing again then.

    \b
    Examples:
      sealwire keys retire nhs_number 1 --policy policy.yaml --keyring keyring.json --uri-file server.uri
      sealwire keys retire notes 1 --policy policy.yaml --keyring keyring.json --yes
      sealwire keys retire nhs_number 1 --keyring keyring.json --undo
      sealwire keys retire nhs_intake 2 --policy policy.yaml --keyring keyring.json
    """

    def step(key: DataKey) -> DataKey:
        require_unnamed(key, policy)
        return turning.retire(key)

    if not undo and not no_sweep:
        _look_for_values(subject, policy, uri)
    question = "What it encrypted can then not be read, until --undo; what is borrowed, its lender opens"
    _take(subject, turning.take_back if undo else step, manner, question="" if undo else question)


@click.command()
@_subject_options
@click.option(
    "--wait",
    type=options.Interval(),
    metavar="30d",
    default=f"{turning.DEFAULT_WAIT.days}d",
    show_default=True,
    help="How long it can be taken back; one day at least, or 0d with --confirm.",
)
@click.option("--cancel", is_flag=True, help="Take an announced destruction back.")
@click.option("--confirm", metavar="CLASS:VERSION", help="The key once more, for --wait 0d.")
@manner_options
def destroy(
    subject: Subject, wait: timedelta | None, manner: Manner, *, cancel: bool, confirm: str | None
) -> None:
    """Destroy version VERSION of CLASS, in two steps: announce it, and run the command again after --wait.

    Only a retired key can be destroyed. After that, nobody can read what it encrypted without an older copy
    of the keyring: destroy those copies as well, and exports.

    \b
    Examples:
      sealwire keys destroy nhs_number 1 --keyring keyring.json
      sealwire keys destroy nhs_number 1 --keyring keyring.json --yes
      sealwire keys destroy nhs_number 1 --keyring keyring.json --cancel
    """
    if cancel:
        _take(subject, turning.call_off, manner, question="")
        return
    now = datetime.now(UTC)
    if _find(subject, subject.keys.store()).destroy_after is not None:
        question = "What it encrypted can then not be read again by anyone"
        _take(subject, partial(turning.destroy, now=now), manner, question=question)
        return
    if wait is None or (wait < turning.MINIMUM_WAIT and wait):
        raise click.UsageError("--wait is one day at least, or 0d")
    if not wait:
        require_typed(f"{subject.class_name}:{subject.version}", confirm)
    question = f"It may then be destroyed after {format_time(now + wait)}"
    _take(subject, partial(turning.announce, now=now, wait=wait), manner, question=question)


def _look_for_values(subject: Subject, policy: Path | None, uri: str) -> None:
    """See that the key may be retired, and that nothing needs it. Raises as `require_no_value`."""
    store = subject.keys.store()
    _find(subject, store)
    keys = open_record(read_record(store), subject.keys.open_kek(), store)
    named = subject.class_name, subject.version
    key = next(each for each in keys if (each.class_name, each.version) == named)
    require_unnamed(key, policy)
    turning.retire(key)
    require_no_value(key, Keyring(keys), policy, uri)


def _take(subject: Subject, step: Callable[[DataKey], DataKey], manner: Manner, *, question: str) -> None:
    """Take a step with the key; with a question, only after it was shown and somebody said yes."""
    selftest.run()
    store = subject.keys.store()
    found = _find(subject, store)
    if question and not manner.dry_run:
        row = (subject.class_name, subject.version, found.state.value, format_time(found.created))
        show_table(_COLUMNS, [row], question_console())
        click.echo(f"{question}. {_COUNTS}.", err=True)
        if not subject.yes:
            click.confirm("Go on?", abort=True, err=True)
    key = (subject.class_name, subject.version)
    writer = KeyringWriter(store, subject.keys.open_kek(), datetime.now(UTC), manner.dry_run)
    after = change_version(writer, key, step)
    until = None if after.destroy_after is None else format_time(after.destroy_after)
    may = f", and may be destroyed after {until}" if until else ""
    _show(str(store), after, manner, may, destroy_after=until)


def _find(subject: Subject, store: KeyringStore) -> KeyRecord:
    """What the keyring says of the key, not authenticated yet. Raises UnknownKey."""
    for entry in read_record(store).classes:
        for key in entry.keys:
            if (entry.name, key.version) == (subject.class_name, subject.version):
                return key
    raise UnknownKey(
        KeysReason.VERSION_UNKNOWN,
        f"the keyring has no version {subject.version} of class {subject.class_name}",
        "sealwire keys list shows the versions",
    )


def _show(place: str, key: DataKey, manner: Manner, may: str = "", **more: str | None) -> None:
    done = "would be" if manner.dry_run else "is"
    said = {"class": key.class_name, "version": key.version, "state": key.state.value, **more}
    manner.answer(f"{place}: version {key.version} of {key.class_name} {done} {key.state.value}{may}", said)


# --------------------------------- `sealwire keys cancel`: take a pending key back that was made by mistake


_CANCEL_RIGHTS = "the user has to read frontiers and jobs in the database sealwire"


@click.command()
@click.argument("class_name", metavar="CLASS")
@click.option("--undo", is_flag=True, help="Let a cancelled key be pending again.")
@key_options.keys_options
@options.server_options
@manner_options
def cancel(
    *, class_name: str, undo: bool, keys: key_options.KeyringOptions, uri: str, manner: Manner
) -> None:
    """Take the pending key of CLASS back, as long as no data has begun to move to it.

    It is looked for on the server whether a job for it is there, or has begun. The key is then retired: it
    opens nothing, its version is given to no other key, and it may be destroyed as others are. A borrowed key
    goes back to its lender. With several servers, run it for each with --dry-run first.

    \b
    Examples:
      sealwire keys cancel nhs_number --keyring keyring.json --uri-file server.uri
      sealwire keys cancel nhs_number --keyring keyring.json --uri-file server.uri --dry-run --json
      sealwire keys cancel nhs_number --keyring keyring.json --undo
    """
    selftest.run()
    store, opened = keys.store(), keys.open_kek()
    writer = KeyringWriter(store, opened, datetime.now(UTC), manner.dry_run)
    if undo:
        _show(str(store), turning.renew(writer, class_name), manner)
        return
    before = load_keyring(store, opened)
    version = pending_version(before, class_name)
    with connected(options.required_uri(uri), _CANCEL_RIGHTS) as client:
        require_unbegun(client, before, class_name, version)
        key = turning.cancel(writer, class_name)
        if not manner.dry_run:
            _look_again(client, lambda: turning.renew(writer, class_name), key, before)
    _show(str(store), key, manner)


def _look_again(client: Client, renew: Callable[[], DataKey], key: DataKey, keyring: Keyring) -> None:
    """A job may have begun in the very moment: it goes before. Raises Unusable."""
    try:
        require_unbegun(client, keyring, key.class_name, key.version)
    except Unusable:
        renew()
        raise
