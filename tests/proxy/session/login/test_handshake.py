"""The handshake: what is taken out of a hello, and which addresses its reply names."""

from collections.abc import Iterator
from typing import Any

import bson
import pytest
from bson import Int64
from hypothesis import given
from hypothesis import strategies as st

from sealwire.proxy.session.effects import (
    Close,
    CloseReason,
    Count,
    Counter,
    Effect,
    StrangerMet,
    ToClient,
    ToServer,
)
from sealwire.proxy.session.login.handshake import (
    ACCEPTED_CLIENT_MESSAGE_BYTES,
    MAX_CLIENT_MESSAGE_BYTES,
    STRANGER,
    MemberTexts,
    Topology,
    UnknownMember,
    names_own_address,
    prepare_hello,
    rewrite_hello,
    rewrite_members,
)
from sealwire.proxy.session.session import Session
from sealwire.proxy.session.shared import SessionSettings, Shared
from sealwire.wire.compressors import compressor_named
from sealwire.wire.errors import BsonError
from tests.bson_types import BsonType
from tests.proxy.session.playbook import Playbook, audit, client, close, error, server, to_client, to_server
from tests.proxy.session.world import (
    KEYRING,
    OWN_ADDRESS,
    POLICY,
    command,
    decoded,
    legacy_query,
    legacy_reply,
    reply,
    sealed,
    sections,
    session,
    written,
)
from tests.support.rows import rows
from tests.wire.corpus import INVALID, document, element, int32, string

MEMBERS = {"a:27017": "proxy-a:1", "b:27017": "a-much-longer-name.proxy.example:2", "c:27017": "c:3"}
SET = {
    "setName": "rs0",
    "setVersion": 3,
    "electionId": bson.ObjectId(b"\0" * 12),
    "topologyVersion": {"n": 1},
}
LIMITS = {"maxBsonObjectSize": 16_777_216, "maxWriteBatchSize": 100_000, "maxWireVersion": 21}
BODY = 21  # offset of the body in an OP_MSG whose only section it is
MORE_TO_COME, EXHAUST_ALLOWED, CHECKSUM = 2, 1 << 16, 1


def hello_reply(me: str, others: list[str], size: int, **more: Any) -> dict[str, Any]:
    lists = {"hosts": [me, *others], "me": me, "primary": others[0] if others else me}
    told = {**SET, **lists, **LIMITS, "maxMessageSizeBytes": size, **more}
    return {"isWritablePrimary": True, **told, "ok": 1.0}


ALONE = hello_reply("db:27017", [], 48_000_000)
ALONE_TOLD = hello_reply(OWN_ADDRESS, [], MAX_CLIENT_MESSAGE_BYTES)
HELLO = command({"hello": 1, "$db": "admin"})


def sent_on(play: Playbook, message: bytes) -> Playbook:
    """A message that goes to the server as it came."""
    return play >> client(message) << to_server(message)


@pytest.mark.parametrize("name", ["hello", "isMaster", "ismaster"])
@pytest.mark.parametrize("flags", [0, CHECKSUM])
def test_a_hello_loses_its_offer_of_compression_and_nothing_else(
    play: Playbook, name: str, flags: int
) -> None:
    body = {name: 1, "client": {"driver": {"name": "x"}}, "saslSupportedMechs": "db.user"}
    offered = command({**body, "compression": ["zstd", "zlib"], "$db": "admin"}, 1, flags=flags)
    play >> client(offered) << to_server(command({**body, "$db": "admin"}, 1, flags=flags))
    without = command({**body, "$db": "admin"}, 2, flags=flags)
    play >> client(without) << to_server(without)


@pytest.mark.parametrize("flags", [0, CHECKSUM])
def test_the_reply_names_the_proxy_and_a_lower_limit(play: Playbook, flags: int) -> None:
    sent_on(play, HELLO) >> server(reply(ALONE, flags=flags)) << to_client(reply(ALONE_TOLD, flags=flags))


