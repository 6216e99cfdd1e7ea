"""Compression on each side of a session: what is offered, what is sent, and what is refused."""

from typing import Any

import pytest
from bson import Int64
from hypothesis import given
from hypothesis import strategies as st

from sealwire.proxy.session.compression import LOGINS, MAX_STEP_BYTES, NEVER_COMPRESSED, compressed_label
from sealwire.proxy.session.effects import (
    Close,
    CloseReason,
    Count,
    Counter,
    Effect,
    GoOn,
    LongToClient,
    LongToServer,
    NeedKeys,
    ToClient,
    ToServer,
)
from sealwire.proxy.session.login.handshake import ACCEPTED_CLIENT_MESSAGE_BYTES
from sealwire.proxy.session.requests import COMPRESSED_LABELS
from sealwire.proxy.session.sides.client_side import MAX_BYTES_BEFORE_LOGIN
from sealwire.wire.compressors import COMPRESSOR_NAMES, Compressor, Zlib
from sealwire.wire.errors import WireReason
from sealwire.wire.framing import LONG_BYTES
from tests.compressed_messages import NUMBERS, packed, unpacked
from tests.proxy.session.compressing import (
    ALL,
    EXHAUST_ALLOWED,
    FIND,
    HELLO,
    MORE_TO_COME,
    NHS,
    SEALED,
    SNAPPY,
    STORED,
    TEXT,
    ZLIB,
    ZSTD,
    batch,
    data_of,
    packed_as,
    steps,
    talking,
    to_server_compressed,
)
from tests.proxy.session.playbook import Playbook, client, close, need_keys, server, to_client, to_server
from tests.proxy.session.world import (
    KEYRING,
    body_of,
    command,
    data_key,
    legacy_query,
    legacy_reply,
    load_keys,
    reply,
    sealed,
    served_in_parts,
    session,
)

# -- what is offered -----------------------------------------------------------------------------------------


def test_each_side_is_offered_what_is_ours() -> None:
    play = Playbook(session(compress_to_clients=(SNAPPY, ZLIB), compress_to_server=(ZSTD, SNAPPY)))
    play >> client(command({**HELLO, "compression": ["zstd", "zlib", "snappy", "zlib"]}))
    play << to_server(command({**HELLO, "compression": ["zstd", "snappy"]}))
    play >> server(reply({"isWritablePrimary": True, "compression": ["snappy"], "ok": 1.0}))
    # in the order of the client, as a server answers
    play << to_client(reply({"isWritablePrimary": True, "ok": 1.0, "compression": ["zlib", "snappy"]}))
    play.finish()


def test_a_client_that_offers_nothing_is_told_of_nothing() -> None:
    play = Playbook(session(compress_to_clients=ALL))
    offers: list[dict[str, Any]] = [
        {},
        {"compression": []},
        {"compression": ["lz4"]},
        {"compression": "zlib"},
    ]
    for offer in offers:
        play >> client(command({**HELLO, **offer})) << to_server(command(HELLO))
        play >> server(reply({"ok": 1.0})) << to_client(reply({"ok": 1.0}))
    play.finish()


def test_the_server_is_offered_ours_whatever_the_client_knows() -> None:
    play = Playbook(session(compress_to_server=(ZLIB,)))
    play >> client(legacy_query({"isMaster": 1}))
    play << to_server(legacy_query({"isMaster": 1, "compression": ["zlib"]}))
    play >> server(legacy_reply({"ok": 1.0, "compression": ["zlib"]})) << to_client(legacy_reply({"ok": 1.0}))
    play >> client(command(FIND)) << to_server_compressed(command(STORED), ZLIB)
    play.finish()


def test_a_checksum_of_a_changed_handshake_is_right() -> None:
    play = Playbook(session(compress_to_clients=(ZLIB,), compress_to_server=(ZLIB,)))
    offer = command({**HELLO, "compression": ["zlib"]}, flags=1)
    play >> client(offer) << to_server(offer)
    answer = reply({"ok": 1.0, "compression": ["zlib"]}, flags=1)
    play >> server(answer) << to_client(answer)
    play.finish()


