"""Cursors on views, joins and change streams: whatever connection reads them on, their replies are opened."""

import tracemalloc
from collections import deque
from typing import Any

import bson
import pytest
from bson import Int64, encode
from hypothesis import given
from hypothesis import strategies as st

from sealwire.crypto.envelope import SUBTYPE
from sealwire.crypto.errors import DecryptionFailed, InvalidEnvelope
from sealwire.keys.errors import UnknownKey
from sealwire.keys.keyring.keyring import Keyring, OpenEnvelope
from sealwire.policies.file.schema import PolicySet
from sealwire.proxy.session.replies import cursor_in, open_id
from sealwire.proxy.session.revealing import cursors
from sealwire.proxy.session.revealing.long_reply import WINDOW_BYTES, LongReply, has_more_to_come, is_plain
from sealwire.proxy.session.revealing.reveal import reveal, reveal_elements
from sealwire.proxy.session.shared import SessionSettings
from sealwire.wire.errors import BsonError, WireReason
from sealwire.wire.framing import PART_BYTES, LongMessage
from sealwire.wire.op_msg import CHECKSUM_PRESENT, MORE_TO_COME, build_op_msg, parse_op_msg
from sealwire.wire.raw_bson import MAX_DEPTH
from tests.bson_types import BsonType
from tests.proxy.session.playbook import Playbook, audit, client, error, pause, server, to_client, to_server
from tests.proxy.session.sides.test_questions import asked, told, view
from tests.proxy.session.world import (
    BATCHING,
    KEYRING,
    POLICY,
    body_of,
    command,
    data_key,
    reply,
    sealed,
    session,
    session_of,
    use_settings,
)
from tests.strategies import bson_documents
from tests.support.policies import policy_of
from tests.support.reasons import raising
from tests.support.rows import rows
from tests.wire.corpus import binary, document, element, int32, string

NHS = "943 476 5919"
SEALED = sealed("nhs", NHS)
CURSOR = 4711


def batch(name: str, namespace: str, value: Any, cursor_id: int = CURSOR, response_to: int = 1) -> bytes:
    cursor = {"id": Int64(cursor_id), "ns": namespace, name: [{"nhs": value}]}
    return reply({"cursor": cursor, "ok": 1.0}, response_to)


def get_more(collection: str, number: int = 2, cursor_id: int = CURSOR, database: str = "clinic") -> bytes:
    return command({"getMore": Int64(cursor_id), "collection": collection, "$db": database}, number)


def marked(keyring: Keyring = KEYRING) -> str:
    """The collection's name that a reply on the view `shown` gives a driver, in its first batch."""
    play = Playbook(session(keyring))
    play >> client(command({"find": "shown", "$db": "clinic"})) << pause(True) << to_server(asked("shown", 1))
    found = command({"find": "shown", "$db": "clinic"})
    play >> server(told(view(), response_to=1)) << pause(False) << to_server(found)
    (answer, _) = play.session.server_data(batch("firstBatch", "clinic.shown", SEALED))
    cursor = body_of(answer.data)["cursor"]  # type: ignore[union-attr]
    assert cursor["firstBatch"] == [{"nhs": NHS}]
    database, _, collection = cursor["ns"].partition(".")
    assert database == "clinic"
    assert collection.startswith("shown.$sealwire.")
    return str(collection)


def test_another_connection_opens_what_the_cursor_yields() -> None:
    collection = marked()
    play = Playbook(session())
    play >> client(get_more(collection)) << to_server(get_more("shown"))
    play >> server(batch("nextBatch", "clinic.shown", SEALED, response_to=2))
    play << to_client(batch("nextBatch", f"clinic.{collection}", NHS, response_to=2))
    play >> client(get_more(collection, 3)) << to_server(get_more("shown", 3))
    play >> server(batch("nextBatch", "clinic.shown", SEALED, 0, 3))
    play << to_client(batch("nextBatch", "clinic.shown", NHS, 0, 3))
    play.finish()


@rows(
    "change, cursor_id, database",
    (lambda name: name[:-1] + ("0" if name[-1] != "0" else "1"), CURSOR, "clinic"),
    (lambda name: name, CURSOR + 1, "clinic"),
    (lambda name: name, CURSOR, "elsewhere"),
    (lambda name: name.replace("shown", "wards"), CURSOR, "clinic"),
    (lambda name: name + "zz", CURSOR, "clinic"),
    (lambda name: name[:-32], CURSOR, "clinic"),
    (lambda _: "shown", CURSOR, "clinic"),
)
def test_a_mark_fits_its_own_cursor_and_no_other(change: Any, cursor_id: int, database: str) -> None:
    collection = change(marked())
    play = Playbook(session())
    play >> client(get_more(collection, 2, cursor_id, database))
    plain = collection.partition(".$sealwire.")[0]
    play << to_server(get_more(plain, 2, cursor_id, database))
    answer = batch("nextBatch", f"{database}.{plain}", SEALED, cursor_id, 2)
    play >> server(answer) << to_client(answer)
    play.finish()


