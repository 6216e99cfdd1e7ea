"""Logins: by certificate they end here; all others pass, and their payloads are never repeated."""

import base64
from typing import Any, cast

import bson
import pytest
from bson import Binary

from sealwire.proxy.session.choices import ScramHash
from sealwire.proxy.session.effects import Close, CloseReason, Count, Counter, Effect, ToClient, ToServer
from sealwire.proxy.session.login import identities
from sealwire.proxy.session.login.authentication import (
    LEGACY_COMMANDS,
    MECHANISMS,
    OTHER,
    CertificateLogin,
    certificate_speculations,
    check_login,
    mechanism_in,
)
from sealwire.proxy.session.login.identities import (
    NONCE_BYTES,
    NotLoggedIn,
    ScramExchange,
    ScramFailed,
    ScramIdentity,
    ScramSecret,
    Steps,
    certificate_steps,
    scram_steps,
)
from sealwire.proxy.session.session import Session
from sealwire.wire.framing import OpCode, op_code_of, request_id_of, response_to_of
from sealwire.wire.op_msg import parse_op_msg
from sealwire.wire.op_query import parse_op_reply
from tests.proxy.session.playbook import Playbook, audit, client, close, error, server, to_client, to_server
from tests.proxy.session.world import body_of, command, encoded, legacy_query, reply, sealed, session
from tests.support.rows import rows
from tests.wire.corpus import document, element, string

X509 = "MONGODB-X509"
PAYLOAD = b"n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL"
EXTERNAL = {"$db": "$external"}


def start(mechanism: Any, **more: Any) -> dict[str, Any]:
    return {"saslStart": 1, "mechanism": mechanism, "payload": PAYLOAD, **more}


@rows(
    "body",
    {"authenticate": 1, "mechanism": X509, "user": "CN=client", **EXTERNAL},
    {"authenticate": 1, "mechanism": X509, **EXTERNAL},
    {"authenticate": 1, **EXTERNAL},
    {"saslStart": 1, "mechanism": X509, "payload": b"", **EXTERNAL},
)
def test_a_login_by_certificate_is_refused_clearly(play: Playbook, body: dict[str, Any]) -> None:
    play >> client(command(body, 5))
    play << audit("refused", "", "authenticate", "CertificateLogin")
    play << error(18, "AuthenticationFailed", 5)
    assert play.count(Counter.REFUSALS, "CertificateLogin") == 1
    scram = command({**start("SCRAM-SHA-256"), "$db": "admin"}, 6)
    play >> client(scram) << to_server(scram)


def test_without_a_reply_it_closes(play: Playbook) -> None:
    play >> client(command({"authenticate": 1, **EXTERNAL}, flags=2))
    play << audit("refused", "", "authenticate", "CertificateLogin")
    play << close(CloseReason.REFUSED_UNACKNOWLEDGED, "CertificateLogin")


def test_a_repeated_mechanism_hides_nothing() -> None:
    names = [b"SCRAM-SHA-256", X509.encode(), b"PLAIN"]
    mechanisms = [element(2, b"mechanism", string(name)) for name in names]
    with pytest.raises(CertificateLogin):
        check_login(document(element(0x10, b"saslStart", b"\1\0\0\0"), *mechanisms), 0, b"saslStart")


@rows("mechanism", "SCRAM-SHA-1", "SCRAM-SHA-256", "PLAIN", "MONGODB-AWS", "MONGODB-OIDC")
def test_every_other_mechanism_passes_byte_for_byte_both_ways(play: Playbook, mechanism: str) -> None:
    begin = command({**start(mechanism, options={"skipEmptyExchange": True}), **EXTERNAL}, 1)
    answer = reply({"conversationId": 1, "payload": PAYLOAD, "done": False, "ok": 1.0}, 1)
    go_on = command({"saslContinue": 1, "conversationId": 1, "payload": PAYLOAD, **EXTERNAL}, 2)
    play >> client(begin) << to_server(begin) >> server(answer) << to_client(answer)
    play >> client(go_on) << to_server(go_on)


@pytest.mark.parametrize("make", [command, legacy_query])
@pytest.mark.parametrize("flags", [0, 1])
@rows(
    "speculation",
    {"authenticate": 1, "mechanism": X509, "db": "$external"},
    {"saslStart": 1, "mechanism": X509},
)
def test_a_speculative_login_by_certificate_is_taken_out_of_hello(
    play: Playbook, make: Any, flags: int, speculation: dict[str, Any]
) -> None:
    hello = {"isMaster": 1, "client": {"driver": {"name": "x"}}}
    flags = flags if make is command else 4
    with_it = {**hello, "speculativeAuthenticate": speculation, "helloOk": True, "$db": "admin"}
    without = {**hello, "helloOk": True, "$db": "admin"}
    play >> client(make(with_it, flags=flags)) << to_server(make(without, flags=flags))


