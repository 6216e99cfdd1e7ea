"""How long a lease may be relied on."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from sealwire.keys.frontier.frontier import Frontier
from sealwire.keys.frontier.record import LEASE_S, outlived_s
from sealwire.keys.keyring.data_key import KeyIds, KeyState
from sealwire.keys.keyring.keyring import Keyring
from sealwire.policies.file.schema import Mode
from sealwire.proxy.server.frontiers.store import (
    HINTS,
    RENEW_S,
    Loss,
    Others,
    OwnLease,
    Renewal,
    class_ids,
    judge,
    unfollowed,
    unnamed,
)
from tests.proxy.server.frontiers.server import (
    BOTH_MOVING,
    CLASS,
    CLASS_ID,
    CLOSED,
    FIRST,
    JOINING,
    LEAVING,
    MOVED,
    MOVING,
    MOVING_KEYS,
    OPEN,
    OTHER,
    OTHER_ID,
    OTHER_KEY,
    OVER,
    QUIET,
    covered,
    data_key,
    document,
)
from tests.support.rows import rows

NOW = datetime(2026, 1, 1, tzinfo=UTC)
TOLD = Renewal("a", {7: 3})
NOTHING = Renewal("a")


def test_it_stands_from_the_moment_before_it_was_renewed() -> None:
    lease = OwnLease()
    assert not lease.has_run_out(0.0)
    assert lease.renew(NOW, TOLD, 100.0)
    assert (lease.is_registered, lease.told) == (True, TOLD)
    assert not lease.has_run_out(99.9 + LEASE_S)
    assert lease.has_run_out(100.0 + LEASE_S)


def test_it_runs_out_here_before_it_does_for_the_job() -> None:
    assert outlived_s(0.0) > LEASE_S


def test_it_is_gone_when_its_document_is() -> None:
    lease = OwnLease()
    assert lease.renew(NOW, NOTHING, 0.0)
    assert not lease.renew(None, TOLD, 1.0)


def test_a_clock_that_stood_still_is_noticed_by_the_servers() -> None:
    lease = OwnLease()
    assert lease.renew(NOW, NOTHING, 0.0)
    assert lease.renew(NOW + timedelta(seconds=LEASE_S - 0.1), NOTHING, 1.0)
    assert not lease.renew(NOW + timedelta(seconds=2 * LEASE_S), NOTHING, 2.0)


def test_it_begins_again_under_another_name_and_with_nothing_said() -> None:
    lease = OwnLease()
    before = lease.proxy
    assert lease.renew(NOW, TOLD, 0.0)
    lease.begin_again()
    assert lease.proxy != before
    assert (lease.is_registered, lease.told) == (False, Renewal(lease.proxy))
    assert lease.renew(NOW + timedelta(seconds=2 * LEASE_S), NOTHING, 20.0)


def test_it_is_due_at_first_with_something_to_tell_and_after_a_while() -> None:
    lease = OwnLease()
    assert lease.is_due(NOTHING, 100.0)
    assert lease.renew(NOW, NOTHING, 100.0)
    assert not lease.is_due(NOTHING, 99.9 + RENEW_S)
    assert lease.is_due(NOTHING, 100.1 + RENEW_S)
    assert lease.is_due(TOLD, 100.0)
    assert lease.is_due(Renewal("a", {}, {(7, 2): 3}), 100.0)


KEY = (CLASS_ID, 2)
PLACE = "0123456789abcdef" * 2


def judged(
    keyring: Keyring,
    found: dict[str, Any] | None,
    seen: int = 0,
    elsewhere: int = 0,
    place: str = "",
    version: int = 2,
) -> Frontier | Loss | None:
    documents = {} if found is None else {CLASS_ID: found}
    answers = judge(
        keyring,
        documents,
        {KEY: seen} if seen else {},
        Others(place, {(CLASS_ID, version): elsewhere} if elsewhere else {}),
    )
    assert set(answers) <= {CLASS}
    return answers.get(CLASS)


def test_the_ids_of_all_classes_are_asked_for() -> None:
    assert class_ids(MOVED) == [CLASS_ID, OTHER_ID]
    assert class_ids(Keyring([])) == []


EARLIER, NEWER_KEY = document(replace(OPEN, old_version=1)) | {"new": 1}, document(Frontier(CLASS_ID, 2, 3))
READ_ELSEWHERE = OPEN.generation
JUDGED: dict[str, tuple[Keyring, dict[str, Any] | None, dict[str, int], Frontier | Loss | None]] = {
    "nothing moves without a pending key": (QUIET, None, {}, None),
    "nor once it has moved": (MOVED, document(OPEN), {}, None),
    "nothing has moved before a document is there": (MOVING, None, {}, FIRST),
    "nor while that of an earlier move is": (MOVING, EARLIER, {}, FIRST),
    "a frontier is what its document says": (MOVING, document(OPEN), {}, OPEN),
    "and stays that": (MOVING, document(OPEN), {"seen": OPEN.generation}, OPEN),
    "read by another process": (MOVING, document(OPEN), {"elsewhere": READ_ELSEWHERE}, OPEN),
    "older than elsewhere": (MOVING, document(OPEN), {"elsewhere": READ_ELSEWHERE + 1}, Loss.WENT_BACK),
    "gone but not elsewhere": (MOVING, None, {"elsewhere": 1}, Loss.WENT_BACK),
    "an earlier move elsewhere": (MOVING, EARLIER, {"elsewhere": READ_ELSEWHERE, "version": 1}, FIRST),
    "an earlier move here alone": (MOVING, EARLIER, {"elsewhere": READ_ELSEWHERE}, Loss.WENT_BACK),
    "an earlier move elsewhere alone": (MOVING, None, {"elsewhere": 9, "version": 1}, FIRST),
    "nothing moves here": (QUIET, None, {"elsewhere": 9}, None),
    "one back": (MOVING, document(OPEN), {"seen": OPEN.generation + 1}, Loss.WENT_BACK),
    "one back to nothing": (MOVING, None, {"seen": OPEN.generation + 1}, Loss.WENT_BACK),
    "a window back": (MOVING, document(OPEN), {"seen": CLOSED.generation}, Loss.WENT_BACK),
    "a window back to nothing": (MOVING, None, {"seen": CLOSED.generation}, Loss.WENT_BACK),
    "a newer key than the keyring has": (QUIET, NEWER_KEY, {}, Loss.NEWER_KEY),
    "a newer key than that which moved": (MOVED, NEWER_KEY, {}, Loss.NEWER_KEY),
    "a newer key than that which moves": (MOVING, NEWER_KEY, {}, Loss.NEWER_KEY),
}


@pytest.mark.parametrize(("keyring", "found", "more", "expected"), JUDGED.values(), ids=JUDGED)
def test_a_document_is_judged_by_the_keyring_and_by_what_was_read_before(
    keyring: Keyring, found: dict[str, Any] | None, more: dict[str, int], expected: Frontier | Loss | None
) -> None:
    assert judged(keyring, found, **more) == expected  # type: ignore[arg-type]


def test_a_move_that_has_begun_by_the_keyring_has_a_frontier() -> None:
    begun = Keyring([replace(key, begun_in=PLACE if key.version == 2 else "") for key in MOVING_KEYS])
    assert judged(begun, None) is Loss.MISSING
    assert judged(begun, EARLIER) is Loss.MISSING
    assert judged(begun, document(OPEN), place=PLACE) == OPEN
    for other in ("", PLACE[::-1]):
        assert judged(begun, document(OPEN), place=other) is Loss.WENT_BACK


def test_each_class_has_its_own_answer() -> None:
    other = Frontier(OTHER_ID, 1, 2, 3)
    documents = {CLASS_ID: document(OPEN), OTHER_ID: document(other)}
    assert judge(BOTH_MOVING, documents, {}, Others()) == {CLASS: OPEN, OTHER: other}


TAKEN_IN = Keyring([data_key(CLASS, CLASS_ID, 1, KeyState.ACTIVE, is_plaintext=True), *MOVING_KEYS[1:]])
GIVEN_BACK = Keyring(
    [MOVING_KEYS[0], data_key(CLASS, CLASS_ID, 2, KeyState.PENDING, is_plaintext=True), OTHER_KEY]
)


@pytest.mark.parametrize("keyring", [TAKEN_IN, GIVEN_BACK])
def test_a_class_that_moves_from_or_to_plaintext_is_judged_the_same(keyring: Keyring) -> None:
    assert judged(keyring, None) == FIRST
    assert judged(keyring, document(OPEN)) == OPEN
    assert judged(keyring, document(OPEN), seen=CLOSED.generation) is Loss.WENT_BACK
    assert judged(keyring, None, seen=OPEN.generation) is Loss.WENT_BACK
    assert judged(keyring, document(replace(OPEN, new_version=3))) is Loss.NEWER_KEY


def test_a_keyring_from_before_the_class_was_taken_in_is_noticed() -> None:
    """Else whoever puts an old copy of the keyring back would have values stored in clear again."""
    before = Keyring([data_key(CLASS, CLASS_ID, 1, KeyState.ACTIVE, is_plaintext=True), OTHER_KEY])
    assert judged(before, document(OVER)) is Loss.NEWER_KEY
    # given back in version 2, and taken in again in version 3
    between = [
        data_key(CLASS, CLASS_ID, 1, KeyState.DECRYPT_ONLY),
        data_key(CLASS, CLASS_ID, 2, KeyState.ACTIVE, is_plaintext=True),
    ]
    again = document(Frontier(CLASS_ID, 2, 3, 5, OVER.window))
    assert judged(Keyring([*between, OTHER_KEY]), again) is Loss.NEWER_KEY


@rows(
    "keyring, change",
    *((keyring, {"new": new}) for keyring in (QUIET, MOVING) for new in (None, "2", True, 2.0, b"2")),
    *((MOVING, each) for each in ({"generation": 9}, {"old": 0})),
    *((MOVING, {"sealed": each}) for each in (b"\0" * 40, "z")),
)
def test_a_document_that_was_changed_is_damaged(keyring: Keyring, change: dict[str, Any]) -> None:
    assert judged(keyring, document(OPEN) | change) is Loss.DAMAGED


def test_a_genuine_move_from_another_key_than_the_active_one_is_damaged() -> None:
    versions = (KeyState.DECRYPT_ONLY, KeyState.ACTIVE, KeyState.PENDING)
    keyring = Keyring(data_key(CLASS, CLASS_ID, number, state) for number, state in enumerate(versions, 1))
    assert judged(keyring, document(Frontier(CLASS_ID, 1, 3, 2))) is Loss.DAMAGED
    assert judged(keyring, document(Frontier(CLASS_ID, 2, 3, 2))) == Frontier(CLASS_ID, 2, 3, 2)


def test_every_loss_has_a_hint() -> None:
    assert set(HINTS) == set(Loss)


def test_a_class_is_unnamed_where_the_policy_has_only_the_class_with_the_same_key() -> None:
    assert unnamed(LEAVING, {"lender"}) == {CLASS}
    assert unnamed(JOINING, {"lender"}) == {CLASS}
    for keyring in (LEAVING, JOINING):
        for names in ({"lender", CLASS}, {CLASS}, {OTHER}, set[str]()):
            assert unnamed(keyring, names) == frozenset()
    assert unnamed(MOVING, {OTHER}) == frozenset()
    assert unnamed(QUIET, {OTHER}) == frozenset()


ACTIVE, OLD, RETIRED, GONE = KeyState.ACTIVE, KeyState.DECRYPT_ONLY, KeyState.RETIRED, KeyState.DESTROYED


def versions(*states: KeyState, in_clear: int = 0) -> Keyring:
    """A class with versions in these states; `in_clear` is the number of one that is plaintext."""
    keys = [
        data_key(CLASS, CLASS_ID, number, ACTIVE, is_plaintext=number == in_clear)
        for number in range(1, len(states) + 1)
    ]
    return Keyring(
        replace(key, state=state, material=None if state is GONE else key.material)
        for key, state in zip(keys, states, strict=True)
    )


@rows(
    "keyring, is_refused",
    (versions(ACTIVE), False),
    (versions(ACTIVE, in_clear=1), False),
    (versions(ACTIVE, RETIRED), False),  # cancelled
    (versions(ACTIVE, KeyState.PENDING), True),
    (versions(OLD, ACTIVE), True),
    (versions(OLD, ACTIVE, in_clear=1), True),
    (versions(OLD, ACTIVE, in_clear=2), True),
    (versions(RETIRED, ACTIVE), True),
    (versions(GONE, ACTIVE), True),
    (versions(OLD, RETIRED, ACTIVE), True),
    (versions(OLD, ACTIVE, RETIRED), True),
    (versions(RETIRED), False),
)
def test_a_class_that_moves_or_has_moved_needs_a_lease(keyring: Keyring, is_refused: bool) -> None:
    assert unfollowed(keyring, [covered(CLASS), covered(OTHER)]) == ({CLASS} if is_refused else set())


def test_a_random_class_turns_without_a_lease() -> None:
    assert unfollowed(versions(OLD, ACTIVE), [covered(CLASS, Mode.RANDOM)]) == set()


def test_a_class_with_a_key_for_each_context_has_moved_if_it_was_or_is_in_clear() -> None:
    classes = [covered(CLASS, per=b"patient")]
    assert unfollowed(versions(OLD, ACTIVE), classes) == set()
    assert unfollowed(versions(OLD, ACTIVE, in_clear=1), classes) == {CLASS}
    assert unfollowed(versions(OLD, ACTIVE, in_clear=2), classes) == {CLASS}
    assert unfollowed(versions(ACTIVE, in_clear=1), classes) == set()


def test_a_class_that_moved_to_a_key_of_another_one_needs_a_lease() -> None:
    assert unfollowed(JOINING, []) == {CLASS}
    moved = Keyring(
        [
            data_key("lender", 9, 1, ACTIVE),
            data_key(CLASS, CLASS_ID, 1, OLD),
            replace(
                data_key("lender", 9, 1, ACTIVE),
                class_name=CLASS,
                class_id=CLASS_ID,
                version=2,
                lender=KeyIds(9, 1),
            ),
        ]
    )
    assert unfollowed(moved, [covered(CLASS), covered("lender")]) == {CLASS}
