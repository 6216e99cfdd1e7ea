"""Sessions while a class moves to another key: the form they send, what waits, and what holds a window up."""

from dataclasses import replace
from typing import Any

import pytest
from bson import Binary, Int64, Timestamp, encode

from sealwire.keys.frontier.frontier import AFTER_ALL, BEFORE_ALL, Frontier, Position, Window, position_of
from sealwire.keys.keyring.data_key import KeyState
from sealwire.keys.keyring.keyring import Keyring
from sealwire.policies.planning.plan import Plan
from sealwire.proxy.session.effects import Audit, Close, CloseReason, NeedKeys, ToClient, ToServer
from sealwire.proxy.session.login.handshake import Topology
from sealwire.proxy.session.moving.lasting import abort_of, touched
from sealwire.proxy.session.moving.moves import GRACE_S, MAX_TRANSACTION_S, Moves
from sealwire.proxy.session.session import Session
from sealwire.wire.framing import request_id_of, response_to_of
from sealwire.wire.op_msg import parse_op_msg
from tests.proxy.session import world
from tests.proxy.session.moving.talk import acknowledged, asked, cursor, find, insert, sent, waits
from tests.proxy.session.world import body_of, command, data_key, envelope, reply, sealed, written
from tests.support.policies import policy_of
from tests.support.rows import rows

LOW, MIDDLE, HIGH = sorted(("ann", "bob", "cat"), key=lambda name: envelope("nhs", name))
CLASS_ID = world.class_id_of("nhs")
RETRY, OUTDATED, KEY_NOT_FOUND, ABORTED = 262, 43, 211, 251

KEYRING = Keyring(
    [
        key
        for name in world.POLICY.class_names
        for key in (data_key(name), *([data_key(name, 2, KeyState.PENDING)] if name == "nhs" else []))
    ]
)


def place(name: str) -> Position:
    return position_of(envelope("nhs", name))


def frontier(start: Position, end: Position | None = None, generation: int = 2) -> Frontier:
    window = Window(start, start if end is None else end)
    return Frontier(CLASS_ID, 1, 2, generation, window, is_moving=end is not None)


OPEN_AT_MIDDLE = frontier(place(MIDDLE), place(HIGH))


@pytest.fixture
def moving() -> Session:
    """A session; the window of its class lies at the middle of three values."""
    session = world.session(KEYRING)
    session.shared.moves.follow("nhs", OPEN_AT_MIDDLE)
    return session


@pytest.mark.parametrize(("value", "version"), [(LOW, 2), (HIGH, 1)])
def test_a_value_takes_the_form_that_is_valid_where_it_stands(
    moving: Session, value: str, version: int
) -> None:
    forms = [sealed("nhs", value, each) for each in (version, 3 - version)]
    assert asked(sent(moving, find(value)))["filter"] == {"nhs_number": {"$in": forms}}
    moving.server_data(reply(cursor(0)))
    stored = asked(sent(moving, insert(value), 2))["documents"]
    assert stored == [{"nhs_number": sealed("nhs", value, version)}]


def test_a_value_in_the_window_waits_until_it_has_moved(moving: Session) -> None:
    assert waits(sent(moving, insert(HIGH, MIDDLE)))
    assert waits(moving.frontier_moved()[1:])
    moving.shared.moves.follow("nhs", OPEN_AT_MIDDLE.closed())
    assert asked(moving.frontier_moved())["documents"] == [
        {"nhs_number": sealed("nhs", HIGH)},
        {"nhs_number": sealed("nhs", MIDDLE, 2)},
    ]


def test_whoever_does_not_wait_hears_nothing_of_the_frontier(moving: Session) -> None:
    assert moving.frontier_moved() == []


def test_later_messages_of_the_client_wait_behind_it_in_order(moving: Session) -> None:
    assert waits(sent(moving, find(MIDDLE)))
    assert sent(moving, {"ping": 1}, 2) == []
    moving.shared.moves.follow("nhs", OPEN_AT_MIDDLE.closed())
    effects = moving.frontier_moved()
    commands = [body_of(effect.data) for effect in effects if isinstance(effect, ToServer)]
    assert [next(iter(each)) for each in commands] == ["find", "ping"]


