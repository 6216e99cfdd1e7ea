"""The server's reply to the statements that it got, as it answers those that the client sent."""

from base64 import b64encode, urlsafe_b64encode
from datetime import UTC, datetime
from typing import Any

import pytest
from bson import Binary, Decimal128, Int64, ObjectId, Timestamp
from hypothesis import given
from hypothesis import strategies as st

from sealwire.crypto.cipher import ValueCipher
from sealwire.crypto.envelope import CONTEXT_FORMAT, FORMAT, MAGIC, SUBTYPE
from sealwire.policies.errors import Reason, Refusal
from sealwire.proxy.session.effects import Audit, Close, CloseReason, Counter, ToClient, ToServer
from sealwire.proxy.session.write_errors import MAX_TEXTS, WriteErrors, without_envelopes
from sealwire.wire.errors import BsonError
from sealwire.wire.framing import LONG_BYTES, request_id_of
from sealwire.wire.op_msg import parse_op_msg
from tests.proxy.session.playbook import Playbook, audit, client, close, error, server, to_server
from tests.proxy.session.role_world import asked, session_as
from tests.proxy.session.world import (
    body_of,
    command,
    decoded,
    material,
    reply,
    sealed,
    sections,
    served_in_parts,
    session,
    value_bytes,
    written,
)
from tests.support.rows import rows

REFUSAL = Refusal(Reason.TYPE, path="visits")


def errors(*places: int, sent: int, ordered: bool = False, command: bytes = b"insert") -> WriteErrors:
    return WriteErrors(command, [(place, REFUSAL) for place in places], sent, ordered=ordered)


def merged(found: WriteErrors, answer: dict[str, Any], flags: int = 0) -> dict[str, Any]:
    message = reply(answer, flags=flags)
    return body_of(found.merge(message, parse_op_msg(message).body))


def places(body: dict[str, Any]) -> list[tuple[int, int]]:
    return [(error["index"], error["code"]) for error in body["writeErrors"]]


@pytest.mark.parametrize("flags", [0, 1])
def test_the_errors_of_both_stand_in_the_order_of_the_statements(flags: int) -> None:
    theirs = [{"index": 0, "code": 11000, "errmsg": "a"}, {"index": 2, "code": 11000, "errmsg": "b"}]
    answer = {"n": 1, "writeErrors": theirs, "writeConcernError": {"code": 64}, "ok": 1.0}
    body = merged(errors(0, 2, 5, sent=3), answer, flags)
    assert places(body) == [(0, 121), (1, 11000), (2, 121), (4, 11000), (5, 121)]
    assert [error["errmsg"] for error in body["writeErrors"] if error["code"] == 11000] == ["a", "b"]
    assert {name: body[name] for name in ("n", "writeConcernError", "ok")} == {
        **{"n": 1, "writeConcernError": {"code": 64}, "ok": 1.0}
    }


def test_an_ordered_write_that_the_server_has_stopped_never_came_to_ours() -> None:
    answer = {"n": 1, "writeErrors": [{"index": 1, "code": 11000, "errmsg": "a"}], "ok": 1.0}
    assert places(merged(errors(3, sent=3, ordered=True), answer)) == [(1, 11000)]
    nothing: list[dict[str, Any]] = [{}, {"writeErrors": []}]
    for empty in nothing:
        assert places(merged(errors(3, sent=3, ordered=True), {"n": 3, **empty, "ok": 1.0})) == [(3, 121)]
    bulk = {"cursor": {"id": Int64(0), "firstBatch": [{"ok": 0.0, "idx": 1}]}, "nErrors": 1, "ok": 1.0}
    assert merged(errors(3, sent=3, ordered=True, command=b"bulkWrite"), bulk) == bulk


@given(st.lists(st.booleans(), min_size=1, max_size=30))
def test_every_place_comes_back_to_the_client(is_refused: list[bool]) -> None:
    refused = [place for place, each in enumerate(is_refused) if each]
    sent = [place for place, each in enumerate(is_refused) if not each]
    found = errors(*refused, sent=len(sent), command=b"update")
    upserted = [{"index": index, "_id": place} for index, place in enumerate(sent)]
    body = merged(found, {"n": 0, "upserted": upserted, "retriedStmtIds": [0], "ok": 1.0})
    assert body["upserted"] == [{"index": place, "_id": place} for place in sent]
    assert [error["index"] for error in body["writeErrors"]] == refused
    assert "retriedStmtIds" not in body
    results = [{"ok": 1.0, "idx": index, "of": place} for index, place in enumerate(sent)]
    answer = {"cursor": {"id": Int64(0), "firstBatch": results}, "nErrors": 0, "ok": 1.0}
    found = errors(*refused, sent=len(sent), command=b"bulkWrite")
    body = merged(found, answer)
    assert [item["idx"] for item in body["cursor"]["firstBatch"]] == list(range(len(is_refused)))
    assert all(item.get("of", item["idx"]) == item["idx"] for item in body["cursor"]["firstBatch"])
    assert body["nErrors"] == len(refused)


