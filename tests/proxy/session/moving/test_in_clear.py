"""Sessions whose class is in clear, or moves from or to plaintext: what they send."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from bson import SON, Binary, Int64, Timestamp

from sealwire.keys.frontier.frontier import (
    AFTER_ALL,
    BEFORE_ALL,
    Frontier,
    Position,
    Window,
    position_of,
    position_of_plaintext,
)
from sealwire.keys.keyring.data_key import KeyState
from sealwire.keys.keyring.keyring import Keyring
from sealwire.proxy.session.effects import (
    Count,
    Counter,
    Effect,
    LongToClient,
    PauseClient,
    ToClient,
    ToServer,
)
from sealwire.proxy.session.login.handshake import Topology
from sealwire.proxy.session.moving import forms
from sealwire.proxy.session.moving.moves import GRACE_S, MAX_TRANSACTION_S, QUIET_TRANSACTION_S
from sealwire.proxy.session.session import Session
from sealwire.proxy.session.shared import SessionSettings
from sealwire.wire.framing import PART_BYTES
from sealwire.wire.op_msg import MORE_TO_COME
from tests.proxy.session import world
from tests.proxy.session.moving.talk import acknowledged, asked, cursor, find, insert, sent, waits
from tests.proxy.session.world import (
    body_of,
    command,
    data_key,
    envelope,
    opened,
    reply,
    sealed,
    sections,
    value_bytes,
    written,
)
from tests.support.policies import policy_of
from tests.support.rows import rows

NO_KEY, RETRY = 211, 262
DAY = datetime(2000, 5, 17, tzinfo=UTC)

DETERMINISTIC = [name for name in world.POLICY.class_names if name != "secret"]
IN_CLEAR = Keyring([*(data_key(name, is_plaintext=True) for name in DETERMINISTIC), data_key("secret")])
TAKEN_IN = Keyring(
    [
        *(data_key(name, is_plaintext=True) for name in DETERMINISTIC),
        *(data_key(name, 2, KeyState.PENDING) for name in DETERMINISTIC),
        data_key("secret"),
    ]
)
GIVEN_BACK = Keyring(
    [
        *(data_key(name) for name in DETERMINISTIC),
        *(data_key(name, 2, KeyState.PENDING, is_plaintext=True) for name in DETERMINISTIC),
        data_key("secret"),
    ]
)


def moving(keyring: Keyring, name: str, start: Position, end: Position | None = None) -> Session:
    """A session whose classes move; all values of the other classes are old."""
    session = world.session(keyring)
    for each in DETERMINISTIC:
        window = Window(start, end or start) if each == name else Window(BEFORE_ALL, BEFORE_ALL)
        session.shared.moves.follow(each, Frontier(world.class_id_of(each), 1, 2, 2, window))
    return session


def encrypted(effects: list[Effect]) -> int:
    counts = [each for each in effects if isinstance(each, Count)]
    return sum(each.amount for each in counts if each.counter is Counter.VALUES_ENCRYPTED)


def place_of(value: Any) -> Position:
    return position_of_plaintext(*value_bytes(value))


COMMANDS: list[dict[str, Any]] = [
    {"insert": "patients", "documents": [{"nhs_number": "ann", "tags": ["a", ["b"], None], "born": DAY}]},
    {"insert": "patients", "documents": [{"photo": Binary(b"x"), "smoker": True, "total": Int64(1)}]},
    {"find": "patients", "filter": {"$or": [{"nhs_number": {"$in": ["ann", None]}}, {"weight": 1.5}]}},
    {"update": "patients", "updates": [{"q": {"nhs_number": "a"}, "u": {"$push": {"tags": "b"}}}]},
    {
        "aggregate": "patients",
        "pipeline": [{"$match": {"$expr": {"$eq": ["$nhs_number", "a"]}}}],
        "cursor": {},
    },
    # of another type than the class: it equals nothing that the class holds
    {"find": "patients", "filter": {"nhs_number": 5, "visits": "five", "weight": float("nan")}},
]


@pytest.mark.parametrize("body", COMMANDS)
def test_in_clear_a_command_is_sent_as_it_came_byte_for_byte(body: dict[str, Any]) -> None:
    message = command({**body, "$db": "clinic"})
    effects = world.session(IN_CLEAR).client_data(message)
    assert written(effects, ToServer) == message
    assert encrypted(effects) == 0


def test_in_clear_a_number_is_stored_in_the_type_of_its_class() -> None:
    documents = [{"visits": 5.0, "total": 5, "weight": 5}]
    effects = sent(world.session(IN_CLEAR), {"insert": "patients", "documents": documents})
    (stored,) = asked(effects)["documents"]
    assert (type(stored["visits"]), type(stored["total"]), type(stored["weight"])) == (int, Int64, float)


def test_a_random_class_encrypts_beside_classes_in_clear() -> None:
    session = world.session(IN_CLEAR)
    effects = sent(session, {"insert": "patients", "documents": [{"notes": "n", "nhs_number": "ann"}]})
    (stored,) = asked(effects)["documents"]
    assert stored["nhs_number"] == "ann"
    assert stored["notes"] != "n"
    assert opened(stored["notes"]) == "n"
    assert Count(Counter.VALUES_ENCRYPTED, 1) in effects


def test_a_random_class_that_the_keyring_has_in_clear_is_refused() -> None:
    keyring = Keyring([data_key(name, is_plaintext=name == "secret") for name in world.POLICY.class_names])
    effects = sent(world.session(keyring), {"insert": "patients", "documents": [{"notes": "n"}]})
    assert written(effects, ToServer) == b""
    assert body_of(written(effects, ToClient))["code"] == NO_KEY


def test_a_class_beside_one_in_clear_is_encrypted_under_its_key() -> None:
    keyring = Keyring([data_key(name, is_plaintext=name == "nhs") for name in world.POLICY.class_names])
    effects = sent(
        world.session(keyring), {"insert": "patients", "documents": [{"nhs_number": "a", "visits": 3}]}
    )
    assert asked(effects)["documents"] == [{"nhs_number": "a", "visits": sealed("visits", 3)}]


def test_a_class_that_is_taken_in_is_encrypted_up_to_the_frontier() -> None:
    session = moving(TAKEN_IN, "nhs", place_of("bob"))
    filtered = {"find": "patients", "filter": {"nhs_number": {"$in": ["ann", "bob", "cat"]}}}
    bob, cat = (sealed("nhs", name, 2) for name in ("bob", "cat"))
    assert asked(sent(session, filtered))["filter"] == {
        # the envelope of what has not moved is named too; plaintext never is, beside an envelope
        "nhs_number": {"$in": [sealed("nhs", "ann", 2), "bob", "cat", bob, cat]}
    }


def test_a_class_that_is_given_back_is_in_clear_up_to_the_frontier() -> None:
    low, high = sorted(("ann", "bob"), key=lambda name: envelope("nhs", name))
    session = moving(GIVEN_BACK, "nhs", position_of(envelope("nhs", high)))
    documents = [{"nhs_number": low}, {"nhs_number": high}]
    stored = asked(sent(session, {"insert": "patients", "documents": documents}))["documents"]
    assert stored == [{"nhs_number": low}, {"nhs_number": sealed("nhs", high)}]


def test_a_number_stands_where_its_coerced_value_does() -> None:
    session = moving(TAKEN_IN, "visits", place_of(5), place_of(6))
    assert sent(session, {"find": "patients", "filter": {"visits": 5.0}}) == [PauseClient(True)]
    session = moving(TAKEN_IN, "visits", place_of(5))
    documents = [{"visits": 4.0}, {"visits": 5.0}, {"visits": -(2**31)}]
    stored = asked(sent(session, {"insert": "patients", "documents": documents}))["documents"]
    assert stored == [
        {"visits": sealed("visits", 4, 2)},
        {"visits": 5},
        {"visits": sealed("visits", -(2**31), 2)},
    ]


def test_what_another_class_does_holds_nothing_up() -> None:
    session = moving(TAKEN_IN, "nhs", place_of("bob"))
    session.shared.moves.forget("visits")
    keyring = session.shared.keyring
    assert "visits" in keyring.plaintext_classes
    effects = sent(session, {"find": "patients", "filter": {"visits": 5, "nhs_number": "ann"}})
    assert asked(effects)["filter"] == {"visits": 5, "nhs_number": sealed("nhs", "ann", 2)}


def test_documents_of_a_long_command_take_their_forms() -> None:
    count = 3000
    documents = [{"nhs_number": f"{number:04}", "padding": "x" * 100} for number in range(count)]
    message = {"insert": "patients", "$db": "clinic"}
    for keyring, first_in_clear in ((IN_CLEAR, 0), (TAKEN_IN, 1000)):
        session = world.session(keyring)
        if keyring is TAKEN_IN:
            session = moving(keyring, "nhs", place_of(f"{first_in_clear:04}"))
        data = written(session.client_data(command(message, first={"documents": documents})), ToServer)
        found = dict(sections(data))["documents"]
        stored = [world.decoded(each)["nhs_number"] for each in found]
        assert stored[first_in_clear:] == [each["nhs_number"] for each in documents[first_in_clear:]]
        covered = [sealed("nhs", f"{number:04}", 2) for number in range(first_in_clear)]
        assert stored[:first_in_clear] == covered
        if keyring is IN_CLEAR:
            assert data == command(message, first={"documents": documents})


RULES = policy_of(
    b"version: 1\nclasses:\n  nhs: {mode: deterministic, type: string}\n"
    b"  visits: {mode: deterministic, type: int, range: {from: 0, to: 300}}\n"
    b"collections: {clinic.patients: {visits: visits}}\n"
)


def ranged(keyring: Keyring) -> Session:
    return world.session_of(SessionSettings(RULES, login_required=False), keyring)


BETWEEN = {"$gte": 100, "$lt": 104}


def test_in_clear_a_range_is_asked_for_as_it_is() -> None:
    for condition in (BETWEEN, {"$in": [1, 102], "$gt": 100}, {"$gt": 1.5}):
        body = {"find": "patients", "filter": {"visits": condition}}
        effects = sent(ranged(IN_CLEAR), body)
        assert asked(effects)["filter"] == body["filter"]
        assert encrypted(effects) == 0


def test_operators_that_stood_apart_are_asked_for_together() -> None:
    condition = SON([("$gte", 100), ("$exists", True), ("$lt", 104)])
    found = asked(sent(ranged(IN_CLEAR), {"find": "patients", "filter": {"visits": condition}}))["filter"]
    assert list(found["visits"].items()) == [("$gte", 100), ("$lt", 104), ("$exists", True)]


def test_a_range_that_the_frontier_divides_lists_both_forms() -> None:
    session = ranged(TAKEN_IN)
    window = Window(place_of(102), place_of(102))
    session.shared.moves.follow("visits", Frontier(world.class_id_of("visits"), 1, 2, 2, window))
    effects = sent(session, {"find": "patients", "filter": {"visits": BETWEEN}})
    listed = asked(effects)["filter"]["visits"]["$in"]
    assert sorted(opened(listed)) == [100, 101, 102, 103]
    assert {value for value in listed if isinstance(value, int)} == {102, 103}
    assert {bytes(value) for value in listed if not isinstance(value, int)} == {
        envelope("visits", 100, 2),
        envelope("visits", 101, 2),
    }
    assert Count(Counter.VALUES_ENCRYPTED, 1) in effects


def test_a_range_that_meets_the_window_waits() -> None:
    session = ranged(TAKEN_IN)
    window = Window(place_of(103), place_of(110))
    session.shared.moves.follow("visits", Frontier(world.class_id_of("visits"), 1, 2, 2, window))
    assert sent(session, {"find": "patients", "filter": {"visits": BETWEEN}}) == [PauseClient(True)]


def test_a_type_is_asked_for_in_both_forms_whatever_the_state() -> None:
    body = {"find": "patients", "filter": {"nhs_number": {"$type": "string"}}}
    states = (
        world.session(),
        world.session(IN_CLEAR),
        moving(TAKEN_IN, "nhs", place_of("bob")),
        moving(GIVEN_BACK, "nhs", AFTER_ALL),
    )
    found = [asked(sent(session, body))["filter"]["nhs_number"] for session in states]
    assert found == [{"$type": [2, 5]}] * len(states)


@pytest.mark.parametrize("keyring", [TAKEN_IN, GIVEN_BACK])
def test_without_a_lease_nothing_is_sent_in_either_form(keyring: Keyring) -> None:
    session = moving(keyring, "nhs", AFTER_ALL)
    session.shared.moves.lose("nhs")
    commands: tuple[dict[str, Any], ...] = (
        {"insert": "patients", "documents": [{"nhs_number": "ann"}]},
        {"find": "patients", "filter": {"nhs_number": "ann"}},
    )
    for number, body in enumerate(commands, start=1):
        effects = sent(session, body, number)
        assert written(effects, ToServer) == b""
        assert body_of(written(effects, ToClient))["code"] == RETRY


def test_keys_that_were_given_up_leave_nothing_in_clear() -> None:
    session = world.session(IN_CLEAR)
    session.shared.use_keyring(Keyring([]))
    effects = sent(session, {"insert": "patients", "documents": [{"nhs_number": "ann"}]})
    assert written(effects, ToServer) == b""


def test_once_the_key_is_active_values_are_encrypted_again() -> None:
    session = moving(TAKEN_IN, "nhs", AFTER_ALL)
    body = {"insert": "patients", "documents": [{"nhs_number": "ann"}]}
    expected = [{"nhs_number": sealed("nhs", "ann", 2)}]
    assert asked(sent(session, body))["documents"] == expected
    keys = [data_key("nhs", 1, KeyState.DECRYPT_ONLY, is_plaintext=True), data_key("nhs", 2)]
    session.shared.use_keyring(Keyring([*keys, *(data_key(name) for name in DETERMINISTIC[1:])]))
    session.shared.moves.forget("nhs")
    assert asked(sent(session, body, 2))["documents"] == expected


def test_while_nothing_moves_and_nothing_is_in_clear_no_form_is_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def never(*_arguments: object) -> None:
        raise AssertionError("the hot path asks for forms")

    monkeypatch.setattr("sealwire.proxy.session.sides.client_side.Forms", never)
    effects = sent(world.session(), {"insert": "patients", "documents": [{"nhs_number": "ann"}]})
    assert asked(effects)["documents"] == [{"nhs_number": sealed("nhs", "ann")}]
    assert forms.MAX_NAMED


def test_envelopes_are_opened_in_replies_beside_values_in_clear() -> None:
    session = moving(TAKEN_IN, "nhs", place_of("bob"))
    sent(session, {"find": "patients", "filter": {}})
    batch = [{"nhs_number": sealed("nhs", "ann", 2)}, {"nhs_number": "cat"}]
    found = {"cursor": {"id": Int64(0), "ns": "clinic.patients", "firstBatch": batch}, "ok": 1.0}
    shown = body_of(written(session.server_data(reply(found)), ToClient))
    assert [each["nhs_number"] for each in shown["cursor"]["firstBatch"]] == ["ann", "cat"]


# Sessions where frontiers are followed, while nothing moves: what needs a lease, and what is remembered.


CLASS_ID = world.class_id_of("nhs")
RETRY, OUTDATED, ABORTED, OUTDATED_SNAPSHOT = 262, 43, 251, 246
TRANSACTION: dict[str, Any] = {"lsid": {"id": "a session"}, "txnNumber": Int64(4), "autocommit": False}
END: dict[str, Any] = {"commitTransaction": 1, **TRANSACTION}
MOVING = Keyring(
    [
        key
        for name in world.POLICY.class_names
        for key in (data_key(name), *([data_key(name, 2, KeyState.PENDING)] if name == "nhs" else []))
    ]
)
FIRST = Frontier(CLASS_ID, 1, 2)
ALL_OPEN = FIRST.opened(b"\xff")


@pytest.fixture
def leased() -> Session:
    session = world.session()
    session.shared.moves.is_leased = True
    return session


def lapse(session: Session, *, is_current: bool = True) -> None:
    session.shared.moves.lapse()
    session.shared.moves.is_current = lambda: is_current


def begin_to_move(session: Session) -> None:
    session.shared.use_keyring(MOVING)
    moves = session.shared.moves
    moves.follow("nhs", FIRST)
    session.move_began()
    moves.follow("nhs", ALL_OPEN)


PROTECTED: list[dict[str, Any]] = [
    find("ann"),
    insert("ann"),
    {"find": "patients", "filter": {"_id": 1}},
    {"aggregate": "patients", "pipeline": [], "cursor": {}},
    {"getMore": Int64(5), "collection": "patients"},
    END,
]


@pytest.mark.parametrize("body", PROTECTED, ids=lambda body: str(next(iter(body))))
def test_nothing_that_relies_on_where_values_are_is_sent_without_a_lease(
    leased: Session, body: dict[str, Any]
) -> None:
    lapse(leased, is_current=False)
    assert waits(sent(leased, body))
    assert waits(leased.frontier_moved()[1:])
    lapse(leased)
    assert next(iter(asked(leased.frontier_moved()))) == next(iter(body))


def test_all_else_is_sent(leased: Session) -> None:
    lapse(leased, is_current=False)
    passing: list[dict[str, Any]] = [{"ping": 1}, {"killCursors": "wards", "cursors": []}]
    for number, body in enumerate(passing, 1):
        assert next(iter(asked(sent(leased, body, number)))) == next(iter(body))


def test_a_command_that_has_waited_too_long_is_told_to_try_again(leased: Session) -> None:
    lapse(leased, is_current=False)
    assert waits(sent(leased, find("ann")))
    assert leased.tick(100.0) == []
    answer = body_of(written(leased.tick(100.0 + leased.shared.settings.key_wait_s), ToClient))
    assert (answer["ok"], answer["code"]) == (0.0, RETRY)


def test_what_is_under_way_relies_on_the_lease_until_its_reply(leased: Session) -> None:
    assert not leased.relies_on_lease
    sent(leased, find("ann"))
    assert leased.relies_on_lease
    assert not leased.is_outdated
    lapse(leased, is_current=False)
    assert leased.is_outdated
    leased.server_data(reply(cursor(0)))
    assert not leased.is_outdated
    lapse(leased)
    assert not leased.relies_on_lease
    sent(leased, {"ping": 1}, 2)
    assert not leased.relies_on_lease


def test_what_a_connection_leaves_behind_holds_the_lease_for_a_while(leased: Session) -> None:
    moves = leased.shared.moves
    sent(leased, insert("ann"))
    leased.client_eof()
    assert not moves.is_idle
    moves.tick(GRACE_S)
    assert moves.is_idle


@pytest.mark.parametrize("end", ["commitTransaction", "abortTransaction"])
def test_a_transaction_is_known_before_anything_moves(leased: Session, end: str) -> None:
    sent(leased, {**insert("ann"), **TRANSACTION, "startTransaction": True})
    leased.server_data(reply({"ok": 1.0, "n": 1}))
    assert not leased.shared.moves.is_idle
    begin_to_move(leased)
    assert acknowledged(leased) is None
    assert next(iter(asked(sent(leased, {end: 1, **TRANSACTION}, 2)))) == end
    assert acknowledged(leased) is None
    leased.server_data(reply({"ok": 1.0}, 2))
    assert acknowledged(leased) == ALL_OPEN.generation
    assert leased.shared.moves.is_idle


def test_one_whose_lease_lapsed_is_aborted_and_not_committed(leased: Session) -> None:
    sent(leased, {**insert("ann"), **TRANSACTION, "startTransaction": True})
    leased.server_data(reply({"ok": 1.0, "n": 1}))
    lapse(leased)
    assert "abortTransaction" in asked(sent(leased, END, 2))
    answer = body_of(written(leased.server_data(reply({"ok": 1.0}, 2)), ToClient))
    assert (answer["code"], answer["errorLabels"]) == (ABORTED, ["TransientTransactionError"])


def begin_transaction(session: Session, body: dict[str, Any]) -> None:
    sent(session, {**body, **TRANSACTION, "startTransaction": True})
    session.server_data(reply({"ok": 1.0, "n": 1, "cursor": {"id": Int64(0), "ns": "c.d", "firstBatch": []}}))


def windows(session: Session) -> tuple[str, str]:
    """The class moves, and the value of the first name has moved."""
    first, last = sorted(("ann", "bob"), key=lambda name: envelope("nhs", name))
    session.shared.use_keyring(MOVING)
    session.shared.moves.follow("nhs", replace(FIRST, generation=2, walked=frozenset()))
    return first, last


def move_up_to(session: Session, name: str, generation: int) -> None:
    place = position_of(envelope("nhs", name))
    session.shared.moves.follow("nhs", Frontier(CLASS_ID, 1, 2, generation, Window(place, place)))


@rows("first", {"find": "patients", "filter": {"_id": 1}}, {"insert": "wards", "documents": [{}]})
def test_a_transaction_does_not_ask_for_a_form_that_its_snapshot_lacks(
    leased: Session, first: dict[str, Any]
) -> None:
    """Its first command fixes what the server reads for it, whatever that command is."""
    low, high = windows(leased)
    begin_transaction(leased, first)
    move_up_to(leased, high, 5)
    assert "find" in asked(sent(leased, {**find(high), **TRANSACTION}, 2))
    leased.server_data(reply(cursor(0), 2))
    for number, body in enumerate((find(low), {"distinct": "patients", "key": "nhs_number"}), 3):
        answer = body_of(written(sent(leased, {**body, **TRANSACTION}, number), ToClient))
        assert (answer["code"], answer["errorLabels"]) == (OUTDATED_SNAPSHOT, ["TransientTransactionError"])


def test_a_transaction_that_began_after_a_value_moved_asks_for_its_new_form(leased: Session) -> None:
    low, high = windows(leased)
    move_up_to(leased, high, 5)
    begin_transaction(leased, {"find": "patients", "filter": {"_id": 1}})
    assert "find" in asked(sent(leased, {**find(low), **TRANSACTION}, 2))


def test_a_transaction_that_is_open_over_the_end_of_a_move_is_run_again(leased: Session) -> None:
    windows(leased)
    begin_transaction(leased, {"find": "patients", "filter": {"_id": 1}})
    leased.shared.moves.follow("nhs", Frontier(CLASS_ID, 1, 2, 9, Window(AFTER_ALL, AFTER_ALL)))
    leased.shared.moves.forget("nhs")
    answer = body_of(written(sent(leased, {**find("ann"), **TRANSACTION}, 2), ToClient))
    assert answer["code"] == OUTDATED_SNAPSHOT


def test_one_of_another_process_is_not_gone_on_with_once_values_have_moved(leased: Session) -> None:
    low, _ = windows(leased)
    assert "find" in asked(sent(leased, {**find(low), **TRANSACTION}))
    leased.server_data(reply(cursor(0)))
    other = {**TRANSACTION, "txnNumber": Int64(9)}
    move_up_to(leased, low, 5)
    assert body_of(written(sent(leased, {**find("ann"), **other}, 2), ToClient))["code"] == OUTDATED_SNAPSHOT


def test_a_commit_that_was_not_sent_is_tried_again_alone(leased: Session) -> None:
    """An earlier try of it may have been carried out, so the whole transaction must not run again."""
    lapse(leased, is_current=False)
    sent(leased, END)
    leased.tick(100.0)
    answer = body_of(written(leased.tick(100.0 + leased.shared.settings.key_wait_s), ToClient))
    assert (answer["code"], answer["errorLabels"]) == (RETRY, ["UnknownTransactionCommitResult"])


def test_one_that_another_process_began_is_committed(leased: Session) -> None:
    """A move waits for the lease of that process until the server has ended its transactions."""
    assert "commitTransaction" in asked(sent(leased, END))


@pytest.mark.parametrize("is_marked", [False, True])
def test_a_cursor_of_before_a_move_is_not_read_on_after_it(leased: Session, *, is_marked: bool) -> None:
    moves = leased.shared.moves
    if is_marked:
        moves.mark_cursors(60.0)
    sent(leased, find("ann"))
    namespace = body_of(written(leased.server_data(reply(cursor(5))), ToClient))["cursor"]["ns"]
    assert (namespace != "clinic.patients") is is_marked
    moves.mark_cursors(60.0)
    more = sent(leased, {"getMore": Int64(5), "collection": namespace.removeprefix("clinic.")}, 2)
    if is_marked:
        assert "getMore" in body_of(written(more, ToServer))
    else:
        assert body_of(written(more, ToClient))["code"] == OUTDATED


def test_a_commit_that_may_never_have_come_is_held_as_long_as_its_transaction_lasts(leased: Session) -> None:
    begin_transaction(leased, insert("ann"))
    begin_to_move(leased)
    moves = leased.shared.moves
    sent(leased, END, 2)
    leased.client_eof()
    moves.tick(MAX_TRANSACTION_S - 1)
    assert acknowledged(leased) is None
    again = Session(leased.shared, Topology(world.OWN_ADDRESS))
    assert "commitTransaction" in asked(sent(again, END))
    again.server_data(reply({"ok": 0.0, "code": 91}))
    assert acknowledged(leased) is None
    assert "commitTransaction" in asked(sent(again, END, 2))
    again.server_data(reply({"ok": 1.0}, 2))
    assert acknowledged(leased) == ALL_OPEN.generation
    assert moves.is_idle


@pytest.mark.plain_core("its limit is part of the compiled code")
def test_transactions_that_nobody_sees_end_keep_no_other_from_beginning(
    leased: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As those whose commit goes through another process."""
    monkeypatch.setattr("sealwire.proxy.session.moving.moves._MAX_KEPT", 3)
    moves = leased.shared.moves
    for number in range(1, 9):
        named = {**TRANSACTION, "txnNumber": Int64(number), "startTransaction": True}
        assert "insert" in asked(sent(leased, {**insert("ann"), **named}, number))
        leased.server_data(reply({"ok": 1.0, "n": 1}, number))
        assert len(moves.transactions.holds()) <= 3
    begin_to_move(leased)
    assert acknowledged(leased) is None
    moves.tick(MAX_TRANSACTION_S)
    assert acknowledged(leased) == ALL_OPEN.generation