def test_a_legacy_hello_is_answered_in_its_own_opcode(play: Playbook) -> None:
    play >> client(legacy_query({"isMaster": 1, "helloOk": True, "compression": ["snappy"]}))
    play << to_server(legacy_query({"isMaster": 1, "helloOk": True}))
    play >> server(legacy_reply(ALONE)) << to_client(legacy_reply(ALONE_TOLD))


@pytest.mark.parametrize(
    "answer",
    [reply(ALONE), legacy_reply(ALONE, documents=0), legacy_reply(ALONE, documents=2)],
    ids=["OP_MSG", "no document", "two documents"],
)
def test_a_legacy_hello_has_one_document_in_its_own_opcode(play: Playbook, answer: bytes) -> None:
    detail = "opcode at byte 12" if answer == reply(ALONE) else None
    sent_on(play, legacy_query({"isMaster": 1}))
    play >> server(answer) << close(CloseReason.SERVER_PROTOCOL, detail)


@pytest.mark.parametrize("request_message", [command({"hello": 1}), command({"ping": 1, "$db": "x"})])
def test_a_legacy_reply_to_anything_else_closes(play: Playbook, request_message: bytes) -> None:
    sent_on(play, request_message) >> server(legacy_reply(ALONE)) << close(CloseReason.SERVER_PROTOCOL)


@rows(
    "query",
    legacy_query({"find": "patients"}, namespace=b"clinic.$cmd"),
    legacy_query({"nhs_number": "x"}, namespace=b"clinic.patients"),
    legacy_query({"isMaster": 1}, namespace=b"clinic.patients"),
    legacy_query({}),
)
def test_any_other_legacy_query_is_answered_with_an_error(query: bytes) -> None:
    effects = session().client_data(query)
    data = b"".join(getattr(effect, "data", b"") for effect in effects)
    assert data[8:16] == bytes([1, 0, 0, 0, 1, 0, 0, 0])  # answers request 1; OP_REPLY
    body = decoded(data[36:])
    assert (body["ok"], body["code"], body["codeName"]) == (0.0, 352, "UnsupportedOpQueryCommand")


def test_an_envelope_in_a_handshake_reaches_no_server(play: Playbook) -> None:
    play >> client(legacy_query({"isMaster": 1, "comment": sealed("nhs", "x")}))
    play << close(CloseReason.CLIENT_PROTOCOL)


@pytest.mark.parametrize("chained", [True, False])
def test_both_conventions_of_an_exhaust_stream_are_understood(play: Playbook, chained: bool) -> None:
    hello = {"hello": 1, "maxAwaitTimeMS": 10_000, "$db": "admin"}
    sent_on(play, command(hello, 1, flags=EXHAUST_ALLOWED))
    answered = 1
    for number in range(50, 60):
        play >> server(reply(ALONE, answered, number, flags=MORE_TO_COME))
        play << to_client(reply(ALONE_TOLD, answered, number, flags=MORE_TO_COME))
        answered = number if chained else 1
        assert play.session.idle
    play >> server(reply(ALONE, answered, 60)) << to_client(reply(ALONE_TOLD, answered, 60))
    play >> server(reply(ALONE, answered, 61)) << close(CloseReason.SERVER_PROTOCOL)


def test_a_hello_that_wants_no_answer_awaits_none(play: Playbook) -> None:
    hello = command({"hello": 1, "$db": "admin"}, 1, flags=MORE_TO_COME)
    sent_on(sent_on(play, hello), hello)


def test_every_member_of_a_set_has_its_listener_here() -> None:
    play = sent_on(Playbook(session(members=MEMBERS)), HELLO)
    lists, told = ({"passives": [name], "arbiters": []} for name in ("c:27017", "c:3"))
    play >> server(reply(hello_reply("a:27017", ["b:27017"], 1000, **lists)))
    play << to_client(reply(hello_reply("proxy-a:1", [MEMBERS["b:27017"]], 1000, **told)))
    play.finish()


