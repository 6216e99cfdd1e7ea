"""`sealwire keys list`, `verify` and `status`: what the keyring has, how old it is, and what is due."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sealwire.cli.exit_codes import EX_NO
from sealwire.cli.key_options import KeyringOptions, keyring_option, keys_options, stored_record
from sealwire.cli.keys.options import key_of, policy_option, schedule_options, shown_key_of, with_policy
from sealwire.cli.options import json_option
from sealwire.cli.output import answer, print_json, show_table
from sealwire.cli.subjects import read_policy
from sealwire.keys.keyring.data_key import DataKey
from sealwire.keys.keyring.file import verify_keyring
from sealwire.keys.keyring.record import KeyRecord, KeyringRecord, format_time
from sealwire.keys.keyring.schedule import DueChore, KeySchedule, due_chores, wrapped_at

if TYPE_CHECKING:
    from sealwire.policies.file.schema import PolicySet


Row = tuple[str, int, KeyRecord | DataKey]
"""The name and the id of a class, and one version of its key."""

_COLUMNS = ("class", "id", "version", "state", "created")


@click.command(name="list")
@keyring_option
@json_option
def list_keys(keyring: str, as_json: bool) -> None:
    """List classes and key versions. Needs no key-encryption key, and so proves nothing: `verify` does.

    \b
    Examples:
      sealwire keys list --keyring keyring.json
      SEALWIRE_KEYRING=keyring.json sealwire keys list --json
      sealwire keys list --keyring vault:secret/sealwire/keyring
    """
    record = stored_record(keyring)
    rows = [(entry.name, entry.class_id, key) for entry in record.classes for key in entry.keys]
    document = {"generation": record.generation, "kek_id": record.kek_id, "authenticated": False}
    show_keys(rows, "not authenticated", document, as_json=as_json)


def show_keys(rows: Sequence[Row], verdict: str, document: dict[str, Any], *, as_json: bool) -> None:
    """A keyring's keys, and what is known of them as a whole."""
    names = {class_id: name for name, class_id, _ in rows}
    if not as_json:
        cells = ((*ids, key.version, shown_state(key, names), format_time(key.created)) for *ids, key in rows)
        show_table(_COLUMNS, cells)
    text = f"generation {document['generation']}, key-encryption key {document['kek_id']}, {verdict}"
    answer(text, document | {"keys": [_key(*row, names) for row in rows]}, as_json=as_json)


def _key(name: str, class_id: int, key: KeyRecord | DataKey, names: Mapping[int, str]) -> dict[str, Any]:
    """A version of a class's key, for programs."""
    return {
        "class": name,
        "id": class_id,
        "version": key.version,
        "state": key.state.value,
        "created": format_time(key.created),
        "plaintext": key.is_plaintext,
        "key_of": key_of(key.lender, names),
    }


def shown_state(key: KeyRecord | DataKey, names: Mapping[int, str]) -> str:
    """A version's state, that its class is in clear in it, and whose key it is, if it is borrowed."""
    clear = ", plaintext" if key.is_plaintext else ""
    return f"{key.state.value}{clear}{shown_key_of(key.lender, names)}"


@click.command()
@keys_options
@json_option
def verify(keys: KeyringOptions, as_json: bool) -> None:
    """Authenticate the keyring, unwrap every key, and encrypt and decrypt a sample with each.

    \b
    Examples:
      sealwire keys verify --keyring keyring.json
      sealwire keys verify --keyring keyring.json --kek file:kek.json --json
    """
    opened = keys.open_kek()
    found = verify_keyring(keys.store(), opened)
    rows = [(key.class_name, key.class_id, key) for key in found.keys]
    verdict = f"authenticated; {found.usable} of {len(rows)} keys encrypt and decrypt"
    document = {"generation": found.generation, "kek_id": found.kek_id, "authenticated": True}
    show_keys(rows, verdict, document, as_json=as_json)


# ----------- `sealwire keys status`: how old every key is, where it is used, and what the calendar asks for


Uses = Mapping[str, tuple[str, ...]]
"""Class name -> the paths that the policy gives it, each with its collection."""

_STATUS_COLUMNS = ("class", "version", "state", "days", "used in", "due")
_MOST_USES = 3