def test_a_mark_under_a_key_that_is_not_there_is_told() -> None:
    other = Keyring([data_key("nhs", 2), *(data_key(name) for name in POLICY.class_names if name != "nhs")])
    play = Playbook(session(other))
    play >> client(get_more(marked())) << audit("refused", "clinic.shown", "getMore", "shape")
    play << error(2, "BadValue", 2)
    play.finish()


def test_the_server_ends_a_cursor_by_its_own_name() -> None:
    def kill(collection: str) -> bytes:
        return command({"killCursors": collection, "cursors": [Int64(CURSOR)], "$db": "clinic"}, 2)

    play = Playbook(session())
    play >> client(kill(marked())) << to_server(kill("shown"))


def test_a_cursor_of_a_protected_collection_needs_no_mark(play: Playbook) -> None:
    find = command({"find": "patients", "$db": "clinic"})
    play >> client(find) << to_server(find)
    play >> server(batch("firstBatch", "clinic.patients", SEALED))
    play << to_client(batch("firstBatch", "clinic.patients", NHS))
    play >> client(get_more("patients")) << to_server(get_more("patients"))
    play >> server(batch("nextBatch", "clinic.patients", SEALED, response_to=2))
    play << to_client(batch("nextBatch", "clinic.patients", NHS, response_to=2))


def test_a_list_of_collections_keeps_its_name_and_is_read_on_by_any_connection(play: Playbook) -> None:
    listing = command({"listCollections": 1, "cursor": {"batchSize": 1}, "$db": "clinic"})
    play >> client(listing) << to_server(listing)
    play >> server(batch("firstBatch", "clinic.$cmd.listCollections", SEALED))
    play << to_client(batch("firstBatch", "clinic.$cmd.listCollections", NHS))
    other = Playbook(session())
    message = get_more("$cmd.listCollections")
    other >> client(message) << to_server(message)
    other >> server(batch("nextBatch", "clinic.$cmd.listCollections", SEALED, response_to=2))
    other << to_client(batch("nextBatch", "clinic.$cmd.listCollections", NHS, response_to=2))
    other.finish()


def test_a_list_of_collections_is_not_opened_where_none_is_protected(play: Playbook) -> None:
    message = get_more("$cmd.listCollections", database="elsewhere")
    play >> client(message) << to_server(message)
    answer = batch("nextBatch", "elsewhere.$cmd.listCollections", SEALED, response_to=2)
    play >> server(answer) << to_client(answer)


def test_a_cursor_of_an_unprotected_collection_yields_what_is_there(play: Playbook) -> None:
    play >> client(get_more("wards")) << to_server(get_more("wards"))
    answer = batch("nextBatch", "clinic.wards", SEALED, response_to=2)
    play >> server(answer) << to_client(answer)


def test_a_cursor_on_a_view_is_read_on_when_the_policy_no_longer_knows_its_database() -> None:
    elsewhere = policy_of(
        b"version: 1\nclasses: {nhs: {mode: deterministic, type: string}}\n"
        b"collections: {other.people: {nhs_number: nhs}}\n"
    )
    collection = marked()
    live = session_of(settings(POLICY))
    use_settings(live, settings(elsewhere, POLICY))
    play = Playbook(live)
    play >> client(get_more(collection)) << to_server(get_more("shown"))
    play >> server(batch("nextBatch", "clinic.shown", SEALED, response_to=2))
    play << to_client(batch("nextBatch", f"clinic.{collection}", NHS, response_to=2))
    play.finish()


def settings(policy: PolicySet, *former: PolicySet) -> SessionSettings:
    return SessionSettings(policy, login_required=False, former=former)


