"""Logins are counted by mechanism, and by no word of the client's."""

from typing import Any

import pytest
from bson import Binary

from sealwire.proxy.session.effects import Count, Counter
from sealwire.proxy.session.login.authentication import MECHANISMS, OTHER, mechanism_in
from tests.proxy.session.world import command, encoded, reply, session

NO = {"ok": 0.0, "code": 18, "codeName": "AuthenticationFailed"}
YES = {"conversationId": 1, "done": True, "payload": b"", "ok": 1.0}


def start(mechanism: str) -> dict[str, Any]:
    return {"saslStart": 1, "mechanism": mechanism, "payload": Binary(b"n,,n=ann,r=x"), "$db": "admin"}


@pytest.mark.parametrize("mechanism", [each for each in MECHANISMS if each != OTHER])
def test_a_mechanism_is_counted_under_its_name(mechanism: str) -> None:
    assert mechanism_in(encoded(start(mechanism)), 0) == mechanism


@pytest.mark.parametrize(
    "said", [{"mechanism": "943 476 5919"}, {"mechanism": 1}, {}, {"mechanism": "plain"}]
)
def test_any_other_word_is_other(said: dict[str, Any]) -> None:
    assert mechanism_in(encoded(said), 0) == OTHER


@pytest.mark.parametrize(("said", "counter"), [(YES, Counter.LOGINS), (NO, Counter.LOGIN_FAILURES)])
def test_what_the_server_says_is_counted(said: dict[str, Any], counter: Counter) -> None:
    conversation = session()
    conversation.client_data(command(start("SCRAM-SHA-256")))
    assert Count(counter, label="SCRAM-SHA-256") in conversation.server_data(reply(said))


def test_a_step_on_the_way_is_neither() -> None:
    conversation = session()
    conversation.client_data(command(start("SCRAM-SHA-256")))
    effects = conversation.server_data(reply({**YES, "done": False}))
    assert not [each for each in effects if isinstance(each, Count)]


def test_a_login_that_begins_with_the_handshake_is_counted() -> None:
    conversation = session()
    conversation.client_data(command({"hello": 1, "speculativeAuthenticate": start("PLAIN"), "$db": "admin"}))
    effects = conversation.server_data(reply({"ok": 1.0, "speculativeAuthenticate": YES}))
    assert Count(Counter.LOGINS, label="PLAIN") in effects


def test_a_login_by_certificate_that_cannot_pass_is_a_failure() -> None:
    effects = session().client_data(command(start("MONGODB-X509")))
    assert Count(Counter.LOGIN_FAILURES, label="MONGODB-X509") in effects
