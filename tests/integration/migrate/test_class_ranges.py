"""What the reads of a range find of a class: the same on a server and in its double."""

import random

import bson
import pytest
from bson.binary import Binary

from sealwire.crypto.envelope import SUBTYPE, binary
from sealwire.keys.frontier.record import DATABASE
from sealwire.policies.file.loader import load_policy
from sealwire.sidecars.direct import connected
from sealwire.sidecars.migration.windows.order import FIRST, LAST, EnvelopeOrder, Place, class_paths
from sealwire.sidecars.migration.windows.server import (
    MongoValues,
    Values,
    bounded,
    drop_indexes,
    keeps_bounds,
    make_indexes,
)
from sealwire.wire import kinds
from tests.integration.conftest import Document
from tests.integration.migrate.clinics import NHS, PATIENTS, POLICY, Clinic
from tests.sidecars.migration.doubles import Fate
from tests.sidecars.migration.windows.doubles import MemoryValues, reached

pytestmark = pytest.mark.integration


def test_the_walked_fields_are_those_of_the_indexes_that_the_server_has_now(rotating: Clinic) -> None:
    where = class_paths(load_policy(POLICY.encode(), "policy"), [PATIENTS], NHS)
    with (
        rotating.database.connect() as plain,
        connected(rotating.database.uri()) as client,
        client.start_session(causal_consistency=True) as session,
    ):
        values = MongoValues(client, session, 7, lambda: where)
        assert values.walked(where) == frozenset()
        plain["clinic"]["patients"].create_index([("ward", 1), (NHS, 1)])
        plain["clinic"]["patients"].create_index([("bed", 1), ("ward", 1)])
        assert values.walked(where) == frozenset({b"ward"})
        plain["clinic"]["patients"].drop_indexes()


@pytest.mark.parametrize("is_indexed", [False, True])
def test_ranges_miss_nothing_on_the_server_nor_in_its_double(rotating: Clinic, *, is_indexed: bool) -> None:
    chance = random.Random(3)
    order = EnvelopeOrder(b"SW\1\1aaaavvvv")
    documents = [{"_id": number, NHS: some_values(chance, order)} for number in range(300)]
    doubles = [MemoryValues({PATIENTS: documents}, Fate(), by_bytes=by_bytes) for by_bytes in (False, True)]
    where = class_paths(load_policy(POLICY.encode(), "policy"), [PATIENTS], NHS)
    with (
        rotating.database.connect() as plain,
        connected(rotating.database.uri()) as client,
        client.start_session(causal_consistency=True) as session,
    ):
        plain["clinic"]["patients"].insert_many(documents)
        if is_indexed:
            made = {(PATIENTS, NHS): "sealwire_move_7_1", (PATIENTS, f"kin.{NHS}"): "sealwire_move_7_2"}
            assert make_indexes(client, where, 7) == made
            assert make_indexes(client, where, 7) == made
        servers: list[Values] = [MongoValues(client, session, 7, lambda: where), *doubles]
        for _ in range(30):
            start, end = sorted([some_place(chance), some_place(chance)])
            wanted = {
                bson.encode(each)
                for each in documents
                for value in reached(each, NHS)
                if bytes(value).startswith(order.prefix) and start <= place_of(order, value) < end
            }
            for server in servers:
                ranges = list(order.ranges(order.position(start), order.position(end)))
                assert wanted <= {raw for each in ranges for raw in server.between(PATIENTS, NHS, each)}
        drop_indexes(client, where, 7)
        assert len(list(plain["clinic"]["patients"].list_indexes())) == 1


def test_ranges_between_keys_are_those_of_values(rotating: Clinic) -> None:
    chance = random.Random(4)
    order = EnvelopeOrder(b"SW\1\1aaaavvvv")
    documents: list[Document] = [
        {"_id": number, NHS: Binary(order.prefix + chance.randbytes(chance.choice((18, 19))), SUBTYPE)}
        for number in range(100)
    ]
    where = class_paths(load_policy(POLICY.encode(), "policy"), [PATIENTS], NHS)
    with rotating.database.connect() as plain, connected(rotating.database.uri()) as client:
        patients = plain["clinic"]["patients"]
        patients.insert_many(documents)
        patients.create_index([(NHS, 1), ("ward", 1)], name="both")
        assert make_indexes(client, where, 7)[PATIENTS, NHS] == "both"
        name = make_indexes(client, where, 7, alone=True)[PATIENTS, NHS]
        assert name == "sealwire_move_7_1"
        for _ in range(20):
            start, end = sorted([some_place(chance), some_place(chance)])
            wanted = {each["_id"] for each in documents if start <= place_of(order, each[NHS]) < end}
            ranges = order.ranges(order.position(start), order.position(end))
            found = [
                each["_id"] for within in ranges for each in patients.find({}, **bounded(name, NHS, within))
            ]
            assert set(found) == wanted
            assert len(found) == len(wanted)


def test_a_server_is_tried_before_its_bounds_are_relied_on(rotating: Clinic) -> None:
    with rotating.database.connect() as plain, connected(rotating.database.uri()) as client:
        # this test server does not find elements between two keys of an index
        assert not keeps_bounds(client)
        assert not [name for name in plain[DATABASE].list_collection_names() if name.startswith("tried_")]


def test_updates_are_counted_and_their_faults_named(rotating: Clinic) -> None:
    with (
        rotating.database.connect() as plain,
        connected(rotating.database.uri()) as client,
        client.start_session(causal_consistency=True) as session,
    ):
        patients = plain["clinic"]["patients"]
        patients.create_index("value", unique=True)
        patients.insert_many({"_id": number, "value": number} for number in range(60))
        values = MongoValues(client, session, 7, list)
        # all but two to values that nobody has; 41 is not there any more, and 25 would be a second 1000
        news = {number: 1000 + number for number in range(60)} | {25: 1000}
        patients.update_one({"_id": 41}, {"$set": {"value": -1}})
        updates = [
            bson.encode({"q": {"_id": number, "value": number}, "u": {"$set": {"value": new}}})
            for number, new in news.items()
        ]
        written = values.update(PATIENTS, updates)
        assert (written.matched, written.errors) in [(58, ((25, 11000),)), (58, ((0, 11000),))]
        assert patients.count_documents({"value": {"$gte": 1000}}) == 58


def place_of(order: EnvelopeOrder, value: Binary) -> Place:
    position = order.place(kinds.BIN_DATA, binary(bytes(value)))
    assert position is not None
    return order.place_of(position)


def some_values(chance: random.Random, order: EnvelopeOrder) -> Binary | list[Binary]:
    """One, or an array of three, of this class and of another, and of a few lengths."""
    values = [
        Binary(chance.choice((order.prefix, b"SW\1\1aaaavvvw")) + chance.randbytes(size), SUBTYPE)
        for size in chance.choices((18, 19, 40), k=3)
    ]
    return chance.choice((values[0], values))


def some_place(chance: random.Random) -> Place:
    key = chance.choice((0, chance.randrange(1 << 72)))
    return chance.choice((FIRST, LAST, *(Place(length, key) for length in (30, 31, 35, 52, 60))))
