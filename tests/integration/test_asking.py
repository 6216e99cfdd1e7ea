"""Patterns, ranges, remainders and bits on encrypted values: the answers are those of plaintext."""

import itertools
import random
import re
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from bson import Decimal128, Int64, Regex
from pymongo import UpdateMany, UpdateOne
from pymongo.collection import Collection
from pymongo.errors import BulkWriteError, OperationFailure

from sealwire.testbed.database import DatabaseProcess
from tests.integration.conftest import Both, Document, both_sides
from tests.integration.migrate.clinics import new_clinic
from tests.integration.outside.chosen import own_server
from tests.support.reasons import failing

pytestmark = [pytest.mark.integration, own_server("it has a policy of its own")]

POLICY = """
version: 1
classes:
  surname: {mode: deterministic, type: string, ask: true}
  visits: {mode: deterministic, type: long, ask: true}
  ratio: {mode: deterministic, type: double, ask: true}
collections:
  clinic.patients:
    {surname: surname, was: surname, name.family: surname, kin.surname: surname, visits: visits, ratio: ratio}
"""
TRANSACTIONS_S = 5
NAMES = [
    *["Sabine", "Sabatini", "sabine", "Smith", "SMYTH", "Jones", "S", "Ö", "Öztürk", "zz.top"],
    "",
    "a\nb",
    "Sab\nx",
]
PATTERNS = [r"^Sab", r"^s", r"b$", r"S.*e", r"^$", r"[yi]t", r"Ö", r"n|z", r"\.", r"^.{1,2}$", r"(?i)^SAB"]


def document(chance: random.Random, number: int) -> Document:
    """Values, nothing, null, and arrays of them."""

    def one(values: list[Any]) -> Any:
        some = [chance.choice(values) for _ in range(3)]
        return chance.choice([some[0], some[0], some[0], None, some, [some[0], [some[1]], None], []])

    numbers: list[Any] = [Int64(each) for each in (0, 1, -5, 7, 10, 10**12 + 1, -(2**62))]
    document: Document = {"_id": number}
    for name, value in {
        "surname": one(NAMES),
        "visits": one(numbers),
        "ratio": one([0.5, -1.0, 1e15, 3.0]),
        "name": chance.choice([{"family": chance.choice(NAMES)}, {}, None]),
        "kin": [{"surname": one(NAMES)} for _ in range(chance.randrange(3))],
    }.items():
        if chance.random() < 0.85:
            document[name] = value
    return document


