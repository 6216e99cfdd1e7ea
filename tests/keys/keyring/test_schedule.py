"""What the calendar asks for, and when it is overdue."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from time import tzset

import pytest

from sealwire.keys.keyring.data_key import KeyIds, KeyState
from sealwire.keys.keyring.record import ClassRecord, KeyRecord, KeyringRecord
from sealwire.keys.keyring.schedule import (
    GRACE,
    Chore,
    DueChore,
    KeySchedule,
    QuietHours,
    due_chores,
    wrapped_at,
)
from tests.keys.samples import NOW

DAY = timedelta(days=1)
SECOND = timedelta(seconds=1)
YEARLY = KeySchedule(rewrap_every=None, rotate_every=365 * DAY)


def key(version: int, state: KeyState, created: datetime = NOW, until: datetime | None = None) -> KeyRecord:
    return KeyRecord(version, state, created, None if state is KeyState.DESTROYED else b"w", until)


def record(*keys: KeyRecord, wrapped: datetime | None = NOW) -> KeyringRecord:
    return KeyringRecord(1, "local:0", b"m", (ClassRecord("nhs", 1, keys),), bytes(32), wrapped)


ONE = record(key(1, KeyState.ACTIVE))


@pytest.mark.parametrize(
    ("schedule", "age"),
    [(KeySchedule(), 0 * DAY), (KeySchedule(None, None), 9999 * DAY)],
    ids=["fresh", "never"],
)
def test_a_keyring_that_is_young_enough_has_nothing_to_do(schedule: KeySchedule, age: timedelta) -> None:
    assert due_chores(ONE, schedule, NOW + age) == ()


@pytest.mark.parametrize(
    ("age", "expected"),
    [
        (90 * DAY - SECOND, None),
        (90 * DAY, False),
        (90 * DAY + GRACE - SECOND, False),
        (90 * DAY + GRACE, True),
    ],
)
def test_it_is_due_every_quarter_and_overdue_two_weeks_later(age: timedelta, expected: bool | None) -> None:
    due = due_chores(ONE, KeySchedule(), NOW + age)
    since = NOW + 90 * DAY
    assert due == (() if expected is None else (DueChore(Chore.REWRAP, since, expected),))


def test_only_the_active_key_of_a_class_grows_too_old() -> None:
    rotated = record(key(1, KeyState.DECRYPT_ONLY), key(2, KeyState.ACTIVE, NOW + 100 * DAY))
    assert due_chores(rotated, YEARLY, NOW + 400 * DAY) == ()
    due = due_chores(rotated, YEARLY, NOW + 465 * DAY)
    assert due == (DueChore(Chore.ROTATE, NOW + 465 * DAY, False, "nhs", 2),)


def test_only_classes_of_the_policy_are_rotated() -> None:
    assert due_chores(ONE, YEARLY, NOW + 365 * DAY, ["nhs"])
    assert due_chores(ONE, YEARLY, NOW + 365 * DAY, []) == ()


def test_a_class_whose_new_key_is_pending_is_to_be_moved_and_not_rotated() -> None:
    moving = record(key(1, KeyState.ACTIVE), key(2, KeyState.PENDING, NOW + 370 * DAY))
    due = due_chores(moving, YEARLY, NOW + 371 * DAY)
    assert due == (DueChore(Chore.REENCRYPT, NOW + 370 * DAY, False, "nhs", 2),)
    assert due_chores(moving, YEARLY, NOW + 384 * DAY)[0].overdue


def test_a_class_of_the_policy_without_an_active_key_is_overdue_at_once() -> None:
    half = record(key(1, KeyState.DECRYPT_ONLY))
    due = due_chores(half, KeySchedule(), NOW, ["nhs", "notes"])
    assert [(each.chore, each.class_name, each.overdue) for each in due] == [
        (Chore.CREATE, "nhs", True),
        (Chore.CREATE, "notes", True),
    ]


def test_a_key_whose_waiting_period_is_over_may_be_destroyed_and_is_never_overdue() -> None:
    ending = record(key(1, KeyState.RETIRED, until=NOW + DAY), key(2, KeyState.ACTIVE))
    assert due_chores(ending, KeySchedule(None), NOW + DAY - SECOND) == ()
    for later in (DAY, 500 * DAY):
        due = due_chores(ending, KeySchedule(None), NOW + later)
        assert due == (DueChore(Chore.DESTROY, NOW + DAY, False, "nhs", 1),)


def test_a_keyring_of_the_first_format_was_wrapped_when_its_newest_key_was_made_or_later() -> None:
    old = record(key(1, KeyState.DECRYPT_ONLY), key(2, KeyState.ACTIVE, NOW + DAY), wrapped=None)
    assert wrapped_at(old, NOW + 9 * DAY) == NOW + DAY
    assert wrapped_at(KeyringRecord(1, "local:0", b"m", (), bytes(32)), NOW) == NOW
    assert wrapped_at(record(key(1, KeyState.ACTIVE), wrapped=NOW + 5 * DAY), NOW) == NOW + 5 * DAY


def test_a_class_in_clear_is_never_due_until_a_key_is_pending() -> None:
    clear = replace(key(1, KeyState.ACTIVE), is_plaintext=True)
    assert due_chores(record(clear), YEARLY, NOW + 9999 * DAY, ["nhs"]) == ()
    taken_in = record(clear, key(2, KeyState.PENDING, NOW + DAY))
    (due,) = due_chores(taken_in, YEARLY, NOW + DAY)
    assert due == DueChore(Chore.ENCRYPT, NOW + DAY, False, "nhs", 2)


def test_a_pending_plaintext_version_asks_for_its_data_to_be_given_back() -> None:
    given_back = record(
        key(1, KeyState.ACTIVE), replace(key(2, KeyState.PENDING, NOW + DAY), is_plaintext=True)
    )
    (due,) = due_chores(given_back, YEARLY, NOW + DAY)
    assert due == DueChore(Chore.DECRYPT, NOW + DAY, False, "nhs", 2)


def test_each_chore_has_a_command() -> None:
    commands = {each: DueChore(each, NOW, False, "nhs", 2).command for each in Chore}
    assert commands == {
        Chore.CREATE: "sealwire keys create nhs",
        Chore.REWRAP: "sealwire keys rewrap",
        Chore.ROTATE: "sealwire keys rotate nhs",
        Chore.REENCRYPT: "sealwire migrate reencrypt POLICY nhs",
        Chore.ENCRYPT: "sealwire migrate encrypt POLICY nhs",
        Chore.DECRYPT: "sealwire migrate decrypt POLICY nhs",
        Chore.DESTROY: "sealwire keys destroy nhs 2",
    }


def test_an_interval_of_a_class_goes_before_that_of_all() -> None:
    monthly = KeySchedule(None, 365 * DAY, {"nhs": 30 * DAY})
    assert due_chores(ONE, monthly, NOW + 30 * DAY - SECOND) == ()
    (due,) = due_chores(ONE, monthly, NOW + 30 * DAY)
    assert due == DueChore(Chore.ROTATE, NOW + 30 * DAY, False, "nhs", 1)
    assert due_chores(ONE, KeySchedule(None, None, {"notes": 30 * DAY}), NOW + 9999 * DAY) == ()


@pytest.mark.parametrize(
    "keys",
    [
        (replace(key(1, KeyState.ACTIVE), is_plaintext=True),),
        (replace(key(1, KeyState.ACTIVE), lender=KeyIds(2, 1)),),
        (key(1, KeyState.ACTIVE), key(2, KeyState.PENDING)),
        (key(1, KeyState.DECRYPT_ONLY),),
    ],
)
def test_a_class_without_a_key_of_its_own_or_with_a_pending_one_is_never_to_be_rotated(
    keys: tuple[KeyRecord, ...],
) -> None:
    assert YEARLY.rotation_due(ClassRecord("nhs", 1, keys)) is None


def test_when_a_class_is_to_be_rotated_is_known_before() -> None:
    assert YEARLY.rotation_due(ONE.classes[0]) == NOW + 365 * DAY
    assert KeySchedule().rotation_due(ONE.classes[0]) is None


@pytest.fixture
def in_london(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine whose clock is changed at 2026-03-29 01:00 UTC, from 01:00 to 02:00."""
    monkeypatch.setenv("TZ", "Europe/London")
    tzset()
    yield
    monkeypatch.undo()
    tzset()


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.usefixtures("in_london")
@pytest.mark.parametrize(
    ("now", "has", "left"),
    [
        ("2026-07-01 21:59", False, None),
        ("2026-07-01 22:00", True, "05:00"),
        ("2026-07-02 02:59", True, "00:01"),
        ("2026-07-02 03:00", False, None),
        ("2026-01-01 22:59", False, None),
        ("2026-01-01 23:00", True, "05:00"),
        ("2026-03-28 23:00", True, "04:00"),
    ],
)
def test_quiet_hours_are_local_and_may_cross_midnight(now: str, has: bool, left: str | None) -> None:
    quiet = QuietHours(time(23), time(4))
    assert quiet.has(utc(now)) is has
    if left is not None:
        hours, minutes = map(int, left.split(":"))
        assert quiet.left(utc(now)) == timedelta(hours=hours, minutes=minutes)


@pytest.mark.usefixtures("in_london")
def test_quiet_hours_of_one_night_end_on_the_same_day() -> None:
    quiet = QuietHours(time(1), time(5))
    assert [quiet.has(utc(f"2026-01-01 {hour}")) for hour in ("00:59", "01:00", "04:59", "05:00")] == [
        False,
        True,
        True,
        False,
    ]
    assert quiet.left(utc("2026-01-01 04:30")) == timedelta(minutes=30)
