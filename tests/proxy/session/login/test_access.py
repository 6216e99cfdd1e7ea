"""Before a login only handshake and authentication pass, and what every server answers without one."""

from typing import Any

import pytest
from bson import Binary

from sealwire.proxy.session.conversation import MAX_BYTES_BEFORE_LOGIN
from sealwire.proxy.session.effects import CloseReason, ToServer
from sealwire.proxy.session.login.access import OPEN_COMMANDS
from sealwire.proxy.session.shared import SessionSettings
from sealwire.wire.header import request_id_of
from tests.proxy.session.playbook import (
    Playbook,
    audit,
    client,
    close,
    error,
    server,
    to_client,
    to_server,
)
from tests.proxy.session.world import (
    POLICY,
    body_of,
    command,
    legacy_query,
    legacy_reply,
    reply,
    sealed,
    session,
    use_settings,
)

NHS = "943 476 5919"
FIND = {"find": "patients", "filter": {"nhs_number": NHS}, "$db": "clinic"}
START = {"saslStart": 1, "mechanism": "SCRAM-SHA-256", "payload": Binary(b"n,,n=ann,r=x"), "$db": "admin"}
MORE = {"saslContinue": 1, "conversationId": 1, "payload": Binary(b"c=biws,r=xy,p=z"), "$db": "admin"}


def step(response_to: int, *, done: Any, ok: Any = 1.0) -> bytes:
    return reply({"conversationId": 1, "done": done, "payload": Binary(b"r=xy"), "ok": ok}, response_to)


@pytest.fixture
def stranger() -> Playbook:
    """A session whose server has access control, before any login."""
    return Playbook(session(login_required=True))


def exchange(play: Playbook, body: dict[str, Any], answer: bytes, number: int) -> None:
    """A step of a login passes both ways as it is."""
    play >> client(command(body, number)) << to_server(command(body, number))
    play >> server(answer) << to_client(answer)


def is_let_in(play: Playbook, number: int = 90) -> bool:
    """Whether a command on a protected collection goes to the server, encrypted."""
    covered = command({**FIND, "filter": {"nhs_number": sealed("nhs", NHS)}}, number)
    effects = play.session.client_data(command(FIND, number))
    for each in effects:
        if isinstance(each, ToServer) and "connectionStatus" in body_of(each.data):
            effects = play.session.server_data(reply({"ok": 1.0}, request_id_of(each.data)))
    return ToServer(covered) in effects


@pytest.mark.parametrize(
    ("body", "name"),
    [
        (FIND, "find"),
        ({"insert": "wards", "documents": [{"_id": 1}], "$db": "elsewhere"}, "insert"),
        ({"listDatabases": 1, "$db": "admin"}, "listDatabases"),
        ({"943 476 5919": 1, "$db": "admin"}, "other"),
        ({"explain": FIND, "$db": "clinic"}, "other"),
    ],
)
def test_a_command_before_a_login_gets_the_servers_own_error(
    stranger: Playbook, body: dict[str, Any], name: str
) -> None:
    (
        stranger
        >> client(command(body))
        << audit("refused", "", name, "LoginNeeded")
        << error(13, "Unauthorized")
    )
    stranger.finish()


def test_the_error_names_the_command(stranger: Playbook) -> None:
    (*_, answer) = stranger.session.client_data(command(FIND))
    assert b"command find requires authentication" in answer.data  # type: ignore[union-attr]


def test_an_unacknowledged_command_before_a_login_closes(stranger: Playbook) -> None:
    insert = {"insert": "wards", "documents": [{"_id": 1}], "$db": "elsewhere"}
    stranger >> client(command(insert, flags=2)) << audit("refused", "", "insert", "LoginNeeded")
    stranger << close(CloseReason.REFUSED_UNACKNOWLEDGED, "LoginNeeded")


@pytest.mark.parametrize("name", sorted(OPEN_COMMANDS - {b"authenticate"}))
def test_what_every_server_answers_passes(stranger: Playbook, name: bytes) -> None:
    message = command({name.decode(): 1, "$db": "admin"})
    stranger >> client(message) << to_server(message)


def test_a_login_opens_the_connection_when_the_server_says_that_it_is_done(stranger: Playbook) -> None:
    exchange(stranger, START, step(1, done=False), 1)
    assert not is_let_in(stranger)
    exchange(stranger, MORE, step(2, done=True), 2)
    assert is_let_in(stranger)


