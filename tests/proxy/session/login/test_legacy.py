"""Commands in legacy queries become messages, and their answers legacy replies."""

from typing import Any

import bson
import pytest

from sealwire.proxy.session.effects import Close, CloseReason, Effect, ToClient, ToServer
from sealwire.proxy.session.login.legacy import LEGACY_COMMANDS
from sealwire.proxy.session.session import Session
from sealwire.wire.header import OpCode, op_code_of, request_id_of, response_to_of
from sealwire.wire.op_msg import parse_op_msg
from sealwire.wire.op_query import parse_op_reply
from tests.proxy.session.world import command, legacy_query, reply, session

START: dict[str, Any] = {"saslStart": 1, "mechanism": "SCRAM-SHA-1", "payload": b"n,,n=ann,r=1"}
BUILD: dict[str, Any] = {"buildInfo": 1}


def sent(effects: list[Effect]) -> bytes:
    (found,) = (each.data for each in effects if isinstance(each, ToServer))
    return found


def answer(effects: list[Effect]) -> tuple[int, dict[str, Any]]:
    """Whom the client's OP_REPLY answers, and its document."""
    (data,) = (each.data for each in effects if isinstance(each, ToClient))
    assert op_code_of(data) == OpCode.REPLY
    (start,) = parse_op_reply(data).documents
    return response_to_of(data), bson.decode(data[start:])


@pytest.mark.parametrize("body", [BUILD, START, {"getnonce": 1}], ids=lambda body: next(iter(body)))
def test_a_query_goes_to_the_server_as_a_message_and_its_answer_comes_as_a_reply(
    body: dict[str, Any],
) -> None:
    played = session()
    message = sent(played.client_data(legacy_query(body, 7)))
    assert (op_code_of(message), request_id_of(message)) == (OpCode.MSG, 7)
    assert bson.decode(message[parse_op_msg(message).body :]) == {**body, "$db": "admin"}
    told = {"version": "8.0.0", "ok": 1.0}
    assert answer(played.server_data(reply(told, 7))) == (7, told)
    played.client_data(command({"ping": 1, "$db": "admin"}, 8))
    (pong,) = (each for each in played.server_data(reply({"ok": 1}, 8)) if isinstance(each, ToClient))
    assert op_code_of(pong.data) == OpCode.MSG


def test_a_login_is_one_and_its_failure_is_told_in_a_reply() -> None:
    played = session()
    played.client_data(legacy_query(START, 1, b"clinic.$cmd"))
    failed = {"ok": 0.0, "code": 18, "errmsg": "no"}
    effects = played.server_data(reply(failed, 1))
    assert answer(effects) == (1, failed)
    assert any(getattr(each, "event", "") == "login-failed" for each in effects)


def test_a_refusal_comes_as_a_reply_too() -> None:
    played = session()
    _, told = answer(played.client_data(legacy_query({**BUILD, "$db": "other"}, 3)))
    assert told["ok"] == 0
    assert played.idle


def test_a_login_by_certificate_is_refused_as_in_a_message() -> None:
    body = {"authenticate": 1, "mechanism": "MONGODB-X509"}
    _, told = answer(session().client_data(legacy_query(body, 3, b"$external.$cmd")))
    assert (told["ok"], told["code"]) == (0, 18)


@pytest.mark.parametrize("name", ["find", "saslstart", "ping", "$query", "hostInfo"])
def test_other_queries_are_refused(name: str) -> None:
    assert name.encode() not in LEGACY_COMMANDS
    _, told = answer(session().client_data(legacy_query({name: 1}, 3)))
    assert (told["ok"], told["code"]) == (0, 352)


def test_a_query_of_a_collection_is_no_command() -> None:
    _, told = answer(session().client_data(legacy_query(BUILD, 3, b"clinic.patients")))
    assert told["code"] == 352


def is_broken(effects: list[Effect]) -> bool:
    return any(isinstance(each, Close) and each.reason is CloseReason.CLIENT_PROTOCOL for each in effects)


def test_an_exhaust_stream_breaks_the_protocol() -> None:
    assert is_broken(session().client_data(legacy_query(BUILD, 3, flags=64)))


def test_who_asks_without_end_breaks_the_protocol() -> None:
    played: Session = session()
    effects: list[Effect] = []
    for number in range(1, 18):
        assert not effects or not is_broken(effects)
        effects = played.client_data(legacy_query(BUILD, number))
    assert is_broken(effects)