@click.command()
@keyring_option
@policy_option
@schedule_options
@json_option
def status(keyring: str, policy: Path | None, schedule: KeySchedule, *, as_json: bool) -> None:
    """Show every key with its age and state, where it is used, and what is due.

    It needs no key-encryption key and proves nothing: `verify` does. With --policy it also says which class
    of the policy has no key, and only classes of the policy are to be rotated.

    Exit code 1 when something is overdue: due for two weeks, or a class without a key.

    \b
    Examples:
      sealwire keys status --keyring keyring.json --policy policy.yaml
      sealwire keys status --keyring keyring.json --rotate-every 365d --json
    """
    record = stored_record(keyring)
    policies = None if policy is None else read_policy(policy, may_observe=True)
    schedule = with_policy(schedule, policies)
    now = datetime.now(UTC)
    chores = due_chores(record, schedule, now, None if policies is None else policies.class_names)
    uses = {} if policies is None else _uses(policies)
    overdue = any(chore.overdue for chore in chores)
    if as_json:
        document = _document(record, uses, chores, now)
        rotations = {name: format_time(due) for name, due in _rotations(record, schedule, policies)}
        print_json({**document, "rotations": rotations, "overdue": overdue})
    else:
        show_table(_STATUS_COLUMNS, _rows(record, uses, chores, now))
        age = _days(now - wrapped_at(record, now))
        click.echo(
            f"wrapped {age} days ago under {record.kek_id}, generation {record.generation}; not authenticated"
        )
        for chore in chores:
            click.echo(f"{_when(chore)}: {chore.command}")
        for name, due in _rotations(record, schedule, policies):
            if due > now:
                click.echo(f"due on {due:%Y-%m-%d}: sealwire keys rotate {name}")
    sys.exit(EX_NO if overdue else 0)


def _rotations(
    record: KeyringRecord, schedule: KeySchedule, policies: "PolicySet | None"
) -> Iterator[tuple[str, datetime]]:
    """The classes in use that get a new key from time to time, and when each is due."""
    for entry in record.classes:
        due = schedule.rotation_due(entry)
        if due is not None and (policies is None or entry.name in policies.classes):
            yield entry.name, due


def _uses(policies: "PolicySet") -> Uses:
    found: dict[str, list[str]] = {}
    for namespace, path, each in policies.fields:
        found.setdefault(each.name, []).append(f"{namespace}: {path}")
    return {name: tuple(places) for name, places in found.items()}


def _document(
    record: KeyringRecord, uses: Uses, chores: tuple[DueChore, ...], now: datetime
) -> dict[str, Any]:
    return {
        "generation": record.generation,
        "kek_id": record.kek_id,
        "authenticated": False,
        "wrapped_at": None if record.wrapped_at is None else format_time(record.wrapped_at),
        "keys": [
            {
                **_key(entry.name, entry.class_id, key, record.names),
                "age_days": _days(now - key.created),
                "destroy_after": None if key.destroy_after is None else format_time(key.destroy_after),
                "used_in": list(uses.get(entry.name, ())),
            }
            for entry in record.classes
            for key in entry.keys
        ],
        "due": [
            {
                "what": chore.chore.value,
                "class": chore.class_name or None,
                "version": chore.version or None,
                "since": format_time(chore.since),
                "overdue": chore.overdue,
                "command": chore.command,
            }
            for chore in chores
        ],
    }


def _rows(
    record: KeyringRecord, uses: Uses, chores: tuple[DueChore, ...], now: datetime
) -> Iterator[tuple[object, ...]]:
    due = {(chore.class_name, chore.version): chore for chore in chores if chore.version}
    for entry in record.classes:
        for key in entry.keys:
            chore = due.get((entry.name, key.version))
            used = _some(uses.get(entry.name, ())) if key.state.decrypts else ""
            asked = "" if chore is None else chore.chore.value
            state = shown_state(key, record.names)
            yield entry.name, key.version, state, _days(now - key.created), used, asked


def _some(places: tuple[str, ...]) -> str:
    more = f", and {len(places) - _MOST_USES} more" if len(places) > _MOST_USES else ""
    return ", ".join(places[:_MOST_USES]) + more


def _when(chore: DueChore) -> str:
    since = format_time(chore.since)
    return f"overdue since {since}" if chore.overdue else f"due since {since}"


def _days(age: timedelta) -> int:
    """Whole days; a clock that was set back makes no age negative."""
    return max(age.days, 0)
