"""The handshake: what is taken out of a hello, and which addresses its reply names."""

from typing import Any

import bson
import pytest
from bson import Int64

from sealwire.proxy.session.effects import Close, CloseReason, Counter, ToClient
from sealwire.proxy.session.login.handshake import (
    ACCEPTED_CLIENT_MESSAGE_BYTES,
    MAX_CLIENT_MESSAGE_BYTES,
    Topology,
    UnknownMember,
    prepare_hello,
    rewrite_hello,
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
    session,
    written,
)
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
    return {
        "isWritablePrimary": True,
        **SET,
        **lists,
        **LIMITS,
        "maxMessageSizeBytes": size,
        **more,
        "ok": 1.0,
    }


ALONE = hello_reply("db:27017", [], 48_000_000)
ALONE_TOLD = hello_reply(OWN_ADDRESS, [], MAX_CLIENT_MESSAGE_BYTES)


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
    hello = command({"hello": 1, "$db": "admin"})
    play >> client(hello) << to_server(hello)
    play >> server(reply(ALONE, flags=flags)) << to_client(reply(ALONE_TOLD, flags=flags))


def test_a_legacy_hello_is_answered_in_its_own_opcode(play: Playbook) -> None:
    play >> client(legacy_query({"isMaster": 1, "helloOk": True, "compression": ["snappy"]}))
    play << to_server(legacy_query({"isMaster": 1, "helloOk": True}))
    play >> server(legacy_reply(ALONE)) << to_client(legacy_reply(ALONE_TOLD))


def test_a_legacy_hello_answered_by_an_op_msg_closes(play: Playbook) -> None:
    play >> client(legacy_query({"isMaster": 1})) << to_server(legacy_query({"isMaster": 1}))
    play >> server(reply(ALONE)) << close(CloseReason.SERVER_PROTOCOL, "opcode at byte 12")


@pytest.mark.parametrize("documents", [0, 2])
def test_a_legacy_reply_has_one_document(play: Playbook, documents: int) -> None:
    play >> client(legacy_query({"isMaster": 1})) << to_server(legacy_query({"isMaster": 1}))
    play >> server(legacy_reply(ALONE, documents=documents)) << close(CloseReason.SERVER_PROTOCOL)


@pytest.mark.parametrize("request_message", [command({"hello": 1}), command({"ping": 1, "$db": "x"})])
def test_a_legacy_reply_to_anything_else_closes(play: Playbook, request_message: bytes) -> None:
    play >> client(request_message) << to_server(request_message)
    play >> server(legacy_reply(ALONE)) << close(CloseReason.SERVER_PROTOCOL)