def test_who_has_waited_too_long_is_told_to_try_again(moving: Session) -> None:
    sent(moving, find(MIDDLE))
    assert moving.tick(100.0) == []
    answer = body_of(written(moving.tick(100.0 + moving.shared.settings.key_wait_s), ToClient))
    assert (answer["ok"], answer["code"]) == (0.0, RETRY)
    # the next command waits as long again
    assert waits(sent(moving, find(MIDDLE), 2))


def test_nobody_guesses_where_the_frontier_is_not_known(moving: Session) -> None:
    moving.shared.moves.lose("nhs")
    grouped = {"aggregate": "patients", "pipeline": [], "cursor": {}}
    for number, body in enumerate((find(LOW), insert(HIGH), grouped), 1):
        answer = body_of(written(sent(moving, body), ToClient))
        assert (answer["ok"], answer["code"]) == (0.0, RETRY), number
    other = asked(sent(moving, {"find": "patients", "filter": {"visits": 3}}, 4))
    assert other["filter"] == {"visits": sealed("visits", 3)}


WIDE: list[dict[str, Any]] = [
    {"aggregate": "patients", "pipeline": [{"$group": {"_id": "$nhs_number"}}], "cursor": {}},
    {"distinct": "patients", "key": "nhs_number"},
    find(LOW, hint="some_index"),
    {"find": "patients", "filter": {"nhs_number": {"$ne": LOW}}},
    {"find": "patients", "filter": {"nhs_number": {"$nin": [LOW]}}},
    {"find": "patients", "filter": {"nhs_number": {"$exists": True}}},
    {"find": "patients", "filter": {"$expr": {"$eq": ["$nhs_number", LOW]}}},
    {"update": "patients", "updates": [{"q": {}, "u": {"$rename": {"nhs_number": "tags"}}}]},
    {"update": "patients", "updates": [{"q": {}, "u": [{"$set": {"tags": "$nhs_number"}}]}]},
    {"findAndModify": "patients", "query": {}, "update": [{"$set": {"tags": "$nhs_number"}}]},
]


@pytest.mark.parametrize("body", WIDE, ids=lambda body: str(next(iter(body))))
def test_what_may_use_any_value_waits_for_a_window(moving: Session, body: dict[str, Any]) -> None:
    assert waits(sent(moving, body))
    moving.shared.moves.follow("nhs", OPEN_AT_MIDDLE.closed())
    assert written(moving.frontier_moved(), ToServer)
    moving.shared.moves.follow("nhs", OPEN_AT_MIDDLE.closed().opened(AFTER_ALL))
    assert acknowledged(moving) is None


NARROW: list[dict[str, Any]] = [
    {"find": "patients", "filter": {"_id": 1}},
    find(LOW, projection={"nhs_number": 1}, limit=1),
    {"find": "patients", "filter": {"nhs_number": {"$in": [LOW, HIGH]}, "height": {"$gte": 0}}},
    {"count": "patients", "query": {"nhs_number": HIGH}},
    {"update": "patients", "updates": [{"q": {"_id": 1}, "u": {"$set": {"nhs_number": LOW}}}]},
    {"delete": "patients", "deletes": [{"q": {"nhs_number": LOW}, "limit": 1}]},
    {"ping": 1},
    {"find": "stock", "filter": {"price": {"$gt": 3}}},
]


@pytest.mark.parametrize("body", NARROW, ids=lambda body: str(next(iter(body))))
def test_what_names_its_values_passes_a_window_that_has_none_of_them(
    moving: Session, body: dict[str, Any]
) -> None:
    effects = sent(moving, body)
    assert written(effects, ToServer), effects
    assert acknowledged(moving) == OPEN_AT_MIDDLE.generation


def begun(moving: Session, *bodies: dict[str, Any], flags: int = 0) -> Moves:
    """What moves, after these commands that were sent before any window was open."""
    moving.shared.moves.follow("nhs", frontier(BEFORE_ALL, generation=3))
    for body in bodies:
        sent(moving, body, flags=flags)
    return moving.shared.moves


def held_up(moving: Session) -> bool:
    """Whether something under way holds up a window over all these values."""
    moving.shared.moves.follow("nhs", frontier(place(MIDDLE), place(HIGH), generation=4))
    return acknowledged(moving) is None


def ends_at(moving: Session, at_s: float) -> bool:
    """Whether the window is held up before that time, and from then on no more."""
    before = acknowledged(moving)
    moving.shared.moves.tick(at_s)
    return (before, acknowledged(moving)) == (None, 4)