def test_a_cursor_that_was_opened_under_a_former_policy_is_read_on() -> None:
    narrower = policy_of(
        b"version: 1\nclasses: {nhs: {mode: deterministic, type: string}}\n"
        b"collections: {other.people: {nhs_number: nhs}}\n"
    )
    live = session_of(settings(POLICY))
    use_settings(live, settings(narrower, POLICY))
    play = Playbook(live)
    play >> client(get_more("patients")) << to_server(get_more("patients"))
    play >> server(batch("nextBatch", "clinic.patients", SEALED, response_to=2))
    play << to_client(batch("nextBatch", "clinic.patients", NHS, response_to=2))
    find = command({"find": "patients", "filter": {"nhs_number": NHS}, "$db": "clinic"}, 3)
    play >> client(find) << to_server(find)
    answer = batch("firstBatch", "clinic.patients", SEALED, 0, 3)
    play >> server(answer) << to_client(answer)
    play.finish()


@rows(
    "body",
    {"ok": 0.0, "code": 13},
    {"cursor": 5},
    {"cursor": {"ns": "clinic.shown"}},
    {"cursor": {"id": 5, "ns": "clinic.shown"}},
    {"cursor": {"id": Int64(5)}},
    {"cursor": {"id": Int64(5), "ns": 7}},
    {"cursor": {"id": Int64(0), "ns": "clinic.shown"}},
)
def test_a_reply_without_an_open_cursor_is_not_marked(body: Any) -> None:
    message = reply(body)
    assert cursors.mark(message, parse_op_msg(message).body, KEYRING, "nhs") is message


def test_a_get_more_is_named_for_a_log_without_its_mark() -> None:
    message = get_more(marked())
    assert cursors.namespace_of(message, parse_op_msg(message).body) == "clinic.shown"
    message = command({"getMore": Int64(1), "collection": "a\nb", "$db": "clinic"})
    assert cursors.namespace_of(message, parse_op_msg(message).body) == "clinic.a?b"


@pytest.mark.parametrize("body", [{"$db": 5}, {}])
def test_a_get_more_without_a_database_is_refused_and_names_no_cursor(play: Playbook, body: Any) -> None:
    play >> client(command({"getMore": Int64(CURSOR), "collection": "patients", **body}))
    play << audit("refused", "", "getMore", "shape") << error(2, "BadValue")


def open_id_of(body: dict[str, Any]) -> bytes:
    reply = encode(body)
    return open_id(reply, cursor_in(reply, 0))


def test_open_cursors_are_not_remembered_without_end() -> None:
    known = cursors.OpenCursors[str](2)
    for number in (1, 2, 3, 2):
        body = {"cursor": {"firstBatch": [], "id": Int64(number), "ns": "a.b"}}
        known.note(open_id_of(body), f"cursor {number}")
    found = [known.of_get_more(encode({"getMore": Int64(number)}), 0) for number in range(4)]
    assert found == [None, None, "cursor 2", "cursor 3"]
    known.forget()
    assert known.of_get_more(encode({"getMore": Int64(3)}), 0) is None


@pytest.mark.parametrize("body", [{}, {"cursor": 5}, {"cursor": {}}, {"cursor": {"id": 5}}])
def test_a_reply_without_a_cursor_is_nothing_to_remember(body: dict[str, Any]) -> None:
    known = cursors.OpenCursors[str](2)
    known.note(open_id_of(body), "cursor")
    assert known.of_get_more(encode({"getMore": Int64(5)}), 0) is None


# A reply in parts is opened like one in a single buffer, and lets go of what it has read.


MARKED_ELEMENT = element(BsonType.BIN_DATA, b"hit", binary(SUBTYPE, b"SW..."))


def in_parts(message: bytes, size: int) -> LongMessage:
    """The first part has a header and the length of a body at least, as all have outside of tests."""
    cuts = range(max(size, 25), len(message), size)
    parts = [message[start:end] for start, end in zip([0, *cuts], [*cuts, len(message)], strict=True)]
    return LongMessage(deque(parts), len(message))


def revealed(message: bytes, size: int, open_envelope: OpenEnvelope = KEYRING.open_envelope) -> bytes:
    """Through parts of `size` bytes; containers and runs of that size count as long."""
    return b"".join(LongReply(in_parts(message, size), size).reveal(open_envelope))


@given(bson_documents(), st.sampled_from([BsonType.OBJECT, BsonType.ARRAY]), st.integers(1, 300))
def test_the_cuts_never_show(data: bytes, kind: BsonType, size: int) -> None:
    def open_envelope(buf: bytes, start: int, end: int) -> tuple[int, bytes]:
        return BsonType.STRING, string(b"v" * ((end - start) % 7))

    inner = document(data[4:-1], MARKED_ELEMENT, data[4:-1])
    message = build_op_msg(
        1, 2, document(MARKED_ELEMENT, element(kind, b"a", inner), data[4:-1], element(kind, b"b", inner))
    )
    whole, count = reveal(message, parse_op_msg(message), open_envelope)
    long = LongReply(in_parts(message, size), size)
    assert b"".join(long.reveal(open_envelope)) == whole
    assert long.opened == count >= 3


