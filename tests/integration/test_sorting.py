"""Sorting by encrypted values: the order is that of plaintext, ties and missing values included."""

import random
import re
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from bson import Int64
from pymongo.collation import Collation
from pymongo.collection import Collection
from pymongo.errors import OperationFailure

from sealwire.testbed.database import DatabaseProcess
from tests.integration.conftest import Both, Document, both_sides
from tests.integration.outside.chosen import own_server
from tests.support.rows import rows

pytestmark = [pytest.mark.integration, own_server("it has a policy of its own")]

POLICY = """
version: 1
classes:
  surname: {mode: deterministic, type: string, ask: true}
  visits: {mode: deterministic, type: long, ask: true}
  born: {mode: deterministic, type: date, ask: true}
  code: {mode: deterministic, type: double, ask: true}
  serial: {mode: deterministic, type: binData, ask: true}
  ward: {mode: deterministic, type: string}
collections:
  clinic.patients:
    {surname: surname, name.family: surname, visits: visits, born: born, code: code, serial: serial,
     ward: ward}
  clinic.crowd: {surname: surname}
  clinic.lists: {names: surname, inner.visits: visits, codes: code, born: born}
  clinic.pool:
    {surname: surname, name.family: surname, visits: visits, born: born, code: code, serial: serial,
     ward: ward}
"""
NAMES = [
    "Sabine",
    "Sabatini",
    "sabine",
    "Smith",
    "Ö",
    "Öztürk",
    "zz.top",
    "",
    "a\nb",
    "S",
    "\U0001f600",
    "\uffff",
]
_NAMES = {"$cond": [{"$isArray": "$names"}, "$names", []]}
CODES = [5.0, -1.5, 0.0, 1e300, float("inf"), float("-inf"), 0.1]


def document(chance: random.Random, number: int) -> Document:
    """Values, null and nothing, many of them the same."""
    found: Document = {"_id": number, "room": chance.randrange(4), "ward": chance.choice("AB")}
    values: dict[str, Any] = {
        "surname": chance.choice([*NAMES, None]),
        "name": chance.choice([{"family": chance.choice(NAMES)}, {"family": None}, {}, None, 5]),
        "visits": Int64(chance.choice([0, 1, -5, 10**12, -(2**62)])),
        "born": datetime(1900 + chance.randrange(100), 1, 1, tzinfo=UTC),
        "code": chance.choice(CODES),
        "serial": chance.choice([b"ba", b"aa", b"ab"]),
    }
    return found | {name: value for name, value in values.items() if chance.random() < 0.85}