# -- what is sent --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("upstream", [(), *((each,) for each in ALL)])
@pytest.mark.parametrize("name", NUMBERS)
def test_each_side_is_compressed_on_its_own(name: str, upstream: tuple[Compressor, ...]) -> None:
    talk = talking(ALL, upstream)
    sent = data_of(talk.client_data(packed(command(FIND), NUMBERS[name])), ToServer)
    assert [unpacked(each) for each in sent] == [command(STORED)]
    assert sent[0][12:14] == (2012 if upstream else 2013).to_bytes(2, "little")
    answer = reply(batch(SEALED))
    arrived = packed(answer, upstream[0].number) if upstream else answer
    told = data_of(talk.server_data(arrived), ToClient)
    assert [unpacked(each) for each in told] == [reply(batch(NHS))]
    assert told[0][24] == NUMBERS[name]


def test_a_request_that_came_as_it_is_is_answered_so() -> None:
    play = Playbook(talking(ALL))
    for number, compressor in ((1, None), (2, ZLIB), (3, None), (4, ZSTD)):
        message = command(FIND, number)
        play >> client(message if compressor is None else packed(message, compressor.number))
        play << to_server(command(STORED, number))
        told = reply(batch(NHS), number)
        play >> server(reply(batch(SEALED), number))
        play << to_client(told if compressor is None else packed_as(told, compressor))
    play.finish()


def test_replies_of_both_kinds_that_are_awaited_at_once() -> None:
    play = Playbook(talking(ALL))
    play >> client(packed(command(FIND, 1), ZLIB.number)) << to_server(command(STORED, 1))
    play >> client(command(FIND, 2)) << to_server(command(STORED, 2))
    play >> server(reply(batch(SEALED), 2)) << to_client(reply(batch(NHS), 2))
    play >> server(reply(batch(SEALED), 1)) << to_client(packed_as(reply(batch(NHS), 1), ZLIB))
    play.finish()


def test_a_short_message_is_sent_as_it_is() -> None:
    play = Playbook(talking(ALL, ALL))
    ping = command({"ping": 1, "$db": "admin"})
    play >> client(packed(ping, 2)) << to_server(ping)
    play >> server(packed(reply({"ok": 1.0}), 3)) << to_client(reply({"ok": 1.0}))
    play.finish()


@pytest.mark.parametrize("name", sorted(NEVER_COMPRESSED))
def test_no_login_is_compressed(name: bytes) -> None:
    body = {name.decode(): 1, "mechanism": "PLAIN", "payload": TEXT.encode(), "$db": "admin"}
    talk = talking((), ALL)
    for data in data_of(talk.client_data(command(body)), ToServer):
        assert data[12:14] == (2013).to_bytes(2, "little")


@pytest.mark.parametrize("name", sorted(LOGINS))
def test_a_client_that_compresses_a_login_is_cut_off(name: bytes) -> None:
    body = {name.decode(): 1, "mechanism": "PLAIN", "payload": TEXT.encode(), "$db": "admin"}
    effects = talking(ALL, ALL).client_data(packed(command(body), 2))
    assert effects[-1] == Close(CloseReason.CLIENT_PROTOCOL, "compressed-login at byte 0")
    assert not data_of(effects, ToServer)


@pytest.mark.parametrize("name", sorted(NEVER_COMPRESSED - LOGINS))
def test_so_is_one_that_compresses_a_hello_with_which_a_login_begins(name: bytes) -> None:
    speculation = {"saslStart": 1, "mechanism": "SCRAM-SHA-256", "payload": b"n,,n=u,r=x", "db": "admin"}
    body = {name.decode(): 1, "speculativeAuthenticate": speculation, "$db": "admin"}
    effects = talking(ALL, ALL).client_data(packed(command(body), 2))
    assert effects[-1] == Close(CloseReason.CLIENT_PROTOCOL, "compressed-login at byte 0")
    assert not data_of(effects, ToServer)


