"""What the calendar asks for, and when it is overdue."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from sealwire.keys.keyring.data_key import KeyState
from sealwire.keys.keyring.record import ClassRecord, KeyRecord, KeyringRecord
from sealwire.keys.keyring.schedule import GRACE, Chore, DueChore, KeySchedule, due_chores, wrapped_at
from tests.keys.samples import NOW

DAY = timedelta(days=1)
SECOND = timedelta(seconds=1)
YEARLY = KeySchedule(rewrap_every=None, rotate_every=365 * DAY)


def key(version: int, state: KeyState, created: datetime = NOW, until: datetime | None = None) -> KeyRecord:
    return KeyRecord(version, state, created, None if state is KeyState.DESTROYED else b"w", until)


def record(*keys: KeyRecord, wrapped: datetime | None = NOW) -> KeyringRecord:
    return KeyringRecord(1, "local:0", b"m", (ClassRecord("nhs", 1, keys),), bytes(32), wrapped)


ONE = record(key(1, KeyState.ACTIVE))


def test_a_fresh_keyring_has_nothing_to_do() -> None:
    assert due_chores(ONE, KeySchedule(), NOW) == ()


@pytest.mark.parametrize(
    ("age", "expected"),
    [
        (90 * DAY - SECOND, None),
        (90 * DAY, False),
        (90 * DAY + GRACE - SECOND, False),
        (90 * DAY + GRACE, True),
    ],
)
def test_it_is_wrapped_anew_every_quarter_and_overdue_two_weeks_later(
    age: timedelta, expected: bool | None
) -> None:
    due = due_chores(ONE, KeySchedule(), NOW + age)
    since = NOW + 90 * DAY
    assert due == (() if expected is None else (DueChore(Chore.REWRAP, since, expected),))


def test_what_may_become_as_old_as_it_likes_is_never_due() -> None:
    assert due_chores(ONE, KeySchedule(None, None), NOW + 9999 * DAY) == ()


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