def condition(chance: random.Random) -> Document:
    texts = ["S", "Sab", "", "Ö", "a", "zz", 5, "SMITH"]
    pattern = chance.choice(PATTERNS)
    flags = chance.choice([0, 0, re.I, re.M, re.S])
    strings: list[Any] = [
        {"$regex": pattern},
        {"$regex": pattern, "$options": "i"},
        {"$regex": re.compile(pattern, flags)},
        re.compile(pattern, flags),
        {"$in": [re.compile(pattern, flags), chance.choice(NAMES), None]},
        {"$gte": chance.choice(texts), "$lt": chance.choice(texts)},
        {"$gt": chance.choice(texts), "$lte": chance.choice(texts)},
        {chance.choice(["$gt", "$gte", "$lt", "$lte"]): chance.choice(texts)},
        {"$gt": chance.choice(texts), "$regex": pattern},
        {"$lt": chance.choice(texts), "$in": [chance.choice(NAMES), chance.choice(NAMES)]},
        {"$lte": chance.choice(texts), "$ne": chance.choice(NAMES)},
        {"$not": re.compile(pattern, flags)},
        {"$not": {"$regex": pattern, "$options": "i"}},
        {"$not": {chance.choice(["$gt", "$gte", "$lt", "$lte"]): chance.choice(texts)}},
        {"$not": {"$gt": chance.choice(texts), "$lt": chance.choice(texts)}},
        {"$nin": [re.compile(pattern, flags), chance.choice(NAMES), None]},
        {"$nin": [re.compile(pattern), re.compile(chance.choice(PATTERNS))], "$exists": True},
    ]
    bounds: list[Any] = [0, 5, Int64(2**53), 2.5, -5, "x", 1e18]
    numbers: list[Any] = [
        {chance.choice(["$gt", "$gte", "$lt", "$lte"]): chance.choice(bounds)},
        {"$gt": chance.choice(bounds), "$lt": chance.choice(bounds)},
        {"$mod": [chance.choice([2, 5, -3]), chance.choice([0, 1, -1])]},
        {chance.choice(["$bitsAllSet", "$bitsAnySet", "$bitsAllClear", "$bitsAnyClear"]): [0, 2]},
        {"$not": {"$mod": [chance.choice([2, 5, -3]), chance.choice([0, 1, -1])]}},
        {"$not": {"$gt": chance.choice(bounds)}, "$ne": Int64(7)},
    ]
    if chance.random() < 0.1:
        item = chance.choice(
            [
                {"$not": re.compile("^S")},
                {"$not": {"$gt": "Sabine", "$lt": "Smith"}},
                {"$nin": [re.compile("^s", re.I), "Ö"]},
                {"$not": {"$lt": "Smith"}, "$lt": "T"},
            ]
        )
        return {chance.choice(["surname", "kin.surname"]): {"$elemMatch": item}}
    place = chance.choice(["surname", "name.family", "kin.surname", "visits", "ratio"])
    if chance.random() < 0.15:
        ends = [*bounds, *texts[:4], None, True, Decimal128("7"), datetime(1950, 1, 1)]
        operands = [f"${place}", {"$literal": chance.choice(ends)}][:: chance.choice([1, -1])]
        compared = {chance.choice(["$gt", "$gte", "$lt", "$lte"]): operands}
        wrapped = [compared, {"$not": [compared]}, {"$or": [compared, {"$eq": ["$_id", 3]}]}]
        return {"$expr": chance.choice(wrapped)}
    one = {place: chance.choice(numbers if place in ("visits", "ratio") else strings)}
    if chance.random() < 0.2:
        return {"$nor": [one, {"_id": {"$gt": 40}}]}
    if chance.random() < 0.2:
        return {chance.choice(["$or", "$and"]): [one, {"_id": {"$gt": 20}}]}
    if chance.random() < 0.1:
        match = {"$elemMatch": {"surname": chance.choice([*strings[:3], *strings[-6:]])}}
        return {"kin": chance.choice([match, {"$not": match}])}
    return one


