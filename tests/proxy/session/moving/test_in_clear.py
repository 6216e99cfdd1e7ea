"""Sessions whose class is in clear, or moves from or to plaintext: what they send."""

from datetime import UTC, datetime
from typing import Any

import pytest
from bson import SON, Binary, Int64

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
from sealwire.policies.file.loader import load_policy
from sealwire.proxy.session.effects import Count, Counter, Effect, PauseClient, ToClient, ToServer
from sealwire.proxy.session.moving import forms
from sealwire.proxy.session.session import Session
from sealwire.proxy.session.shared import SessionSettings
from tests.proxy.session import world
from tests.proxy.session.moving.talk import asked, sent
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


RULES = load_policy(
    b"version: 1\nclasses:\n  nhs: {mode: deterministic, type: string}\n"
    b"  visits: {mode: deterministic, type: int, range: {from: 0, to: 300}}\n"
    b"collections: {clinic.patients: {visits: visits}}\n",
    "policy.yaml",
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