def test_a_command_holds_its_values_up_until_its_reply(moving: Session) -> None:
    begun(moving, insert(MIDDLE))
    assert held_up(moving)
    assert moving.relies_on_lease
    moving.server_data(reply({"ok": 1.0, "n": 1}))
    assert acknowledged(moving) == 4
    assert not moving.relies_on_lease


@pytest.mark.parametrize("ends_by", ["getMore", "killCursors"])
def test_a_cursor_holds_its_values_up_until_it_ends(moving: Session, ends_by: str) -> None:
    begun(moving, find(MIDDLE, batchSize=1))
    moving.server_data(reply(cursor(77)))
    assert held_up(moving)
    more = {"getMore": Int64(77), "collection": "patients"}
    assert written(sent(moving, more, 2), ToServer)
    moving.server_data(reply(cursor(77, "nextBatch"), 2))
    assert acknowledged(moving) is None
    last = {"killCursors": "patients", "cursors": [Int64(77)]} if ends_by == "killCursors" else more
    sent(moving, last, 3)
    assert acknowledged(moving) is None
    moving.server_data(reply(cursor(0, "nextBatch") if last is more else {"ok": 1.0}, 3))
    assert acknowledged(moving) == 4


def test_a_cursor_that_uses_nothing_holds_nothing_up(moving: Session) -> None:
    sent(moving, {"find": "patients", "filter": {"_id": {"$gt": 0}}})
    moving.server_data(reply(cursor(77)))
    assert written(sent(moving, {"getMore": Int64(77), "collection": "patients"}, 2), ToServer)
    assert acknowledged(moving) == OPEN_AT_MIDDLE.generation


def test_a_cursor_of_before_the_move_ends_with_the_first_window(moving: Session) -> None:
    more = {"getMore": Int64(5), "collection": "patients"}
    assert body_of(written(sent(moving, more), ToClient))["code"] == OUTDATED
    moving.shared.moves.forget("nhs")
    moving.shared.moves.follow("nhs", Frontier(CLASS_ID, 1, 2))
    assert written(sent(moving, more, 2), ToServer)
    moving.shared.moves.follow("nhs", Frontier(CLASS_ID, 1, 2).opened(AFTER_ALL))
    assert acknowledged(moving) is None
    # it does not last: a change stream of before the move would hold it up forever
    moving.server_data(reply(cursor(5, "nextBatch"), 2))
    assert acknowledged(moving) == 2
    assert body_of(written(sent(moving, more, 3), ToClient))["code"] == OUTDATED


def test_a_cursor_that_another_process_opened_is_known_by_its_mark(moving: Session) -> None:
    sent(moving, find(LOW, batchSize=1))
    told = body_of(written(moving.server_data(reply(cursor(77))), ToClient))
    elsewhere = world.session(KEYRING)
    elsewhere.shared.moves.follow("nhs", frontier(place(LOW) + b"\0", generation=3))
    more = {"getMore": Int64(77), "collection": told["cursor"]["ns"].partition(".")[2]}
    asked_more = asked(sent(elsewhere, more))
    assert asked_more["collection"] == "patients"
    assert elsewhere.relies_on_lease


def test_what_was_sent_before_a_class_is_followed_holds_its_first_window_up() -> None:
    session = world.session(KEYRING)
    sent(session, find(MIDDLE))
    sent(session, {"ping": 1}, 2)
    session.shared.moves.follow("nhs", OPEN_AT_MIDDLE)
    session.move_began()
    assert acknowledged(session) is None
    session.server_data(reply(cursor(0)))
    assert acknowledged(session) == OPEN_AT_MIDDLE.generation


TRANSIENT, RETRYABLE = ["TransientTransactionError"], ["RetryableWriteError"]
NUMBERED = {"lsid": {"id": "a session"}, "txnNumber": Int64(4)}


