"""The text of a duplicate key's error shows what its `keyValue` shows, in the server's notation."""

from datetime import UTC, datetime
from typing import Any

import pytest
from bson import Binary, Decimal128, Int64, ObjectId, Timestamp

from sealwire.crypto.cipher import ValueCipher
from sealwire.crypto.envelope import SUBTYPE
from sealwire.proxy.session.effects import Close, CloseReason, ToClient
from sealwire.wire.long_message import LONG_BYTES
from tests.proxy.session.world import body_of, command, material, reply, sealed, session, value_bytes, written

HEAD = "E11000 duplicate key error collection: clinic.patients index: i dup key: "
INSERT = command({"insert": "patients", "documents": [{}], "$db": "clinic"})
MODIFY = command({"findAndModify": "patients", "update": {"$set": {"x": 1}}, "$db": "clinic"})
INDEX = command(
    {"createIndexes": "patients", "indexes": [{"key": {"nhs_number": 1}, "name": "i"}], "$db": "clinic"}
)
BULK = command(
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


@pytest.mark.parametrize(
    ("value", "shown"),
    [
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
    ],
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
    items = answered(BULK, answer)["cursor"]["firstBatch"]
    assert [item.get("errmsg") for item in items] == [None, CLEAR, CLEAR]


def test_other_texts_stay_as_they_are() -> None:
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
