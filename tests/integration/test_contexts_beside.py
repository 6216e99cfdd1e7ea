"""A key for each patient in a list of patients, through a running proxy, whose answers are plaintext's."""

from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from pymongo import MongoClient
from pymongo.errors import OperationFailure

from sealwire.crypto.envelope import parse_context_header
from sealwire.keys.kek.kek import EnvironmentKek
from sealwire.keys.keyring.file import create_keyring
from sealwire.testbed.database import DatabaseProcess
from tests.integration.conftest import Document
from tests.integration.running_site import client_of, new_environ, site_at
from tests.proxy.server.site import serving

pytestmark = pytest.mark.integration

RULES = """
version: 1
classes:
  code: {mode: deterministic, type: string, key: {per: ./patient}}
  note: {mode: random, key: {per: ./patient}}
collections:
  clinic.wards: {visits.code: code, visits.tags: code, letters.note: note, code: code, desk.code: code}
"""


class Places(NamedTuple):
    """The collection through the proxy, as the server has it, and the same in plaintext."""

    ours: Any
    stored: Any
    plain: Any


@pytest.fixture
def places(database: DatabaseProcess, tmp_path: Path) -> Iterator[Places]:
    environ = new_environ()
    site = site_at(database, tmp_path, RULES, environ)
    site.config["keys"]["contexts"] = "contexts.db"
    create_keyring(site.keyring, EnvironmentKek(environ=environ), ["code", "note"], datetime.now(UTC))
    with ExitStack() as stack:
        ours = stack.enter_context(client_of(stack.enter_context(serving(site))))
        direct = stack.enter_context(MongoClient[Document](database.uri()))
        for name in ("clinic", "plain"):
            direct.drop_database(name)
        yield Places(ours["clinic"]["wards"], direct["clinic"]["wards"], direct["plain"]["wards"])


def visit(patient: object, code: str, **more: Any) -> Document:
    return {"patient": patient, "code": code, **more}


def wards() -> list[Document]:
    return [
        {"_id": 1, "visits": [visit(5, "a", tags=["x", "y"]), visit(6, "b"), visit(5, "b")]},
        {"_id": 2, "visits": [visit("p", "a", tags="x"), {"patient": 5}], "patient": 6, "code": "a"},
        {"_id": 3, "visits": visit(5, "a"), "desk": visit(6, "c")},
        {"_id": 4, "visits": [[visit(5, "a")], {"x": 1}], "letters": [{"patient": 6, "note": [1, 2]}]},
        {"_id": 5, "visits": [], "desk": {"patient": 7}},
    ]


def test_each_element_has_the_key_of_its_own_patient(places: Places) -> None:
    places.ours.insert_many(wards())
    assert list(places.ours.find()) == wards()
    first, second = (places.stored.find_one({"_id": number}) for number in (1, 2))
    codes = [each["code"] for each in first["visits"]] + [second["visits"][0]["code"], second["code"]]
    keys = [parse_context_header(bytes(code))[1] for code in codes]
    assert keys[0] == keys[2] != keys[1] == keys[4]
    assert len(set(keys)) == 3
    assert bytes(codes[1]) != bytes(codes[2])


FILTERS: list[Document] = [
    {"visits": {"$elemMatch": {"patient": 5, "code": "a"}}},
    {"visits": {"$elemMatch": {"patient": 5, "code": "b"}}},
    {"visits": {"$elemMatch": {"patient": 6, "code": "a"}}},
    {"visits": {"$elemMatch": {"patient": "p", "code": {"$in": ["a", "z"]}}}},
    {"visits": {"$elemMatch": {"patient": 5, "code": {"$ne": "a"}}}},
    {"visits": {"$elemMatch": {"patient": 5, "tags": "y"}}},
    {"visits": {"$elemMatch": {"patient": 9, "code": "a"}}},
    {"$or": [{"visits": {"$elemMatch": visit(6, "b")}}, {"visits": {"$elemMatch": visit("p", "a")}}]},
    {"visits": {"$not": {"$elemMatch": {"patient": 5, "code": "a"}}}},
    {"visits": {"patient": 6, "code": "b"}},
    {"visits": {"code": "b", "patient": 6}},
    {"visits": {"$in": [{"patient": 5, "code": "b"}, {"patient": 5, "code": "a"}]}},
    {"visits.0": {"patient": "p", "code": "a", "tags": "x"}},
    {"patient": 6, "code": "a"},
    {"visits.code": {"$exists": True}},
]