@pytest.mark.parametrize(
    ("more", "labels"),
    [
        ({}, None),
        (NUMBERED, RETRYABLE),
        ({**NUMBERED, "autocommit": False}, TRANSIENT),
        ({**NUMBERED, "autocommit": False, "startTransaction": True}, TRANSIENT),
    ],
    ids=["alone", "retryable", "in-transaction", "first-of-transaction"],
)
@pytest.mark.parametrize("is_known", [True, False], ids=["window", "lost"])
def test_what_was_not_sent_has_the_label_by_which_drivers_try_again(
    moving: Session, *, is_known: bool, more: dict[str, Any], labels: list[str] | None
) -> None:
    if is_known:
        assert waits(sent(moving, {**insert(MIDDLE), **more}))
        assert moving.tick(100.0) == []
        effects = moving.tick(100.0 + moving.shared.settings.key_wait_s)
    else:
        moving.shared.moves.lose("nhs")
        effects = sent(moving, {**insert(MIDDLE), **more})
    answer = body_of(written(effects, ToClient))
    assert (answer["code"], answer.get("errorLabels")) == (RETRY, labels)


def test_a_lease_that_ran_out_unnoticed_is_no_lease(moving: Session) -> None:
    moving.shared.moves.is_current = lambda: False
    assert waits(sent(moving, find(LOW)))


TRANSACTION = {"lsid": {"id": "a session"}, "txnNumber": Int64(4), "autocommit": False}


def in_transaction(moving: Session) -> Moves:
    """What moves, and an insert that a transaction begins with."""
    return begun(moving, {**insert(MIDDLE), **TRANSACTION, "startTransaction": True})


@pytest.mark.parametrize("end", ["commitTransaction", "abortTransaction"])
def test_a_transaction_holds_its_values_up_until_it_ends(moving: Session, end: str) -> None:
    in_transaction(moving)
    moving.server_data(reply({"ok": 1.0, "n": 1}))
    assert held_up(moving)
    # by another connection, as a driver may
    other = Session(moving.shared, Topology(world.OWN_ADDRESS))
    other.client_data(command({end: 1, **TRANSACTION, "$db": "admin"}))
    assert acknowledged(moving) is None
    other.server_data(reply({"ok": 1.0}))
    assert acknowledged(moving) == 4


@pytest.mark.parametrize("code", [2, 58, 11000, 112, 15_000, 17280])
@pytest.mark.parametrize(
    "more", [{}, {**TRANSACTION, "startTransaction": True}], ids=["alone", "transaction"]
)
def test_what_the_server_rejects_holds_nothing_up(moving: Session, code: int, more: dict[str, Any]) -> None:
    begun(moving, {**insert(MIDDLE), **more})
    assert held_up(moving)
    moving.server_data(reply({"ok": 0.0, "code": code}))
    assert acknowledged(moving) == 4


@pytest.mark.parametrize("stage", [{"$out": "patients"}, {"$merge": "patients"}], ids=["out", "merge"])
def test_an_aggregation_that_writes_may_go_on_after_an_error(moving: Session, stage: dict[str, Any]) -> None:
    begun(moving, {"aggregate": "patients", "pipeline": [{"$match": {}}, stage], "cursor": {}})
    assert held_up(moving)
    moving.server_data(reply({"ok": 0.0, "code": 2}))
    assert acknowledged(moving) is None


UNSURE = [{"code": 50}, {"code": 6}, {"code": 11602}, {"code": 262}, {"code": "2"}, {}]


@pytest.mark.parametrize("said", UNSURE, ids=str)
def test_an_error_that_does_not_say_that_the_command_is_over_holds_up_for_a_while(
    moving: Session, said: dict[str, Any]
) -> None:
    begun(moving, insert(MIDDLE))
    assert held_up(moving)
    moving.server_data(reply({"ok": 0.0, **said}))
    assert ends_at(moving, GRACE_S)


@pytest.mark.parametrize(("end", "told"), [("commitTransaction", None), ("abortTransaction", 4)])
def test_an_error_of_a_commit_does_not_say_that_nothing_was_committed(
    moving: Session, end: str, told: int | None
) -> None:
    moves = in_transaction(moving)
    moving.server_data(reply({"ok": 1.0, "n": 1}))
    assert held_up(moving)
    sent(moving, {end: 1, **TRANSACTION}, 2)
    moving.server_data(reply({"ok": 0.0, "code": 251}, 2))
    assert acknowledged(moving) == told
    moves.tick(GRACE_S)
    assert acknowledged(moving) == 4


def test_a_transaction_that_the_server_refuses_holds_nothing_up_for_long(moving: Session) -> None:
    in_transaction(moving)
    moving.server_data(reply({"ok": 0.0, "code": 91}))
    assert held_up(moving)
    assert ends_at(moving, GRACE_S)


