"""Whether a server has room for values of the form before a move."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, cast

import pytest
from bson.timestamp import Timestamp
from pymongo.errors import OperationFailure

from sealwire.sidecars.direct import Client
from sealwire.sidecars.migration.inspection import Remaining, of_files, of_oplog
from tests.keys.samples import NOW

DENIED = OperationFailure("no", 13, {"codeName": "Unauthorized"})


class SmallServer:
    """Answers the few commands that are asked, or raises."""

    def __init__(
        self, stats: object = None, oldest: object = None, hello: Mapping[str, Any] | None = None
    ) -> None:
        self._stats, self._oldest, self._hello = stats, oldest, hello or {}

    def get_database(self, _name: str) -> "SmallServer":
        return self

    def get_collection(self, _name: str, **_options: Any) -> "SmallServer":
        return self

    def command(self, command: object, **_options: Any) -> object:
        return self._hello if command == "hello" else said(self._stats)

    def find_one(self, *_words: Any, sort: object) -> object:
        assert sort == [("$natural", 1)]
        return said(self._oldest)

    @property
    def client(self) -> Client:
        return cast(Client, self)


def said(answer: object) -> object:
    if isinstance(answer, Exception):
        raise answer
    return answer


def at(minutes: float) -> dict[str, object]:
    return {"ts": Timestamp(NOW + timedelta(minutes=minutes), 1)}


@pytest.mark.parametrize(
    ("oldest", "verdict"),
    [
        (at(-60), Remaining.PERHAPS),
        (at(0), Remaining.PERHAPS),
        (at(9), Remaining.PERHAPS),
        (at(11), Remaining.GONE),
        (None, Remaining.GONE),
        (DENIED, Remaining.UNKNOWN),
        ({"ts": "soon"}, Remaining.UNKNOWN),
    ],
    ids=["before", "at the end", "by its clock", "after", "no oplog", "denied", "no time"],
)
def test_an_oplog_that_begins_after_the_move_has_nothing_of_it(oldest: object, verdict: Remaining) -> None:
    assert of_oplog(SmallServer(oldest=oldest).client, NOW).verdict is verdict


def test_a_mongos_has_no_oplog_of_its_shards() -> None:
    found = of_oplog(SmallServer(oldest=None, hello={"msg": "isdbgrid"}).client, NOW)
    assert found.verdict is Remaining.UNKNOWN


def file(free: object) -> dict[str, object]:
    return {"block-manager": {"file bytes available for reuse": free}}


@pytest.mark.parametrize(
    ("stats", "verdict"),
    [
        ({"wiredTiger": file(0), "indexDetails": {"_id_": file(0)}}, Remaining.GONE),
        ({"wiredTiger": file(4096), "indexDetails": {"_id_": file(0)}}, Remaining.PERHAPS),
        ({"wiredTiger": file(0), "indexDetails": {"_id_": file(0), "nhs_1": file(8192)}}, Remaining.PERHAPS),
        ({"wiredTiger": file(0), "indexDetails": {"_id_": {}}}, Remaining.UNKNOWN),
        ({"wiredTiger": file("0")}, Remaining.UNKNOWN),
        ({}, Remaining.UNKNOWN),
        (DENIED, Remaining.UNKNOWN),
    ],
)
def test_free_pages_of_a_collection_and_of_its_indexes_count(stats: object, verdict: Remaining) -> None:
    found = of_files(SmallServer(stats).client, "clinic.patients")
    assert (found.verdict, "clinic.patients" in found.where) == (verdict, True)