@pytest.mark.parametrize("size", [64, 1000, 5000])
def test_the_values_of_each_run_are_opened_together(size: int) -> None:
    documents = [
        {"n": index, "v": sealed("nhs", f"{index}"), "l": [sealed("visits", index)]} for index in range(60)
    ]
    message = reply({"cursor": {"firstBatch": documents, "id": 0, "ns": "clinic.patients"}, "ok": 1.0})
    batch = BATCHING.batch(BATCHING.open_envelope, 10_000)
    assert batch is not None
    long = LongReply(in_parts(message, size), size)
    assert b"".join(long.reveal(batch.take, batch)) == revealed(message, size)
    assert long.opened == 120


@pytest.mark.parametrize("size", [1, 7, 64, 1000])
def test_values_come_out_of_a_batch(size: int) -> None:
    def batch(value: Any) -> bytes:
        documents = [
            {"_id": number, "n": [value, {"deep": value}], "pad": "p" * number} for number in range(30)
        ]
        return reply({"cursor": {"firstBatch": documents, "id": 0, "ns": "a.b"}, "x": value, "ok": 1.0})

    assert revealed(batch(sealed("nhs", "x")), size) == batch("x")


def test_a_reply_of_real_size_is_opened() -> None:
    def batch(value: Any) -> bytes:
        return reply({"cursor": {"nextBatch": [{"n": value, "pad": "p" * 700}] * 3000, "id": 0}, "ok": 1.0})

    message = in_parts(batch(sealed("nhs", "x")), 2 * PART_BYTES)
    assert b"".join(LongReply(message).reveal(KEYRING.open_envelope)) == batch("x")


@given(bson_documents(), st.integers(1, 300), st.integers(1, 300))
def test_what_arrives_later_makes_no_difference(data: bytes, size: int, window: int) -> None:
    inner = document(data[4:-1], MARKED_ELEMENT, data[4:-1])
    message = build_op_msg(1, 2, document(element(BsonType.ARRAY, b"a", inner), MARKED_ELEMENT))

    def open_envelope(_buf: bytes, _start: int, _end: int) -> tuple[int, bytes]:
        return BsonType.NULL, b""

    parts = list(in_parts(message, size).parts)
    arriving = LongMessage(deque(parts[:1]), len(message))
    long = LongReply(arriving, window)
    for part in parts[1:]:
        assert not arriving.complete
        long.advance(open_envelope)
        arriving.add(part)
    assert arriving.complete
    whole, count = reveal(message, parse_op_msg(message), open_envelope)
    assert (b"".join(long.reveal(open_envelope)), long.opened) == (whole, count)


@pytest.mark.parametrize("size", [5, 100])
def test_a_key_that_comes_later_finds_the_reply_where_it_stopped(size: int) -> None:
    rotated = Keyring([data_key("nhs"), data_key("nhs", 2)])
    values = [sealed("nhs", "x"), sealed("nhs", "y", 2)] * 10
    message = in_parts(reply({"a": [{"v": value} for value in values]}), size)
    long = LongReply(message, size)
    for _ in range(2):
        with pytest.raises(UnknownKey):
            long.reveal(KEYRING.open_envelope)
    assert b"".join(long.reveal(rotated.open_envelope)) == reply({"a": [{"v": "x"}, {"v": "y"}] * 10})
    assert long.opened == 20


@pytest.mark.parametrize("at", [20, -1])
def test_a_forged_envelope_anywhere_reveals_nothing(at: int) -> None:
    forged = bytearray(sealed("nhs", "x"))
    forged[at] ^= 1
    message = reply({"a": [{"v": sealed("nhs", "x")}] * 20 + [{"v": bson.Binary(bytes(forged), SUBTYPE)}]})
    with pytest.raises((InvalidEnvelope, DecryptionFailed)):
        revealed(message, 30)


def _broken(position: int, byte: int) -> bytes:
    inner = document(element(BsonType.STRING, b"s", string(b"." * 60)), MARKED_ELEMENT)
    message = bytearray(build_op_msg(1, 2, document(element(BsonType.ARRAY, b"a", inner))))
    message[position] = byte
    return bytes(message)