@rows(
    "command, answer",
    (b"insert", {"writeErrors": {"index": 0}}),
    (b"insert", {"writeErrors": [5]}),
    (b"insert", {"writeErrors": [{"code": 1}]}),
    (b"insert", {"writeErrors": [{"index": 2}]}),
    (b"insert", {"writeErrors": [{"index": -1}]}),
    (b"insert", {"writeErrors": [{"index": 1.0}]}),
    (b"update", {"upserted": [{"index": 2}]}),
    (b"bulkWrite", {}),
    (b"bulkWrite", {"cursor": 5, "nErrors": 0}),
    (b"bulkWrite", {"cursor": {"id": Int64(0), "firstBatch": []}}),
    (b"bulkWrite", {"cursor": {"id": Int64(0), "firstBatch": []}, "nErrors": 0.0}),
    (b"bulkWrite", {"cursor": {"id": Int64(0)}, "nErrors": 0}),
    (b"bulkWrite", {"cursor": {"firstBatch": []}, "nErrors": 0}),
    (b"bulkWrite", {"cursor": {"id": Int64(7), "firstBatch": []}, "nErrors": 0}),
    (b"bulkWrite", {"cursor": {"id": Int64(0), "firstBatch": [{"idx": 2}]}, "nErrors": 0}),
)
def test_a_reply_of_another_shape_is_no_reply(command: bytes, answer: dict[str, Any]) -> None:
    with pytest.raises(BsonError):
        merged(errors(1, sent=2, command=command), answer | {"ok": 1.0})


def test_an_error_of_the_command_stays_as_it_is() -> None:
    answer = {"ok": 0.0, "code": 13, "writeErrors": "anything"}
    assert merged(errors(0, sent=1), answer) == answer


def test_after_many_texts_the_others_are_empty() -> None:
    long = Refusal(Reason.TYPE, path="x" * 700)
    count = MAX_TEXTS // 700 + 100
    found = WriteErrors(b"insert", [(place, long) for place in range(count)], 0, ordered=False)
    texts = [error["errmsg"] for error in merged(found, {"n": 0, "ok": 1.0})["writeErrors"]]
    assert len(texts) == count
    assert texts[0].endswith("[type]")
    assert not texts[-1]
    assert MAX_TEXTS <= sum(map(len, texts)) <= MAX_TEXTS + 1024


@rows(
    "command, names",
    (b"insert", {"n", "ok", "writeErrors"}),
    (b"delete", {"n", "ok", "writeErrors"}),
    (b"update", {"n", "nModified", "ok", "writeErrors"}),
    (
        b"bulkWrite",
        {*("cursor", "nErrors", "nInserted", "nMatched", "nModified", "nUpserted", "nDeleted"), "ok"},
    ),
)
def test_what_is_answered_at_once_has_the_servers_shape(command: bytes, names: set[str]) -> None:
    found = errors(0, sent=0, command=command)
    message = reply(found.unsent_body())
    body = body_of(found.merge(message, parse_op_msg(message).body))
    assert set(body) == names
    assert body["ok"] == 1.0
    if command == b"bulkWrite":
        assert body["nErrors"] == 1
        assert body["cursor"]["ns"] == "admin.$cmd.bulkWrite"


ENVELOPE = ValueCipher(material(1, 1), 1, 1).encrypt_deterministically(*value_bytes("9434765919"))
PRINTED = f"cannot use [ BinData(128, {ENVELOPE.hex().upper()}), 1 ] as a document"
LEFT = "cannot use [ BinData(128, ...), 1 ] as a document"
UPDATE = {"update": "patients", "updates": [{"q": {"_id": 1}, "u": {"$set": {"x": 1}}}]}
BULK = {
    "bulkWrite": 1,
    "ops": [{"insert": 0, "document": {"_id": 1}}],
    "nsInfo": [{"ns": "clinic.patients"}],
    "$db": "admin",
}