def test_another_speculative_login_stays_in_hello(play: Playbook) -> None:
    hello = command({"hello": 1, "speculativeAuthenticate": {**start("SCRAM-SHA-256"), "db": "admin"}})
    play >> client(hello) << to_server(hello)


def test_a_speculation_that_is_no_document_is_taken_out() -> None:
    hello = encoded({"hello": 1, "speculativeAuthenticate": [start(X509)]})
    assert [found.name for found in certificate_speculations(hello, 0)] == [b"speculativeAuthenticate"]


@pytest.mark.parametrize(
    "body",
    [
        start("PLAIN", extra=sealed("nhs", "x")),
        {"saslContinue": 1, "payload": PAYLOAD, "extra": sealed("nhs", "x")},
        start(X509),
        start("PLAIN"),  # without $db
    ],
)
@pytest.mark.parametrize("flags", [0, 2])
def test_payloads_stand_in_no_audit_and_no_error(body: dict[str, Any], flags: int) -> None:
    effects = session().client_data(command(body, flags=flags))
    assert not any(isinstance(effect, ToServer) for effect in effects)
    assert PAYLOAD.decode() not in "".join(map(_shown, effects))


def _shown(effect: Effect) -> str:
    data = getattr(effect, "data", None)
    return repr(effect) if data is None else str(body_of(data))


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


NO = {"ok": 0.0, "code": 18, "codeName": "AuthenticationFailed"}
YES = {"conversationId": 1, "done": True, "payload": b"", "ok": 1.0}


def begun(mechanism: str) -> dict[str, Any]:
    return {"saslStart": 1, "mechanism": mechanism, "payload": Binary(b"n,,n=ann,r=x"), "$db": "admin"}


@pytest.mark.parametrize("mechanism", [each for each in MECHANISMS if each != OTHER])
def test_a_mechanism_is_counted_under_its_name(mechanism: str) -> None:
    assert mechanism_in(encoded(begun(mechanism)), 0) == mechanism


@rows("said", {"mechanism": "943 476 5919"}, {"mechanism": 1}, {}, {"mechanism": "plain"})
def test_any_other_word_is_other(said: dict[str, Any]) -> None:
    assert mechanism_in(encoded(said), 0) == OTHER


@pytest.mark.parametrize(("said", "counter"), [(YES, Counter.LOGINS), (NO, Counter.LOGIN_FAILURES)])
def test_what_the_server_says_is_counted(said: dict[str, Any], counter: Counter) -> None:
    conversation = session()
    conversation.client_data(command(begun("SCRAM-SHA-256")))
    assert Count(counter, label="SCRAM-SHA-256") in conversation.server_data(reply(said))


def test_a_step_on_the_way_is_neither() -> None:
    conversation = session()
    conversation.client_data(command(begun("SCRAM-SHA-256")))
    effects = conversation.server_data(reply({**YES, "done": False}))
    assert not [each for each in effects if isinstance(each, Count)]


def test_a_login_that_begins_with_the_handshake_is_counted() -> None:
    conversation = session()
    conversation.client_data(command({"hello": 1, "speculativeAuthenticate": begun("PLAIN"), "$db": "admin"}))
    effects = conversation.server_data(reply({"ok": 1.0, "speculativeAuthenticate": YES}))
    assert Count(Counter.LOGINS, label="PLAIN") in effects


def test_a_login_by_certificate_that_cannot_pass_is_a_failure() -> None:
    effects = session().client_data(command(begun("MONGODB-X509")))
    assert Count(Counter.LOGIN_FAILURES, label="MONGODB-X509") in effects


# SCRAM as RFC 7677 and RFC 5802 show it, and what a server may not do in it.


# The nonces of the RFCs are texts; ours is bytes, whose base64 they happen to be.
NONCE_256 = base64.b64decode("rOprNGfwEbeRWgbNEkqO")
FIRST_256 = b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
LAST_256 = b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="
PENCIL = ScramSecret(ScramHash.SHA_256, b"pencil")


def exchange(secret: ScramSecret = PENCIL, user: str = "user") -> ScramExchange:
    return ScramExchange(user, secret, NONCE_256)


