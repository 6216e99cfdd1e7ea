"""`sealwire keys rotate`: new keys for classes, by name or by the calendar."""

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import click

from sealwire.cli.key_options import KeyringOptions, keys_options
from sealwire.cli.keys import calendar
from sealwire.cli.keys.options import (
    key_of,
    policy_option,
    require_alike,
    schedule_options,
    shown_key_of,
    with_policy,
)
from sealwire.cli.migrate.options import Site
from sealwire.cli.options import server_options
from sealwire.cli.output import Manner, manner_options
from sealwire.cli.subjects import read_policy
from sealwire.crypto import selftest
from sealwire.keys.errors import KeySettingError, KeysReason
from sealwire.keys.kek.kek import KeyEncryptionKey
from sealwire.keys.keyring import turning
from sealwire.keys.keyring.data_key import DataKey, KeyState
from sealwire.keys.keyring.file import KeyringWriter, read_record, rewrap
from sealwire.keys.keyring.record import KeyringRecord
from sealwire.keys.keyring.schedule import Chore, DueChore, KeySchedule, due_chores
from sealwire.keys.keyring.store import KeyringStore
from sealwire.keys.keyring.turning import borrow
from sealwire.policies.file.schema import Mode, PolicySet


@click.command()
@click.argument("class_names", metavar="[CLASS]...", nargs=-1)
@click.option("--onto", metavar="LENDER", help="The new version of CLASS is the key that this class has now.")
@click.option("--due", is_flag=True, help="Do what the calendar asks for, and nothing else. For a timer.")
@policy_option
@keys_options
@schedule_options
@server_options
@calendar.calendar_options
@manner_options
def rotate(  # noqa: PLR0913 - one parameter an option
    class_names: tuple[str, ...],
    policy: Path | None,
    keys: KeyringOptions,
    schedule: KeySchedule,
    manner: Manner,
    *,
    uri: str,
    options: calendar.CalendarOptions,
    onto: str | None,
    due: bool,
) -> None:
    """Make a new version of each CLASS's key. No data is touched.

    A class of mode random encrypts with the new key from then on, and the old one still decrypts. The new key
    of a deterministic class is pending: it encrypts once `sealwire migrate reencrypt POLICY CLASS` has moved
    the data. The policy says which is which.

    With --onto, the one CLASS gets no key of its own: its data is to move to the key that LENDER has, so that
    its paths can then take LENDER's class in the policy. --policy has to declare both alike.

    --due wraps the keyring anew if that is due, and rotates classes that are, by `rotate` in the policy or by
    --rotate-every. If the policy says `rotate` of a deterministic class, its data moves as well, on the
    server that --uri-file names. With --quiet, classes wait for these hours, and a move pauses at their end;
    the next run goes on with it. --proxies, --share and the server matter to such moves only.

    \b
    Examples:
      sealwire keys rotate notes --policy policy.yaml --keyring keyring.json
      sealwire keys rotate nhs_number --policy policy.yaml --keyring keyring.json --dry-run
      sealwire keys rotate nhs_intake --onto nhs_number --policy policy.yaml --keyring keyring.json
      sealwire keys rotate --due --keyring keyring.json --json
      sealwire keys rotate --due --rotate-every 365d --policy policy.yaml --keyring keyring.json
      sealwire keys rotate --due --quiet 01:00-05:00 --uri-file server.uri --proxies 3 --share 0.5 \\
          --policy policy.yaml --keyring keyring.json
    """
    if bool(class_names) == due:
        raise click.UsageError("name a class, or give --due, and not both")
    if onto is not None and len(class_names) != 1:
        raise click.UsageError("--onto takes one CLASS")
    if options.quiet is not None and not due:
        raise click.UsageError("--quiet is for --due")
    selftest.run()
    policies = None if policy is None else read_policy(policy)
    store = keys.store()
    now = datetime.now(UTC)
    if onto is not None:
        require_alike(policy, class_names[0], onto)
        _borrow(store, keys.open_kek(), (class_names[0], onto), now, manner)
        return
    # whoever forges the record to delay something is found out when the keyring is opened
    record, write = read_record(store), partial(_write, store, keys.open_kek, now, manner)
    if not due:
        work = _named(class_names, policies)
        _refuse_in_clear(work.classes, record, policies)
        _show(str(store), work, write(work), manner)
        return
    names = None if policies is None else policies.class_names
    chores = due_chores(record, with_policy(schedule, policies), now, names)
    planner = calendar.Calendar(policies, Site(keys, uri), options, manner)
    with planner.beside_no_erasure(planner.plan(record, chores, now)) as planned:
        work = _on_the_calendar(chores, planned, policies)
        made = write(work)
        rotations = planner.carry_out(planned, made)
    lines = [each.line(options.effort.share) for each in rotations]
    _show(str(store), work, made, manner, (lines, [each.document for each in rotations]))
    sys.exit(calendar.exit_code_after(rotations))