def told(certificate: str, body: dict[str, Any], answer: dict[str, Any]) -> dict[str, Any]:
    talk = session_as(certificate)
    asked(talk, body)
    return body_of(written(talk.server_data(reply(answer)), ToClient))


@pytest.mark.parametrize("certificate", ["CN=clerk", "CN=writer"])
def test_a_commands_error_shows_none(certificate: str) -> None:
    error = {"ok": 0.0, "errmsg": PRINTED, "code": 40228, "errInfo": {"details": [{"reason": PRINTED}]}}
    found = told(certificate, {"find": "patients", "filter": {"_id": 1}}, error)
    assert (found["errmsg"], found["code"]) == (LEFT, 40228)
    assert found["errInfo"] == {"details": [{"reason": LEFT}]}


@pytest.mark.parametrize("code", [91, 18])
def test_the_error_to_a_question_of_ours_shows_none(code: int) -> None:
    talk = session_as("CN=clerk")
    sent = written(talk.client_data(command({"find": "shown", "filter": {}, "$db": "clinic"}, 70)), ToServer)
    assert "listCollections" in body_of(sent)
    error = {"ok": 0.0, "errmsg": PRINTED, "code": code}
    effects = talk.server_data(reply(error, request_id_of(sent)))
    assert body_of(written(effects, ToClient)) == {**error, "errmsg": LEFT}


def test_errors_of_statements_show_none() -> None:
    errors = [{"index": 0, "code": 28, "errmsg": PRINTED}]
    found = told("CN=writer", UPDATE, {"n": 0, "nModified": 0, "writeErrors": errors, "ok": 1.0})
    assert [each["errmsg"] for each in found["writeErrors"]] == [LEFT]
    row = {"ok": 0.0, "idx": 0, "code": 28, "errmsg": PRINTED, "n": 0}
    cursor = {"id": 0, "firstBatch": [row], "ns": "admin.$cmd.bulkWrite"}
    found = told("CN=doctor", BULK, {"cursor": cursor, "nErrors": 1, "nInserted": 0, "ok": 1.0})
    assert [each["errmsg"] for each in found["cursor"]["firstBatch"]] == [LEFT]


