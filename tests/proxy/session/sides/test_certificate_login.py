"""Logins by certificate, question by question: what the server is asked, and what the client is told."""

import base64
import hashlib
import hmac
from typing import Any

import pytest
from bson.binary import Binary

from sealwire.proxy.session.choices import Holder, ScramHash
from sealwire.proxy.session.effects import (
    Audit,
    Close,
    CloseReason,
    Count,
    Counter,
    Effect,
    ToClient,
    ToServer,
)
from sealwire.proxy.session.login.identities import (
    CertificateIdentity,
    Certified,
    ScramIdentity,
    ScramSecret,
    UpstreamIdentity,
)
from sealwire.proxy.session.session import Session
from sealwire.proxy.session.shared import SessionSettings
from sealwire.wire.framing import OpCode, op_code_of, response_to_of
from sealwire.wire.op_msg import MORE_TO_COME
from tests.proxy.session.world import (
    POLICY,
    body_of,
    command,
    legacy_query,
    legacy_reply,
    load_keys,
    reply,
    sealed,
    session_of,
    use_settings,
)
from tests.support.rows import rows

X509 = "MONGODB-X509"
SUBJECT = "CN=ward-3,O=Clinic"
SCRAM = ScramIdentity("app", "users", ScramSecret(ScramHash.SHA_256, b"pencil"))
APP = CertificateIdentity("CN=app")
EXPLICIT = {"authenticate": 1, "mechanism": X509, "$db": "$external"}
SPECULATION = {"authenticate": 1, "mechanism": X509, "db": "$external"}
PING = command({"find": "wards", "$db": "clinic"}, 900)
NO = {"ok": 0.0, "errmsg": "user app is unknown here", "code": 18, "codeName": "AuthenticationFailed"}


class Talk:
    """A client with a certificate, a session, and a server that knows the password `pencil`."""

    def __init__(self, identity: UpstreamIdentity | None, *, shown: UpstreamIdentity | None = None) -> None:
        identities = {} if identity is None else {Holder(SUBJECT): identity}
        self.session: Session = session_of(SessionSettings(POLICY, identities=identities))
        self.session.certified("CN=ward-3,O=Clinic", Certified((SUBJECT, f"other={SUBJECT}"), shown))
        self.effects: list[Effect] = []
        self.last: dict[str, Any] = {}
        self._auth = b""

    def client(self, message: bytes) -> list[Effect]:
        self.effects = self.session.client_data(message)
        return self.effects

    def server(self, body: dict[str, Any], response_to: int | None = None) -> list[Effect]:
        if response_to is None:
            response_to = int.from_bytes(self.sent()[-1][4:8], "little")
        self.effects = self.session.server_data(reply(body, response_to))
        return self.effects

    def sent(self) -> list[bytes]:
        return [each.data for each in self.effects if isinstance(each, ToServer)]

    def told(self) -> list[dict[str, Any]]:
        return [body_of(each.data) for each in self.effects if isinstance(each, ToClient)]

    def question(self) -> dict[str, Any]:
        (message,) = self.sent()
        return body_of(message)

    def scram(self, *, password: bytes = b"pencil", ends_late: bool = False) -> None:
        """The server's half."""
        first = bytes(self.question()["payload"])
        nonce = first.partition(b",r=")[2].decode() + "server"
        server_first = f"r={nonce},s={base64.b64encode(b'salt' * 4).decode()},i=4096".encode()
        self.server({"ok": 1.0, "conversationId": 7, "done": False, "payload": Binary(server_first)})
        asked = self.question()
        assert (asked["saslContinue"], asked["conversationId"], asked["$db"]) == (1, 7, "users")
        ending = bytes(asked["payload"]).partition(b",p=")[0]
        said = first.removeprefix(b"n,,") + b"," + server_first + b"," + ending
        salted = hashlib.pbkdf2_hmac("sha256", password, b"salt" * 4, 4096)
        key = hmac.digest(salted, b"Server Key", "sha256")
        last = b"v=" + base64.b64encode(hmac.digest(key, said, "sha256"))
        self.server({"ok": 1.0, "conversationId": 7, "done": not ends_late, "payload": Binary(last)})

    @property
    def is_let_in(self) -> bool:
        """Whether a command passes, or makes the proxy ask who is there."""
        self.client(PING)
        return bool(self.sent())


@pytest.fixture
def talk() -> Talk:
    """The certificate's identity is a certificate too, which the proxy's connection shows."""
    return Talk(APP, shown=APP)