_NAMELESS = build_op_msg(
    1, 2, document(element(BsonType.ARRAY, b"a", document(MARKED_ELEMENT, b"\x02" + b"x" * 60)))
)
"""The name of an array's item has no end."""


@rows(
    "message, reason, offset",
    (_broken(-1, 1), WireReason.BSON_TERMINATOR, 116),
    (_broken(-2, 1), WireReason.BSON_TERMINATOR, 115),
    (_broken(28, 89), WireReason.BSON_LENGTH, 28),  # the array's, past the end of the body
    (_broken(25, 0), WireReason.BSON_TYPE, 28),
    (_broken(32, 0x55), WireReason.BSON_TYPE, 35),
    (_broken(35, 200), WireReason.BSON_LENGTH, 35),
)
@pytest.mark.parametrize("size", [4, 20, 500])
def test_what_does_not_fit_together_is_an_error(
    message: bytes, reason: WireReason, offset: int, size: int
) -> None:
    with pytest.raises(BsonError) as caught:
        revealed(message, size, lambda *_: (BsonType.NULL, b""))
    assert (caught.value.reason, caught.value.offset) == (reason, offset)


@pytest.mark.parametrize("size", [4, 20])
def test_a_name_without_an_end_is_an_error_where_its_container_is_walked(size: int) -> None:
    with pytest.raises(BsonError) as caught:
        revealed(_NAMELESS, size, lambda *_: (BsonType.NULL, b""))
    assert (caught.value.reason, caught.value.offset) == (WireReason.BSON_STRING, 32 + len(MARKED_ELEMENT))


def test_containers_are_entered_as_deep_as_documents_may_be() -> None:
    data = document(MARKED_ELEMENT)
    for _ in range(MAX_DEPTH):
        data = document(element(BsonType.OBJECT, b"0", data))
    for size in (5, 40, 5000):
        assert revealed(build_op_msg(1, 2, data), size, lambda *_: (BsonType.NULL, b""))
        with raising(BsonError, WireReason.BSON_DEPTH):
            revealed(build_op_msg(1, 2, document(element(BsonType.OBJECT, b"0", data))), size)


@pytest.mark.parametrize("early", [True, False])
def test_the_parts_are_let_go_on_the_way(early: bool) -> None:
    stream = reply({"a": [{"v": sealed("nhs", "x"), "pad": "p" * 800}] * 10_000})
    tracemalloc.start()
    try:
        message = LongMessage(deque((stream[:PART_BYTES],)), len(stream))
        long = LongReply(message)
        for start in range(PART_BYTES, len(stream), PART_BYTES):
            message.add(stream[start : start + PART_BYTES])
            if early:
                long.advance(KEYRING.open_envelope)
        pieces = long.reveal(KEYRING.open_envelope)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert not message.parts
    longest = sum(map(len, pieces)) if early else len(stream)
    assert longest < peak < longest + 6 * WINDOW_BYTES
    assert max(map(len, pieces)) < WINDOW_BYTES + PART_BYTES


@rows(
    "message, plain, more",
    (reply({"ok": 1.0}), True, False),
    (build_op_msg(1, 2, bson.encode({}), MORE_TO_COME), True, True),
    (build_op_msg(1, 2, bson.encode({}), CHECKSUM_PRESENT), False, False),
    (build_op_msg(1, 2, bson.encode({}), 1 << 16), False, False),
    (command({"x": 1}, after={"a": [{}]}), False, False),
    (command({"x": 1}, first={"a": [{}]}), False, False),
    (int32(26) + reply({})[4:12] + int32(1) + reply({})[16:], False, False),
)
def test_only_one_body_and_nothing_else_is_plain(message: bytes, plain: bool, more: bool) -> None:
    found = in_parts(message, len(message))
    assert is_plain(found) == plain
    assert has_more_to_come(found) == more


def test_elements_end_where_they_end() -> None:
    def open_envelope(_buf: bytes, _start: int, _end: int) -> tuple[int, bytes]:
        return BsonType.BOOL, b"\1"

    opened = element(BsonType.BOOL, b"hit", b"\1")
    assert reveal_elements(MARKED_ELEMENT, 0, open_envelope) == (opened, 1)
    assert reveal_elements(MARKED_ELEMENT * 2, 0, open_envelope) == (opened * 2, 2)
    # the last one would take the NUL of a document around it
    with raising(BsonError, WireReason.BSON_LENGTH):
        reveal_elements(MARKED_ELEMENT[:-1], 0, open_envelope)