def test_a_later_hello_may_be_compressed() -> None:
    talk = talking(ALL, (ZLIB,))
    hello = {**HELLO, "comment": TEXT}
    (sent,) = data_of(talk.client_data(packed(command(hello), 2)), ToServer)
    assert sent == command({**hello, "compression": ["zlib"]})
    told = {"isWritablePrimary": True, "text": TEXT, "ok": 1.0}
    (answer,) = data_of(talk.server_data(reply(told)), ToClient)
    assert answer[12:14] == (2012).to_bytes(2, "little")
    assert body_of(unpacked(answer)) == {**told, "compression": ["zstd", "zlib", "snappy"]}


def test_every_reply_of_a_stream_is_compressed() -> None:
    play = Playbook(talking(ALL, ALL))
    more = command(
        {"getMore": Int64(5), "collection": "patients", "$db": "clinic", "comment": TEXT},
        1,
        flags=EXHAUST_ALLOWED,
    )
    play >> client(packed(more, 3)) << to_server_compressed(more, SNAPPY)
    for previous, number in ((1, 50), (50, 51), (51, 52)):
        flags = 0 if number == 52 else MORE_TO_COME
        play >> server(packed(reply(batch(SEALED), previous, number, flags=flags), 1))
        play << to_client(packed_as(reply(batch(NHS), previous, number, flags=flags), ZSTD))
    assert play.session.idle
    play.finish()


def test_a_message_that_waits_for_a_key_is_answered_compressed() -> None:
    talk = talking(ALL, ALL)
    play = Playbook(talk)
    play >> client(packed(command(FIND), 2)) << to_server_compressed(command(STORED), SNAPPY)
    newer = sealed("nhs", NHS, 2)
    play >> server(packed(reply(batch(newer)), 2)) << need_keys((1, 2))
    keyring = type(KEYRING)([data_key("nhs", 2), *(data_key(n) for n in ("visits",))])
    told = data_of(load_keys(talk, keyring), ToClient)
    assert told == [packed_as(reply(batch(NHS)), ZLIB)]


def test_long_messages_are_compressed_whole() -> None:
    talk = talking(ALL, ALL)
    documents = [{"_id": number, "nhs_number": NHS, "t": "x" * 50_000} for number in range(30)]
    insert = command({"insert": "patients", "$db": "clinic"}, after={"documents": documents})
    effects = talk.client_data(packed(insert, 2))
    assert not any(isinstance(effect, LongToServer) for effect in effects)
    (sent,) = data_of(effects, ToServer)
    assert len(unpacked(sent)) > LONG_BYTES > len(sent)
    assert NHS.encode() not in unpacked(sent)
    talk.server_data(reply({"n": 30, "ok": 1.0}))
    talk.client_data(packed(command(FIND, 2), 3))
    rows = [{"nhs_number": SEALED, "t": bytes(range(256)) * 100} for _ in range(60)]
    answer = reply({"cursor": {"id": Int64(0), "ns": "clinic.patients", "firstBatch": rows}, "ok": 1.0}, 2)
    whole = packed(answer, 1)
    told = data_of(served_in_parts(talk, whole, 70_000), ToClient)
    (one,) = told
    body = body_of(unpacked(one))
    assert {row["nhs_number"] for row in body["cursor"]["firstBatch"]} == {NHS}


def test_a_long_reply_that_comes_as_it_is_is_compressed_too() -> None:
    talk = talking(ALL)
    talk.client_data(packed(command(FIND), 2))
    rows = [{"nhs_number": SEALED, "t": "x" * 40_000} for _ in range(40)]
    answer = reply({"cursor": {"id": Int64(0), "ns": "clinic.patients", "firstBatch": rows}, "ok": 1.0})
    told = data_of(served_in_parts(talk, answer, 200_000), ToClient)
    (one,) = told
    assert len(one) < 100_000
    assert {row["nhs_number"] for row in body_of(unpacked(one))["cursor"]["firstBatch"]} == {NHS}


# -- what is refused -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("clients", [(), (SNAPPY,)])
def test_a_client_may_use_only_what_was_agreed(clients: tuple[Compressor, ...]) -> None:
    effects = talking(clients, (ZLIB,)).client_data(packed(command(FIND), 2))
    assert effects[-1] == Close(CloseReason.CLIENT_PROTOCOL, "compressor at byte 24")