@pytest.mark.parametrize("members", [MEMBERS, {}])
@pytest.mark.parametrize("answer", [{"hosts": ["a:27017", "x:27017"]}, {"passives": ["c:27017", "x:27017"]}])
def test_a_member_without_a_listener_closes(members: dict[str, str], answer: dict[str, Any]) -> None:
    play = sent_on(Playbook(session(members=members)), HELLO)
    play >> server(reply(answer)) << close(CloseReason.TOPOLOGY)
    play.finish()


@rows(
    "answer, is_one",
    (
        {"hosts": ["a:27017"], "passives": ["b:27017"], "arbiters": ["c:27017"], "primary": "b:27017"},
        False,
    ),
    ({"hosts": ["a:27017"], "arbiters": ["c:27017"]}, False),
    ({"hosts": ["a:27017", "a:27017"], "passives": ["A:27017"], "arbiters": []}, True),
)
def test_one_listener_stands_for_one_member_whatever_list_it_is_in(
    answer: dict[str, Any], is_one: bool
) -> None:
    here = session(members={})
    here.client_data(command({"hello": 1, "$db": "admin"}))
    effects = here.server_data(reply(answer))
    assert isinstance(effects[0], ToClient) is is_one
    assert [each.reason for each in effects if isinstance(each, Close)] == [CloseReason.TOPOLOGY] * (
        not is_one
    )


@pytest.mark.parametrize("field", ["me", "primary"])
def test_an_unknown_single_address_is_not_told(field: str) -> None:
    with pytest.raises(UnknownMember):
        rewrite_hello(reply({field: "x:27017"}), BODY, Topology(OWN_ADDRESS, MEMBERS))


def test_compression_is_taken_out_of_a_reply_too() -> None:
    message = reply({"compression": ["zlib"], "ok": 1})
    assert rewrite_hello(message, BODY, Topology(OWN_ADDRESS)) == (reply({"ok": 1}), False)


def test_what_is_no_address_passes_as_it_is() -> None:
    odd = reply({"hosts": None, "me": None, "primary": None, "maxMessageSizeBytes": "x", "arbiters": []})
    assert rewrite_hello(odd, BODY, Topology(OWN_ADDRESS))[0] is odd


SYMBOL = element(BsonType.SYMBOL, b"0", string(b"x:27017"))


@rows(
    "field",
    element(BsonType.SYMBOL, b"me", string(b"x:27017")),
    element(BsonType.JAVASCRIPT, b"primary", string(b"x:27017")),
    element(BsonType.ARRAY, b"hosts", document(SYMBOL)),
    element(BsonType.OBJECT, b"hosts", document(element(BsonType.INT, b"x:27017", int32(1)))),
    element(BsonType.OBJECT, b"hosts", document(element(BsonType.STRING, b"0", string(b"db:27017")))),
    element(BsonType.STRING, b"passives", string(b"x:27017")),
)
def test_an_address_in_another_type_is_not_told(play: Playbook, field: bytes) -> None:
    sent_on(play, HELLO) >> server(reply(document(field))) << close(CloseReason.SERVER_PROTOCOL)


@pytest.mark.parametrize("size", [Int64(48_000_000), 48_000_000.0, Int64(2**40)])
def test_the_limit_is_lowered_whichever_number_it_is(size: Any) -> None:
    rewritten, _ = rewrite_hello(reply({"maxMessageSizeBytes": size, "ok": 1}), BODY, Topology(OWN_ADDRESS))
    assert rewritten == reply({"maxMessageSizeBytes": MAX_CLIENT_MESSAGE_BYTES, "ok": 1})