@pytest.mark.parametrize(
    "query",
    [
        legacy_query({"find": "patients"}, namespace=b"clinic.$cmd"),
        legacy_query({"nhs_number": "x"}, namespace=b"clinic.patients"),
        legacy_query({"isMaster": 1}, namespace=b"clinic.patients"),
        legacy_query({}),
    ],
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


def test_both_conventions_of_an_exhaust_stream_are_understood() -> None:
    for chained in (True, False):
        play = Playbook(session())
        hello = command({"hello": 1, "maxAwaitTimeMS": 10_000, "$db": "admin"}, 1, flags=EXHAUST_ALLOWED)
        play >> client(hello) << to_server(hello)
        answered = 1
        for number in range(50, 60):
            play >> server(reply(ALONE, answered, number, flags=MORE_TO_COME))
            play << to_client(reply(ALONE_TOLD, answered, number, flags=MORE_TO_COME))
            answered = number if chained else 1
            assert play.session.idle
        play >> server(reply(ALONE, answered, 60)) << to_client(reply(ALONE_TOLD, answered, 60))
        play >> server(reply(ALONE, answered, 61)) << close(CloseReason.SERVER_PROTOCOL)
        play.finish()


def test_a_hello_that_wants_no_answer_awaits_none(play: Playbook) -> None:
    hello = command({"hello": 1, "$db": "admin"}, 1, flags=MORE_TO_COME)
    play >> client(hello) << to_server(hello)
    play >> client(hello) << to_server(hello)


def test_every_member_of_a_set_has_its_listener_here() -> None:
    play = Playbook(session(members=MEMBERS))
    hello = command({"hello": 1, "$db": "admin"})
    lists = {"passives": ["c:27017"], "arbiters": []}
    told = {"passives": ["c:3"], "arbiters": []}
    play >> client(hello) << to_server(hello)
    play >> server(reply(hello_reply("a:27017", ["b:27017"], 1000, **lists)))
    play << to_client(reply(hello_reply("proxy-a:1", [MEMBERS["b:27017"]], 1000, **told)))
    play.finish()


@pytest.mark.parametrize("members", [MEMBERS, {}])
@pytest.mark.parametrize("answer", [{"hosts": ["a:27017", "x:27017"]}, {"passives": ["c:27017", "x:27017"]}])
def test_a_member_without_a_listener_closes(members: dict[str, str], answer: dict[str, Any]) -> None:
    play = Playbook(session(members=members))
    hello = command({"hello": 1, "$db": "admin"})
    play >> client(hello) << to_server(hello)
    play >> server(reply(answer)) << close(CloseReason.TOPOLOGY)
    play.finish()


@pytest.mark.parametrize(
    ("answer", "is_one"),
    [
        (
            {"hosts": ["a:27017"], "passives": ["b:27017"], "arbiters": ["c:27017"], "primary": "b:27017"},
            False,
        ),
        ({"hosts": ["a:27017"], "arbiters": ["c:27017"]}, False),
        ({"hosts": ["a:27017", "a:27017"], "passives": ["A:27017"], "arbiters": []}, True),
    ],
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
    assert rewrite_hello(message, BODY, Topology(OWN_ADDRESS)) == reply({"ok": 1})


def test_what_is_no_address_passes_as_it_is() -> None:
    odd = reply({"hosts": None, "me": None, "primary": None, "maxMessageSizeBytes": "x", "arbiters": []})
    assert rewrite_hello(odd, BODY, Topology(OWN_ADDRESS)) is odd


SYMBOL = element(BsonType.SYMBOL, b"0", string(b"x:27017"))


@pytest.mark.parametrize(
    "field",
    [
        element(BsonType.SYMBOL, b"me", string(b"x:27017")),
        element(BsonType.JAVASCRIPT, b"primary", string(b"x:27017")),
        element(BsonType.ARRAY, b"hosts", document(SYMBOL)),
        element(BsonType.OBJECT, b"hosts", document(element(BsonType.INT, b"x:27017", int32(1)))),
        element(BsonType.OBJECT, b"hosts", document(element(BsonType.STRING, b"0", string(b"db:27017")))),
        element(BsonType.STRING, b"passives", string(b"x:27017")),
    ],
)
def test_an_address_in_another_type_is_not_told(play: Playbook, field: bytes) -> None:
    hello = command({"hello": 1, "$db": "admin"})
    play >> client(hello) << to_server(hello)
    play >> server(reply(document(field))) << close(CloseReason.SERVER_PROTOCOL)
    play.finish()


@pytest.mark.parametrize("size", [Int64(48_000_000), 48_000_000.0, Int64(2**40)])
def test_the_limit_is_lowered_whichever_number_it_is(size: Any) -> None:
    rewritten = rewrite_hello(reply({"maxMessageSizeBytes": size, "ok": 1}), BODY, Topology(OWN_ADDRESS))
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
    hello = command({"hello": 1, "$db": "admin"})
    play >> client(hello) << to_server(hello)
    odd = reply({"x": sealed("nhs", "x"), "me": "db:27017"})
    play >> server(odd) << to_client(reply({"x": sealed("nhs", "x"), "me": OWN_ADDRESS}))


def test_a_refused_hello_answers_with_an_error(play: Playbook) -> None:
    play >> client(command({"hello": 1, "comment": sealed("nhs", "x"), "$db": "admin"}))
    play << audit("refused", "", "hello", "envelope") << error(2, "BadValue")


SERVICE_ID = bytes(range(12))
BALANCED = {"hello": 1, "loadBalanced": True, "$db": "admin"}


def behind_a_balancer(**settings: Any) -> Playbook:
    topology = Topology(OWN_ADDRESS, service_id=SERVICE_ID)
    shared = Shared(SessionSettings(POLICY, login_required=False, **settings), KEYRING)
    return Playbook(Session(shared, topology))


@pytest.mark.parametrize("flags", [0, CHECKSUM])
def test_behind_a_balancer_a_client_is_told_a_service_id(flags: int) -> None:
    play = behind_a_balancer()
    hello = command(BALANCED)
    play >> client(hello) << to_server(hello)
    told = {**ALONE_TOLD, "serviceId": bson.ObjectId(SERVICE_ID)}
    play >> server(reply(ALONE, flags=flags)) << to_client(reply(told, flags=flags))
    play.finish()


def test_once_it_has_said_so_a_client_may_ask_again_without() -> None:
    play = behind_a_balancer()
    play >> client(command(BALANCED)) << to_server(command(BALANCED))
    told = {**ALONE_TOLD, "serviceId": bson.ObjectId(SERVICE_ID)}
    play >> server(reply(ALONE)) << to_client(reply(told))
    again = command({"hello": 1, "$db": "admin"}, 2)
    play >> client(again) << to_server(again)
    play >> server(reply(ALONE, 2)) << to_client(reply(told, 2))
    play.finish()


def test_the_servers_own_service_id_passes() -> None:
    play = behind_a_balancer()
    play >> client(command(BALANCED)) << to_server(command(BALANCED))
    answer = reply({"msg": "isdbgrid", "serviceId": bson.ObjectId(b"\7" * 12), "ok": 1.0})
    play >> server(answer) << to_client(answer)
    play.finish()


@pytest.mark.parametrize("said", [{}, {"loadBalanced": False}, {"loadBalanced": 1}, {"loadBalanced": "true"}])
def test_a_client_that_knows_of_no_balancer_is_turned_away(said: dict[str, Any]) -> None:
    play = behind_a_balancer()
    play >> client(command({"hello": 1, **said, "$db": "admin"}))
    play << audit("refused", "", "hello", "BalancerMismatch") << error(354, "LoadBalancerSupportMismatch")
    assert play.count(Counter.REFUSALS, "BalancerMismatch") == 1
    play.finish()


def test_the_proxys_own_probe_is_answered_and_goes_no_further() -> None:
    play = behind_a_balancer()
    play.session.shared.probe_mark = b"0123456789abcdef"
    application = {"name": "sealwire probe 0123456789abcdef"}
    play >> client(command({"hello": 1, "client": {"application": application}, "$db": "admin"}))
    play << audit("refused", "", "hello", "OwnProbe") << error(20, "SealwireProbe")
    other = command({**BALANCED, "client": {"application": {"name": "sealwire probe 0123"}}}, 2)
    play >> client(other) << to_server(other)
    play.finish()


def test_an_old_hello_is_turned_away_in_its_own_opcode() -> None:
    answer = written(behind_a_balancer().session.client_data(legacy_query({"isMaster": 1})), ToClient)
    assert answer[8:16] == bytes([1, 0, 0, 0, 1, 0, 0, 0])
    assert decoded(answer[36:])["code"] == 354


def test_without_the_setting_the_server_says_what_it_is(play: Playbook) -> None:
    play >> client(command(BALANCED)) << to_server(command(BALANCED))
    play >> server(reply(ALONE)) << to_client(reply(ALONE_TOLD))
    play >> client(command(BALANCED, 2)) << to_server(command(BALANCED, 2))
    answer = reply({"serviceId": bson.ObjectId(b"\7" * 12), "ok": 1.0}, 2)
    play >> server(answer) << to_client(answer)


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
