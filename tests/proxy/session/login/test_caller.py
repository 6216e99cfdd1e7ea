"""Who is at the other end, as server and client say it. Whatever they say, one line of a log holds it."""

import struct
from typing import Any

import pytest
from bson import Binary, encode
from hypothesis import given
from hypothesis import strategies as st

from sealwire.policies.roles.role import ClassAccess, Disclosure, Level, Role, Roles, Wildcards
from sealwire.proxy.session.choices import Holder, ScramHash
from sealwire.proxy.session.effects import CloseReason, ToServer
from sealwire.proxy.session.login.caller import (
    MAX_PURPOSE_CHARACTERS,
    MAX_REASON_CHARACTERS,
    MAX_USERS,
    NOTHING_STATED,
    OPEN_COMMANDS,
    Stated,
    described,
    on_record,
    stated_in,
    users_in,
)
from sealwire.proxy.session.login.identities import (
    NOT_CERTIFIED,
    CertificateIdentity,
    Certified,
    Identities,
    ScramIdentity,
    ScramSecret,
    UpstreamIdentity,
)
from sealwire.proxy.session.shared import SessionSettings
from sealwire.proxy.session.sides.client_side import MAX_BYTES_BEFORE_LOGIN
from sealwire.wire.errors import BsonError
from sealwire.wire.framing import request_id_of
from tests.proxy.session.playbook import Playbook, audit, client, close, error, server, to_client, to_server
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
from tests.strategies import bson_documents
from tests.support.rows import rows

SPOKEN = {"application": {"name": "rounds"}, "driver": {"name": "PyMongo", "version": "4.20"}}


def status(users: Any) -> bytes:
    return encode({"authInfo": {"authenticatedUsers": users, "authenticatedUserRoles": []}, "ok": 1.0})


@rows(
    "client, expected",
    (SPOKEN, ("rounds", "PyMongo 4.20")),
    ({"driver": {"name": "Rust"}}, ("", "Rust")),
    ({"application": {"name": "a\nb\u202ec"}}, ("a?b?c", "")),
    ({"application": {"name": "x" * 200}}, ("x" * 64 + "…", "")),
    ({"application": {"name": "Portal 943 476 5919 Ann"}}, ("[masked] [masked] [masked]", "")),
    ({"driver": {"name": "x", "version": "ann@nhs.example"}}, ("", "x [masked]")),
    ({"application": {"name": 7}, "driver": "PyMongo"}, ("", "")),
    ("PyMongo", ("", "")),
    ({}, ("", "")),
)
def test_a_client_says_what_it_is(client: Any, expected: tuple[str, str]) -> None:
    assert described(encode({"hello": 1, "client": client}), 0) == expected
    assert described(encode({"hello": 1}), 0) == ("", "")


@rows(
    "users, expected",
    ([{"user": "ann", "db": "admin"}], ("ann@admin",)),
    ([{"user": "ann", "db": "admin"}, {"user": "bob", "db": "clinic"}], ("ann@admin", "bob@clinic")),
    ([{"user": "a\tb\x00c", "db": "x" * 99}], ("a?b?c@" + "x" * 99,)),
    # one user whose name looks like two, and one that is written as the first one is shown
    ([{"user": "ann@admin bob", "db": "clinic"}], ("ann@admin%20bob@clinic",)),
    ([{"user": "ann@admin%20bob", "db": "clinic"}], ("ann@admin%2520bob@clinic",)),
    ([{"user": "u" * 1025, "db": "admin"}], ("?@admin",)),
    ([{"user": 7}, "ann", None], ("@",)),
    ([], ()),
    ("ann", ()),
    ({"0": {"user": "ann", "db": "admin"}}, ()),
)
def test_the_server_says_who_has_logged_in(users: Any, expected: tuple[str, ...]) -> None:
    assert users_in(status(users), 0) == expected


@pytest.mark.parametrize("body", [{}, {"authInfo": 1}, {"authInfo": {}}])
def test_a_server_that_does_not_say_names_nobody(body: dict[str, Any]) -> None:
    assert users_in(encode(body), 0) == ()


def test_no_more_users_are_kept_than_a_line_should_hold() -> None:
    many = [{"user": f"u{number}", "db": "admin"} for number in range(MAX_USERS + 5)]
    assert users_in(status(many), 0) == tuple(f"u{number}@admin" for number in range(MAX_USERS))


def within(kind: bytes, name: bytes, value: bytes) -> bytes:
    """A document that has `value` under `name`."""
    return struct.pack("<i", len(name) + len(value) + 7) + kind + name + b"\0" + value + b"\0"


@given(bson_documents())
def test_any_document_gives_printable_lines_or_an_error_of_bson(document: bytes) -> None:
    listed = within(b"\4", b"authenticatedUsers", within(b"\3", b"0", document))
    for body in (within(b"\3", b"client", document), within(b"\3", b"authInfo", listed)):
        try:
            said = (*described(body, 0), *users_in(body, 0))
        except BsonError:
            continue
        assert all(text.isprintable() for text in said)


@given(st.text(), st.text())
def test_names_of_any_text_are_printable_and_in_one_piece(user: str, database: str) -> None:
    for each in users_in(status([{"user": user, "db": database}]), 0):
        assert each.isprintable()
        assert " " not in each


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


