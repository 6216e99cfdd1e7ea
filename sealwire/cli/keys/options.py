"""Options that say how old keys may become, and which policy says what they are for."""

import re
from dataclasses import replace
from datetime import time, timedelta
from typing import Any

import click

from sealwire.cli.options import PRESENT_FILE, settings
from sealwire.keys.keyring.schedule import KeySchedule, QuietHours
from sealwire.policies.file.schema import PolicySet

_INTERVAL = re.compile(r"([0-9]{1,5})([hdw])", re.ASCII)
_HOURS = re.compile(r"((?:[01][0-9]|2[0-3]):[0-5][0-9])-((?:[01][0-9]|2[0-3]):[0-5][0-9])", re.ASCII)
_UNITS = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}


class Interval(click.ParamType[timedelta | None]):
    """Hours, days or weeks, as `12h`, `90d` or `13w`; the value is a timedelta, or None for `never`."""

    name = "interval"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> timedelta | None:
        if isinstance(value, timedelta):
            return value
        if value == "never":
            return None
        found = _INTERVAL.fullmatch(value)
        if found is None:
            self.fail("write hours, days or weeks, such as 12h, 90d or 13w, or never", param, ctx)
        return int(found[1]) * _UNITS[found[2]]


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


def _schedule(rewrap_every: timedelta | None, rotate_every: timedelta | None) -> KeySchedule:
    return KeySchedule(rewrap_every, rotate_every)


def with_policy(schedule: KeySchedule, policies: PolicySet | None) -> KeySchedule:
    """The schedule with what the policy says of its classes."""
    found = () if policies is None else policies.classes.values()
    said = {each.name: each.rotation.every for each in found if each.rotation is not None}
    return replace(schedule, of_classes=said)


# Gives the command `schedule: KeySchedule`.
schedule_options = settings(
    "schedule",
    _schedule,
    click.option(
        "--rewrap-every",
        type=Interval(),
        metavar="90d|never",
        default="90d",
        show_default=True,
        envvar="SEALWIRE_REWRAP_EVERY",
        show_envvar=True,
        help="How long the keyring stays as it was wrapped.",
    ),
    click.option(
        "--rotate-every",
        type=Interval(),
        metavar="365d|never",
        default="never",
        show_default=True,
        envvar="SEALWIRE_ROTATE_EVERY",
        show_envvar=True,
        help="How long a data key encrypts, if the policy says no `rotate` of its class.",
    ),
)
policy_option = click.option(
    "--policy",
    type=PRESENT_FILE,
    envvar="SEALWIRE_POLICY",
    show_envvar=True,
    help="The policy, which says what each class is for.",
)
