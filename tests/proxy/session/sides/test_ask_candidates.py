"""Conditions on random classes: the documents that may satisfy them are opened before the command is sent."""

from typing import Any

import pytest
from bson import Binary, Int64, Regex, Timestamp

from sealwire.keys.keyring.data_key import KeyState
from sealwire.keys.keyring.keyring import Keyring
from sealwire.policies.errors import Reason
from sealwire.policies.file.loader import load_policy
from sealwire.policies.questions import QuestionBounds
from sealwire.proxy.session.effects import Audit, Counter, ToServer
from sealwire.proxy.session.shared import SessionSettings
from sealwire.wire.op_msg import MORE_TO_COME
from tests.proxy.session.playbook import Playbook, audit, client, error, pause, server, to_client, to_server
from tests.proxy.session.role_world import ROLES_TEXT, session_as
from tests.proxy.session.sides.test_ask_values import BATCH, LOCAL, TRANSACTION, asks, command_of, told
from tests.proxy.session.world import (
    POLICY_TEXT,
    command,
    data_key,
    reply,
    sealed,
    sealed_randomly,
    session_of,
)

TEXT = POLICY_TEXT.replace(b"secret: {mode: random}", b"secret: {mode: random, ask: true}")
ASKING = load_policy(TEXT, "policy.yaml")
KEYS = [data_key(name) for name in ASKING.class_names]
ROTATED = Keyring(
    [
        *(key for key in KEYS if key.class_name != "secret"),
        data_key("secret", 2),
        data_key("secret", 1, KeyState.DECRYPT_ONLY),
    ]
)


def playing(keyring: Keyring | None = None, **settings: Any) -> Playbook:
    chosen = SessionSettings(ASKING, login_required=False, **settings)
    return Playbook(session_of(chosen, keyring or Keyring(KEYS)))


def find(query: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"find": "patients", "filter": query, **more, "$db": "clinic"}


def asked(request_id: int, *conditions: dict[str, Any], path: str = "notes", **more: Any) -> bytes:
    match = {"$and": [{path: {"$exists": True}}, *conditions]}
    pipeline = [{"$match": match}, {"$project": {path: 1, "_id": 0}}]
    body = {
        "aggregate": "patients",
        "pipeline": pipeline,
        "cursor": {"batchSize": BATCH},
        "allowDiskUse": True,
    }
    return command({**body, "$db": "clinic", **more}, request_id)


def among(*stored: Binary) -> dict[str, Any]:
    return {"$in": sorted(stored, key=lambda each: (len(each).to_bytes(4, "little"), bytes(each)))}


def documents(*stored: Any) -> list[dict[str, Any]]:
    return [{"notes": each} for each in stored]


def note(value: Any, version: int = 1) -> Binary:
    return sealed_randomly("secret", value, version)


def test_the_envelopes_that_satisfy_are_sent_in_place_of_the_condition() -> None:
    play, stored = playing(), [note("asthma"), note("Asthma, mild"), note(["x", "asthma"]), note(5)]
    query = {"notes": Regex("^asthma", "i"), "nhs_number": "943", "ward": {"$gt": 1}}
    play >> client(command(find(query), 70)) << pause(True)
    others = {"nhs_number": sealed("nhs", "943")}, {"ward": {"$gt": 1}}
    play << to_server(asked(1, *others)) >> server(told(1, *documents(*stored))) << pause(False)
    sent = {"notes": among(*stored[:3]), "nhs_number": sealed("nhs", "943"), "ward": {"$gt": 1}}
    play << to_server(command(find(sent), 70)) >> server(reply({"ok": 1.0}, 70))
    play << to_client(reply({"ok": 1.0}, 70))
    assert play.count(Counter.VALUE_QUESTIONS) == 1
    assert play.count(Counter.QUESTION_VALUES) == play.count(Counter.VALUES_DECRYPTED) == 4


def test_what_does_not_satisfy_is_opened_once() -> None:
    play, stored = playing(), documents(note(1), note(7))
    for number, opened in enumerate((2, 3), 1):
        play >> client(command(find({"notes": {"$gt": 5}}), 70)) << pause(True) << to_server(asked(number))
        play >> server(told(number, *stored)) << pause(False)
        play << to_server(command(find({"notes": among(stored[1]["notes"])}), 70))
        play >> server(reply({"ok": 1.0}, 70)) << to_client(reply({"ok": 1.0}, 70))
        assert play.count(Counter.VALUES_DECRYPTED) == opened