def test_one_of_another_process_goes_on_once_none_of_before_the_move_can_be_open(leased: Session) -> None:
    """Even while nobody knows how long the server would let one last now."""
    moves = leased.shared.moves
    moves.transactions.limit_s = QUIET_TRANSACTION_S
    begin_to_move(leased)
    moves.lose("nhs")
    moves.forget("nhs")
    moves.tick(MAX_TRANSACTION_S - 1)
    command = {**find("ann"), **TRANSACTION}
    assert body_of(written(sent(leased, command), ToClient))["code"] == OUTDATED_SNAPSHOT
    moves.tick(MAX_TRANSACTION_S)
    assert "find" in asked(sent(leased, command, 2))


def test_a_move_that_begins_while_a_long_reply_arrives_waits_for_its_end(leased: Session) -> None:
    documents = [{"nhs_number": sealed("nhs", "ann"), "pad": "p" * 800}] * 1500
    stream = reply({"cursor": {"firstBatch": documents, "id": Int64(0), "ns": "clinic.patients"}, "ok": 1.0})
    sent(leased, find("ann"))
    leased.server_data(stream[: 3 * PART_BYTES])
    begin_to_move(leased)
    assert acknowledged(leased) is None
    assert any(isinstance(effect, LongToClient) for effect in leased.server_data(stream[3 * PART_BYTES :]))
    assert acknowledged(leased) == ALL_OPEN.generation