def test_the_vector_of_rfc_7677() -> None:
    login = exchange()
    assert login.first() == b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO"
    assert login.proof(FIRST_256) == (
        b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
        b"p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
    )
    login.verify(LAST_256)


def test_the_vector_of_rfc_5802() -> None:
    secret = ScramSecret(ScramHash.SHA_1, b"pencil")
    login = ScramExchange("user", secret, base64.b64decode("fyko+d2lbbFgONRv9qkxdawL"))
    assert login.first() == b"n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL"
    first = b"r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096"
    assert login.proof(first).endswith(b",p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=")
    login.verify(b"v=rmF9pqV8S7suAoZWja4dJRkFsKQ=")


def test_a_name_with_signs_of_the_protocol_is_escaped() -> None:
    assert exchange(user="a=b,c").first().startswith(b"n,,n=a=3Db=2Cc,r=")


@rows(
    "first",
    b"",
    b"r=another,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
    b"r=rOprNGfwEbeRWgbNEkqO,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",  # nothing of the server's own
    FIRST_256.replace(b"i=4096", b"i=4095"),  # a server that wants the password
    FIRST_256.replace(b"i=4096", b"i=300001"),  # one that wants our time
    FIRST_256.replace(b"i=4096", b"i=99999999999"),
    FIRST_256.replace(b"i=4096", b"i=x"),
    FIRST_256.replace(b"s=W22ZaJ0SNY7soEsUEjb6gQ==", b"s=%%"),
    FIRST_256 + b",m=extension",
    b"\xff\xfe",
)
def test_a_first_message_that_is_wrong_gets_no_proof(first: bytes) -> None:
    with pytest.raises(ScramFailed):
        exchange().proof(first)


@pytest.mark.parametrize("last", [b"", b"v=", b"e=invalid-proof", b"v=" + b"A" * 44, LAST_256[:-5]])
def test_a_server_that_does_not_know_the_password_is_not_believed(last: bytes) -> None:
    login = exchange()
    login.proof(FIRST_256)
    with pytest.raises(ScramFailed):
        login.verify(last)


def test_nothing_is_verified_before_a_proof() -> None:
    with pytest.raises(ScramFailed):
        exchange().verify(b"v=")


def test_what_was_derived_is_remembered_and_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    secret = ScramSecret(ScramHash.SHA_256, b"pencil")
    salts = [bytes((number,)) * 16 for number in range(10)]
    for salt in salts:
        assert secret.salted(salt, 4096) == secret.salted(salt, 4096)
    assert len(secret._derived) <= identities._REMEMBERED


def test_no_repr_shows_a_password() -> None:
    login = exchange(ScramSecret(ScramHash.SHA_256, b"hunter2"))
    assert "hunter2" not in f"{login!r}{login._secret!r}"


IDENTITY = ScramIdentity("app", "admin", ScramSecret(ScramHash.SHA_1, b"pencil"))


def scram() -> Steps:
    return scram_steps(IDENTITY, bytes(NONCE_BYTES))


def test_a_certificate_needs_one_yes() -> None:
    steps, others = certificate_steps(), certificate_steps()
    assert next(steps) == next(others)
    with pytest.raises(StopIteration):
        steps.send((encoded({"ok": 1.0}), 0))
    with pytest.raises(NotLoggedIn) as caught:
        others.send((encoded({"ok": 0.0, "code": 18, "errmsg": "user app"}), 0))
    assert caught.value.why == "code 18"


def test_the_mechanism_is_the_one_that_is_configured() -> None:
    assert next(scram())["mechanism"] == "SCRAM-SHA-1"


@rows(
    "change",
    {"conversationId": "7"},
    {"payload": "r=x"},
    {"payload": Binary(b"x" * 5000)},
    {"done": True},
    {"ok": 0.0},
)
def test_an_answer_of_another_shape_ends_the_login(change: dict[str, Any]) -> None:
    steps = scram()
    nonce = bytes(cast(Binary, next(steps)["payload"])).partition(b",r=")[2]
    payload = Binary(b"r=" + nonce + b"x,s=c2FsdHNhbHQ=,i=4096")
    answer = {"ok": 1.0, "conversationId": 7, "done": False, "payload": payload}
    others = scram()
    next(others)
    assert others.send((encoded(answer), 0))["conversationId"] == 7
    with pytest.raises(NotLoggedIn):
        steps.send((encoded({**answer, **change}), 0))
