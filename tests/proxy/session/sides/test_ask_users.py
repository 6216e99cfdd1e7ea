"""After each step of a login the server is asked who is there, before the next command goes to it."""

from typing import Any

import pytest
from bson import Binary

from sealwire.proxy.session.auditing.settings import CommandAudit, CommandScope
from sealwire.proxy.session.effects import Audit, Close, CloseReason, Done, Effect, PauseClient, ToServer
from sealwire.proxy.session.session import Session
from sealwire.proxy.session.states import State
from sealwire.wire.header import request_id_of
from sealwire.wire.op_msg import MORE_TO_COME
from tests.proxy.session.world import body_of, command, legacy_query, legacy_reply, reply, sealed, session

ANN, BOB = {"user": "ann", "db": "admin"}, {"user": "bob", "db": "clinic"}
FIND = {"find": "patients", "filter": {}, "$db": "clinic"}
REFUSED = {"find": "patients", "filter": {"nhs_number": {"$regex": "9"}}, "$db": "clinic"}
START = {"saslStart": 1, "mechanism": "SCRAM-SHA-256", "payload": Binary(b"n,,n=mallory,r=x"), "$db": "admin"}
MORE = {"saslContinue": 1, "conversationId": 1, "payload": Binary(b"p"), "$db": "admin"}
YES = {"conversationId": 1, "done": True, "payload": Binary(b""), "ok": 1.0}


class Wire:
    """A session whose server answers questions about users with what `users` says by then."""

    def __init__(self, **settings: Any) -> None:
        self.session: Session = session(**{"login_required": True, **settings})
        self.users: list[dict[str, str]] = [ANN]
        self.asked: list[dict[str, Any]] = []
        self.sent = 0

    def send(self, body: dict[str, Any]) -> list[Effect]:
        """What the session does at a command, the questions answered."""
        self.sent += 1
        return self._answered(self.session.client_data(command(body, self.sent)))

    def _answered(self, effects: list[Effect]) -> list[Effect]:
        for question in [each for each in effects if isinstance(each, ToServer)]:
            body = body_of(question.data)
            if "connectionStatus" not in body:
                continue
            self.asked.append(body)
            assert effects == [PauseClient(True), question]
            answer = {"authInfo": {"authenticatedUsers": self.users}, "ok": 1.0}
            first, *effects = self.session.server_data(reply(answer, request_id_of(question.data)))
            if self.users:
                assert first == Audit("login", "", "")
                first, *effects = effects
            assert first == PauseClient(False)
        return effects

    def log_in(self) -> None:
        for body in (START, MORE):
            self.send(body)
            self.session.server_data(reply(YES if body is MORE else {**YES, "done": False}, self.sent))

    @property
    def callers(self) -> tuple[str, ...]:
        return self.session.caller.users


def test_the_server_is_asked_once_and_before_the_first_command() -> None:
    wire = Wire()
    wire.log_in()
    assert (wire.callers, wire.asked) == ((), [])
    for _ in range(3):
        assert any(isinstance(each, ToServer) for each in wire.send(FIND))
    assert wire.callers == ("ann@admin",)
    assert wire.asked == [{"connectionStatus": 1, "$db": "admin"}]


def test_an_answer_that_more_is_to_follow_ends_the_connection() -> None:
    wire = Wire()
    wire.log_in()
    _, question = wire.session.client_data(command(FIND, 77))
    assert isinstance(question, ToServer)
    answer = {"authInfo": {"authenticatedUsers": [ANN]}, "ok": 1.0}
    lie = reply(answer, request_id_of(question.data), flags=MORE_TO_COME)
    (end,) = [each for each in wire.session.server_data(lie) if isinstance(each, Close)]
    assert end.reason is CloseReason.SERVER_PROTOCOL
    assert wire.callers == ()


def test_a_refusal_after_a_login_is_that_users() -> None:
    wire = Wire()
    wire.log_in()
    assert any(isinstance(each, Audit) and each.reason == "pattern" for each in wire.send(REFUSED))
    assert wire.callers == ("ann@admin",)


def test_lines_are_about_who_sent_the_command_whatever_comes_in_the_same_bytes() -> None:
    wire = Wire()
    wire.log_in()
    wire.send(REFUSED)
    together = [*(command(REFUSED, number) for number in range(50, 53)), command(START, 60)]
    effects = wire.session.client_data(b"".join(together))
    assert wire.callers == ()
    found = [each for each in effects if isinstance(each, Audit)]
    assert [each.users for each in found] == [("ann@admin",)] * 3


def test_a_refusal_before_any_login_is_nobodys() -> None:
    talk = session(login_required=False)
    (line,) = [each for each in talk.client_data(command(REFUSED)) if isinstance(each, Audit)]
    assert line.users == ()


def test_nobody_is_asked_where_the_server_asks_for_no_login() -> None:
    wire = Wire(login_required=False)
    wire.send(FIND)
    assert (wire.callers, wire.asked) == ((), [])


@pytest.mark.parametrize("step", [START, MORE, {"logout": 1, "$db": "admin"}])
def test_every_step_of_a_login_makes_the_users_unknown_again(step: dict[str, Any]) -> None:
    wire = Wire()
    wire.log_in()
    wire.send(FIND)
    wire.send(step)
    assert wire.callers == ()