def test_nothing_is_inflated_before_a_handshake() -> None:
    play = Playbook(session(compress_to_clients=ALL, compress_to_server=ALL))
    play >> client(packed(command(FIND), 2)) << close(CloseReason.CLIENT_PROTOCOL, "compressor at byte 24")
    assert play.count(Counter.PROTOCOL_ERRORS, WireReason.COMPRESSOR.value) == 1
    play.finish()


def test_without_a_setting_the_opcode_is_unknown(play: Playbook) -> None:
    play >> client(packed(command(FIND), 2)) << close(CloseReason.CLIENT_PROTOCOL, "opcode at byte 12")


@pytest.mark.parametrize("upstream", [(), (SNAPPY,)])
def test_a_server_may_use_only_what_it_was_offered(upstream: tuple[Compressor, ...]) -> None:
    talk = talking(ALL, upstream)
    talk.client_data(command(FIND))
    effects = talk.server_data(packed(reply(batch(SEALED)), 2))
    assert effects[-1] == Close(CloseReason.SERVER_PROTOCOL, "compressor at byte 24")
    assert not data_of(effects, ToClient)


def test_a_server_that_agrees_to_nothing_is_sent_nothing_compressed() -> None:
    talk = session(compress_to_server=(SNAPPY,))
    talk.client_data(command(HELLO))
    talk.server_data(reply({"ok": 1.0, "compression": ["zlib"]}))
    assert data_of(talk.client_data(command(FIND, 2)), ToServer) == [command(STORED, 2)]


@pytest.mark.parametrize("compressor", ALL, ids=lambda each: each.name)
def test_before_a_login_what_comes_out_is_short(compressor: Compressor) -> None:
    for more, stays in ((0, True), (1, False)):
        talk = talking(ALL, (), login_required=True)
        body: dict[str, Any] = {"ping": 1, "x": "", "$db": "admin"}
        body["x"] = "x" * (MAX_BYTES_BEFORE_LOGIN - len(command(body)) + more)
        message = packed(command(body), compressor.number)
        assert len(message) < 8000
        effects = talk.client_data(message)
        assert isinstance(effects[-1], ToServer if stays else Close)


def test_a_server_is_held_to_the_limit_for_messages() -> None:
    talk = talking((), (ZLIB,), max_message_bytes=100_000)
    talk.client_data(command(FIND))
    effects = talk.server_data(packed(reply({"x": "x" * 100_000}), 2))
    assert effects[-1] == Close(CloseReason.SERVER_PROTOCOL, "compressed-size at byte 20")


def test_a_forged_envelope_is_no_less_forged() -> None:
    talk = talking(ALL)
    effects = talk.client_data(packed(command(STORED), 3))
    assert not data_of(effects, ToServer)
    (told,) = data_of(effects, ToClient)
    assert body_of(unpacked(told))["code"] == 2


def test_who_writes_without_end_leaves_nothing_behind() -> None:
    talk = talking(ALL)
    compression = talk._conversation.compression
    assert compression is not None
    for number in range(1200):
        insert = command(
            {"insert": "wards", "$db": "x", "documents": [{"t": TEXT}]}, number, flags=MORE_TO_COME
        )
        talk.client_data(packed(insert, 2))
    assert not compression._requests


@given(st.lists(st.sampled_from(["snappy", "zlib", "zstd", None]), min_size=1, max_size=8), st.data())
def test_a_conversation_is_the_same_however_it_is_compressed(
    kinds: list[str | None], data: st.DataObject
) -> None:
    talk, plain = talking(ALL, (ZLIB, SNAPPY)), session()
    for number, kind in enumerate(kinds, 1):
        text = data.draw(st.text(max_size=600))
        message = command({**FIND, "filter": {"nhs_number": text}, "comment": text * 2}, number)
        arriving = message if kind is None else packed(message, NUMBERS[kind])
        sent = data_of(talk.client_data(arriving), ToServer)
        assert [unpacked(each) for each in sent] == data_of(plain.client_data(message), ToServer)
        answer = reply(batch(sealed("nhs", text)), number)
        back = data.draw(st.sampled_from(["snappy", "zlib", None]))
        told = data_of(talk.server_data(answer if back is None else packed(answer, NUMBERS[back])), ToClient)
        assert [unpacked(each) for each in told] == data_of(plain.server_data(answer), ToClient)