UPDATES: list[tuple[Document, Document, list[Document] | None]] = [
    ({"_id": 1}, {"$push": {"visits": visit(6, "z")}}, None),
    ({"_id": 1}, {"$addToSet": {"visits": visit(6, "z")}}, None),
    ({"_id": 1}, {"$set": {"visits.$[v].code": "q"}}, [{"v.patient": 5, "v.code": "b"}]),
    ({"_id": 1}, {"$push": {"visits.$[v].tags": "z"}}, [{"v.patient": 5, "v.tags": "x"}]),
    ({"_id": 1}, {"$pull": {"visits": {"patient": 6, "code": "b"}}}, None),
    ({"_id": 2}, {"$set": {"visits.1": visit(8, "n")}}, None),
    ({"_id": 2}, {"$pullAll": {"visits": [visit(8, "n")]}}, None),
    ({"_id": 3, "desk.patient": 6}, {"$set": {"desk.code": "d", "desk.patient": 6}}, None),
    ({"_id": 3, "desk.patient": 7}, {"$set": {"desk.code": "e"}}, None),
    ({"_id": 5, "desk.patient": 7}, {"$set": {"desk.code": "f", "desk.more": 1}}, None),
    ({"_id": 5}, {"$set": {"visits": [visit(1, "o"), visit(2, "o")]}}, None),
    ({"_id": 2, "patient": 6}, {"$set": {"code": "r"}}, None),
    ({"_id": 1}, {"$unset": {"visits.0.code": 1}}, None),
    ({"_id": 6, "desk.patient": 4}, {"$set": {"desk.code": "g"}}, None),
]


def test_filters_and_updates_answer_as_in_plaintext(places: Places) -> None:
    for collection in (places.ours, places.plain):
        collection.insert_many(wards())
    matched = [bool(list(places.ours.find(each))) for each in FILTERS]
    assert sum(matched) == len(FILTERS) - 3
    for condition, change, filters in ((None, None, None), *UPDATES):
        if condition is not None:
            done = [
                collection.update_one(condition, change, upsert=condition["_id"] == 6, array_filters=filters)
                for collection in (places.ours, places.plain)
            ]
            assert done[0].raw_result["n"] == done[1].raw_result["n"], change
            assert done[0].raw_result["nModified"] == done[1].raw_result["nModified"], change
        assert list(places.ours.find().sort("_id")) == list(places.plain.find().sort("_id")), change
        for each in FILTERS:
            found = [list(collection.find(each).sort("_id")) for collection in (places.ours, places.plain)]
            assert found[0] == found[1], each
            stages = [{"$match": each}, {"$count": "n"}]
            assert list(places.ours.aggregate(stages)) == list(places.plain.aggregate(stages)), each


def test_what_may_speak_of_two_elements_is_refused(places: Places) -> None:
    places.ours.insert_many(wards())
    before = list(places.stored.find())
    for condition in ({"visits.patient": 5, "visits.code": "a"}, {"visits": {"$elemMatch": {"code": "a"}}}):
        with pytest.raises(OperationFailure) as refused:
            places.ours.find_one(condition)
        assert "[context]" in str(refused.value)
        assert "$elemMatch" in str(refused.value)
    for change in (
        {"$set": {"visits.0.code": "z"}},
        {"$set": {"visits.0.patient": 9}},
        {"$push": {"visits": {"code": "z"}}},
    ):
        with pytest.raises(OperationFailure) as refused:
            places.ours.update_one({"visits.patient": 5}, change)
        assert "[context]" in str(refused.value)
    with pytest.raises(OperationFailure):
        places.ours.insert_one({"visits": [{"code": "z"}], "patient": 5})
    assert list(places.stored.find()) == before
