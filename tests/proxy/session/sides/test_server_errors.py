"""A server's errors are counted once, by the name of the command; nothing else is."""

from typing import Any

import bson
import pytest
from bson.int64 import Int64

from sealwire.proxy.session.effects import Count, Counter, Effect, ToClient
from sealwire.proxy.session.requests import OTHER
from tests.proxy.session.world import command, reply, session
from tests.wire.corpus import document, element

ERRORS = (Counter.SERVER_ERRORS, Counter.WRITE_ERRORS)
FIND = {"find": "patients", "$db": "clinic"}
INSERT = {"insert": "wards", "documents": [{"_id": 1}], "$db": "clinic"}
BULK = {
    "bulkWrite": 1,
    "ops": [{"insert": 0, "document": {"_id": 1}}],
    "nsInfo": [{"ns": "elsewhere.beds"}],
    "$db": "admin",
}
CURSOR = {"firstBatch": [{"ok": 0.0}], "id": 0, "ns": "clinic.patients"}
WRITE_ERROR = {"index": 0, "code": 11000, "errmsg": "no"}


def answered(asked: dict[str, Any], answer: dict[str, Any] | bytes) -> list[Effect]:
    made = session()
    made.client_data(command(asked))
    return made.server_data(reply(answer))


def counted(asked: dict[str, Any], answer: dict[str, Any] | bytes) -> list[tuple[Counter, str]]:
    effects = answered(asked, answer)
    assert any(isinstance(effect, ToClient) for effect in effects)
    return [(e.counter, e.label) for e in effects if isinstance(e, Count) and e.counter in ERRORS]


@pytest.mark.parametrize("no", [0.0, 0, Int64(0), False, "yes", None], ids=str)
def test_an_error_is_counted_by_the_name_of_its_command(no: object) -> None:
    error = {"ok": no, "errmsg": "exceeded the time limit", "code": 50, "errInfo": {"ok": 1.0}}
    assert counted(FIND, error) == [(Counter.SERVER_ERRORS, "find")]
    assert counted(INSERT, error) == [(Counter.SERVER_ERRORS, "insert")]


def test_what_stands_before_ok_does_not_hide_an_error() -> None:
    before = {"operationTime": bson.Timestamp(1, 1), "$clusterTime": {"clusterTime": bson.Timestamp(1, 1)}}
    state = {"topologyVersion": {"processId": bson.ObjectId(), "counter": Int64(6)}, "ok": 0.0, "code": 13435}
    assert counted(FIND, state) == [(Counter.SERVER_ERRORS, "find")]
    assert counted(FIND, before | {"ok": 0.0}) == [(Counter.SERVER_ERRORS, "find")]
    assert counted(INSERT, {"n": 0, "ok": 0.0}) == [(Counter.SERVER_ERRORS, "insert")]


@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        (FIND, {"cursor": CURSOR, "ok": 1.0}),
        (FIND, {"waitedMS": Int64(0), "cursor": CURSOR, "ok": 1}),
        (INSERT, {"n": 1, "ok": 1.0}),
        (INSERT, {"n": 1, "ok": True}),
        (INSERT, {"n": 1, "electionId": bson.ObjectId(), "opTime": {"ts": 1}, "writeErrors": [], "ok": 1.0}),
        (BULK, {"cursor": CURSOR, "nErrors": 0, "nInserted": 1, "ok": 1.0}),
    ],
)
def test_a_reply_without_an_error_is_not_counted(asked: dict[str, Any], answer: dict[str, Any]) -> None:
    assert counted(asked, answer) == []


def test_errors_of_writes_count_once_for_their_command() -> None:
    errors = [WRITE_ERROR, WRITE_ERROR | {"index": 1}]
    assert counted(INSERT, {"n": 0, "writeErrors": errors, "ok": 1.0}) == [(Counter.WRITE_ERRORS, "insert")]
    behind = {"ok": 1.0, "n": 0, "writeErrors": errors}
    assert counted(INSERT, behind) == [(Counter.WRITE_ERRORS, "insert")]
    bulk = {"cursor": CURSOR, "nErrors": 1, "nInserted": 1, "ok": 1.0}
    assert counted(BULK, bulk) == [(Counter.WRITE_ERRORS, "bulkWrite")]


def test_a_server_cannot_make_up_a_label() -> None:
    answer = {"n": 0, "writeErrors": [WRITE_ERROR], "ok": 1.0}
    assert counted(FIND, answer) == [(Counter.WRITE_ERRORS, OTHER)]


def test_what_is_no_bson_passes_and_counts_as_nothing() -> None:
    broken = document(element(0x10, b"n", bytes(4)), element(0x7E, b"odd", b""))
    assert counted(INSERT, broken) == []
    assert counted(INSERT, document()) == []


def test_a_reply_of_very_many_fields_is_not_walked_to_its_end() -> None:
    many = {f"f{number}": 1 for number in range(64)}
    assert counted(FIND, many | {"ok": 0.0}) == []
    del many["f0"]
    assert counted(FIND, many | {"ok": 0.0}) == [(Counter.SERVER_ERRORS, "find")]