@pytest.fixture(params=[{}, {"apiVersion": "1", "apiStrict": True}], ids=["", "versioned"])
def api(request: pytest.FixtureRequest) -> dict[str, Any]:
    found: dict[str, Any] = request.param
    return found


def test_a_certificate_of_the_proxys_is_one_question(talk: Talk, api: dict[str, Any]) -> None:
    talk.client(command({**EXPLICIT, **api}, 5))
    version = {"apiVersion": "1"} if api else {}
    assert talk.question() == {**EXPLICIT, **version}
    assert talk.told() == []
    talk.server({"ok": 1.0, "user": "CN=app", "dbname": "$external"})
    assert talk.told() == [{"dbname": "$external", "user": SUBJECT, "ok": 1.0}]
    assert Count(Counter.LOGINS, label=X509) in talk.effects
    assert talk.is_let_in


@pytest.mark.parametrize("ends_late", [False, True])
def test_a_user_with_a_password_is_two_questions_or_three(ends_late: bool) -> None:
    talk = Talk(SCRAM)
    talk.client(command(EXPLICIT, 5))
    asked = talk.question()
    assert (asked["saslStart"], asked["mechanism"], asked["$db"]) == (1, "SCRAM-SHA-256", "users")
    assert bytes(asked["payload"]).startswith(b"n,,n=app,r=")
    talk.scram(ends_late=ends_late)
    if ends_late:
        assert talk.told() == []
        assert bytes(talk.question()["payload"]) == b""
        talk.server({"ok": 1.0, "conversationId": 7, "done": True, "payload": Binary(b"")})
    assert talk.told() == [{"dbname": "$external", "user": SUBJECT, "ok": 1.0}]
    assert talk.is_let_in


def test_sasl_start_has_an_answer_of_its_own_form(talk: Talk) -> None:
    payload = Binary(SUBJECT.encode())
    talk.client(command({"saslStart": 1, "mechanism": X509, "payload": payload, "$db": "$external"}))
    talk.server({"ok": 1.0})
    (told,) = talk.told()
    assert (told["done"], told["ok"], bytes(told["payload"])) == (True, 1.0, b"")


@rows(
    "claim",
    {"user": "CN=ward-4,O=Clinic"},
    {"user": SUBJECT + " "},
    {"user": 7},
    {"$db": "admin"},
    {"mechanism": "SCRAM-SHA-256"},
    {"mechanism": 1},
    {"payload": Binary(b"CN=ward-4,O=Clinic")},
)
def test_who_says_that_he_is_somebody_else_is_refused(talk: Talk, claim: dict[str, Any]) -> None:
    talk.client(command({**EXPLICIT, **claim}))
    assert talk.sent() == []
    assert [each["code"] for each in talk.told()] == [18]
    assert not talk.is_let_in


@pytest.mark.parametrize("user", [SUBJECT, f"other={SUBJECT}"])
def test_each_spelling_of_the_subject_is_oneself(talk: Talk, user: str) -> None:
    talk.client(command({**EXPLICIT, "user": user}))
    assert len(talk.sent()) == 1


@pytest.mark.parametrize(
    "talk",
    [
        Talk(None),
        Talk(None, shown=APP),  # the identity was taken away by a reload
        Talk(APP),  # or came after the connection was opened
        Talk(APP, shown=CertificateIdentity("CN=former")),  # or was another
    ],
)
def test_without_an_identity_that_counts_now_nobody_is_let_in(talk: Talk) -> None:
    talk.client(command(EXPLICIT))
    assert talk.sent() == []
    assert [each["code"] for each in talk.told()] == [18]
    talk.client(command({"hello": 1, "speculativeAuthenticate": SPECULATION, "$db": "admin"}, 3))
    talk.server({"ok": 1.0}, 3)
    assert talk.told() == [{"ok": 1.0}]


def test_a_certificate_alone_opens_nothing() -> None:
    assert not Talk(APP, shown=APP).is_let_in


@pytest.mark.parametrize("identity", [APP, SCRAM])
def test_what_the_server_does_not_take_is_said_without_its_words(identity: UpstreamIdentity) -> None:
    talk = Talk(identity, shown=identity)
    talk.client(command(EXPLICIT, 5))
    talk.server(NO)
    (told,) = talk.told()
    assert (told["code"], "app" in told["errmsg"]) == (18, False)
    assert Audit("login-failed", "", "authenticate", "code 18") in talk.effects
    assert Count(Counter.LOGIN_FAILURES, label=X509) in talk.effects
    assert not talk.is_let_in
    talk.client(command(EXPLICIT, 6))
    assert len(talk.sent()) == 1  # and it may be tried again