@pytest.fixture(scope="module")
def collections(database: DatabaseProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    """The same documents, encrypted and in clear."""
    with both_sides(database, tmp_path_factory.mktemp("sorting"), POLICY, retryReads=False) as both:
        for collection in both:
            chance = random.Random(5)
            collection.insert_many(document(chance, number) for number in range(80))
        yield both


def sorted_by(chance: random.Random) -> dict[str, int]:
    """One or several keys, the last of which tells all documents apart."""
    keys = chance.sample(
        ["surname", "name.family", "visits", "born", "code", "serial", "room"], chance.choice([1, 1, 2, 3])
    )
    return {key: chance.choice([1, -1]) for key in (*keys, "_id")}


def query(chance: random.Random) -> Document:
    name, number = chance.choice(NAMES), chance.choice([0, 5, -5])
    return chance.choice(
        [
            {},
            {"surname": {"$gt": name}},
            {"surname": {"$gte": name, "$ne": "S"}, "room": {"$lt": 3}},
            {"surname": {"$regex": "^S"}},
            {"surname": {"$in": NAMES[:5], "$lt": name}},
            {"$and": [{"surname": {"$lt": name}}, {"room": 1}]},
            {"$or": [{"surname": {"$lt": name}}, {"room": 1}]},
            {"ward": "A"},
            {"ward": "B", "visits": {"$gte": number}},
            {"visits": {"$mod": [5, 0]}, "code": {"$ne": 5}},
            {"surname": {"$gt": name, "$not": re.compile("^S")}},
            {"surname": {"$not": {"$lt": name}}, "visits": {"$not": {"$gte": number}}},
            {"$nor": [{"surname": {"$regex": "^S"}}, {"code": {"$lt": 0}}]},
            {"surname": None},
            {"surname": {"$exists": True}},
            {"room": 9},
        ]
    )


def window(chance: random.Random) -> dict[str, int]:
    limit = chance.choice([0, 1, 5, 20, -4])
    return {
        "skip": chance.choice([0, 0, 3, 30, 200]),
        "limit": limit,
        "batch_size": chance.choice([0, 2]) if limit >= 0 else 0,
    }


def test_the_order_is_that_of_plaintext(collections: Both) -> None:
    chance = random.Random(6)
    for _ in range(120):
        asked, keys, some = query(chance), sorted_by(chance), window(chance)
        projection = chance.choice([None, None, {"_id": 1}, {"surname": 1, "room": 1}, {"surname": 0}])
        wanted, found = (
            list(each.find(asked, projection, sort=list(keys.items()), **some))
            for each in reversed(collections)
        )
        assert found == wanted, (asked, keys, some)


def test_pipelines_sort_as_well(collections: Both) -> None:
    chance = random.Random(7)
    for _ in range(75):
        sort: list[Document] = [{"$sort": sorted_by(chance)}]
        some = chance.choice(
            [[], [{"$limit": 7}], [{"$skip": 5}, {"$limit": 4}], [{"$limit": 9}, {"$skip": 3}]]
        )
        rest: list[Document] = chance.choice(
            [
                [],
                [{"$project": {"surname": 1}}],
                [{"$match": {"room": {"$gt": 0}}}],
                [{"$group": {"_id": None, "all": {"$push": "$_id"}, "first": {"$first": "$surname"}}}],
                [
                    {
                        "$facet": {
                            "a": [{"$sort": {"surname": 1, "_id": 1}}, {"$limit": 3}],
                            "b": [{"$limit": 1}],
                        }
                    }
                ],
            ]
        )
        before: list[Document] = chance.choice([[], [{"$match": query(chance)}], [{"$addFields": {"x": 1}}]])
        if rest and "$facet" in rest[0]:
            some = []  # a sort in it would be refused behind a limit
        stages = [*before, *sort, *some, *rest]
        wanted, found = (list(each.aggregate(stages)) for each in reversed(collections))
        assert found == wanted, stages


def listing(chance: random.Random, number: int) -> Document:
    """Arrays, empty ones and with null among them, beside single values and nothing."""
    found: Document = {"_id": number, "room": chance.randrange(3)}
    values: dict[str, list[Any]] = {
        "names": NAMES[:6],
        "visits": [Int64(each) for each in (0, 1, -5, 10**12)],
        "codes": CODES,
        "born": [datetime(1900 + each, 1, 1, tzinfo=UTC) for each in range(5)],
    }
    for name, some in values.items():
        way, several = chance.randrange(6), chance.sample([*some, None], chance.randrange(4))
        if way and name != "visits":
            found[name] = several if way > 2 else chance.choice([*some, None])
        elif way:
            found["inner"] = {name: several if way > 2 else chance.choice(some)}
    return found


def test_an_array_stands_where_its_least_or_greatest_value_does(collections: Both) -> None:
    sides = [each.database["lists"] for each in collections]
    for side in sides:
        own = random.Random(21)
        side.insert_many(listing(own, number) for number in range(120))
    chance = random.Random(22)
    for turn in range(120):
        if turn == 60:  # not of `names`: with an index, this server looks for one value between both ends
            for side in sides:
                side.create_index("inner.visits")
        name = chance.choice(NAMES[:6])
        asked: Document = chance.choice(
            [
                {},
                {"names": {"$gt": name}},
                {"names": {"$gt": name, "$lt": chance.choice(NAMES)}},
                {"names": {"$regex": "^S"}, "room": 1},
                {"names": {"$in": NAMES[:3], "$lt": name}},
                {"names": {"$elemMatch": {"$gt": name, "$lt": "z"}}},
                {"names": {"$not": {"$gt": name}}},
                {"names": {"$size": 2, "$ne": "S"}},
                {"inner.visits": {"$mod": [5, 0]}},
                {"inner.visits": {"$gte": 0}, "codes": {"$lt": 1}},
                {"$or": [{"names": name}, {"room": 0}]},
            ]
        )
        keys = chance.sample(["names", "inner.visits", "codes", "born", "room"], chance.choice([1, 1, 2]))
        sort = [(key, chance.choice([1, -1])) for key in (*keys, "_id")]
        some = {"skip": chance.choice([0, 0, 3, 30]), "limit": chance.choice([0, 1, 5, 20])}
        found, wanted = (list(each.find(asked, sort=sort, **some)) for each in sides)
        assert found == wanted, (asked, sort, some)
    for side in sides:
        side.drop()


def test_joined_documents_are_sorted(collections: Both) -> None:
    """The last two of each, and all of one order: the field may be an array."""
    sides = [each.database["lists"] for each in collections]
    for side in sides:
        own = random.Random(23)
        side.insert_many(listing(own, number) for number in range(60))
    of_room = {"from": "lists", "as": "of", "localField": "room", "foreignField": "room"}
    for path in ("names", "inner.visits", "born"):
        for direction in (1, -1):
            inner: list[Document] = [{"$sort": {path: direction, "_id": 1}}, {"$limit": 2}]
            asked: list[Document] = [{"$match": {"names": {"$gt": "S"}}}, *inner]
            joins: list[list[Document]] = [
                [{"$match": {"_id": {"$lt": 6}}}, {"$lookup": {**of_room, "pipeline": inner}}],
                [{"$lookup": {**of_room, "pipeline": asked}}, {"$limit": 4}],
                [{"$limit": 1}, {"$unionWith": {"coll": "lists", "pipeline": [*asked, {"$skip": 1}]}}],
            ]
            for stages in joins:
                found, wanted = (list(each.aggregate(stages)) for each in collections)
                assert found == wanted, stages
    for side in sides:
        side.drop()


@pytest.fixture
def lists(collections: Both) -> Iterator[Both]:
    """The same documents with arrays on both sides."""
    encrypted, plain = (each.database["lists"] for each in collections)
    for side in (encrypted, plain):
        own = random.Random(31)
        side.insert_many(listing(own, number) for number in range(50))
    yield encrypted, plain
    encrypted.drop()
    plain.drop()


@rows(
    "stages, path",
    ([{"$unwind": "$names"}], "names"),
    ([{"$unwind": {"path": "$names", "preserveNullAndEmptyArrays": True}}], "names"),
    ([{"$unwind": {"path": "$names", "includeArrayIndex": "at"}}, {"$match": {"at": 0}}], "names"),
    ([{"$match": {"room": {"$lt": 3}}}, {"$unwind": "$names"}], "names"),
    ([{"$match": {"names": {"$gt": "Sab"}}}, {"$unwind": "$names"}], "names"),
    ([{"$unwind": "$names"}, {"$match": {"names": {"$gt": "Sab"}}}], "names"),
    ([{"$project": {"copy": "$names"}}], "copy"),
    ([{"$set": {"copy": "$names"}}, {"$unwind": "$copy"}, {"$unset": "names"}], "copy"),
    ([{"$set": {"copy": {"$arrayElemAt": [_NAMES, 0]}}}], "copy"),
    ([{"$set": {"names": {"$slice": [_NAMES, 1]}}}], "names"),
    ([{"$set": {"names": {"$reverseArray": _NAMES}}}], "names"),
    (
        [{"$set": {"names": {"$filter": {"input": _NAMES, "as": "e", "cond": {"$ne": ["$$e", "S"]}}}}}],
        "names",
    ),
    ([{"$replaceRoot": {"newRoot": {"_id": "$_id", "copy": "$names"}}}], "copy"),
    ([{"$replaceWith": {"_id": "$_id", "copy": {"$ifNull": ["$names", "new"]}}}], "copy"),
    ([{"$redact": {"$cond": [{"$eq": ["$room", 1]}, "$$PRUNE", "$$KEEP"]}}], "names"),
)
def test_the_order_is_that_of_the_values_at_that_place(
    lists: Both, stages: list[Document], path: str
) -> None:
    """Sorted by them, the first of them, and the least and the greatest one where none is an array."""
    ways: list[list[Document]] = []
    if any("$unwind" in stage or "$arrayElemAt" in str(stage) for stage in stages):
        extremes = {"least": {"$min": f"${path}"}, "most": {"$max": f"${path}"}}
        ways += [[{"$group": {"_id": "$room", **extremes}}, {"$sort": {"_id": 1}}]]
    for direction in (1, -1):
        sort = {"$sort": {path: direction, "_id": 1}}
        ways += [[sort], [sort, {"$limit": 7}], [sort, {"$skip": 2}, {"$limit": 120}]]
    for way in ways:
        found, wanted = (list(each.aggregate([*stages, *way])) for each in lists)
        assert found == wanted, way


@pytest.mark.parametrize("odd", [{"names": [["a"]]}, {"inner": [{"visits": Int64(1)}]}])
def test_arrays_in_arrays_are_not_sorted(collections: Both, odd: Document) -> None:
    lists = collections[0].database["lists"]
    lists.insert_many([{"names": ["b", "a"]}, odd])
    with pytest.raises(OperationFailure) as caught:
        list(lists.find().sort({"names": 1, "inner.visits": 1}))
    lists.drop()
    assert caught.value.code == 238


def grouped(chance: random.Random) -> list[Document]:
    """A group in the order of stored values, sorted so that documents come in one order."""
    path, other = chance.sample(["surname", "visits", "born", "serial", "name.family"], 2)
    few = chance.choice([1, 2, 5])
    accumulators: Document = {
        "least": {"$min": f"${path}"},
        "most": {"$max": f"${path}"},
        "other": {chance.choice(["$min", "$max"]): f"${other}"},
        "few": {chance.choice(["$minN", "$maxN"]): {"input": f"${path}", "n": few}},
        "top": {
            chance.choice(["$top", "$bottom"]): {
                "sortBy": {path: chance.choice([1, -1]), "room": -1, "_id": chance.choice([1, -1])},
                "output": chance.choice(["$_id", "$surname", ["$room", "$_id"]]),
            }
        },
        "tops": {
            chance.choice(["$topN", "$bottomN"]): {
                "sortBy": {"room": 1, path: -1, other: 1, "_id": 1},
                "output": "$_id",
                "n": few,
            }
        },
        "count": {"$sum": 1},
    }
    chosen = dict(chance.sample(list(accumulators.items()), chance.choice([1, 2, 7])))
    key, sort = chance.choice(
        [
            (None, {"_id": 1}),
            ("$room", {"_id": -1}),
            ("$surname", {"_id": 1}),
            ("$visits", {"_id": -1}),
            ({"a": "$surname", "room": "$room"}, {"_id.a": 1, "_id.room": -1}),
            ({"a": "$born", "b": "$visits"}, {"_id.a": -1, "_id.b": 1}),
            ("$room", {"least": 1, "_id": 1}),
            ("$room", {"most": -1, "_id": 1}),
        ]
    )
    if "least" in sort or "most" in sort:
        chosen |= {name: accumulators[name] for name in ("least", "most")}
    stages: list[Document] = [{"$group": {"_id": key, **chosen}}, {"$sort": sort}]
    return stages + chance.choice([[], [{"$limit": 3}], [{"$skip": 1}, {"$project": {"count": 0}}]])


def test_groups_are_ordered_by_values(collections: Both) -> None:
    chance = random.Random(10)
    for _ in range(80):
        before: list[Document] = chance.choice(
            [[], [{"$match": query(chance)}], [{"$sort": {"_id": -1}}], [{"$addFields": {"x": 1}}]]
        )
        stages = [*before, *grouped(chance)]
        wanted, found = (list(each.aggregate(stages)) for each in reversed(collections))
        assert found == wanted, stages


@rows(
    "stages",
    [{"$sortByCount": "$surname"}, {"$sort": {"count": -1, "_id": 1}}],
    [{"$sortByCount": "$visits"}, {"$match": {"count": {"$gt": 1}}}, {"$sort": {"_id": -1}}, {"$limit": 4}],
    [
        {"$group": {"_id": "$surname", "n": {"$sum": 1}}},
        {"$match": {"n": {"$lt": 30}}},
        {"$sort": {"_id": 1}},
    ],
    [
        {"$sort": {"_id": 1}},
        {"$group": {"_id": "$room", "who": {"$first": "$surname"}, "least": {"$min": "$born"}}},
        {"$match": {"_id": {"$gte": 0}}},
        {"$sort": {"who": -1, "least": 1, "_id": 1}},
    ],
    [
        {"$match": {"room": {"$lt": 4}}},
        {"$sort": {"room": 1, "_id": -1}},
        {"$group": {"_id": "$room", "who": {"$last": "$name.family"}}},
        {"$sort": {"who": 1, "_id": 1}},
    ],
)
def test_groups_are_sorted_by_what_they_carry(collections: Both, stages: list[Document]) -> None:
    found, wanted = (list(each.aggregate(stages)) for each in collections)
    assert found == wanted
    assert found


def test_pages_follow_each_other(collections: Both) -> None:
    pages = []
    for collection in collections:
        last: Any = ""
        seen: list[Any] = []
        while True:
            page = collection.find({"surname": {"$gt": last}}).sort({"surname": 1, "_id": 1}).limit(10)
            found = [(each["surname"], each["_id"]) for each in page]
            if not found:
                break
            seen += found
            last = found[-1][0]
        pages.append(seen)
    assert pages[0] == pages[1]
    assert len(pages[0]) > 40


def test_a_transaction_sorts_what_it_has_written(collections: Both) -> None:
    chance, sides = random.Random(8), []
    some = [(query(chance), list(sorted_by(chance).items()), window(chance)) for _ in range(30)]
    for collection in collections:
        found: list[Any] = []
        with collection.database.client.start_session() as session:
            session.start_transaction()
            try:
                for number, (asked, keys, pages) in enumerate(some):
                    found.append(list(collection.find(asked, sort=keys, session=session, **pages)))
                    new = {"_id": 600 + number, "surname": f"S{number}", "visits": Int64(number)}
                    collection.insert_one(new, session=session)
            finally:
                session.abort_transaction()
        sides.append(found)
    assert sides[0] == sides[1]


def test_pages_are_right_while_others_write(collections: Both) -> None:
    """No page is short or misses a document that nobody changes; the command may fail instead."""
    encrypted, _ = collections
    crowd = encrypted.database["crowd"]
    names = [f"N{number:03}" for number in range(60)]
    crowd.insert_many({"_id": number, "surname": name} for number, name in enumerate(names) if number % 3)
    stable = [number for number in range(60) if number % 3]
    is_over = threading.Event()

    def write() -> None:
        chance = random.Random(9)
        while not is_over.is_set():
            number = chance.randrange(0, 60, 3)
            crowd.replace_one({"_id": number}, {"surname": chance.choice(names[:30])}, upsert=True)
            crowd.delete_many({"_id": {"$in": chance.sample(range(0, 60, 3), 5)}})

    writer = threading.Thread(target=write)
    writer.start()
    try:
        pages = [_page(crowd) for _ in range(60)]
    finally:
        is_over.set()
        writer.join()
        crowd.drop()
    read = [page for page in pages if page]
    assert len(read) > 10
    for page in read:
        assert len(page) == 12
        assert page == sorted(page)
        kept = [number for _, number in page if number in stable]
        assert kept == [number for number in stable if (names[number], number) <= page[-1]]


def _page(crowd: Collection[Document]) -> list[tuple[str, int]]:
    """Names and ids of the first documents; nothing if others have disturbed the command."""
    try:
        found = crowd.find().sort({"surname": 1, "_id": 1}).limit(12)
        return [(each["surname"], each["_id"]) for each in found]
    except OperationFailure as error:
        if error.code != 262:
            raise
        return []


def test_many_values_are_sorted(collections: Both) -> None:
    crowds = [each.database["crowd"] for each in collections]
    for crowd in crowds:
        chance = random.Random(13)
        crowd.insert_many(
            {"_id": number, "surname": None if number % 50 == 0 else f"N{chance.randrange(10**9)}"}
            for number in range(400)
        )
    group = [{"$group": {"_id": None, "least": {"$min": "$surname"}, "most": {"$max": "$surname"}}}]
    for asked in ({}, {"surname": {"$gt": "N2"}}):
        for some in ({}, {"skip": 280, "limit": 20}, {"skip": 150, "limit": 5}):
            sort = [("surname", -1 if asked else 1), ("_id", 1)]
            found, wanted = (list(each.find(asked, sort=sort, **some)) for each in crowds)
            assert found == wanted
        found, wanted = (list(each.aggregate([{"$match": asked}, *group])) for each in crowds)
        assert found == wanted
    for crowd in crowds:
        crowd.drop()


def test_a_collation_counts_for_what_is_sorted(collections: Both) -> None:
    """The numbers that are sorted by have none, but the question has the filter as well."""
    pools = [each.database["pool"] for each in collections]
    ignoring_case = Collation(locale="en", strength=2)
    for pool in pools:
        pool.insert_many({"_id": n, "note": "aA"[n % 2], "visits": Int64(-n)} for n in range(20))
    found, wanted = (
        list(pool.find({"note": "a"}).collation(ignoring_case).sort({"visits": 1}).limit(5)) for pool in pools
    )
    assert found == wanted
    assert {each["note"] for each in wanted} == {"a", "A"}
    removed, wanted_one = (
        pool.find_one_and_delete({"note": "a"}, sort={"visits": 1}, collation=ignoring_case) for pool in pools
    )
    assert removed == wanted_one == wanted[0]
    for pool in pools:
        pool.drop()


def test_the_first_document_is_written(collections: Both) -> None:
    chance = random.Random(11)
    pools = [each.database["pool"] for each in collections]
    for pool in pools:
        own = random.Random(12)
        pool.insert_many(document(own, number) for number in range(80))
    for turn in range(120):
        key = chance.choice(["surname", "visits", "born", "serial", "name.family"])
        sort = {key: chance.choice([1, -1]), "room": 1, "_id": -1}
        changes: list[Any] = [
            {"$set": {"turn": turn, "surname": chance.choice(NAMES)}},
            {"$unset": {"surname": 1}},
            [{"$set": {"turn": turn}}],
        ]
        said = query(chance), sort, chance.choice(changes), chance.randrange(5)
        found, wanted = (write_first(pool, *said) for pool in pools)
        assert found == wanted, said
        assert [*pools[0].find()] == [*pools[1].find()], said
    for pool in pools:
        pool.drop()


def write_first(
    pool: Collection[Document], asked: Document, sort: dict[str, int], change: Any, way: int
) -> Any:
    """A write of the first document in one of several ways; what it says."""
    if way == 0:
        return pool.find_one_and_update(asked, change, sort=sort, return_document=True)
    if way == 1:
        return pool.find_one_and_delete(asked, sort=list(sort.items()))
    if way == 2:
        return (pool.update_one(asked, change, sort=sort).raw_result or {}).get("n")
    if way == 3:
        return pool.find_one_and_replace(asked, {"surname": "New"}, sort=sort)
    with pool.database.client.start_session() as session, session.start_transaction():
        return pool.find_one_and_update(asked, change, sort=sort, session=session)


def test_a_queue_gives_each_document_once(collections: Both) -> None:
    """Several workers take the first document; others put new ones in front meanwhile."""
    encrypted, _ = collections
    queue = encrypted.database["crowd"]
    queue.insert_many({"_id": number, "surname": f"N{number % 7}"} for number in range(60))
    taken: list[Any] = []
    failed: list[int] = []

    def take() -> None:
        for _ in range(60):
            try:
                found = queue.find_one_and_delete({}, sort={"surname": 1, "_id": 1})
            except OperationFailure as error:
                failed.append(error.code or 0)
                continue
            if found is None:
                return
            taken.append(found["_id"])

    workers = [threading.Thread(target=take) for _ in range(3)]
    for worker in workers:
        worker.start()
    queue.insert_many({"_id": number, "surname": "A"} for number in range(100, 110))
    for worker in workers:
        worker.join()
    assert len(taken) == len(set(taken))
    assert set(failed) <= {262}
    assert len(taken) + queue.count_documents({}) == 70
    queue.drop()


@rows("stored, code", ({"surname": ["a", "b"]}, 238), ({"name": [{"family": "x"}]}, 238))
def test_what_has_several_orders_is_refused(collections: Both, stored: Document, code: int) -> None:
    encrypted, _ = collections
    encrypted.insert_one({"_id": 500, **stored})
    key = {"name": "name.family"}.get(next(iter(stored)), next(iter(stored)))
    try:
        with pytest.raises(OperationFailure) as caught:
            list(encrypted.aggregate([{"$group": {"_id": None, "least": {"$min": f"${key}"}}}]))
    finally:
        encrypted.delete_one({"_id": 500})
    assert caught.value.code == code
