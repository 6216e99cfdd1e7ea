"""The server's reply to the statements that it got, as it answers those that the client sent."""

from base64 import b64encode, urlsafe_b64encode
from typing import Any

import pytest
from bson import Int64
from hypothesis import given
from hypothesis import strategies as st

from sealwire.crypto.cipher import ValueCipher
from sealwire.crypto.envelope import CONTEXT_FORMAT, FORMAT, MAGIC
from sealwire.policies.errors import Reason, Refusal
from sealwire.proxy.session.effects import ToClient, ToServer
from sealwire.proxy.session.write_errors.merging import MAX_TEXTS, WriteErrors, without_envelopes
from sealwire.wire.errors import BsonError
from sealwire.wire.header import request_id_of
from sealwire.wire.long_message import LONG_BYTES
from sealwire.wire.op_msg import parse_op_msg
from tests.proxy.session.role_world import asked, session_as
from tests.proxy.session.world import body_of, command, material, reply, session, value_bytes, written

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


@pytest.mark.parametrize(
    ("command", "answer"),
    [
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
    ],
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


@pytest.mark.parametrize(
    ("command", "names"),
    [
        (b"insert", {"n", "ok", "writeErrors"}),
        (b"delete", {"n", "ok", "writeErrors"}),
        (b"update", {"n", "nModified", "ok", "writeErrors"}),
        (
            b"bulkWrite",
            {
                *("cursor", "nErrors", "nInserted", "nMatched", "nModified", "nUpserted", "nDeleted"),
                "ok",
            },
        ),
    ],
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
    effects = [
        each for at in range(0, len(whole), 50_000) for each in talk.server_data(whole[at : at + 50_000])
    ]
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