def test_a_server_that_does_not_know_the_password_lets_nobody_in() -> None:
    talk = Talk(SCRAM)
    talk.client(command(EXPLICIT))
    talk.scram(password=b"another")
    assert [each["code"] for each in talk.told()] == [18]
    assert Audit("login-failed", "", "authenticate", "server not proved") in talk.effects
    assert not talk.is_let_in


@rows(
    "answer",
    {"ok": 1.0, "conversationId": 7, "done": True, "payload": Binary(b"")},
    {"ok": 1.0, "conversationId": 7, "done": False, "payload": Binary(b"r=x,s=eA==,i=4096")},
    {"ok": 1.0, "conversationId": 7, "done": False},
    {"ok": 1.0},
)
def test_a_server_that_breaks_the_protocol_lets_nobody_in(answer: dict[str, Any]) -> None:
    talk = Talk(SCRAM)
    talk.client(command(EXPLICIT))
    talk.server(answer)
    assert [each["code"] for each in talk.told()] == [18]
    assert not talk.is_let_in


def test_a_server_that_answers_a_login_with_a_stream_is_cut_off() -> None:
    talk = Talk(SCRAM)
    talk.client(command(EXPLICIT))
    number = int.from_bytes(talk.sent()[-1][4:8], "little")
    effects = talk.session.server_data(reply({"ok": 1.0, "payload": Binary(b"")}, number, flags=MORE_TO_COME))
    assert [e.reason for e in effects if isinstance(e, Close)] == [CloseReason.SERVER_PROTOCOL]
    assert not [e for e in effects if isinstance(e, ToServer | ToClient)]


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("is_yes", [True, False])
def test_a_login_that_begins_with_the_handshake(talk: Talk, legacy: bool, is_yes: bool) -> None:
    hello = {"hello": 1, "speculativeAuthenticate": SPECULATION, "$db": "admin"}
    talk.client(legacy_query(hello, flags=4) if legacy else command(hello, 1))
    (sent,) = talk.sent()
    assert b"speculativeAuthenticate" not in sent
    answer = {"ok": 1.0, "maxWireVersion": 21}
    talk.effects = talk.session.server_data(legacy_reply(answer) if legacy else reply(answer))
    assert (talk.told(), talk.question()) == ([], EXPLICIT)
    talk.server({"ok": 1.0} if is_yes else NO)
    message = next(each.data for each in talk.effects if isinstance(each, ToClient))
    assert (b"speculativeAuthenticate" in message) is is_yes
    assert (SUBJECT.encode() in message) is is_yes
    if not legacy and is_yes:
        done = {"dbname": "$external", "user": SUBJECT, "ok": 1.0}
        assert body_of(message) == {**answer, "speculativeAuthenticate": done}
    assert talk.is_let_in is is_yes


def failures(effects: list[Effect]) -> int:
    """How many logins have failed, by the figure and by the lines of the audit log."""
    counted = effects.count(Count(Counter.LOGIN_FAILURES, label=X509))
    assert counted == len([each for each in effects if isinstance(each, Audit)])
    return counted


def test_a_login_that_fails_in_the_handshake_and_then_by_itself_has_failed_once(talk: Talk) -> None:
    hello = {"hello": 1, "speculativeAuthenticate": SPECULATION, "$db": "admin"}
    seen = []
    for _ in range(2):
        talk.client(command(hello, 1))
        talk.server({"ok": 1.0}, 1)
        seen.append(failures(talk.server(NO)))
        talk.client(command(EXPLICIT, 2))
        seen.append(failures(talk.server(NO)))
        assert [each["code"] for each in talk.told()] == [18]
    # whoever tries again by himself is counted again
    talk.client(command(EXPLICIT, 3))
    seen.append(failures(talk.server(NO)))
    assert seen == [1, 0, 1, 0, 1]


@pytest.mark.parametrize("change", [{"user": "CN=ward-4"}, {"db": "admin"}])
def test_a_handshake_of_somebody_else_begins_nothing(talk: Talk, change: dict[str, Any]) -> None:
    talk.client(command({"hello": 1, "speculativeAuthenticate": {**SPECULATION, **change}, "$db": "admin"}))
    talk.server({"ok": 1.0}, 1)
    assert (talk.sent(), talk.told()) == ([], [{"ok": 1.0}])


def test_what_is_sent_during_the_login_waits_and_comes_after_it(talk: Talk) -> None:
    talk.client(command(EXPLICIT, 5) + command({"ping": 1, "$db": "admin"}, 6))
    assert talk.question() == EXPLICIT
    talk.server({"ok": 1.0})
    assert [body_of(each).get("ping") for each in talk.sent()] == [1]
    assert len(talk.told()) == 1