@rows(
    "body, name",
    (FIND, "find"),
    ({"insert": "wards", "documents": [{"_id": 1}], "$db": "elsewhere"}, "insert"),
    ({"listDatabases": 1, "$db": "admin"}, "listDatabases"),
    ({"943 476 5919": 1, "$db": "admin"}, "other"),
    ({"explain": FIND, "$db": "clinic"}, "other"),
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


@rows("answer", step(1, done=False), step(1, done=1), step(1, done="yes"), reply({"ok": 1.0}, 1))
def test_anything_else_does_not(stranger: Playbook, answer: bytes) -> None:
    exchange(stranger, START, answer, 1)
    assert not is_let_in(stranger)


@rows(
    "answer, reason",
    (step(1, done=True, ok=0.0), "no code"),
    (step(1, done=True, ok=-0.0), "no code"),
    (step(1, done=True, ok="1"), "no code"),
    (reply({"done": True}, 1), "no code"),
    (reply({"ok": 0.0, "errmsg": "ann?", "code": 18, "codeName": "ann"}, 1), "code 18"),
    (reply({"ok": 0.0, "errmsg": "ann?", "code": "ann"}, 1), "no code"),
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


USER = ScramIdentity("app", "admin", ScramSecret(ScramHash.SHA_256, b"hunter2"))
APP, OTHER = CertificateIdentity("CN=app"), CertificateIdentity("CN=other")


@rows(
    "counts, shown, expected",
    (USER, None, USER),
    (USER, APP, USER),
    (APP, APP, APP),
    (APP, OTHER, None),
    (APP, None, None),
    (None, APP, None),
)
def test_a_certificate_counts_only_where_the_connection_shows_it(
    counts: UpstreamIdentity | None, shown: UpstreamIdentity | None, expected: UpstreamIdentity | None
) -> None:
    identities = {} if counts is None else {Holder("CN=a"): counts}
    assert Certified(("CN=a", "other spelling"), shown).identity(identities) is expected


def test_only_the_first_spelling_is_looked_up_and_without_a_certificate_none() -> None:
    identities = {Holder("CN=b"): USER, Holder(""): USER}
    assert Certified(("CN=a", "CN=b")).identity(identities) is None
    assert NOT_CERTIFIED.identity(identities) is None


@rows("issuer, expected", ("CN=Clinic CA", USER), ("CN=Supplier CA", APP), ("CN=third", None), ("", None))
def test_the_same_subject_of_another_authority_is_another_person(
    issuer: str, expected: UpstreamIdentity | None
) -> None:
    identities: Identities = {Holder("CN=a", "CN=Clinic CA"): USER, Holder("CN=a", "CN=Supplier CA"): APP}
    assert Certified(("CN=a",), APP, issuer).identity(identities) is expected


def test_an_entry_without_an_issuer_is_for_those_that_no_other_names() -> None:
    identities: Identities = {Holder("CN=a", "CN=Clinic CA"): USER, Holder("CN=a"): APP}
    found = [Certified(("CN=a",), APP, issuer).identity(identities) for issuer in ("CN=Clinic CA", "CN=x")]
    assert found == [USER, APP]


def test_no_repr_shows_a_password() -> None:
    assert "hunter2" not in repr(USER)


def stated(comment: Any) -> Stated:
    return stated_in(encode({"find": "patients", "comment": comment, "$db": "clinic"}), 0)


@rows(
    "comment, expected",
    ({"sealwire": {"purpose": "direct-care"}}, Stated("direct-care")),
    (
        {"trace": 1, "sealwire": {"breakGlass": "unconscious", "purpose": "care"}},
        Stated("care", "unconscious"),
    ),
    ("purpose=direct-care", Stated("direct-care")),
    (" purpose = direct-care ;breakGlass= a=b", Stated("direct-care", "a=b")),
    ("breakGlass=unconscious", Stated("", "unconscious")),
    ("a comment; of=another kind", NOTHING_STATED),
    ("", NOTHING_STATED),
    (7, NOTHING_STATED),
    ({"sealwire": "purpose=x"}, NOTHING_STATED),
    ({"sealwire": {"purpose": 7}}, NOTHING_STATED),
    ({"purpose": "direct-care"}, NOTHING_STATED),
)
def test_both_forms_say_the_same(comment: Any, expected: Stated) -> None:
    assert stated(comment) == expected


def test_a_command_without_a_comment_states_nothing() -> None:
    assert stated_in(encode({"find": "patients", "$db": "clinic"}), 0) == NOTHING_STATED


@given(st.text(), st.text())
def test_what_is_stated_fits_into_one_line_of_a_log(purpose: str, reason: str) -> None:
    said = stated({"sealwire": {"purpose": purpose.replace("\0", "") + "\n", "breakGlass": reason * 50}})
    for text, most in ((said.purpose, MAX_PURPOSE_CHARACTERS), (said.glass, MAX_REASON_CHARACTERS)):
        assert len(text) <= most
        assert text == "" or text.isprintable()


def test_what_is_too_long_is_cut() -> None:
    said = stated({"sealwire": {"purpose": "ä" * 1000, "breakGlass": "€" * 1000}})
    assert said == Stated("ä" * MAX_PURPOSE_CHARACTERS, "€" * MAX_REASON_CHARACTERS)


def listing(*purposes: str) -> Roles:
    everything = ClassAccess(Disclosure(Level.MASKED))
    return Roles((Role("r", (), Wildcards(()), {}, everything, purposes=purposes),))


def test_a_listed_purpose_stands_in_a_log_as_it_is_and_another_is_screened() -> None:
    listed = "Direct Care 2026-11-30"
    said = Stated(listed, "Ann Smith fell")
    assert on_record(said, listing("x", listed)) == Stated(listed, "[masked] fell")
    for roles in (None, listing("x")):
        assert on_record(said, roles).purpose == "[masked] [masked] [masked]"
    assert on_record(NOTHING_STATED, None) is NOTHING_STATED


def test_text_that_is_not_listed_is_cut() -> None:
    said = on_record(Stated("p" * 64, "g" * 256), None)
    assert said == Stated("p" * 32 + "…", "g" * 128 + "…")