@pytest.fixture(scope="module")
def collections(database: DatabaseProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    """The same documents, encrypted and in clear."""
    with both_sides(database, tmp_path_factory.mktemp("asking"), POLICY) as both:
        for collection in both:
            chance = random.Random(7)
            collection.insert_many(document(chance, number) for number in range(60))
        yield both


def test_answers_are_those_of_plaintext(collections: Both) -> None:
    chance, compared, refused = random.Random(8), 0, []
    for _ in range(160):
        query = condition(chance)
        wanted, found = (_answer(collection, query) for collection in reversed(collections))
        if isinstance(found, str) and "[question]" in found:
            refused.append(query)
            continue
        assert found == wanted or isinstance(wanted, str), query
        compared += 1
    assert compared > 145, refused[:5]


def _answer(collection: Collection[Document], query: Document) -> Any:
    try:
        found = sorted(document["_id"] for document in collection.find(query, {"_id": 1}))
        assert collection.count_documents(query) == len(found)
        return found
    except OperationFailure as error:
        return str(error)


def test_every_reading_command_asks(collections: Both) -> None:
    query, sides = {"surname": re.compile("^S")}, []
    for collection in collections:
        stages: list[Document] = [{"$match": query}, {"$project": {"surname": 1}}, {"$sort": {"_id": 1}}]
        sides.append(
            (
                list(collection.aggregate(stages)),
                sorted(collection.distinct("_id", query)),
                collection.find_one(query, sort=[("_id", 1)]),
                [each["_id"] for each in collection.find(query).sort("_id", -1).batch_size(2)],
            )
        )
    assert sides[0] == sides[1]
    assert len(sides[0][0]) > 10


LETTERS = ["Anna", "anna", "ANNA", "Zoe", "zoë", "ZOË", "Zoé", "zoe-b", "zoe b", "Zo", "1a", "12"]


@pytest.mark.parametrize("strength", [1, 2])
def test_under_a_collation_answers_are_those_of_plaintext(collections: Both, strength: int) -> None:
    collation, sides = {"locale": "en", "strength": strength}, []
    conditions: list[Any] = ["ANNA", "zoë", {"$in": ["anna", "zo"]}, {"$ne": "anna"}, {"$nin": ["zoe", "1A"]}]
    conditions += [{"$not": {"$eq": "zoe-B"}}, {"$gt": "zo"}, {"$gte": "ANNA", "$lt": "zoe"}, None]
    for collection in collections:
        collection.insert_many({"_id": 2000 + number, "surname": each} for number, each in enumerate(LETTERS))
        found: list[Any] = []
        for condition in conditions:
            query = {"_id": {"$gte": 2000}, "surname": condition}
            found.append(sorted(each["_id"] for each in collection.find(query, collation=collation)))
            found.append(collection.count_documents(query, collation=collation))
        query = {"_id": {"$gte": 2000}, "surname": {"$gte": "A"}}
        order = [("surname", 1), ("_id", 1)]
        found.append([each["_id"] for each in collection.find(query, collation=collation).sort(order)])
        found.append(
            [each["_id"] for each in collection.find(query, collation=collation).sort(order).limit(4)]
        )
        sides.append(found)
        collection.delete_many({"_id": {"$gte": 2000}})
    assert sides[0] == sides[1]


@pytest.mark.parametrize("strength", [1, 2])
def test_writes_under_a_collation_are_those_of_plaintext(collections: Both, strength: int) -> None:
    collation, sides = {"locale": "en", "strength": strength}, []
    conditions: list[Any] = ["ANNA", {"$in": ["anna", "zo"]}, {"$ne": "anna"}, {"$gte": "ANNA", "$lt": "zoe"}]
    order = [("surname", 1), ("_id", -1)]
    for collection in collections:
        collection.insert_many({"_id": 2000 + number, "surname": each} for number, each in enumerate(LETTERS))
        found: list[Any] = []
        queries: list[Document] = [{"_id": {"$gte": 2000}, "surname": each} for each in conditions]
        queries.append({"_id": {"$gte": 2000}, "$nor": [{"surname": {"$ne": "zoe"}}]})
        for place, query in enumerate(queries):
            mark = {"$set": {f"mark{place}": 1}}
            found.append(collection.update_many(query, mark, collation=collation).modified_count)
        both = [UpdateMany(query, {"$inc": {"bulk": 1}}, collation=collation) for query in queries[:2]]
        found.append(
            collection.bulk_write([*both, UpdateMany(queries[0], {"$inc": {"bulk": 9}})]).modified_count
        )
        first = {"$set": {"first": True}}
        for hint in ("_id_", [("_id", 1)]):
            query = {"_id": {"$gte": 2000}, "first": None}
            written = collection.find_one_and_update(query, first, sort=order, collation=collation, hint=hint)
            found.append(written["_id"] if written else None)
        found += list(collection.find({"_id": {"$gte": 2000}}).sort("_id", 1))
        found.append(collection.delete_many(queries[1], collation=collation).deleted_count)
        sides.append(found)
        collection.delete_many({"_id": {"$gte": 2000}})
    assert sides[0] == sides[1]
    assert sides[0][0] == 3


def test_many_values_come_in_batches(collections: Both) -> None:
    encrypted, _ = collections
    encrypted.insert_many({"_id": 1000 + number, "surname": f"N{number:05}"} for number in range(2200))
    assert encrypted.count_documents({"surname": {"$regex": "^N0.*99$"}}) == 22
    between = {"$gte": "N0218", "$lt": "N0219"}
    assert encrypted.count_documents({"surname": between, "_id": {"$gte": 1000}}) == 10
    encrypted.delete_many({"_id": {"$gte": 1000}})


def test_writes_are_those_of_plaintext(collections: Both) -> None:
    """The same documents are written, by each command, in a transaction and outside."""
    chance, compared = random.Random(9), 0
    for number in range(50):
        query, sides = condition(chance), []
        seed = chance.random()
        for collection in collections:
            sides.append(_written(collection, query, random.Random(seed), number))
        if "[question]" in str(sides[0]):
            continue
        assert sides[0] == sides[1] or "full error" in str(sides[1]), query
        compared += 1
    assert compared > 40


def _written(collection: Collection[Document], query: Document, chance: random.Random, number: int) -> Any:
    """What a write has done; then everything is as it was."""
    is_one, mark = chance.random() < 0.4, {"$set": {"mark": number}}
    if is_one:
        query = {"$and": [query, {"_id": {"$in": [chance.randrange(60) for _ in range(2)][:1]}}]}
    ways: list[Any] = [
        lambda session: collection.update_many(query, mark, session=session).matched_count,
        lambda session: collection.delete_many(query, session=session).deleted_count,
    ]
    if is_one:
        ways += [
            lambda session: collection.update_one(query, mark, session=session).matched_count,
            lambda session: collection.replace_one(query, {"mark": 0}, session=session).matched_count,
            lambda session: collection.delete_one(query, session=session).deleted_count,
            lambda session: collection.find_one_and_update(query, mark, session=session),
            lambda session: collection.find_one_and_delete(query, session=session),
        ]
    way, before = chance.choice(ways), list(collection.find().sort("_id", 1))
    try:
        if chance.random() < 0.3:
            with collection.database.client.start_session() as session, session.start_transaction():
                done = way(session)
        else:
            done = way(None)
    except OperationFailure as error:
        return str(error)
    after = list(collection.find().sort("_id", 1))
    changed = [each for each in before if each not in after]
    collection.delete_many({"_id": {"$in": [each["_id"] for each in changed]}})
    if changed:
        collection.insert_many(changed)
    return done, after


def test_a_command_has_several_statements(collections: Both) -> None:
    operations: list[UpdateMany | UpdateOne] = [
        UpdateMany({"surname": {"$regex": "^S"}}, {"$set": {"mark": 1}}),
        UpdateOne({"visits": {"$gt": 5}, "_id": {"$gt": 30}}, {"$set": {"mark": 2}}),
        UpdateMany(
            {"surname": {"$not": re.compile("^S")}, "mark": {"$exists": False}}, {"$set": {"mark": 3}}
        ),
    ]
    sides = []
    for collection in collections:
        done = collection.bulk_write(operations)
        sides.append((done.matched_count, list(collection.find({}, {"mark": 1}).sort("_id", 1))))
        collection.update_many({}, {"$unset": {"mark": 1}})
    assert sides[0] == sides[1]
    changing: list[UpdateMany | UpdateOne] = [
        UpdateMany({"_id": 1}, {"$set": {"surname": "Sx"}}),
        operations[0],
    ]
    with failing(238):
        collections[0].bulk_write(changing)


def test_a_transaction_answers_more(collections: Both) -> None:
    """Upserts, what is pulled, and array filters; and it sees what it has written."""
    begins = {"$regex": "^S"}
    filters = [{"e.surname": begins}]
    sides = []
    for collection in collections:
        found: list[Any] = []
        with collection.database.client.start_session() as session:
            session.start_transaction()
            try:
                found += [
                    collection.count_documents({"surname": begins}, session=session),
                    collection.update_many(
                        {"kin": {"$type": "array"}}, {"$pull": {"kin": {"surname": begins}}}, session=session
                    ).modified_count,
                    collection.update_many(
                        {"kin.0": {"$exists": True}},
                        {"$set": {"kin.$[e].mark": 1}},
                        array_filters=[{"e.surname": {"$not": re.compile("^J")}}],
                        session=session,
                    ).modified_count,
                    collection.update_one(
                        {"surname": {"$gt": "zzz"}, "_id": 500},
                        {"$set": {"mark": 5}},
                        upsert=True,
                        session=session,
                    ).upserted_id,
                ]
                collection.insert_one({"_id": 501, "surname": "Sxyz"}, session=session)
                found.append(list(collection.find({"surname": {"$regex": "^Sxy"}}, session=session)))
                found.append(list(collection.find(session=session).sort("_id", 1)))
            finally:
                session.abort_transaction()
        found.append(collection.count_documents({"surname": {"$regex": "^Sxy"}}))
        sides.append(found)
    assert sides[0] == sides[1]
    encrypted = collections[0]
    commands: list[Callable[[], Any]] = [
        lambda: encrypted.update_one({"surname": begins}, {"$set": {"a": 1}}, upsert=True),
        lambda: encrypted.update_one({"_id": 1}, {"$pull": {"surname": begins}}),
        lambda: encrypted.update_one({"_id": 1}, {"$set": {"kin.$[e].a": 1}}, array_filters=filters),
    ]
    for command in commands:
        with failing(238):
            command()


def test_a_write_never_writes_what_does_not_satisfy_while_others_write(collections: Both) -> None:
    """What a document held when it was written is in the document."""
    encrypted, _ = collections
    places, numbers = [2000 + number for number in range(20)], itertools.count()
    encrypted.insert_many({"_id": each, "surname": "J"} for each in places)
    is_over = threading.Event()

    def write() -> None:
        chance = random.Random(1)
        while not is_over.is_set():
            new = [f"{chance.choice('SJ')}{next(numbers)}" for _ in range(chance.choice([1, 1, 2]))]
            change = {"$set": {"surname": new if len(new) > 1 else new[0]}}
            encrypted.update_one({"_id": chance.choice(places)}, change)

    others = [threading.Thread(target=write) for _ in range(2)]
    for each in others:
        each.start()
    try:
        keep = [{"$set": {"was": "$surname"}}]
        for _ in range(12):
            for condition, wanted in (({"$not": re.compile("^S")}, "J"), ({"$regex": "^S"}, "S")):
                encrypted.update_many({"_id": {"$gte": 2000}}, {"$unset": {"was": 1}})
                encrypted.update_many({"surname": condition, "_id": {"$gte": 2000}}, keep)
                for document in encrypted.find({"was": {"$exists": True}}, {"was": 1}):
                    was = document["was"] if isinstance(document["was"], list) else [document["was"]]
                    assert (any if wanted == "S" else all)(each.startswith(wanted) for each in was), was
    finally:
        is_over.set()
        for each in others:
            each.join()
        encrypted.delete_many({"_id": {"$gte": 2000}})


@pytest.mark.slow
def test_no_value_is_missed_while_the_class_moves(database: DatabaseProcess, tmp_path: Path) -> None:
    with (
        new_clinic(database, tmp_path, POLICY, ("surname", "visits", "ratio")) as clinic,
        clinic.proxy() as client,
    ):
        patients = client["clinic"]["patients"]
        patients.drop()
        patients.create_index("surname")
        patients.insert_many({"_id": number, "surname": f"N{number:03}"} for number in range(120))
        clinic.rotate("surname", pending=True)
        words = ("reencrypt", clinic.policy(), "surname", "--proxies", "1")
        with clinic.start(*words) as process:
            asked = 0
            while process.poll() is None or asked < 3:
                found = [each["_id"] for each in patients.find({"surname": {"$regex": "^N0"}}).sort("_id", 1)]
                assert found == list(range(100))
                page = patients.find({"surname": {"$gt": "N0"}}).sort("surname", -1).skip(2).limit(5)
                assert [each["_id"] for each in page] == list(range(117, 112, -1))
                others = patients.find({"surname": {"$not": re.compile("^N0")}}).sort("_id", 1)
                assert [each["_id"] for each in others] == list(range(100, 120))
                marked = patients.update_many({"surname": {"$lt": "N050"}}, {"$set": {"mark": asked}})
                assert marked.matched_count == 50
                asked += 1
                time.sleep(0.2)  # the moving class has to get its turn
            assert process.returncode == 0, process.stdout and process.stdout.read()
        assert asked > 3
        assert patients.count_documents({"surname": {"$gte": "N100"}}) == 20


# Conditions on text under a collation, in reads and in each kind of write: all is as in plaintext.
#
# The test server orders texts by an accent before it looks at the letters behind it. So no end of a range
# has an accent here, and no text goes on behind one. In `$elemMatch` it negates as without a collation, so
# nothing is negated there.


COLLATED = """
version: 1
classes:
  surname: {mode: deterministic, type: string, ask: true}
  notes: {mode: random, ask: true}
  visits: {mode: deterministic, type: long, ask: true}
collections:
  clinic.patients: {surname: surname, kin.surname: surname, notes: notes, kin.note: notes, visits: visits}
"""
TEXTS = ["Anna", "anna", "ANNA", "Zoe", "zoe", "ZOE", "Zo", "12", "1a", "zoë", "ZOË", ""]
ENDS = ["Anna", "1A", "zo", "b", ""]
ASKED = ("[question]", "[question-size]")


def collated_document(chance: random.Random, number: int, *, has_arrays: bool) -> Document:
    def one() -> Any:
        several = [[chance.choice(TEXTS), chance.choice(TEXTS)], []] if has_arrays else []
        return chance.choice([*[chance.choice(TEXTS)] * 5, None, *several])

    found: Document = {"_id": number, "ward": chance.choice(["a", "A", "b", None])}
    found |= {name: one() for name in ("surname", "notes") if chance.random() < 0.85}
    found |= {"bed": "x"} if chance.random() < 0.5 else {}
    kin = [{name: one() for name in ("surname", "note")} for _ in range(chance.randrange(3))]
    return found | {"visits": Int64(chance.randrange(3)), "kin": kin}


def collated_condition(chance: random.Random) -> Document:
    text, other, end = chance.choice(TEXTS), chance.choice(TEXTS), chance.choice(ENDS)
    pattern = Regex("^" + chance.choice("AZz"))
    said = chance.choice(
        [
            *[text, {"$eq": text}, {"$ne": text}, {"$in": [text, other]}, {"$nin": [text, other]}],
            *[{"$not": {"$eq": text}}, {"$not": {"$in": [text]}}, {"$ne": text, "$gt": end}],
            *[{"$gt": end}, {"$gte": end, "$lt": chance.choice(ENDS)}, {"$lte": end, "$ne": text}],
            *[{"$nin": [text, pattern]}, {"$in": [pattern, text]}, pattern, {"$not": {"$gt": end}}],
            *[{"$ne": None}, {"$nin": [text], "$ne": other}, {"$exists": True, "$ne": text}],
        ]
    )
    one = {chance.choice(["surname", "notes", "kin.surname", "kin.note"]): said}
    ward = {"ward": chance.choice(["a", "A"])}
    around: list[Document] = [{"$nor": [one]}, {"$nor": [one, ward]}, {"$nor": [{"$nor": [one]}]}]
    return chance.choice([one, one, *around, {"$and": [one, ward]}, {"$or": [one, ward]}])


def command(chance: random.Random) -> Callable[[Collection[Document]], Any]:
    """A command under some collation, which says what it has found."""
    query, mark = collated_condition(chance), {"$inc": {"marks": 1}}
    strengths: list[Document] = [{"locale": "en", "strength": 1}, {"locale": "en_US", "strength": 2}]
    said: dict[str, Any] = chance.choice([{}, *({"collation": each} for each in strengths)])
    order: Any = [(chance.choice(["surname", "visits"]), chance.choice([1, -1])), ("_id", 1)]
    hinted: dict[str, Any] = said | chance.choice([{}, {"hint": "bed_1"}, {"hint": [("_id", 1)]}])
    several = [UpdateMany(query, mark, **said), UpdateMany({"ward": "a"}, {"$inc": {"more": 1}}, **said)]
    commands: list[Callable[[Collection[Document]], Any]] = [
        lambda found: sorted(each["_id"] for each in found.find(query, {"_id": 1}, **said)),
        lambda found: found.count_documents(query, **said),
        lambda found: found.update_many(query, mark, **said).modified_count,
        lambda found: found.delete_many({"$and": [query, {"_id": {"$lt": 3}}]}, **said).deleted_count,
        lambda found: found.bulk_write([*several, UpdateMany({"ward": "a"}, mark)]).modified_count,
        lambda found: (found.find_one_and_update({}, mark, sort=order, **hinted) or {}).get("_id"),
    ]
    return chance.choice(commands)


def contents(side: Collection[Document]) -> list[Document]:
    return list(side.find().sort("_id", 1))


@pytest.fixture(scope="module")
def sides(database: DatabaseProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    with both_sides(database, tmp_path_factory.mktemp("collated"), COLLATED) as both:
        yield both


def test_commands_under_collations_do_what_they_do_in_plaintext(sides: Both) -> None:
    chance, answered = random.Random(29), 0
    for _ in range(8):
        has_arrays = chance.random() < 0.5
        stored = [collated_document(chance, number, has_arrays=has_arrays) for number in range(20)]
        for side in sides:
            side.drop()
            side.create_index("bed", sparse=True)
            side.insert_many(stored)
        for _ in range(12):
            send = command(chance)
            try:
                found = send(sides[0])
            except (BulkWriteError, OperationFailure) as error:
                if not any(each in str(error) for each in ASKED):
                    raise
                break  # a bulk write may have done a part of it
            assert found == send(sides[1])
            assert contents(sides[0]) == contents(sides[1])
            answered += 1
    assert answered > 50
