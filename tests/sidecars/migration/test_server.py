"""Reading and writing on a server, without one: what it is asked, and what its failures become."""

from datetime import UTC, datetime, timedelta
from typing import Any, cast

import bson
import pytest
from bson.raw_bson import RawBSONDocument
from pymongo.errors import AutoReconnect, OperationFailure

from sealwire.sidecars.direct import Client
from sealwire.sidecars.errors import Unavailable
from sealwire.sidecars.migration.server import BATCH_BYTES, MongoDocuments, Written, lag_s

NOW = datetime(2026, 7, 1, tzinfo=UTC)
ONE = b"\x10_id\0\1\0\0\0"


class Cursor(list[RawBSONDocument]):
    def __enter__(self) -> "Cursor":
        return self

    def __exit__(self, *_: object) -> None:
        self.clear()


class Answers:
    """A client, database and collection in one, which answers what it was given."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.asked: list[Any] = []

    def get_database(self, *_: Any, **__: Any) -> "Answers":
        return self

    get_collection = get_database

    def command(self, command: Any, **_: Any) -> Any:
        self.asked.append(command)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    cursor_command = command
    find = command


def documents(answers: Answers, waits: list[float] | None = None) -> MongoDocuments:
    return MongoDocuments(cast(Client, answers), (waits if waits is not None else []).append)


def raws(*sizes: int) -> Cursor:
    return Cursor(RawBSONDocument(bson.encode({"_id": 1, "x": "x" * size})) for size in sizes)


def test_a_batch_ends_by_its_number_its_bytes_or_the_collection() -> None:
    large = BATCH_BYTES // 2
    server = documents(Answers(raws(1, 1), raws(1, 1, 1), raws(large, large, 1), raws(BATCH_BYTES, 1, 1)))
    found = [server.read("a.b", b"", b"", 3) for _ in range(4)]
    assert [(len(raws), ended) for raws, ended in found] == [(2, True), (3, False), (2, False), (2, False)]


def test_bounds_are_bounds_of_the_index() -> None:
    answers = Answers(raws(1), raws(1))
    server = documents(answers)
    server.read("a.b.c", b"", b"", 5)
    server.read("a.b.c", ONE, ONE, 5)
    whole, bounded = answers.asked
    assert whole == {"find": "b.c", "hint": {"_id": 1}, "limit": 5, "batchSize": 5, "sort": {"_id": 1}}
    assert (bounded["min"]["_id"], bounded["max"]["_id"], "sort" in bounded) == (1, 1, False)


def test_documents_are_asked_for_again_by_any_id() -> None:
    answers = Answers(raws(1))
    assert len(documents(answers).again("a.b", [ONE, b"\x02_id\0\2\0\0\0x\0"])) == 1
    assert bson.decode(answers.asked[0].raw) == {"_id": {"$in": [1, "x"]}}


def test_refused_updates_are_told_by_index_and_code() -> None:
    answers = Answers({"n": 1, "writeErrors": [{"index": 1, "code": 121, "errmsg": "x"}]})
    assert documents(answers).update("a.b", [bson.encode({"q": {}})] * 2) == Written(1, ((1, 121),))
    assert answers.asked[0]["writeConcern"] == {"w": "majority"}
    assert answers.asked[0]["ordered"] is False


def test_what_may_be_rolled_back_is_not_noted() -> None:
    with pytest.raises(Unavailable):
        documents(Answers({"n": 1, "writeConcernError": {"code": 64}})).update("a.b", [])


def test_a_server_that_does_not_answer_is_asked_again_and_not_for_ever() -> None:
    waits: list[float] = []
    lost = AutoReconnect("lost")
    assert documents(Answers(lost, lost, {"n": 0}), waits).update("a.b", []) == Written(0)
    assert len(waits) == 2
    with pytest.raises(AutoReconnect):
        documents(Answers(*[lost] * 5), waits).update("a.b", [])


def member(state: int, behind_s: float) -> dict[str, Any]:
    return {"state": state, "optimeDate": NOW - timedelta(seconds=behind_s)}


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ({"members": [member(1, 0), member(2, 3), member(2, 7), member(7, 0)]}, 7.0),
        ({"members": [member(1, 2), member(2, 0)]}, 0.0),
        ({"members": [member(1, 0)]}, None),
        (OperationFailure("not running with --replSet", 76), None),
    ],
)
def test_the_lag_is_that_of_the_slowest_member(answer: Any, expected: float | None) -> None:
    assert lag_s(cast(Client, Answers(answer))) == expected