def test_a_server_that_names_the_first_request_in_all_replies_leaves_little() -> None:
    talk = talking(ALL)
    compression = talk._conversation.compression
    assert compression is not None
    for number in range(1, 2200):
        talk.client_data(packed(command(FIND, number), 2))
        talk.server_data(reply(batch(SEALED), number, 10_000 + number, flags=MORE_TO_COME))
        talk.server_data(reply(batch(SEALED), number, 20_000 + number))
    assert len(compression._requests) <= 2048


def test_levels_of_zlib_reach_the_wire() -> None:
    for level in (1, 9):
        talk = talking((), (Zlib(level),))
        (sent,) = data_of(talk.client_data(command(FIND)), ToServer)
        assert sent == packed_as(command(STORED), Zlib(level))


# -- what is counted -----------------------------------------------------------------------------------------


def test_compressed_messages_are_counted_by_peer_way_and_compressor() -> None:
    talk = talking((ZLIB,), (SNAPPY,), ("zlib",))
    asked = talk.client_data(packed(command(FIND, 1), NUMBERS["zlib"]))
    answered = talk.server_data(packed(reply(batch(SEALED), 1), NUMBERS["snappy"]))
    assert counted(asked) == ["client received zlib", "server sent snappy"]
    assert counted(answered) == ["server received snappy", "client sent zlib"]


def test_what_is_sent_as_it_is_is_not_counted() -> None:
    talk = talking((ZLIB,), (SNAPPY,), ("zlib",))
    assert counted(talk.client_data(command({"ping": 1, "$db": "admin"}, 1))) == []
    assert counted(talk.server_data(reply({"ok": 1.0}, 1))) == []


def test_every_label_of_a_compressed_message_is_one_that_metrics_begin_with() -> None:
    labels = {
        compressed_label(peer, direction, name)
        for peer in ("client", "server")
        for direction in ("received", "sent")
        for name in COMPRESSOR_NAMES
    }
    assert set(COMPRESSED_LABELS) == labels


def counted(effects: list[Effect]) -> list[str]:
    found = [effect for effect in effects if isinstance(effect, Count)]
    return [each.label for each in found if each.counter is Counter.COMPRESSED_MESSAGES]


@pytest.mark.parametrize("login_required", [True, False])
def test_many_bombs_in_one_read_are_not_in_memory_at_once(login_required: bool) -> None:
    talk = talking(ALL, login_required=login_required)
    size = MAX_BYTES_BEFORE_LOGIN if login_required else ACCEPTED_CLIENT_MESSAGE_BYTES
    body: dict[str, Any] = {"ping": 1, "x": "x" * (size - 100), "$db": "admin"}
    bomb = packed(command(body), NUMBERS["zstd"])
    amount = 200 if login_required else 6
    read = b"".join(bomb[:4] + number.to_bytes(4, "little") + bomb[8:] for number in range(1, amount + 1))
    assert len(read) < 50_000
    found = steps(talk, talk.client_data(read))
    for each in found:
        assert sum(len(data) for data in data_of(each, ToServer)) <= MAX_STEP_BYTES + size
    assert [len(data) for each in found for data in data_of(each, ToServer)] == [len(command(body))] * amount
    assert talk.go_on(from_client=True) == []


