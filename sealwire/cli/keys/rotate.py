"""`sealwire keys rotate`: new keys for classes, by name or by the calendar."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import click

from sealwire.cli.key_options import KekOptions, kek_options, keyring_option, open_keyring_store
from sealwire.cli.keys.options import policy_option, schedule_options
from sealwire.cli.output import Manner, manner_options
from sealwire.cli.policy_options import read_policy
from sealwire.crypto import selftest
from sealwire.keys.errors import KeySettingError, KeysReason
from sealwire.keys.keyring import turning
from sealwire.keys.keyring.data_key import DataKey, KeyState
from sealwire.keys.keyring.file import read_record, rewrap
from sealwire.keys.keyring.record import KeyringRecord
from sealwire.keys.keyring.schedule import Chore, KeySchedule, due_chores
from sealwire.keys.providers import Providers
from sealwire.policies.file.schema import Mode, PolicySet


@click.command()
@click.argument("class_names", metavar="[CLASS]...", nargs=-1)
@click.option("--due", is_flag=True, help="Do what the calendar asks for, and nothing else. For a timer.")
@policy_option
@keyring_option
@kek_options
@schedule_options
@manner_options
def rotate(  # noqa: PLR0913 - one parameter an option
    class_names: tuple[str, ...],
    policy: Path | None,
    keyring: str,
    kek: KekOptions,
    schedule: KeySchedule,
    manner: Manner,
    *,
    due: bool,
) -> None:
    """Make a new version of each CLASS's key. No data is touched.

    A class of mode random encrypts with the new key from then on, and the old one still decrypts. The new key
    of a deterministic class is pending: it encrypts once `sealwire migrate reencrypt POLICY CLASS` has moved
    the data. The policy says which is which.

    --due wraps the keyring anew if that is due, and rotates classes that are, if --rotate-every is set.

    \b
    Examples:
      sealwire keys rotate notes --policy policy.yaml --keyring keyring.json
      sealwire keys rotate nhs_number --policy policy.yaml --keyring keyring.json --dry-run
      sealwire keys rotate --due --keyring keyring.json --json
      sealwire keys rotate --due --rotate-every 365d --policy policy.yaml --keyring keyring.json
    """
    if bool(class_names) == due:
        raise click.UsageError("name a class, or give --due, and not both")
    selftest.run()
    policies = None if policy is None else read_policy(policy)
    providers = Providers()
    store = open_keyring_store(keyring, providers)
    now = datetime.now(UTC)
    work = _named(class_names, policies)
    # whoever forges the record to delay something is found out when the keyring is opened
    if due:
        work = _on_the_calendar(read_record(store), schedule, now, policies)
    else:
        _refuse_in_clear(work.classes, read_record(store))
    made: Sequence[DataKey] = ()
    if work.classes:
        made = turning.rotate(store, kek.open(providers), work.classes, now, dry_run=manner.dry_run)
    elif work.wrap:
        opened = kek.open(providers)
        rewrap(store, opened, opened, now, dry_run=manner.dry_run)
    _show(str(store), work, made, manner)


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
    record: KeyringRecord, schedule: KeySchedule, now: datetime, policies: PolicySet | None
) -> _Work:
    chores = due_chores(record, schedule, now, None if policies is None else policies.class_names)
    named = _named((each.class_name for each in chores if each.chore is Chore.ROTATE), policies)
    wrap = any(each.chore in (Chore.ROTATE, Chore.REWRAP) for each in chores)
    left = [each.command for each in chores if each.chore not in (Chore.ROTATE, Chore.REWRAP)]
    return _Work(named.classes, wrap, left)


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
    # with a key for each context, the class's own wraps these and encrypts no value: nothing has to move
    return found.mode is not Mode.RANDOM and found.per is None


def _refuse_in_clear(classes: Mapping[str, bool], record: KeyringRecord) -> None:
    """A deterministic class in clear has no key to rotate. Raises KeySettingError KEY_STATE.

    A random one is not stored in clear on purpose: it gets a key, and all is right.
    """
    for entry in record.classes:
        is_clear = any(key.is_plaintext and key.state is KeyState.ACTIVE for key in entry.keys)
        if is_clear and classes.get(entry.name):
            raise KeySettingError(
                KeysReason.KEY_STATE,
                f"class {entry.name} is in clear, and has no key to rotate",
                f"{turning.moving_command(entry.name, from_plaintext=True)} takes it in",
            )


def _show(place: str, work: _Work, made: Sequence[DataKey], manner: Manner) -> None:
    """What was done, and what somebody has to do next."""
    follow = [turning.moving_command(key.class_name) for key in made if key.state is KeyState.PENDING]
    next_steps = [*follow, *work.left]
    done = "would be" if manner.dry_run else "is"
    lines = [f"{place}: version {key.version} of {key.class_name} {done} {key.state.value}" for key in made]
    if not made:
        lines = [f"{place}: {done} wrapped anew" if work.wrap else f"{place}: nothing to wrap or rotate"]
    lines += [f"next: {step}" for step in next_steps]
    keys = [{"class": key.class_name, "version": key.version, "state": key.state.value} for key in made]
    manner.answer("\n".join(lines), {"rewrapped": work.wrap, "keys": keys, "next": next_steps})
