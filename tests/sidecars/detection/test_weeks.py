"""False alarms in ordinary weeks of a made-up clinic, and whether planted attacks are found behind them."""

import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from sealwire.sidecars.detection.rules import RuleName, Urgency
from tests.sidecars.detection.clinic import (
    DAYS,
    INVOICES_ON,
    Clinic,
    Lines,
    WatchedWeeks,
    grouped,
    line_of,
    person,
    shown_list,
    watched,
    weeks_of,
)


@pytest.fixture(scope="module")
def forty(tmp_path_factory: pytest.TempPathFactory) -> WatchedWeeks:
    return weeks_of(tmp_path_factory.mktemp("forty"), 40, 1)


def test_forty_people_raise_at_most_one_false_alarm_in_three_weeks(forty: WatchedWeeks) -> None:
    assert forty.false.total() <= 1, forty.false
    learnt = [alert for alert in forty.alerts if alert.urgency is Urgency.LEARNING]
    assert learnt  # the days are not idle
    assert any(alert.rule is RuleName.ADMINISTRATION for alert in forty.alerts)


@pytest.mark.slow
def test_five_people_raise_at_most_one_in_eight_clinics(tmp_path: Path) -> None:
    found = [weeks_of(tmp_path / str(seed), 5, seed) for seed in range(1, 9)]
    assert sum((each.false for each in found), Counter()).total() <= 1


def test_jobs_that_nobody_named_are_what_alarms(tmp_path: Path) -> None:
    clinic = Clinic(40, 1)
    found = watched(tmp_path, clinic, clinic.weeks(INVOICES_ON + 1), has_jobs=False)
    users = {dict(alert.about).get("user", "") for alert in found if alert.rule is RuleName.BULK_READ}
    assert users == {"report@clinic", "invoices@clinic"}


def at(hours: float, user: str = "doctor1@clinic", place: str = "10.3.1.1", **fields: Any) -> dict[str, Any]:
    """So many hours after the Monday that follows the weeks."""
    return line_of(DAYS * 24 + hours, user, place, **fields)


def people(first: int, many: int) -> dict[str, Any]:
    return shown_list([person(each) for each in range(first, first + many)])


def _bulk_read() -> Lines:
    return [at(10 + each / 600, **people(each * 100, 100)) for each in range(20)]


def _slow_scraping() -> Lines:
    hours = [day * 24 + 8 + hour for day in range(5) for hour in range(10)]
    return [at(hour, **people(number * 30, 30)) for number, hour in enumerate(hours)]


def _twenty_accounts() -> Lines:
    accounts = [f"nurse{each}@clinic" for each in range(10)] + [
        f"reception{each}@clinic" for each in range(10)
    ]
    return [at(10 + n / 50, who, "10.7.7.7", **people(n * 15, 15)) for n, who in enumerate(accounts)]


def _twenty_slow_accounts() -> Lines:
    """None of them is shown many, and neither is the address in an hour."""
    accounts = [f"nurse{each}@clinic" for each in range(10)] + [
        f"reception{each}@clinic" for each in range(10)
    ]
    turns = [(hour, place) for hour in range(10) for place in range(len(accounts))]
    return [
        at(8 + hour + place / 50, accounts[place], "10.7.7.7", **people((hour * 20 + place) * 12, 12))
        for hour, place in turns
    ]


def _at_night() -> Lines:
    notes: dict[str, Any] = {"namespace": "clinic.visits", "read": {"notes": 8}, "documents": 8}
    lists = [at(3 + each / 20, **people(each * 2, 2)) for each in range(15)]
    return lists + [at(3.8 + each / 200, **notes, subjects=[person(each)]) for each in range(30)]


def _from_elsewhere() -> Lines:
    return [at(11, "reception0@clinic", "203.0.113.9", **people(0, 3))]