def test_what_comes_meanwhile_comes_later() -> None:
    talk = talking(ALL, (ZLIB,))
    long = [packed(command({"ping": 1, "x": "x" * 900_000, "$db": "x"}, number), 2) for number in range(1, 5)]
    first = talk.client_data(b"".join(long))
    assert first[-1] == GoOn(True)
    assert not talk.idle
    later = talk.client_data(command(FIND, 9))
    assert later[-1] == GoOn(True)
    rest = talk.go_on(from_client=True)
    sent = [*data_of(first, ToServer), *data_of(later, ToServer), *data_of(rest, ToServer)]
    assert [int.from_bytes(data[4:8], "little") for data in sent] == [1, 2, 3, 4, 9]
    assert unpacked(sent[-1]) == command(STORED, 9)


def test_a_stream_of_replies_is_not_in_memory_at_once() -> None:
    talk = talking(ALL, ALL)
    more = command({"getMore": Int64(5), "collection": "patients", "$db": "clinic"}, 1, flags=EXHAUST_ALLOWED)
    talk.client_data(more)
    stream = b"".join(
        packed(reply(batch(SEALED) | {"x": "x" * 5_000_000}, before, before + 1, flags=MORE_TO_COME), 3)
        for before in (1, *range(51, 60))
        if before != 1
    )
    first = packed(reply(batch(SEALED), 1, 51, flags=MORE_TO_COME), 3)
    assert len(stream) < 50_000
    found = steps(talk, talk.server_data(first + stream))
    for each in found:
        assert sum(len(data) for data in data_of(each, ToClient)) < 12_000_000
    told = [data for each in found for data in data_of(each, ToClient)]
    assert [body_of(data)["cursor"]["firstBatch"][0]["n"] for data in told] == [NHS] * 10


def test_a_long_reply_that_waits_is_not_taken_for_the_one_that_arrives() -> None:
    talk = talking((), ALL)
    for number in range(1, 5):
        talk.client_data(command(FIND, number))
    # two that are compressed take a step each; two that are not follow, and the last one is not whole
    first, second = (packed(reply(batch(f"{'x' * 1_200_000}"), number), 2) for number in (1, 2))
    third, fourth = (
        reply({"cursor": {"firstBatch": [{"n": sealed("nhs", str(n)), "t": TEXT}] * 2500}, "ok": 1.0}, n)
        for n in (3, 4)
    )
    assert min(len(third), len(fourth)) > LONG_BYTES
    effects: list[Effect] = []
    for read in (first + second + third[:150_000], third[150_000:], fourth[:300_000], fourth[300_000:]):
        effects += talk.server_data(read)
    effects += [more for step in steps(talk, effects)[1:] for more in step]
    told = [
        b"".join(each.pieces) if isinstance(each, LongToClient) else each.data
        for each in effects
        if isinstance(each, ToClient | LongToClient)
    ]
    assert [int.from_bytes(data[8:12], "little") for data in told] == [1, 2, 3, 4]
    assert [body_of(data)["cursor"]["firstBatch"][0]["n"] for data in told[2:]] == ["3", "4"]


def test_what_waited_for_a_key_is_not_in_memory_at_once() -> None:
    talk = talking(ALL, ALL)
    talk.client_data(command(FIND, 1))
    inserts = [
        packed(command({"insert": "wards", "$db": "x", "documents": [{"t": "x" * 900_000}]}, number), 2)
        for number in range(2, 8)
    ]
    assert talk.server_data(packed(reply(batch(sealed("nhs", NHS, 2))), 2))[-1] == NeedKeys(((1, 2),))
    assert talk.client_data(b"".join(inserts)) == []
    keyring = type(KEYRING)([data_key("nhs", 2)])
    effects = load_keys(talk, keyring)
    found = steps(talk, effects)
    assert len(found) > 2
    assert [len(data_of(each, ToServer)) <= 2 for each in found] == [True] * len(found)
    assert sum(len(data_of(each, ToServer)) for each in found) == 6
    assert len([data for each in found for data in data_of(each, ToClient)]) == 1


def test_the_end_forgets_what_was_not_handled() -> None:
    talk = talking(ALL)
    bomb = packed(command({"ping": 1, "x": "x" * 2_000_000, "$db": "x"}), 2)
    assert talk.client_data(bomb + packed(command(FIND, 2), 2))[-1] == GoOn(True)
    talk.client_eof()
    assert talk.go_on(from_client=True) == []