def test_a_transaction_outlives_the_connection_of_its_last_statement(moving: Session) -> None:
    moves = in_transaction(moving)
    moving.client_eof()
    assert held_up(moving)
    moves.tick(MAX_TRANSACTION_S - 1)
    assert ends_at(moving, MAX_TRANSACTION_S)


def test_a_transaction_is_not_committed_where_the_lease_ran_out_under_a_statement(moving: Session) -> None:
    moves = in_transaction(moving)
    moves.lose("nhs")
    moving.client_eof()
    moves.follow("nhs", frontier(AFTER_ALL, generation=9))
    other = Session(moving.shared, Topology(world.OWN_ADDRESS))
    said = other.client_data(command({"commitTransaction": 1, **TRANSACTION, "$db": "admin"}))
    assert next(iter(asked(said))) == "abortTransaction"
    assert body_of(written(other.server_data(reply({"ok": 1.0})), ToClient))["code"] == ABORTED


def test_a_client_that_breaks_the_protocol_holds_nothing_up_for_ever(moving: Session) -> None:
    begun(moving, insert(MIDDLE), insert(MIDDLE))  # with the same request id
    assert held_up(moving)
    assert ends_at(moving, GRACE_S)


STREAM = {"$changeStream": {"fullDocument": "updateLookup"}}


def test_a_change_stream_lasts_and_holds_nothing_up(moving: Session) -> None:
    plain = {"$match": {"fullDocument.visits": 3}}
    sent(moving, {"aggregate": "patients", "pipeline": [STREAM, plain], "cursor": {}})
    moving.server_data(reply(cursor(77)))
    assert written(sent(moving, {"getMore": Int64(77), "collection": "patients"}, 2), ToServer)
    assert acknowledged(moving) == OPEN_AT_MIDDLE.generation


def test_a_change_stream_uses_the_values_that_it_names(moving: Session) -> None:
    named = {"$match": {"fullDocument.nhs_number": MIDDLE}}
    assert waits(sent(moving, {"aggregate": "patients", "pipeline": [STREAM, named], "cursor": {}}))


OF_WARD = {"find": "patients", "filter": {"ward": "A", "address.zip": 1}}


@pytest.mark.parametrize("walked", [None, {b"ward"}, {b"x", b"address.zip"}])
@pytest.mark.parametrize("body", [OF_WARD, find(LOW, sort={"ward": 1, "zip": 1})], ids=["others", "named"])
def test_a_walk_along_an_index_in_which_values_move_waits_for_the_window(
    moving: Session, walked: set[bytes] | None, body: dict[str, Any]
) -> None:
    """By such an index the server may miss a document, or meet it twice."""
    known = None if walked is None else frozenset(walked)
    moving.shared.moves.follow("nhs", replace(OPEN_AT_MIDDLE, generation=3, walked=known))
    assert waits(sent(moving, body))
    moving.shared.moves.follow("nhs", replace(OPEN_AT_MIDDLE.closed(), generation=4, walked=known))
    assert written(moving.frontier_moved(), ToServer)


def test_a_walk_along_another_index_passes(moving: Session) -> None:
    moving.shared.moves.follow("nhs", replace(OPEN_AT_MIDDLE, generation=3, walked=frozenset({b"clinic"})))
    assert written(sent(moving, OF_WARD), ToServer)
    assert acknowledged(moving) == 3


def test_what_is_under_way_holds_up_once_an_index_has_come(moving: Session) -> None:
    sent(moving, {**OF_WARD, "batchSize": 1})
    moving.server_data(reply(cursor(77)))
    sent(moving, OF_WARD, 2)
    moving.shared.moves.follow("nhs", replace(OPEN_AT_MIDDLE, generation=3, walked=frozenset({b"ward"})))
    moving.move_began()
    assert acknowledged(moving) is None
    moving.server_data(reply(cursor(0), 2))
    assert acknowledged(moving) is None
    sent(moving, {"getMore": Int64(77), "collection": "patients"}, 3)
    moving.server_data(reply(cursor(0, "nextBatch"), 3))
    assert acknowledged(moving) == 3


def test_other_commands_pass_while_a_class_that_is_walked_is_lost(moving: Session) -> None:
    moving.shared.moves.follow("nhs", replace(OPEN_AT_MIDDLE, generation=3, walked=None))
    moving.shared.moves.lose("nhs")
    assert written(sent(moving, OF_WARD), ToServer)