def _guessing() -> Lines:
    wrong: dict[str, Any] = {"event": "login-failed", "reason": "code 18"}
    return [at(11 + each / 600, "", "203.0.113.9", **wrong) for each in range(30)]


def _numbers_tried() -> Lines:
    about: dict[str, Any] = {"filtered": {"nhs_number": 500}, "documents": 0}
    return [at(11 + each / 100, **about) for each in range(6)]


def _mass_update() -> Lines:
    return [at(11, command="update", affected=2000, modified=2000, unnamed=1)]


def _mass_delete() -> Lines:
    return [at(11, command="delete", affected=2000, unnamed=1)]


def _slow_delete() -> Lines:
    return [at(8 + hour, command="delete", affected=60, unnamed=1) for hour in range(10)]


def _twenty_accounts_delete() -> Lines:
    said: Lines = []
    for turn in range(20 * 8):
        who, hour = f"nurse{turn % 20}@clinic", 8 + turn / 20
        said.append(at(hour, who, "10.7.7.7", command="delete", affected=11, unnamed=1))
    return said


def _drop() -> Lines:
    return [at(11, command="drop", act="destruction")]


def _grant() -> Lines:
    about: dict[str, Any] = {
        "command": "grantRolesToUser",
        "act": "administration",
        "database": "admin",
        "namespace": "",
    }
    return [at(11, **about, target="doctor1")]


def _group_of_two() -> Lines:
    return [at(11, **grouped(documents=2, gathered=2000))]


def _group_of_numbers() -> Lines:
    some: dict[str, Any] = {"nhs_number": 450}
    about: dict[str, Any] = {"command": "aggregate", "documents": 1, "subjects_unknown": 1, "gathered": 450}
    return [at(11, **about, read=some, opened=some)]


def _job_account_stolen() -> Lines:
    return [at(11, "report@clinic", "203.0.113.9", **people(each, 50)) for each in range(3)]


ATTACKS: Final[dict[str, tuple[Callable[[], Lines], RuleName]]] = {
    "bulk read": (_bulk_read, RuleName.BULK_READ),
    "slow scraping over five days": (_slow_scraping, RuleName.SUBJECTS_DAY),
    "20 accounts from one address": (_twenty_accounts, RuleName.SUBJECTS_BY_ADDRESS),
    "20 accounts from one address, slowly": (_twenty_slow_accounts, RuleName.SUBJECTS_BY_ADDRESS_DAY),
    "deleting by 20 accounts": (_twenty_accounts_delete, RuleName.BULK_DELETE_BY_ADDRESS_DAY),
    "reading at night": (_at_night, RuleName.OUT_OF_HOURS),
    "a login from elsewhere": (_from_elsewhere, RuleName.NEW_ADDRESS),
    "guessed passwords": (_guessing, RuleName.FAILED_LOGINS),
    "numbers tried one by one": (_numbers_tried, RuleName.BULK_LOOKUP),
    "mass update": (_mass_update, RuleName.BULK_WRITE),
    "mass delete": (_mass_delete, RuleName.BULK_DELETE),
    "slow delete over a day": (_slow_delete, RuleName.BULK_DELETE_DAY),
    "drop": (_drop, RuleName.DESTRUCTION),
    "grant of a role": (_grant, RuleName.ADMINISTRATION),
    "$group by two values": (_group_of_two, RuleName.GATHERED),
    "$group of all numbers in one document": (_group_of_numbers, RuleName.OPENED),
    "stolen account of a job": (_job_account_stolen, RuleName.NEW_ADDRESS),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_each_planted_attack_is_found(tmp_path: Path, forty: WatchedWeeks, name: str) -> None:
    plant, rule = ATTACKS[name]
    folder = tmp_path / "planted"
    shutil.copytree(forty.folder, folder)
    found = watched(folder, forty.clinic, plant())[len(forty.alerts) :]
    told = {alert.rule for alert in found if alert.urgency is not Urgency.LEARNING}
    assert rule in told
