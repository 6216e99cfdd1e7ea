"""Options that say how old keys may become and whose they are, and what the policy says of it."""

import re
import sys
from collections.abc import Mapping
from dataclasses import replace
from datetime import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sealwire.cli.options import PRESENT_FILE, Interval, settings, variable_option
from sealwire.cli.subjects import read_policy
from sealwire.keys.errors import KeySettingError, KeysReason
from sealwire.keys.keyring.data_key import DataKey, KeyIds, KeyState
from sealwire.keys.keyring.schedule import KeySchedule, QuietHours

if TYPE_CHECKING:
    from sealwire.policies.file.schema import PolicySet

_HOURS = re.compile(r"((?:[01][0-9]|2[0-3]):[0-5][0-9])-((?:[01][0-9]|2[0-3]):[0-5][0-9])", re.ASCII)


class QuietInterval(click.ParamType[QuietHours]):
    """Two times of day, as `01:00-05:00`; the value is QuietHours."""

    name = "hours"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> QuietHours:
        if isinstance(value, QuietHours):
            return value
        found = _HOURS.fullmatch(value)
        if found is None or found[1] == found[2]:
            self.fail("write two times of day, such as 01:00-05:00 or 22:30-04:00", param, ctx)
        return QuietHours(time.fromisoformat(found[1]), time.fromisoformat(found[2]))


def with_policy(schedule: KeySchedule, policies: "PolicySet | None") -> KeySchedule:
    """The schedule with what the policy says of its classes."""
    found = () if policies is None else policies.classes.values()
    said = {each.name: each.rotation.every for each in found if each.rotation is not None}
    return replace(schedule, of_classes=said)


# Gives the command `schedule: KeySchedule`.
schedule_options = settings(
    "schedule",
    KeySchedule,
    variable_option(
        "--rewrap-every",
        type=Interval(),
        metavar="90d|never",
        default="90d",
        show_default=True,
        envvar="SEALWIRE_REWRAP_EVERY",
        help="How long the keyring stays as it was wrapped.",
    ),
    variable_option(
        "--rotate-every",
        type=Interval(),
        metavar="365d|never",
        default="never",
        show_default=True,
        envvar="SEALWIRE_ROTATE_EVERY",
        help="How long a data key encrypts, if the policy says no `rotate` of its class.",
    ),
)
policy_option = variable_option(
    "--policy",
    type=PRESENT_FILE,
    envvar="SEALWIRE_POLICY",
    help="The policy, which says what each class is for.",
)


# ---------- keys that a class borrows from another one, as commands ask for them, refuse them and show them


def require_alike(policy: Path | None, borrower: str, lender: str) -> None:
    """See that the policy makes both classes alike: one key then gives a value of either one ciphertext.

    Raises KeySettingError POLICY, also without a policy and for a class that it does not have.
    """
    if policy is None:
        raise KeySettingError(
            KeysReason.POLICY,
            "only classes that are alike may have one key, and no policy was given that says so",
            "give --policy with the policy that names both classes",
        )
    policies = read_policy(policy)
    for name in (borrower, lender):
        if name not in policies.classes:
            raise KeySettingError(
                KeysReason.POLICY,
                f"the policy has no class {name}",
                f"declare {borrower} as {lender} is declared, and give its paths that class",
            )
    if policies.unlike([(borrower, lender)]):
        raise KeySettingError(
            KeysReason.POLICY,
            f"the classes {borrower} and {lender} may not have one key: the policy makes them differ",
            "both have to be deterministic, of one type and range, and without keys for contexts",
        )


def require_unnamed(key: DataKey, policy: Path | None) -> None:
    """See that no policy names the class of a borrowed key that is active, before it is retired.

    Raises KeySettingError POLICY. Any other key is not looked at: the keyring says what may become of it.
    """
    if key.lender is None or key.state is not KeyState.ACTIVE:
        return
    if policy is None:
        raise KeySettingError(
            KeysReason.POLICY,
            f"version {key.version} of class {key.class_name} is active: whether the class is in use stands "
            "in the policy, and none was given",
            "give --policy with the policy that every Sealwire has loaded",
        )
    if key.class_name in read_policy(policy).classes:
        raise KeySettingError(
            KeysReason.POLICY,
            f"the policy has the class {key.class_name} still",
            "give its paths the lender's class, take it out of the policy, and reload every Sealwire first",
        )


def require_typed(wanted: str, given: str | None) -> None:
    """See that somebody typed it, on the terminal or as `given`. Raises click.UsageError."""
    if given is None and sys.stdin.isatty():
        given = click.prompt(f"Type {wanted} to go on", err=True, default="", show_default=False)
    if given != wanted:
        raise click.UsageError(f"without a waiting period, give --confirm {wanted}")


def key_of(lender: KeyIds | None, names: Mapping[int, str]) -> dict[str, str | int] | None:
    """Whose key a borrowed version is, for programs; `names` by class id."""
    return None if lender is None else {"class": names[lender.class_id], "version": lender.version}


def shown_key_of(lender: KeyIds | None, names: Mapping[int, str]) -> str:
    """The same behind a state, for people; empty for a key of its own."""
    return "" if lender is None else f", key of {names[lender.class_id]} {lender.version}"