def test_a_long_reply_shows_none_either() -> None:
    """A delete may have as many errors as statements."""
    talk = session_as("CN=doctor")
    asked(talk, {"delete": "patients", "deletes": [{"q": {"_id": 1}, "limit": 1}]})
    errors = [{"index": place, "code": 28, "errmsg": PRINTED} for place in range(LONG_BYTES // len(PRINTED))]
    whole = reply({"n": 0, "writeErrors": errors, "ok": 1.0})
    assert len(whole) > LONG_BYTES
    effects = served_in_parts(talk, whole, 50_000)
    found = body_of(written(effects, ToClient))
    assert {each["errmsg"] for each in found["writeErrors"]} == {LEFT}


def test_what_is_no_error_and_what_has_no_roles_stays_as_it_is() -> None:
    row = {"_id": 1, "note": PRINTED}
    cursor = {"cursor": {"firstBatch": [row], "id": 0, "ns": "clinic.patients"}, "ok": 1.0}
    found = told("CN=doctor", {"find": "patients", "filter": {}}, cursor)
    assert found["cursor"]["firstBatch"] == [row]
    talk = session()
    talk.client_data(command({"find": "patients", "filter": {}, "$db": "clinic"}))
    error = {"ok": 0.0, "errmsg": PRINTED, "code": 28}
    assert body_of(written(talk.server_data(reply(error)), ToClient))["errmsg"] == PRINTED


@given(
    before=st.binary(max_size=9),
    form=st.sampled_from([FORMAT, CONTEXT_FORMAT]),
    after=st.binary(min_size=40, max_size=60),
    write=st.sampled_from([bytes.hex, b64encode, urlsafe_b64encode]),
    text=st.text("abc d(){},:", max_size=9),
)
def test_it_is_found_in_every_notation_wherever_it_stands(
    before: bytes, form: int, after: bytes, write: Any, text: str
) -> None:
    printed = write(before + MAGIC + bytes((form,)) + after)
    run = printed if isinstance(printed, str) else printed.decode()
    error = reply({"ok": 0.0, "errmsg": f"{text} ({run}) {text}", "code": 1})
    assert body_of(without_envelopes(error))["errmsg"] == f"{text} (...) {text}"


@given(st.text(max_size=60))
def test_other_texts_stay_as_they_are(text: str) -> None:
    error = reply({"ok": 0.0, "errmsg": text, "code": 1})
    assert without_envelopes(error) == error


PATIENTS = "clinic.patients"
MARK = "f0rb1dden"
GOOD = [{"_id": number, "nhs_number": str(number)} for number in range(4)]
BAD: dict[str, Any] = {"_id": 9, "visits": MARK}
CHECKSUM, MORE_TO_COME = 1, 2


def stored(documents: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{**each, "nhs_number": sealed("nhs", each["nhs_number"])} for each in documents]


def insert(documents: list[Any], *, in_body: bool, flags: int = 0, **more: Any) -> bytes:
    body = {"insert": "patients", **more, "$db": "clinic"}
    if in_body:
        return command({**body, "documents": documents}, flags=flags)
    return command(body, flags=flags, after={"documents": documents})


def refused(place: int, code: int = 121, name: str = "index") -> dict[str, Any]:
    return {name: place, "code": code}


def brief(errors: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Errors without their texts, which no test knows by heart, but none of which shows a value."""
    assert MARK not in str(errors)
    return [{name: part for name, part in each.items() if name != "errmsg"} for each in errors]


@pytest.mark.parametrize("in_body", [True, False])
@pytest.mark.parametrize("flags", [0, CHECKSUM])
@rows(
    "documents, ordered, places, sent",
    ([BAD, *GOOD], False, [0], GOOD),
    ([*GOOD, BAD], False, [4], GOOD),
    ([GOOD[0], BAD, BAD, *GOOD[1:]], False, [1, 2], GOOD),
    ([GOOD[0], BAD, *GOOD[1:], BAD], True, [1], GOOD[:1]),
    ([*GOOD, BAD, BAD], True, [4], GOOD),
)
def test_the_others_are_sent_and_the_reply_names_those_left_out(
    documents: list[Any], ordered: bool, places: list[int], sent: list[Any], in_body: bool, flags: int
) -> None:
    talk = session()
    to_server = written(
        talk.client_data(insert(documents, in_body=in_body, flags=flags, ordered=ordered)), ToServer
    )
    wanted = insert(stored(sent), in_body=in_body, flags=flags, ordered=ordered)
    assert to_server == wanted
    answer = written(talk.server_data(reply({"n": len(sent), "ok": 1.0}, flags=flags)), ToClient)
    body = body_of(answer)
    assert (body["n"], body["ok"]) == (len(sent), 1.0)
    assert brief(body["writeErrors"]) == [refused(place) for place in places]
    assert talk.idle


@pytest.mark.parametrize("in_body", [True, False])
@pytest.mark.parametrize("ordered", [True, False])
def test_nothing_is_sent_when_nothing_is_left(play: Playbook, in_body: bool, ordered: bool) -> None:
    documents = [BAD, *(GOOD if ordered else [BAD])]
    talk = session()
    effects = talk.client_data(insert(documents, in_body=in_body, ordered=ordered))
    assert not written(effects, ToServer)
    body = body_of(written(effects, ToClient))
    assert {name: body[name] for name in ("n", "ok")} == {"n": 0, "ok": 1.0}
    assert brief(body["writeErrors"]) == [refused(place) for place in ([0] if ordered else [0, 1])]
    play >> client(command({"ping": 1, "$db": "admin"})) << to_server(command({"ping": 1, "$db": "admin"}))


def test_each_left_out_statement_is_counted_and_audited(play: Playbook) -> None:
    play >> client(insert([BAD, {"total": MARK}, *GOOD, {"_id": 1, "tags": 5}], in_body=True, ordered=False))
    for path in ("visits", "total", "tags"):
        play << audit("refused", PATIENTS, "insert", "type", path)
    play << to_server(insert(stored(GOOD), in_body=True, ordered=False))
    assert play.count(Counter.REFUSALS, "type") == 3
    assert play.count(Counter.COMMANDS, "insert") == 1
    assert play.count(Counter.VALUES_ENCRYPTED) == 4


def test_updates_and_deletes_have_write_errors_too() -> None:
    statements: list[Any] = [
        {"q": {"nhs_number": {"$gt": MARK}}, "u": {"$set": {"x": 1}}},
        {"q": {"_id": 7}, "u": {"$set": {"x": 1}}, "upsert": True},
        {"q": {}, "u": {"$set": {"visits": MARK}}},
        {"q": {"_id": 8}, "u": {"$set": {"x": 1}}, "upsert": True},
    ]
    talk = session()
    body = {"update": "patients", "ordered": False, "$db": "clinic"}
    message = written(talk.client_data(command(body, after={"updates": statements})), ToServer)
    assert message == command(body, after={"updates": [statements[1], statements[3]]})
    upserted = [{"index": 0, "_id": 7}, {"index": 1, "_id": 8}]
    answer = {"n": 2, "nModified": 0, "upserted": upserted, "ok": 1.0}
    found = body_of(written(talk.server_data(reply(answer)), ToClient))
    assert found["upserted"] == [{"index": 1, "_id": 7}, {"index": 3, "_id": 8}]
    assert brief(found["writeErrors"]) == [refused(0, 238), refused(2)]
    deletes = [{"q": {"notes": MARK}, "limit": 1}]
    effects = session().client_data(command({"delete": "patients", "deletes": deletes, "$db": "clinic"}))
    assert brief(body_of(written(effects, ToClient))["writeErrors"]) == [refused(0, 238)]
    effects = session().client_data(command({"update": "patients", "updates": statements, "$db": "clinic"}))
    assert body_of(written(effects, ToClient))["nModified"] == 0


def test_a_statement_that_makes_no_sense_is_left_out_of_an_unordered_command() -> None:
    documents = [GOOD[0], {"nhs_number.x": 1}, BAD, *GOOD[1:]]
    talk = session()
    message = written(talk.client_data(insert(documents, in_body=True, ordered=False)), ToServer)
    assert message == insert(stored(GOOD), in_body=True, ordered=False)
    found = body_of(written(talk.server_data(reply({"n": len(GOOD), "ok": 1.0})), ToClient))
    assert brief(found["writeErrors"]) == [refused(1, 2), refused(2)]
    statements = [{"q": {}, "u": {"$set": 5}}, {"q": {"_id": 7}, "u": {"$set": {"x": 1}}}]
    body = {"update": "patients", "ordered": False, "$db": "clinic"}
    message = written(session().client_data(command(body, after={"updates": statements})), ToServer)
    assert message == command(body, after={"updates": statements[1:]})


OPS: list[dict[str, Any]] = [
    {"insert": 0, "document": {"visits": MARK}},
    {"insert": 0, "document": {"_id": 1}},
    {"delete": 0, "filter": {"notes": MARK}, "multi": False},
    {"insert": 1, "document": {"visits": MARK[:3]}},
]


def bulk(ops: list[Any], *, in_body: bool, other: str = "shop.orders", **more: Any) -> bytes:
    namespaces = [{"ns": PATIENTS}, {"ns": other}]
    body = {"bulkWrite": 1, **more, "$db": "admin"}
    if in_body:
        return command({**body, "ops": ops, "nsInfo": namespaces})
    return command(body, after={"ops": ops, "nsInfo": namespaces})


def results(*items: dict[str, Any], cursor_id: int = 0, errors: int = 0) -> dict[str, Any]:
    cursor = {"id": Int64(cursor_id), "firstBatch": list(items), "ns": "admin.$cmd.bulkWrite"}
    return {"cursor": cursor, "nErrors": errors, "nInserted": 2, "ok": 1.0}


@pytest.mark.parametrize("in_body", [True, False])
def test_a_bulk_has_its_write_errors_among_its_results(in_body: bool) -> None:
    talk = session()
    message = written(talk.client_data(bulk(OPS, in_body=in_body, ordered=False)), ToServer)
    assert message == bulk([OPS[1], OPS[3]], in_body=in_body, ordered=False)
    answer = results({"ok": 1.0, "idx": 0, "n": 1}, {"ok": 0.0, "idx": 1, "code": 2, "n": 0}, errors=1)
    found = body_of(written(talk.server_data(reply(answer)), ToClient))
    assert found["nErrors"] == 3
    assert brief(found["cursor"]["firstBatch"]) == [
        {"ok": 0.0, **refused(0, name="idx"), "n": 0},
        {"ok": 1.0, "idx": 1, "n": 1},
        {"ok": 0.0, **refused(2, 238, "idx"), "n": 0},
        {"ok": 0.0, "idx": 3, "code": 2, "n": 0},
    ]


def test_the_operations_of_a_bulk_may_come_behind_its_namespaces() -> None:
    body = {"bulkWrite": 1, "ordered": False, "$db": "admin"}
    namespaces = [{"ns": PATIENTS}, {"ns": "shop.orders"}]
    message = command(body, after={"nsInfo": namespaces, "ops": OPS})
    sent = written(session().client_data(message), ToServer)
    assert sent == command(body, after={"nsInfo": namespaces, "ops": [OPS[1], OPS[3]]})


def test_what_the_server_is_asked_about_is_asked_once_and_counted_once() -> None:
    message = bulk(OPS, in_body=True, other="clinic.wards", ordered=False)
    talk = session()
    question = written(talk.client_data(message), ToServer)
    assert "listCollections" in body_of(question)
    cursor = {"id": Int64(0), "ns": "clinic.$cmd.listCollections", "firstBatch": []}
    asked = int.from_bytes(question[4:8], "little")
    effects = talk.server_data(reply({"cursor": cursor, "ok": 1.0}, asked))
    assert written(effects, ToServer) == bulk(
        [OPS[1], OPS[3]], in_body=True, other="clinic.wards", ordered=False
    )
    assert sum(isinstance(effect, Audit) for effect in effects) == 2


def test_an_ordered_bulk_ends_with_its_first_write_error() -> None:
    talk = session()
    ordered = [OPS[1], *OPS]
    message = written(talk.client_data(bulk(ordered, in_body=False)), ToServer)
    assert message == bulk([OPS[1]], in_body=False)
    found = body_of(written(talk.server_data(reply(results({"ok": 1.0, "idx": 0, "n": 1}))), ToClient))
    assert [item["idx"] for item in found["cursor"]["firstBatch"]] == [0, 1]
    found = body_of(written(session().client_data(bulk(OPS, in_body=False)), ToClient))
    assert (found["nErrors"], found["nInserted"], found["cursor"]["id"]) == (1, 0, 0)


def test_results_that_come_later_end_the_session(play: Playbook) -> None:
    play >> client(bulk(OPS, in_body=True, ordered=False))
    play << audit("refused", "admin", "bulkWrite", "type", "visits")
    play << audit("refused", "admin", "bulkWrite", "random-equality", "notes")
    play << to_server(bulk([OPS[1], OPS[3]], in_body=True, ordered=False))
    play >> server(reply(results(cursor_id=5))) << close(CloseReason.SERVER_PROTOCOL)


LONG = {"_id": 5, "text": "x" * LONG_BYTES}
UNREADABLE: dict[str, Any] = {"q": {}, "u": {"$set": {"visits": MARK}}, "unheard": 1}


@rows(
    "message, code",
    (insert([*GOOD, BAD], in_body=True, txnNumber=Int64(1), autocommit=False), 14),
    (insert([*GOOD, BAD], in_body=True, ordered=1), 14),
    (command({"update": "patients", "updates": [UNREADABLE], "ordered": False, "$db": "clinic"}), 2),
    (insert([BAD], in_body=True, unheard=1), 2),
    (bulk(OPS, in_body=True, cursor={"batchSize": 1}), 14),
    (bulk([*OPS, {"insert": 1, "document": LONG}], in_body=False), 14),
    (bulk([OPS[0], {"insert": 2, "document": {}}], in_body=False, ordered=False), 2),
    (command({"findAndModify": "patients", "update": {"visits": MARK}, "$db": "clinic"}), 14),
)
def test_where_it_is_not_sure_the_whole_command_is_refused(message: bytes, code: int) -> None:
    effects = session().client_data(message)
    assert not written(effects, ToServer)
    body = body_of(written(effects, ToClient))
    assert (body["ok"], body["code"]) == (0.0, code)


def test_an_empty_cursor_argument_asks_for_all_results_at_once() -> None:
    assert written(session().client_data(bulk(OPS, in_body=True, cursor={}, ordered=False)), ToServer)


def test_an_unacknowledged_write_still_ends_the_session() -> None:
    message = insert([*GOOD, BAD], in_body=False, flags=MORE_TO_COME, writeConcern={"w": 0}, ordered=False)
    effects = session().client_data(message)
    assert not written(effects, ToServer)
    assert not written(effects, ToClient)


def test_an_error_of_the_command_comes_as_it_is() -> None:
    talk = session()
    talk.client_data(insert([BAD, *GOOD], in_body=False, ordered=False))
    answer = reply({"ok": 0.0, "code": 10107, "errmsg": "not primary", "codeName": "NotWritablePrimary"})
    assert written(talk.server_data(answer), ToClient) == answer


def test_a_long_write_is_sent_without_what_is_refused_of_it() -> None:
    """Its documents are written in stretches while later ones are planned; one is left out in each."""
    documents: list[Any] = []
    for number in range(4000):
        documents.append({"_id": number, "nhs_number": str(number), "padding": "x" * 300})
        if number % 500 == 250:
            documents.append({**BAD, "nhs_number": MARK})
    talk = session()
    message = written(talk.client_data(insert(documents, in_body=False, ordered=False)), ToServer)
    assert len(message) > LONG_BYTES
    assert MARK.encode() not in message
    found = [decoded(each) for each in dict(sections(message))["documents"]]
    assert found == stored([each for each in documents if each["_id"] != 9 or "padding" in each])
    refused_places = [place for place, each in enumerate(documents) if "padding" not in each]
    body = body_of(written(talk.server_data(reply({"n": 4000, "ok": 1.0})), ToClient))
    assert [each["index"] for each in body["writeErrors"]] == refused_places


def test_no_byte_of_what_is_left_out_reaches_the_server() -> None:
    for in_body in (True, False):
        for ordered in (True, False):
            documents = [GOOD[0], {**BAD, MARK: 1, "nhs_number": MARK, "clear": [MARK]}, *GOOD[1:]]
            talk = session()
            message = written(talk.client_data(insert(documents, in_body=in_body, ordered=ordered)), ToServer)
            assert message
            assert MARK.encode() not in message
            assert bytes(sealed("nhs", MARK)) not in message


def test_a_refused_command_is_planned_again_and_refused_where_its_shorter_one_is(play: Playbook) -> None:
    too_large = {"_id": 1, "text": "x" * (16 << 20), "nhs_number": "1", "more": "y" * 20_000}
    play >> client(insert([BAD, too_large], in_body=False, ordered=False))
    play << audit("refused", PATIENTS, "insert", "too-large") << error(10334, "BSONObjectTooLarge")


HEAD = "E11000 duplicate key error collection: clinic.patients index: i dup key: "
INSERT = command({"insert": "patients", "documents": [{}], "$db": "clinic"})
MODIFY = command({"findAndModify": "patients", "update": {"$set": {"x": 1}}, "$db": "clinic"})
INDEX = command(
    {"createIndexes": "patients", "indexes": [{"key": {"nhs_number": 1}, "name": "i"}], "$db": "clinic"}
)
BULK_REPLY = command(
    {
        "bulkWrite": 1,
        "ops": [{"insert": 0, "document": {}}],
        "nsInfo": [{"ns": "clinic.patients"}],
        "$db": "admin",
    }
)


def any_envelope(value: Any) -> Binary:
    """A value of any type under the key of some class; for a reply it does not matter which."""
    cipher = ValueCipher(material(1, 1), 1, 1)
    return Binary(cipher.encrypt_deterministically(*value_bytes(value)), SUBTYPE)


def duplicate(**key: Any) -> dict[str, Any]:
    shown = ", ".join(f"{name}: BinData(128, 53570101)" for name in key)
    pattern = dict.fromkeys(key, 1)
    return {"code": 11000, "errmsg": f"{HEAD}{{ {shown} }}", "keyPattern": pattern, "keyValue": key}


def answered(question: bytes, answer: dict[str, Any]) -> dict[str, Any]:
    talk = session()
    talk.client_data(question)
    return body_of(written(talk.server_data(reply(answer)), ToClient))


@rows(
    "value, shown",
    ("9434765919", '"9434765919"'),
    ("x" * 159, '"' + "x" * 159 + '"'),
    ("x" * 160, '"' + "x" * 70 + '..."'),
    ("ä" * 160, '"' + "ä" * 35 + '..."'),
    ("x" + "ä" * 160, '"x' + "ä" * 34 + '..."'),
    (-5, "-5"),
    (Int64(1 << 40), str(1 << 40)),
    (2.5, "2.5"),
    (3.0, "3.0"),
    (1e300, "1e+300.0"),
    (float("inf"), '"..."'),
    (True, "true"),
    (False, "false"),
    (datetime(1970, 1, 2, tzinfo=UTC), "new Date(86400000)"),
    (ObjectId("5f5f5f5f5f5f5f5f5f5f5f5f"), "ObjectId('5f5f5f5f5f5f5f5f5f5f5f5f')"),
    (Decimal128("1.5"), '"..."'),
    (Timestamp(1, 1), '"..."'),
    (Binary(b"abc", 0), '"..."'),
    ({"a": 1}, '"..."'),
)
def test_values_are_written_as_the_server_writes_them_or_left_out(value: Any, shown: str) -> None:
    answer = {"n": 0, "writeErrors": [{"index": 0, **duplicate(key=any_envelope(value))}], "ok": 1.0}
    (error,) = answered(INSERT, answer)["writeErrors"]
    assert error["errmsg"] == f"{HEAD}{{ key: {shown} }}"


COVERED = duplicate(nhs_number=sealed("nhs", "1"), ward="a", none=None)
CLEAR = f'{HEAD}{{ nhs_number: "1", ward: "a", none: null }}'


def test_wherever_a_reply_has_an_error() -> None:
    found = answered(MODIFY, {"ok": 0.0, **COVERED})
    assert (found["errmsg"], found["keyValue"]) == (CLEAR, {"nhs_number": "1", "ward": "a", "none": None})
    assert answered(INDEX, {"ok": 0.0, **COVERED, "codeName": "DuplicateKey"})["errmsg"] == CLEAR
    batch = [
        {"ok": 1.0, "idx": 0, "n": 1},
        {"ok": 0.0, "idx": 1, **COVERED},
        {"ok": 0.0, "idx": 2, **COVERED},
    ]
    answer = {
        "cursor": {"id": Int64(0), "firstBatch": batch, "ns": "admin.$cmd.bulkWrite"},
        "nErrors": 2,
        "ok": 1.0,
    }
    items = answered(BULK_REPLY, answer)["cursor"]["firstBatch"]
    assert [item.get("errmsg") for item in items] == [None, CLEAR, CLEAR]


def test_texts_of_other_errors_stay_as_they_are() -> None:
    plain = {**duplicate(ward="a"), "errmsg": f"{HEAD}{{ ward: 'as another server writes it' }}"}
    other = {**COVERED, "code": 2}
    nameless = {**COVERED, "errmsg": "E11000 of another form"}
    bare = {"code": 11000, "errmsg": HEAD}
    errors = [{"index": n, **each} for n, each in enumerate([plain, other, nameless, bare, COVERED])]
    found = answered(INSERT, {"n": 0, "writeErrors": errors, "ok": 1.0})["writeErrors"]
    texts = [each["errmsg"] for each in found]
    assert texts == [plain["errmsg"], COVERED["errmsg"], "E11000 of another form", HEAD, CLEAR]


def test_a_document_that_looks_like_an_error_is_a_document() -> None:
    find = command({"find": "patients", "$db": "clinic"})
    aggregate = command({"aggregate": "patients", "pipeline": [], "cursor": {}, "$db": "clinic"})
    for question in (find, aggregate):
        cursor = {"id": Int64(0), "firstBatch": [COVERED], "ns": "clinic.patients"}
        (found,) = answered(question, {"cursor": cursor, "ok": 1.0})["cursor"]["firstBatch"]
        assert found["errmsg"] == COVERED["errmsg"]
    modified = answered(MODIFY, {"value": COVERED, "ok": 1.0})["value"]
    assert modified["errmsg"] == COVERED["errmsg"]


def test_a_long_reply_shows_it_too() -> None:
    errors = [{"index": n, **COVERED, "padding": "x" * 1000} for n in range(LONG_BYTES // 1000)]
    found = answered(INSERT, {"n": 0, "writeErrors": errors, "ok": 1.0})["writeErrors"]
    assert {each["errmsg"] for each in found} == {CLEAR}


@pytest.mark.parametrize("name", ["errmsg", "keyValue"])
def test_a_server_that_puts_an_envelope_where_no_value_is_ends_the_session(name: str) -> None:
    answer = {"ok": 0.0, **duplicate(nhs_number=sealed("nhs", "9434765919"))}
    talk = session()
    talk.client_data(MODIFY)
    shown = any_envelope("x") if name == "errmsg" else any_envelope({"nhs_number": "x"})
    effects = talk.server_data(reply({**answer, name: shown}))
    assert [effect.reason for effect in effects if isinstance(effect, Close)] == [CloseReason.SERVER_PROTOCOL]