def test_a_second_login_is_asked_of_the_server_anew_and_a_failure_ends_the_first(talk: Talk) -> None:
    talk.client(command(EXPLICIT, 5))
    talk.server({"ok": 1.0})
    talk.client(command(EXPLICIT, 6))
    talk.server(NO)
    assert [each["code"] for each in talk.told()] == [18]
    assert not talk.is_let_in


def test_a_logout_ends_it(talk: Talk) -> None:
    talk.client(command(EXPLICIT, 5))
    talk.server({"ok": 1.0})
    talk.client(command({"logout": 1, "$db": "$external"}, 6))
    assert not talk.is_let_in


def test_a_legacy_query_that_waited_for_its_login_is_one_query(talk: Talk) -> None:
    for number in range(1, 16):
        talk.client(legacy_query({"buildInfo": 1}, number))
    talk.client(legacy_query({"authenticate": 1, "mechanism": X509}, 16, b"$external.$cmd"))
    talk.server({"ok": 1.0})
    (answer,) = (each.data for each in talk.effects if isinstance(each, ToClient))
    assert (op_code_of(answer), response_to_of(answer)) == (OpCode.REPLY, 16)


def test_what_came_of_a_login_answers_no_later_one(talk: Talk) -> None:
    talk.client(command(EXPLICIT, 5))
    talk.server({"ok": 1.0})
    talk.client(command({"find": "patients", "$db": "clinic"}, 6))
    talk.server({"ok": 1.0, "authInfo": {"authenticatedUsers": []}})
    hello = {"hello": 1, "speculativeAuthenticate": SPECULATION, "$db": "admin"}
    talk.client(command(hello, 7))
    # out of order: the handshake is answered, then the find, by a key that nobody has
    talk.server({"ok": 1.0}, 7)
    question = int.from_bytes(talk.sent()[0][4:8], "little")
    batch = {"firstBatch": [{"nhs_number": sealed("nhs", "1", 9)}], "id": 0, "ns": "clinic.patients"}
    talk.server({"ok": 1.0, "cursor": batch}, 6)
    load_keys(talk.session, None)
    talk.server({"ok": 1.0}, question)
    talk.client(command({"logout": 1, "$db": "$external"}, 8))
    talk.client(command(EXPLICIT, 9))
    assert talk.question()["authenticate"] == 1
    assert talk.told() == []


def test_a_password_that_was_changed_counts_from_the_next_login_on() -> None:
    talk = Talk(SCRAM)
    other = ScramIdentity("other", "users", ScramSecret(ScramHash.SHA_256, b"pencil"))
    use_settings(talk.session, SessionSettings(POLICY, identities={Holder(SUBJECT): other}))
    talk.client(command(EXPLICIT))
    assert bytes(talk.question()["payload"]).startswith(b"n,,n=other,")


def test_one_session_opens_nothing_for_another_of_the_same_certificate() -> None:
    first, second = Talk(APP, shown=APP), Talk(APP, shown=APP)
    second.session.shared.settings = first.session.shared.settings
    first.client(command(EXPLICIT))
    first.server({"ok": 1.0})
    assert first.is_let_in
    assert not second.is_let_in


def test_without_a_reply_nothing_is_begun(talk: Talk) -> None:
    talk.client(command(EXPLICIT, flags=2))
    assert talk.sent() == []
    assert talk.session.client_data(PING) == []


@pytest.mark.parametrize(("identity", "offered"), [(None, ["SCRAM-SHA-256"]), (APP, ["SCRAM-SHA-256", X509])])
def test_the_mechanism_is_offered_to_those_only_who_could_use_it(
    identity: UpstreamIdentity | None, offered: list[str]
) -> None:
    talk = Talk(identity, shown=identity)
    talk.client(command({"hello": 1, "saslSupportedMechs": "admin.app", "$db": "admin"}))
    talk.server({"ok": 1.0, "saslSupportedMechs": ["SCRAM-SHA-256", X509], "hosts": []}, 1)
    assert [each["saslSupportedMechs"] for each in talk.told()] == [offered]


def test_nothing_of_a_login_is_in_any_repr() -> None:
    talk = Talk(ScramIdentity("app", "users", ScramSecret(ScramHash.SHA_256, b"hunter2")))
    talk.client(command(EXPLICIT))
    assert "hunter2" not in repr((talk.session.shared.settings, talk.session.shared))