def test_a_command_that_overtakes_the_reply_to_a_login_is_asked_about_anew() -> None:
    """The server handles both in order: its answer is about the second login, and not about the first."""
    wire = Wire()
    wire.log_in()
    wire.send(FIND)
    wire.send(START)
    wire.send(MORE)
    wire.users = [BOB]
    wire.send(FIND)
    assert wire.callers == ("bob@clinic",)
    assert len(wire.asked) == 2


@pytest.mark.parametrize("step", [START, {"logout": 1, "$db": "admin"}])
def test_a_command_is_on_record_as_its_senders_whatever_is_sent_before_its_reply(
    step: dict[str, Any],
) -> None:
    wire = Wire(audit=CommandAudit(CommandScope.PROTECTED, None))
    wire.log_in()
    wire.send(FIND)
    number = wire.sent
    wire.send(step)
    assert wire.callers == ()
    assert [each.users for each in wire.session.unanswered()] == [("ann@admin",)]
    answer = {"cursor": {"firstBatch": [], "id": 0, "ns": "clinic.patients"}, "ok": 1.0}
    done = [each for each in wire.session.server_data(reply(answer, number)) if isinstance(each, Done)]
    assert [each.record.users for each in done] == [("ann@admin",)]


@pytest.mark.parametrize("scope", [CommandScope.PROTECTED, CommandScope.REFUSED])
def test_a_withheld_reply_is_on_record_as_the_senders_of_its_command(scope: CommandScope) -> None:
    wire = Wire(audit=None if scope is CommandScope.REFUSED else CommandAudit(scope, None))
    wire.log_in()
    wire.send(FIND)
    number = wire.sent
    wire.send(START)
    assert wire.callers == ()
    forged = bytearray(sealed("nhs", "943"))
    forged[-1] ^= 1
    shown = {"nhs_number": Binary(bytes(forged), 0x80)}
    answer = {"cursor": {"firstBatch": [shown], "id": 0, "ns": "clinic.patients"}, "ok": 1.0}
    effects = wire.session.server_data(reply(answer, number))
    assert [each.users for each in effects if isinstance(each, Audit)] == [("ann@admin",)]
    done = [each.record.users for each in effects if isinstance(each, Done)]
    assert done == ([] if scope is CommandScope.REFUSED else [("ann@admin",)])


def test_what_is_awaited_for_everybody_is_nobodys_own() -> None:
    wire = Wire()
    wire.log_in()
    wire.send({"find": "wards", "$db": "other"})
    request = wire.session._conversation.awaited.find(wire.sent)
    assert request is not None
    assert request.users is None


def test_a_login_that_begins_with_the_hello_counts() -> None:
    hello = {"hello": 1, "speculativeAuthenticate": {"saslStart": 1, "mechanism": "PLAIN"}}
    answer = {"ok": 1.0, "speculativeAuthenticate": {"done": True}}
    for is_legacy in (False, True):
        wire = Wire()
        wire.log_in()
        wire.send(FIND)
        if is_legacy:
            wire.session.client_data(legacy_query(hello, 77))
            wire.session.server_data(legacy_reply(answer, 77))
        else:
            wire.send({**hello, "$db": "admin"})
            wire.session.server_data(reply(answer, wire.sent))
        assert not wire.callers
        wire.users = [BOB]
        wire.send(FIND)
        assert wire.callers == ("bob@clinic",)


def test_another_hello_asks_nothing_anew() -> None:
    wire = Wire()
    wire.log_in()
    wire.send(FIND)
    wire.send({"hello": 1, "$db": "admin"})
    wire.send(FIND)
    assert len(wire.asked) == 1


@pytest.mark.parametrize(
    "answer",
    [
        {"ok": 0.0, "code": 13, "errmsg": "no"},
        {"ok": 0.0, "code": 59, "errmsg": "no such command", "authInfo": {"authenticatedUsers": [BOB]}},
        {"ok": 1.0},
    ],
)
def test_where_the_server_does_not_say_the_command_goes_on_and_nobody_is_named(
    answer: dict[str, Any],
) -> None:
    wire = Wire()
    wire.log_in()
    _, question = wire.session.client_data(command(FIND, 90))
    assert isinstance(question, ToServer)
    assert wire.session._states.messages is State.LOOKING_UP
    _, *others = wire.session.server_data(reply(answer, request_id_of(question.data)))
    assert any(isinstance(each, ToServer) for each in others)
    assert wire.callers == ()
    wire.send(FIND)
    assert wire.asked == []


def test_the_question_speaks_the_clients_api_and_is_not_strict_about_it() -> None:
    wire = Wire()
    wire.log_in()
    wire.send({**FIND, "apiVersion": "1", "apiStrict": True})
    assert wire.asked == [{"connectionStatus": 1, "apiVersion": "1", "$db": "admin"}]


def test_the_clients_first_word_of_itself_counts() -> None:
    wire = Wire()
    for name in ("rounds", "other"):
        client = {"application": {"name": name}, "driver": {"name": "PyMongo", "version": "4.20"}}
        wire.send({"hello": 1, "client": client, "$db": "admin"})
    assert (wire.session.caller.application, wire.session.caller.driver) == ("rounds", "PyMongo 4.20")


def test_other_settings_ask_for_the_users_of_a_login_that_stays() -> None:
    wire = Wire()
    wire.log_in()
    wire.send(FIND)
    wire.session.settings_changed()
    wire.send(FIND)
    assert (wire.callers, len(wire.asked)) == (("ann@admin",), 1)