def test_a_write_without_an_answer_is_known_for_a_while_before_anything_moves(leased: Session) -> None:
    moves = leased.shared.moves
    for number in range(1, 4):
        sent(leased, {**insert("ann"), "writeConcern": {"w": 0}}, number, flags=MORE_TO_COME)
    begin_to_move(leased)
    assert acknowledged(leased) is None
    moves.tick(GRACE_S)
    assert acknowledged(leased) == ALL_OPEN.generation
    assert moves.is_idle


AT_A_TIME: dict[str, Any] = {"readConcern": {"level": "snapshot", "atClusterTime": Timestamp(5, 1)}}


@pytest.mark.parametrize("is_over", [False, True])
def test_what_reads_at_a_time_of_before_is_refused_once_values_have_moved(
    leased: Session, *, is_over: bool
) -> None:
    low, _ = windows(leased)
    assert "find" in asked(sent(leased, {**find(low), **AT_A_TIME}))
    leased.server_data(reply(cursor(0)))
    move_up_to(leased, low, 5)
    if is_over:
        leased.shared.moves.mark_cursors(60.0)
        leased.shared.moves.forget("nhs")
    answer = body_of(written(sent(leased, {**find(low), **AT_A_TIME}, 2), ToClient))
    assert (answer["code"], answer.get("errorLabels")) == (OUTDATED_SNAPSHOT, None)
    latest = {**find(low), "readConcern": {"level": "snapshot"}}
    assert "find" in asked(sent(leased, latest, 3))


def test_a_connection_that_breaks_holds_up_what_its_command_named_and_no_more(leased: Session) -> None:
    low, high = windows(leased)
    sent(leased, find(high))
    leased.client_eof()
    low_place, high_place = (position_of(envelope("nhs", name)) for name in (low, high))
    moves = leased.shared.moves
    moves.follow("nhs", Frontier(CLASS_ID, 1, 2, 3, Window(low_place, high_place)))
    assert acknowledged(leased) == 3
    moves.follow("nhs", Frontier(CLASS_ID, 1, 2, 4, Window(high_place, AFTER_ALL)))
    assert acknowledged(leased) is None