def test_a_client_that_goes_beyond_the_limit_it_was_told_is_cut(play: Playbook) -> None:
    head = command({"ping": 1, "$db": "admin"})[4:16]
    play >> client(int32(ACCEPTED_CLIENT_MESSAGE_BYTES) + head)
    play.finish()
    beyond = Playbook(session())
    beyond >> client(int32(ACCEPTED_CLIENT_MESSAGE_BYTES + 1) + head) << close(CloseReason.CLIENT_PROTOCOL)
    beyond.finish()


@pytest.mark.parametrize("name", INVALID)
def test_a_hello_with_bad_bson_anywhere_is_not_passed_on(name: str) -> None:
    bad = INVALID[name][0]
    with pytest.raises(BsonError):
        prepare_hello(document(element(0x10, b"hello", b"\1\0\0\0"), element(3, b"client", bad)), 0)


def test_a_hello_reply_is_never_decrypted(play: Playbook) -> None:
    odd = reply({"x": sealed("nhs", "x"), "me": "db:27017"})
    sent_on(play, HELLO) >> server(odd) << to_client(reply({"x": sealed("nhs", "x"), "me": OWN_ADDRESS}))


def test_a_refused_hello_answers_with_an_error(play: Playbook) -> None:
    play >> client(command({"hello": 1, "comment": sealed("nhs", "x"), "$db": "admin"}))
    play << audit("refused", "", "hello", "envelope") << error(2, "BadValue")


SERVICE_ID = bytes(range(12))
BALANCED = {"hello": 1, "loadBalanced": True, "$db": "admin"}


def behind_a_balancer(**settings: Any) -> Playbook:
    topology = Topology(OWN_ADDRESS, service_id=SERVICE_ID)
    shared = Shared(SessionSettings(POLICY, login_required=False, **settings), KEYRING)
    return Playbook(Session(shared, topology))


@pytest.fixture
def balanced() -> Iterator[Playbook]:
    play = behind_a_balancer()
    yield play
    play.finish()


SERVED = {**ALONE_TOLD, "serviceId": bson.ObjectId(SERVICE_ID)}


@pytest.mark.parametrize("flags", [0, CHECKSUM])
def test_behind_a_balancer_a_client_is_told_a_service_id(balanced: Playbook, flags: int) -> None:
    sent_on(balanced, command(BALANCED)) >> server(reply(ALONE, flags=flags))
    balanced << to_client(reply(SERVED, flags=flags))


def test_once_it_has_said_so_a_client_may_ask_again_without(balanced: Playbook) -> None:
    sent_on(balanced, command(BALANCED)) >> server(reply(ALONE)) << to_client(reply(SERVED))
    sent_on(balanced, command({"hello": 1, "$db": "admin"}, 2))
    balanced >> server(reply(ALONE, 2)) << to_client(reply(SERVED, 2))


def test_the_servers_own_service_id_passes(balanced: Playbook) -> None:
    answer = reply({"msg": "isdbgrid", "serviceId": bson.ObjectId(b"\7" * 12), "ok": 1.0})
    sent_on(balanced, command(BALANCED)) >> server(answer) << to_client(answer)


@pytest.mark.parametrize("said", [{}, {"loadBalanced": False}, {"loadBalanced": 1}, {"loadBalanced": "true"}])
def test_a_client_that_knows_of_no_balancer_is_turned_away(balanced: Playbook, said: dict[str, Any]) -> None:
    balanced >> client(command({"hello": 1, **said, "$db": "admin"}))
    balanced << audit("refused", "", "hello", "BalancerMismatch") << error(354, "LoadBalancerSupportMismatch")
    assert balanced.count(Counter.REFUSALS, "BalancerMismatch") == 1


def test_the_proxys_own_probe_is_answered_and_goes_no_further(balanced: Playbook) -> None:
    balanced.session.shared.probe_mark = b"0123456789abcdef"
    application = {"name": "sealwire probe 0123456789abcdef"}
    balanced >> client(command({"hello": 1, "client": {"application": application}, "$db": "admin"}))
    balanced << audit("refused", "", "hello", "OwnProbe") << error(20, "SealwireProbe")
    sent_on(balanced, command({**BALANCED, "client": {"application": {"name": "sealwire probe 0123"}}}, 2))