FIRST_OF_VISITS = Frontier(world.class_id_of("visits"), 1, 2)
MORE = {"getMore": Int64(77), "collection": "patients"}


def visits_told(session: Session) -> int | None:
    uses = session.shared.moves.classes["visits"]
    assert uses is not None
    return uses.acknowledged()


def begin_second_move(session: Session, body: dict[str, Any], *, is_under_way: bool) -> None:
    """While this command's cursor is open, or a command that reads on from it is under way."""
    sent(session, body)
    session.server_data(reply(cursor(77)))
    if is_under_way:
        sent(session, MORE, 2)
    session.shared.moves.follow("visits", FIRST_OF_VISITS)
    session.move_began()


both_times = pytest.mark.parametrize("is_under_way", [True, False], ids=["under-way", "between"])


@both_times
def test_a_change_stream_without_a_filter_does_not_hold_a_second_class_up(
    moving: Session, *, is_under_way: bool
) -> None:
    stream = {"aggregate": "patients", "pipeline": [STREAM], "cursor": {}}
    begin_second_move(moving, stream, is_under_way=is_under_way)
    if is_under_way:
        moving.server_data(reply(cursor(77, "nextBatch"), 2))
    moving.shared.moves.follow("visits", FIRST_OF_VISITS.opened(AFTER_ALL))
    assert visits_told(moving) == 2
    assert written(sent(moving, MORE, 3), ToServer)
    assert (acknowledged(moving), visits_told(moving)) == (OPEN_AT_MIDDLE.generation, 2)


@both_times
def test_one_with_a_filter_is_opened_again_where_a_second_class_begins_to_move(
    moving: Session, *, is_under_way: bool
) -> None:
    """Its filter may have a form of before; until its driver has heard of that, nothing moves."""
    plain = {"$match": {"fullDocument.visits": 3}}
    stream = {"aggregate": "patients", "pipeline": [STREAM, plain], "cursor": {}}
    begin_second_move(moving, stream, is_under_way=is_under_way)
    moving.shared.moves.follow("visits", FIRST_OF_VISITS.opened(AFTER_ALL))
    if is_under_way:
        moving.server_data(reply(cursor(77, "nextBatch"), 2))
    assert visits_told(moving) is None
    for number in (3, 4):
        assert body_of(written(sent(moving, MORE, number), ToClient))["code"] == OUTDATED
        assert visits_told(moving) == 2


@both_times
def test_any_other_cursor_holds_a_second_class_up_until_it_ends(
    moving: Session, *, is_under_way: bool
) -> None:
    begin_second_move(moving, find(LOW, batchSize=1), is_under_way=is_under_way)
    moving.shared.moves.follow("visits", FIRST_OF_VISITS.opened(AFTER_ALL))
    if is_under_way:
        moving.server_data(reply(cursor(77, "nextBatch"), 2))
    assert visits_told(moving) is None
    assert written(sent(moving, MORE, 3), ToServer)
    moving.server_data(reply(cursor(0, "nextBatch"), 3))
    assert visits_told(moving) == 2


def test_a_lost_lease_ends_what_relied_on_it(moving: Session) -> None:
    moves = in_transaction(moving)
    moving.server_data(reply({"ok": 1.0, "n": 1}))
    sent(moving, find(HIGH, batchSize=1), 2)
    moving.server_data(reply(cursor(77), 2))
    moves.lose("nhs")
    moves.follow("nhs", frontier(AFTER_ALL, generation=9))
    abort = asked(sent(moving, {"commitTransaction": 1, "writeConcern": {"w": 1}, **TRANSACTION}, 3))
    assert abort == {"abortTransaction": 1, "writeConcern": {"w": 1}, **TRANSACTION, "$db": "clinic"}
    commit = body_of(written(moving.server_data(reply({"ok": 1.0}, 3)), ToClient))
    assert (commit["ok"], commit["code"]) == (0.0, ABORTED)
    assert commit["errorLabels"] == TRANSIENT
    more = sent(moving, {"getMore": Int64(77), "collection": "patients"}, 4)
    assert body_of(written(more, ToClient))["code"] == OUTDATED
    assert acknowledged(moving) == 9