def test_a_path_is_followed_through_arrays() -> None:
    play, path, stored = playing(), "contact.note", [note(each) for each in (1, 7, 3, 6)]
    play >> client(command(find({path: {"$gt": 5, "$lt": 4}}), 70)) << pause(True)
    play << to_server(asked(1, path=path))
    contacts = [
        [{"note": stored[0]}, {}, 5, {"note": stored[1]}],
        {"note": [stored[2]]},
        5,
        [[{"note": stored[3]}]],
    ]
    play >> server(told(1, *({"contact": each} for each in contacts)))
    play << pause(False)
    low, high = among(stored[0], stored[2]), among(stored[1], stored[3])
    condition = {**high, "$not": {"$nin": low["$in"]}}
    play << to_server(command(find({path: condition}), 70))


@pytest.mark.parametrize("value", ["plain", 5, {"a": 1}, Binary(b"x")])
def test_a_value_in_clear_that_would_be_missed_is_refused(value: Any) -> None:
    play = playing()
    asks(play, find({"notes": "x"}), asked(1), told(1, *documents(None, [], note("x"), value)))
    play << audit("refused", "clinic.patients", "find", "question", "notes")
    play << error(238, "NotImplemented", 70)


def test_a_server_learns_nothing_about_values_of_other_classes() -> None:
    play = playing()
    asks(play, find({"notes": "943"}), asked(1), told(1, *documents(sealed("nhs", "943"))))
    play << audit("refused", "clinic.patients", "find", "question", "notes")
    play << error(238, "NotImplemented", 70)


def test_a_value_that_a_job_may_encrypt_anew_is_refused_if_it_satisfies() -> None:
    play = playing(ROTATED)
    play >> client(command(find({"notes": "x"}), 70)) << pause(True) << to_server(asked(1))
    new = note("x", 2)
    play >> server(told(1, *documents(note("y"), new))) << pause(False)
    play << to_server(command(find({"notes": among(new)}), 70)) >> server(reply({"ok": 1.0}, 70))
    play << to_client(reply({"ok": 1.0}, 70))
    asks(play, find({"notes": "x"}), asked(2), told(2, *documents(note("x"), new)), request_id=71)
    play << audit("refused", "clinic.patients", "find", "question", "notes")
    play << error(238, "NotImplemented", 71)


TIME = Timestamp(70, 3)


@pytest.mark.parametrize("more", [TRANSACTION, {"readConcern": {"level": "snapshot", "atClusterTime": TIME}}])
def test_at_one_time_values_under_older_keys_count(more: dict[str, Any]) -> None:
    play, old = playing(ROTATED), note("x")
    asks(play, find({"notes": "x"}, **more), command_of(asked(1), more), told(1, *documents(old)))
    play << to_server(command(find({"notes": among(old)}, **more), 70))


def test_candidates_have_a_bound() -> None:
    play = playing(questions=QuestionBounds(candidates=2))
    play >> client(command(find({"notes": "x"}), 70)) << pause(True) << to_server(asked(1))
    play >> server(told(1, *documents(*map(note, "xyz")), cursor_id=5))
    killed = {"killCursors": "patients", "cursors": [Int64(5)], "$db": "clinic"}
    play << to_server(command(killed, 2, flags=MORE_TO_COME)) << pause(False)
    play << audit("refused", "clinic.patients", "find", "question-size", "notes")
    play << error(238, "NotImplemented", 70)


def test_a_write_that_finds_none_is_sent_again_if_the_same_value_was_written_again() -> None:
    def update(condition: Any) -> dict[str, Any]:
        statements = [{"q": {"notes": condition}, "u": {"$set": {"a": 1}}}]
        return {"update": "patients", "updates": statements, "$db": "clinic"}

    play, none = playing(), {"n": 0, "nModified": 0, "ok": 1.0}
    play >> client(command(update("x"), 70))
    for number, stored in enumerate((note("x"), note("x")), 1):
        play << pause(True) << to_server(command_of(asked(number), LOCAL))
        play >> server(told(number, *documents(stored))) << pause(False)
        play << to_server(command(update(among(stored)), 70)) >> server(reply(none, 70))
    play << pause(True) << to_server(command_of(asked(3), LOCAL))
    play >> server(told(3, *documents(stored))) << pause(False) << to_client(reply(none, 70))


@pytest.mark.parametrize("certificate", ["CN=clerk", "CN=researcher", "CN=nobody"])
def test_who_may_not_see_and_compare_a_value_does_not_ask(certificate: str) -> None:
    policy = load_policy(TEXT + ROLES_TEXT, "policy.yaml")
    effects = session_as(certificate, policy).client_data(command(find({"notes": "x"}), 70))
    refused = next(each for each in effects if isinstance(each, Audit))
    assert refused.reason == Reason.ROLE.value
    doctor = Playbook(session_as("CN=doctor", policy))
    doctor >> client(command(find({"notes": "x"}), 70)) << pause(True) << to_server(asked(1))
    assert not any(isinstance(each, ToServer) for each in effects)