def test_an_old_hello_is_turned_away_in_its_own_opcode() -> None:
    answer = written(behind_a_balancer().session.client_data(legacy_query({"isMaster": 1})), ToClient)
    assert answer[8:16] == bytes([1, 0, 0, 0, 1, 0, 0, 0])
    assert decoded(answer[36:])["code"] == 354


def test_without_the_setting_the_server_says_what_it_is(play: Playbook) -> None:
    sent_on(play, command(BALANCED)) >> server(reply(ALONE)) << to_client(reply(ALONE_TOLD))
    answer = reply({"serviceId": bson.ObjectId(b"\7" * 12), "ok": 1.0}, 2)
    sent_on(play, command(BALANCED, 2)) >> server(answer) << to_client(answer)


def test_a_balancer_and_compression_are_answered_together() -> None:
    zlib = compressor_named("zlib")
    play = behind_a_balancer(compress_to_clients=(zlib,), compress_to_server=(zlib,))
    hello = command({"hello": 1, "loadBalanced": True, "compression": ["zlib"], "$db": "admin"})
    moved = command({"hello": 1, "loadBalanced": True, "$db": "admin", "compression": ["zlib"]})
    play >> client(hello) << to_server(moved)
    play >> server(reply({"compression": ["zlib"], "ok": 1.0}))
    told = {"ok": 1.0, "compression": ["zlib"], "serviceId": bson.ObjectId(SERVICE_ID)}
    play << to_client(reply(told))
    play.finish()


CHECKSUM = 1
MEMBER_SET = {"a:27017": "proxy:1", "b:27017": "proxy:2"}


def body_of(message: bytes) -> dict[str, Any]:
    return decoded(sections(message)[0][1][0])


def session_in(members: dict[str, str]) -> Session:
    topology = Topology("proxy:1", members, withholds=True)
    return Session(Shared(SessionSettings(POLICY, login_required=False), KEYRING), topology)


def told(
    members: dict[str, str], answer: dict[str, Any], name: str = "hello", flags: int = 0
) -> list[Effect]:
    """What becomes of an answer."""
    here = session_in(members)
    here.client_data(command({name: 1, "$db": "admin"}, 1))
    return here.server_data(reply({**answer, "ok": 1.0}, flags=flags))


def document_in(effects: list[Effect]) -> dict[str, Any]:
    effect = effects[0]
    assert isinstance(effect, ToClient)
    return body_of(effect.data)


@pytest.mark.parametrize("flags", [0, CHECKSUM])
def test_a_member_without_a_listener_is_left_out_of_hello_until_it_has_one(flags: int) -> None:
    members = dict(MEMBER_SET)
    hosts = ["a:27017", "new:27017", "B:27017"]
    answer = {"hosts": hosts, "arbiters": ["c:1"], "me": "a:27017", "primary": "new:27017"}
    effects = told(members, answer, flags=flags)
    left = {"hosts": ["proxy:1", "proxy:2"], "arbiters": [], "me": "proxy:1", "ok": 1.0}
    assert document_in(effects) == left
    assert effects[1:] == [StrangerMet()]
    members |= {"new:27017": "proxy:3", "c:1": "proxy:4"}
    effects = told(members, answer, flags=flags)
    assert document_in(effects)["hosts"] == ["proxy:1", "proxy:3", "proxy:2"]
    assert (document_in(effects)["primary"], effects[1:]) == ("proxy:3", [])


def test_a_session_that_is_open_hears_of_members_that_come_later() -> None:
    members = dict(MEMBER_SET)
    here = session_in(members)
    for number, host in enumerate(("a:27017", "new:27017"), 1):
        here.client_data(command({"hello": 1, "$db": "admin"}, number))
        members["new:27017"] = "proxy:3"
        answer = here.server_data(reply({"hosts": [host], "me": host, "ok": 1.0}, number))
        assert document_in(answer)["me"] == ("proxy:1", "proxy:3")[number - 1]


