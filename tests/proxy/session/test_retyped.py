"""Messages of the right shape with one value of another type: answered, passed on or the session's end."""

from typing import Any

import pytest
from bson import Int64

from sealwire.proxy.session.effects import Close, ToClient, ToServer
from tests.proxy.session.sides.test_look_up import asked, find, told, view
from tests.proxy.session.verdicts import assert_parses
from tests.proxy.session.world import command, legacy_query, legacy_reply, reply, sealed, session, written
from tests.retyped import retyped_within

_LOGIN = {"saslStart": 1, "mechanism": "SCRAM-SHA-256", "payload": b"n,,n=u,r=x", "db": "admin"}
_COMMANDS: dict[str, dict[str, Any]] = {
    "hello": {
        "hello": 1,
        "compression": ["zlib"],
        "speculativeAuthenticate": _LOGIN,
        "client": {"driver": {"name": "d"}},
        "$db": "admin",
    },
    "saslStart": {**_LOGIN, "$db": "admin"},
    "getMore": {"getMore": Int64(5), "collection": "patients", "$db": "clinic"},
    "killCursors": {"killCursors": "patients", "cursors": [Int64(5)], "$db": "clinic"},
    "find": find("patients"),
    "a name to be asked for": find("shown"),
    "an unknown command": {"unheardOf": "patients", "$db": "clinic"},
}
_HELLO = {
    "ok": 1.0,
    "me": "a:1",
    "primary": "a:1",
    "hosts": ["a:1"],
    "passives": [],
    "compression": ["zlib"],
    "maxMessageSizeBytes": 48_000_000,
}
_FOUND = {"cursor": {"firstBatch": [{"a": sealed("nhs", "x"), "b": [{"c": 1}]}], "id": Int64(0)}, "ok": 1.0}


@pytest.mark.parametrize("name", _COMMANDS)
def test_a_command_settles(name: str) -> None:
    for body in retyped_within(_COMMANDS[name]):
        for message in (command(body), legacy_query(body)):
            effects = session().client_data(message)
            assert effects
            assert_parses(written(effects, ToServer))


def test_a_reply_to_hello_settles() -> None:
    for body in retyped_within(_HELLO):
        for question, answer in (
            (command({"hello": 1, "$db": "admin"}), reply(body)),
            (legacy_query({"isMaster": 1}), legacy_reply(body)),
        ):
            talk = session()
            talk.client_data(question)
            assert any(isinstance(effect, ToClient | Close) for effect in talk.server_data(answer))


def test_a_reply_to_find_settles() -> None:
    for body in retyped_within(_FOUND):
        talk = session()
        talk.client_data(command(find("patients")))
        effects = talk.server_data(reply(body))
        assert any(isinstance(effect, ToClient | Close) for effect in effects)
        assert_parses(written(effects, ToClient))


def test_an_answer_about_a_name_settles_the_command_that_waits_for_it() -> None:
    definition = view("shown", "patients", {"$match": {"nhs_number": "x"}}, {"$unset": ["visits"]})
    body = {"cursor": {"id": Int64(0), "ns": "clinic.c", "firstBatch": [definition]}, "ok": 1.0}
    question = asked("shown", 1)
    for other in retyped_within(body):
        talk = session()
        assert written(talk.client_data(command(find("shown"), 70)), ToServer) == question
        effects = talk.server_data(reply(other, 1))
        assert any(isinstance(effect, ToServer | ToClient | Close) for effect in effects)
    talk = session()
    talk.client_data(command(find("shown"), 70))
    assert written(talk.server_data(told(definition, response_to=1)), ToServer)