@rows(
    "said, labels",
    ({"ok": 1.0}, TRANSIENT),
    ({"ok": 0.0, "code": 251}, TRANSIENT),
    # committed before, for all that is known: whoever runs it again does so twice
    ({"ok": 0.0, "code": 256}, None),
    ({}, None),
)
def test_a_commit_that_is_refused_leaves_no_transaction_open(
    moving: Session, said: dict[str, Any], labels: list[str] | None
) -> None:
    moves = in_transaction(moving)
    moving.server_data(reply({"ok": 1.0, "n": 1}))
    moves.lose("nhs")
    for request_id in (2, 3):
        effects = sent(moving, {"commitTransaction": 1, **TRANSACTION}, request_id)
        assert Audit("refused", "", "commitTransaction", "FrontierLost") in effects
        assert next(iter(asked(effects))) == "abortTransaction"
        answer = moving.server_data(reply(said, request_id))
        error = body_of(written(answer, ToClient))
        assert (error["code"], error.get("errorLabels")) == (ABORTED, labels)
        assert response_to_of(written(answer, ToClient)) == request_id
    assert not moving.relies_on_lease


def test_an_unacknowledged_commit_that_is_refused_closes(moving: Session) -> None:
    moves = in_transaction(moving)
    moving.server_data(reply({"ok": 1.0, "n": 1}))
    moves.lose("nhs")
    effects = sent(moving, {"commitTransaction": 1, **TRANSACTION}, 2, flags=2)
    assert effects[-1] == Close(CloseReason.REFUSED_UNACKNOWLEDGED, "FrontierLost")


def test_a_client_that_leaves_may_leave_work_at_the_server(moving: Session) -> None:
    moves = begun(moving, insert(MIDDLE))
    moves.tick(50.0)
    moving.client_eof()
    assert held_up(moving)
    moves.tick(59.0)
    assert ends_at(moving, 61.0)


def test_an_unacknowledged_write_is_held_for_a_while(moving: Session) -> None:
    begun(moving, insert(MIDDLE), flags=2)
    assert held_up(moving)
    assert ends_at(moving, 61.0)


def test_a_missing_key_comes_between_and_the_command_waits_on(moving: Session) -> None:
    sent(moving, {"find": "patients", "filter": {}})
    assert waits(sent(moving, find(MIDDLE), 2))
    unknown = {
        "cursor": {"id": Int64(0), "ns": "clinic.patients", "firstBatch": [{"a": sealed("nhs", LOW, 3)}]}
    }
    effects = moving.server_data(reply({**unknown, "ok": 1.0}))
    assert [type(effect) for effect in effects] == [NeedKeys]
    assert moving.frontier_moved() == []
    moving.shared.moves.follow("nhs", OPEN_AT_MIDDLE.closed())
    forms = [sealed("nhs", MIDDLE, version) for version in (2, 1)]
    assert asked(moving.keys_loaded())["filter"] == {"nhs_number": {"$in": forms}}


def test_a_wait_that_ends_while_a_reply_waits_for_a_key_is_answered_after_that(moving: Session) -> None:
    sent(moving, {"find": "patients", "filter": {}})
    assert waits(sent(moving, find(MIDDLE), 2))
    assert moving.tick(100.0) == []
    limit_s = moving.shared.settings.key_wait_s
    unknown = {**cursor(0), "cursor": {**cursor(0)["cursor"], "firstBatch": [{"a": sealed("nhs", LOW, 3)}]}}
    moving.server_data(reply(unknown))
    assert moving.tick(100.0 + limit_s - 1) == []
    assert moving.tick(100.0 + limit_s) == []
    answers = [body_of(each.data) for each in moving.keys_loaded() if isinstance(each, ToClient)]
    assert {(each["ok"], each["code"]) for each in answers} == {(0.0, RETRY), (0.0, KEY_NOT_FOUND)}


def test_a_name_that_nobody_can_tell_ends_the_wait_and_the_next_command_has_its_own(moving: Session) -> None:
    join = {"$lookup": {"from": "elsewhere", "localField": "a", "foreignField": "b", "as": "c"}}
    pipeline = [{"$match": {"nhs_number": MIDDLE}}, join]
    sent(moving, {"aggregate": "patients", "pipeline": pipeline, "cursor": {}})
    nothing = {"cursor": {"id": Int64(0), "firstBatch": []}, "ok": 1.0}
    assert waits(moving.server_data(reply(nothing))[1:])
    moving.tick(100.0)
    question = written(moving.frontier_moved(), ToServer)
    assert "listCollections" in body_of(question)
    moving.tick(100.0 + moving.shared.settings.key_wait_s)
    away = reply({"ok": 0.0, "code": 91, "errmsg": "x"}, request_id_of(question))
    answer = body_of(written(moving.server_data(away), ToClient))
    assert (answer["ok"], answer["code"]) == (0.0, 91)
    assert waits(sent(moving, find(MIDDLE), 2))