def test_a_server_that_calls_itself_by_a_name_that_nobody_knows_ends_the_session_and_is_looked_for() -> None:
    effects = told(MEMBER_SET, {"hosts": ["a:27017"], "me": "new:27017"})
    assert effects[0] == StrangerMet()
    assert isinstance(effects[1], Close)
    assert effects[1].reason is CloseReason.TOPOLOGY


STATUS = {
    "set": "rs0",
    "syncSourceHost": "b:27017",
    "members": [
        {"_id": 0, "name": "a:27017", "syncSourceHost": ""},
        {"_id": 1, "name": "B:27017", "syncSourceHost": "hidden:5"},
    ],
    "initialSyncStatus": {"initialSyncAttempts": [{"syncSource": "a:27017"}]},
}
CONFIG = {
    "config": {
        "_id": "rs0",
        "members": [{"host": "hidden:5", "horizons": {"x": "a.outside:1"}, "tags": {"name": "a:27017"}}],
        "settings": {"getLastErrorModes": {"host": "kept"}},
    }
}


@pytest.mark.parametrize("flags", [0, CHECKSUM])
def test_status_and_configuration_name_the_proxy(flags: int) -> None:
    assert document_in(told(MEMBER_SET, STATUS, "replSetGetStatus", flags)) == {
        "set": "rs0",
        "syncSourceHost": "proxy:2",
        "members": [
            {"_id": 0, "name": "proxy:1", "syncSourceHost": ""},
            {"_id": 1, "name": "proxy:2", "syncSourceHost": STRANGER},
        ],
        "initialSyncStatus": {"initialSyncAttempts": [{"syncSource": "proxy:1"}]},
        "ok": 1.0,
    }
    found = document_in(told(MEMBER_SET, CONFIG, "replSetGetConfig", flags))
    assert found["config"]["members"] == [{"host": STRANGER, "tags": {"name": "a:27017"}}]
    assert found["config"]["settings"] == CONFIG["config"]["settings"]


def test_while_no_member_has_a_listener_none_is_taken_for_the_one_that_is_left() -> None:
    """As with a set whose only member has another name now, and whose port is taken."""
    effects = told({}, {"hosts": ["new:1"], "primary": "new:1"})
    assert document_in(effects) == {"hosts": [], "ok": 1.0}
    assert StrangerMet() in effects


@pytest.mark.parametrize("name", ["replSetGetStatus", "replSetGetConfig"])
def test_an_error_stays_as_it_is_and_counts(name: str) -> None:
    error = {"codeName": "NotYetInitialized", "code": 94, "errmsg": "no replset config"}
    here = session_in(MEMBER_SET)
    here.client_data(command({name: 1, "$db": "admin"}, 1))
    effects = here.server_data(reply({"ok": 0.0, **error}))
    assert document_in(effects) == {"ok": 0.0, **error}
    assert Count(Counter.SERVER_ERRORS, label=name) in effects


@rows("field", "lastHeartbeatMessage", "infoMessage", "voteReason", "status", "errmsg", "of_a_newer_server")
def test_sentences_name_the_proxy_too(field: str) -> None:
    said = "Error connecting to b:27017 (10.0.0.2:27017) :: caused by :: Connection refused"
    answer = {"members": [{"name": "b:27017", "ip": "10.0.0.2", field: said}]}
    (member,) = document_in(told(MEMBER_SET, answer, "replSetGetStatus"))["members"]
    assert member == {
        "name": "proxy:2",
        field: f"Error connecting to proxy:2 ({STRANGER}) :: caused by :: Connection refused",
    }