def _write(
    store: KeyringStore, kek: Callable[[], KeyEncryptionKey], now: datetime, manner: Manner, work: "_Work"
) -> Sequence[DataKey]:
    """The keys that were made; where there is nothing to do, the KEK is not needed."""
    if work.classes:
        return turning.rotate(store, kek(), work.classes, now, dry_run=manner.dry_run)
    if work.wrap:
        opened = kek()
        rewrap(KeyringWriter(store, opened, now, manner.dry_run), opened)
    return ()


def _borrow(
    store: KeyringStore, kek: KeyEncryptionKey, names: tuple[str, str], now: datetime, manner: Manner
) -> None:
    made = borrow(KeyringWriter(store, kek, now, manner.dry_run), names)
    record = read_record(store)
    step = turning.moving_command(names[0], from_plaintext=names[0] in record.plaintext_classes)
    done = "would be" if manner.dry_run else "is"
    lent = shown_key_of(made.lender, record.names)
    document = {
        "keys": [{"class": names[0], "version": made.version, "state": made.state.value}],
        "key_of": key_of(made.lender, record.names),
        "next": [step],
    }
    text = f"{store}: version {made.version} of {names[0]} {done} {made.state.value}{lent}"
    manner.answer(f"{text}\nnext: {step}", document)


@dataclass(frozen=True, slots=True)
class _Work:
    """What is to be done: classes to rotate, each with whether it is deterministic, or only wrapping anew."""

    classes: Mapping[str, bool]
    wrap: bool
    """Rotating wraps everything anew as well."""
    left: Sequence[str] = ()
    """Commands for somebody else."""


def _named(class_names: Iterable[str], policies: PolicySet | None) -> _Work:
    return _Work({name: _is_deterministic(policies, name) for name in class_names}, wrap=True)


def _on_the_calendar(
    chores: Iterable[DueChore], rotations: Iterable[calendar.ClassRotation], policies: PolicySet | None
) -> _Work:
    """What is to be done to the keyring at once; the classes whose data moves as well get their key then."""
    planned = [each for each in rotations if each.outcome is calendar.RotationOutcome.PLANNED]
    named = _named((each.chore.class_name for each in planned if not each.moves), policies)
    ours = [each.chore for each in rotations if each.outcome is not calendar.RotationOutcome.LEFT]
    is_wrap_due = any(each.chore is Chore.REWRAP for each in chores)
    left = [each.command for each in chores if each not in ours and each.chore is not Chore.REWRAP]
    return _Work(named.classes, bool(named.classes) or is_wrap_due, left)


def _is_deterministic(policies: PolicySet | None, name: str) -> bool:
    """Raises KeySettingError POLICY: without a policy nobody knows, and a wrong guess gives wrong answers."""
    if policies is None:
        raise KeySettingError(
            KeysReason.POLICY,
            f"whether class {name} is deterministic stands in the policy, and none was given",
            "give --policy with the policy that the proxies use",
        )
    found = policies.classes.get(name)
    if found is None:
        raise KeySettingError(
            KeysReason.POLICY,
            f"the policy has no class {name}",
            "give the policy that the proxies use; a class that it does not have needs no new key",
        )
    return calendar.pends_when_rotated(found)


def _refuse_in_clear(classes: Mapping[str, bool], record: KeyringRecord, policies: PolicySet | None) -> None:
    """A deterministic class in clear has no key to rotate. Raises KeySettingError KEY_STATE.

    A random one is not stored in clear on purpose: it gets a key, and all is right.
    """
    for name in record.plaintext_classes:
        found = None if policies is None else policies.classes.get(name)
        if name in classes and found is not None and found.mode is Mode.DETERMINISTIC:
            raise KeySettingError(
                KeysReason.KEY_STATE,
                f"class {name} is in clear, and has no key to rotate",
                f"{turning.moving_command(name, from_plaintext=True)} takes it in",
            )


def _show(
    place: str,
    work: _Work,
    made: Sequence[DataKey],
    manner: Manner,
    planned: tuple[Sequence[str], Sequence[Mapping[str, object]]] | None = None,
) -> None:
    """What was done, and what somebody has to do next; `planned` is what the calendar says of classes."""
    follow = [turning.moving_command(key.class_name) for key in made if key.state is KeyState.PENDING]
    next_steps = [*follow, *work.left]
    done = "would be" if manner.dry_run else "is"
    lines = [f"{place}: version {key.version} of {key.class_name} {done} {key.state.value}" for key in made]
    if not made:
        lines = [f"{place}: {done} wrapped anew" if work.wrap else f"{place}: nothing to wrap or rotate"]
    more = {} if planned is None else {"plan": planned[1]}
    lines += () if planned is None else planned[0]
    lines += [f"next: {step}" for step in next_steps]
    keys = [{"class": key.class_name, "version": key.version, "state": key.state.value} for key in made]
    manner.answer("\n".join(lines), {"rewrapped": work.wrap, "keys": keys, **more, "next": next_steps})