@pytest.mark.parametrize(
    "answer",
    [
        step(1, done=False),
        step(1, done=1),
        step(1, done="yes"),
        reply({"ok": 1.0}, 1),
    ],
)
def test_anything_else_does_not(stranger: Playbook, answer: bytes) -> None:
    exchange(stranger, START, answer, 1)
    assert not is_let_in(stranger)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (step(1, done=True, ok=0.0), "no code"),
        (step(1, done=True, ok=-0.0), "no code"),
        (step(1, done=True, ok="1"), "no code"),
        (reply({"done": True}, 1), "no code"),
        (reply({"ok": 0.0, "errmsg": "ann?", "code": 18, "codeName": "ann"}, 1), "code 18"),
        (reply({"ok": 0.0, "errmsg": "ann?", "code": "ann"}, 1), "no code"),
    ],
)
def test_a_login_that_fails_is_on_record_without_the_servers_words(
    stranger: Playbook, answer: bytes, reason: str
) -> None:
    stranger >> client(command(START)) << to_server(command(START))
    stranger >> server(answer) << audit("login-failed", "", "saslStart", reason) << to_client(answer)
    assert not is_let_in(stranger)


def test_a_yes_to_another_command_does_not(stranger: Playbook) -> None:
    exchange(stranger, {"ping": 1, "$db": "admin"}, step(1, done=True), 1)
    assert not is_let_in(stranger)


@pytest.mark.parametrize("legacy", [True, False])
@pytest.mark.parametrize("done", [True, False])
def test_a_login_that_began_with_the_hello_counts(stranger: Playbook, legacy: bool, done: bool) -> None:
    hello = {"hello": 1, "speculativeAuthenticate": {"saslStart": 1, "mechanism": "PLAIN", "db": "$external"}}
    answer = {"isWritablePrimary": True, "ok": 1.0, "speculativeAuthenticate": {"done": done}}
    if legacy:
        stranger >> client(legacy_query(hello)) << to_server(legacy_query(hello))
        stranger >> server(legacy_reply(answer)) << to_client(legacy_reply(answer))
    else:
        exchange(stranger, {**hello, "$db": "admin"}, reply(answer), 1)
    assert is_let_in(stranger) is done


def test_a_logout_closes_it_again(stranger: Playbook) -> None:
    exchange(stranger, START, step(1, done=True), 1)
    exchange(stranger, {"logout": 1, "$db": "admin"}, reply({"ok": 1.0}, 2), 2)
    assert not is_let_in(stranger)


def test_one_connections_login_opens_no_other(stranger: Playbook) -> None:
    exchange(stranger, START, step(1, done=True), 1)
    assert not is_let_in(Playbook(session(login_required=True)))


def test_messages_before_a_login_are_short(stranger: Playbook) -> None:
    long = {"ping": 1, "comment": "x" * MAX_BYTES_BEFORE_LOGIN, "$db": "admin"}
    stranger >> client(command(long)) << close(CloseReason.CLIENT_PROTOCOL)


def test_messages_after_a_login_are_not(stranger: Playbook) -> None:
    exchange(stranger, START, step(1, done=True), 1)
    long = command({"ping": 1, "comment": "x" * (4 * 1024 * 1024), "$db": "admin"}, 2)
    for at in range(0, len(long), 1 << 20):
        stranger >> client(long[at : at + (1 << 20)])
    stranger << to_server(long)


def test_settings_that_ask_for_a_login_count_for_open_connections() -> None:
    open_one, known = (Playbook(session(login_required=False)) for _ in range(2))
    exchange(known, START, step(1, done=True), 1)
    for play in (open_one, known):
        use_settings(play.session, SessionSettings(POLICY))
    assert not is_let_in(open_one)
    assert is_let_in(known)


def test_a_server_without_access_control_asks_for_none() -> None:
    assert is_let_in(Playbook(session(login_required=False)))


def test_a_handshake_with_a_document_sequence_is_refused() -> None:
    play = Playbook(session())
    hello = command({"hello": 1, "$db": "admin"}, after={"filter": [{"nhs_number": NHS}]})
    play >> client(hello) << audit("refused", "", "hello", "shape") << error(2, "BadValue")
    play.finish()