@given(
    st.recursive(
        st.text() | st.integers(0, 9),
        lambda inner: st.dictionaries(st.sampled_from(["name", "host", "x"]), inner),
    )
)
def test_no_member_is_named_by_its_own_name_wherever_it_stands(inside: Any) -> None:
    message = reply({"members": [{"name": "a:27017", "inside": inside}]})
    rewritten = body_of(rewrite_members(message, BODY, Topology("proxy:1", MEMBER_SET, withholds=True)))
    assert rewritten["members"][0]["name"] == "proxy:1"


@rows(
    "asked",
    {"replSetReconfig": {"_id": "rs0", "members": [{"_id": 0, "host": "Proxy:2"}]}},
    {"replSetInitiate": {"_id": "rs0", "members": [{"_id": 0, "host": STRANGER}]}},
    {"replSetSyncFrom": "proxy:1"},
)
def test_members_are_never_told_of_the_proxys_addresses(asked: dict[str, Any]) -> None:
    here = session_in(MEMBER_SET)
    effects = here.client_data(command({**asked, "$db": "admin"}, 1))
    assert not any(isinstance(effect, ToServer) for effect in effects)
    answer = next(effect for effect in effects if isinstance(effect, ToClient))
    assert "Sealwire" in body_of(answer.data)["errmsg"]


@rows("asked", {"replSetReconfig": {"members": [{"host": "c:27017"}]}}, {"replSetSyncFrom": "b:27017"})
def test_their_own_names_pass(asked: dict[str, Any]) -> None:
    message = command({**asked, "$db": "admin"}, 1)
    assert ToServer(message) in session_in(MEMBER_SET).client_data(message)
    assert not names_own_address(message, BODY, Topology("proxy:1", MEMBER_SET))


NAMED = {
    "mongo-a.clinic.test:27017": "proxy.test:1",
    "mongo-b:27018": "proxy.test:2",
    "[fd00::3]:27017": "proxy.test:3",
}
STRANGE_HOST = STRANGER.partition(":")[0]
TEXTS = MemberTexts(Topology("proxy.test:1", NAMED, withholds=True))


@rows(
    "said, told",
    ("syncing from: MONGO-B:27018", "syncing from: proxy.test:2"),
    ("no address for mongo-a.clinic.test.", "no address for proxy.test."),
    ("no address for Mongo-B: try again", "no address for proxy.test: try again"),
    ("mongo-b:27018", "proxy.test:2"),
    ("connecting to [fd00::3]:27017 failed", "connecting to proxy.test:3 failed"),
    ("connecting to [fd00::9]:27017 failed", f"connecting to {STRANGER} failed"),
    ("connecting to [fd00::9] failed", f"connecting to {STRANGE_HOST} failed"),
    ("hidden.clinic.test:27019, 10.0.0.2:27017", f"{STRANGER}, {STRANGER}"),
    ("mongo-b:99", STRANGER),
    ("10.0.0.2", STRANGE_HOST),
    # what names nobody stays
    ("", None),
    ("mongo-b", None),
    ("could not find member to sync from", None),
    ("at 2026-11-27T10:15:20.123Z, or 10:15:20", None),
    ("HostUnreachable :: caused by :: code:6, version 7.0.12", None),
    ("not mongo-bb, nor a.mongo-b, nor mongo-a", None),
)
def test_a_member_is_called_by_the_proxys_address(said: str, told: str | None) -> None:
    assert TEXTS.told(said) == (said if told is None else told)


def test_with_one_listener_all_members_are_that_one() -> None:
    told = MemberTexts(Topology("proxy.test:1")).told("connecting to b:27017 (10.0.0.2)")
    assert told == f"connecting to proxy.test:1 ({STRANGE_HOST})"


@given(st.text(), st.sampled_from(sorted(NAMED)), st.text())
def test_no_name_with_its_port_is_left_beside_any_words(before: str, name: str, after: str) -> None:
    assert name not in TEXTS.told(f"{before} {name} {after}")
