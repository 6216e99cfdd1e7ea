"""Writes of which some statements are refused: what is sent of them, and what the client is told."""

from typing import Any

import pytest
from bson import Int64

from sealwire.proxy.session.effects import Audit, CloseReason, Counter, ToClient, ToServer
from sealwire.wire.long_message import LONG_BYTES
from tests.proxy.session.playbook import Playbook, audit, client, close, error, server, to_server
from tests.proxy.session.world import body_of, command, decoded, reply, sealed, sections, session, written

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
@pytest.mark.parametrize(
    ("documents", "ordered", "places", "sent"),
    [
        ([BAD, *GOOD], False, [0], GOOD),
        ([*GOOD, BAD], False, [4], GOOD),
        ([GOOD[0], BAD, BAD, *GOOD[1:]], False, [1, 2], GOOD),
        ([GOOD[0], BAD, *GOOD[1:], BAD], True, [1], GOOD[:1]),
        ([*GOOD, BAD, BAD], True, [4], GOOD),
    ],
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


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (insert([*GOOD, BAD], in_body=True, txnNumber=Int64(1), autocommit=False), 14),
        (insert([*GOOD, BAD], in_body=True, ordered=1), 14),
        (command({"update": "patients", "updates": [UNREADABLE], "ordered": False, "$db": "clinic"}), 2),
        (insert([BAD], in_body=True, unheard=1), 2),
        (bulk(OPS, in_body=True, cursor={"batchSize": 1}), 14),
        (bulk([*OPS, {"insert": 1, "document": LONG}], in_body=False), 14),
        (bulk([OPS[0], {"insert": 2, "document": {}}], in_body=False, ordered=False), 2),
        (command({"findAndModify": "patients", "update": {"visits": MARK}, "$db": "clinic"}), 14),
    ],
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