def test_nothing_is_asked_once_the_move_is_over(moving: Session) -> None:
    moving.shared.moves.forget("nhs")
    assert asked(sent(moving, find(MIDDLE)))["filter"] == {"nhs_number": sealed("nhs", MIDDLE)}
    moving.server_data(reply(cursor(0)))
    assert not moving.relies_on_lease


REST: dict[str, Any] = {
    "lsid": {"id": Binary(bytes(16), 4)},
    "txnNumber": Int64(7),
    "autocommit": False,
    "$clusterTime": {"clusterTime": Timestamp(1, 2)},
    "$db": "admin",
}


@pytest.mark.parametrize("flags", [0, 1 << 16])
def test_all_but_the_name_stays_as_it_is(flags: int) -> None:
    commit = command({"commitTransaction": 1, **REST}, 9, flags=flags)
    abort = abort_of(commit, parse_op_msg(commit))
    assert body_of(abort) == {"abortTransaction": 1, **REST}
    assert request_id_of(abort) == 9
    parsed = parse_op_msg(abort)
    assert (parsed.flags, tuple(parsed.sequences)) == (0, ())


POLICY = policy_of("""
version: 1
classes:
  a: {mode: deterministic, type: string}
  b: {mode: deterministic, type: string}
  c: {mode: deterministic, type: string}
collections:
  d.one: {x: a, y: b}
  d.two: {x: c}
""")
NAMED = {"a": frozenset({b"p"})}
MOVING = ("a", "b", "c")


def plan(command: str, body: dict[str, object], namespace: str = "d.one", *, protected: bool = True) -> Plan:
    return Plan(encode(body), {}, command, namespace, protected, protected, [], [], 0)


def used(plan: Plan, walked: frozenset[str] = frozenset()) -> dict[str, frozenset[bytes] | None]:
    """What a command touches; along an index of the classes in `walked` it may lead."""
    return touched(plan, POLICY, MOVING, NAMED, lambda name, _: name in walked)


@pytest.mark.parametrize("command", ["find", "count", "delete", "update", "findAndModify"])
def test_a_command_that_walks_an_index_uses_any_value_of_a_class_that_moves_in_it(command: str) -> None:
    asked = plan(command, {"filter": {"x": "?"}})
    assert used(asked, frozenset({"b", "c"})) == {**NAMED, "b": None}  # `c` is elsewhere
    assert used(asked, frozenset({"a"})) == {"a": None}


def test_what_stores_only_walks_nothing() -> None:
    assert used(plan("insert", {"documents": []}), frozenset(MOVING)) == NAMED


def test_what_is_not_protected_touches_nothing() -> None:
    assert used(plan("aggregate", {}, protected=False)) == {}


@pytest.mark.parametrize("command", ["insert", "find", "count", "delete", "update", "findAndModify"])
def test_a_command_that_names_its_values_uses_these(command: str) -> None:
    assert used(plan(command, {"filter": {"x": "?"}})) == NAMED


@pytest.mark.parametrize("command", ["aggregate", "distinct", "bulkWrite", "explain", "mapReduce", "other"])
def test_any_other_command_uses_any_value_of_every_class(command: str) -> None:
    assert used(plan(command, {})) == dict.fromkeys(MOVING)


@pytest.mark.parametrize("name", ["$ne", "$somethingNew", "hint", "let"])
def test_an_operator_that_is_not_known_to_name_values_uses_any_of_its_collection(name: str) -> None:
    body: dict[str, object] = {"filter": {"x": {name: "?"}}}
    assert used(plan("find", body)) == {"a": None, "b": None}


def test_what_is_stored_is_not_read_for_operators() -> None:
    assert used(plan("insert", {"documents": [{"$ne": 1}]})) == NAMED


def test_a_name_that_is_no_collection_of_the_policy_may_be_a_view_of_any() -> None:
    assert used(plan("find", {}, "d.view")) == dict.fromkeys(MOVING)
