"""Conditions on random and deterministic classes beside each other, sorted, grouped and written by.

Each of them has been right by itself while two together were wrong: one of them takes over what the question
about another one has to have. So commands are drawn from all of them, and compared with plaintext. The same
where each tenant has keys of its own, and every command says whose documents it means.
"""

import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pymongo import DeleteMany, UpdateMany
from pymongo.collection import Collection
from pymongo.errors import BulkWriteError, OperationFailure

from sealwire.testbed.database import DatabaseProcess
from tests.integration.conftest import Both, Document, both_sides
from tests.integration.outside.chosen import own_server

pytestmark = [pytest.mark.integration, own_server("it has a policy of its own")]

POLICY = """
version: 1
classes:
  surname: {mode: deterministic, type: string, ask: true}
  notes: {mode: random, ask: true}
collections:
  clinic.patients: {surname: surname, was: surname, notes: notes, kin.note: notes, kin.surname: surname}
"""
WITH_CONTEXTS = POLICY.replace("ask: true}", "ask: true, key: {per: tenant}}")
TENANTS = [1, 2]
COMMANDS = 260
NAMES = ["Anna", "anna", "Bob", "bob", "Zoe", ""]
NOTES: list[Any] = ["x1", "x2", "y", 2.5, 7, True, "", ["x1", "q"]]
ORDER = [("surname", 1), ("was", -1), ("_id", 1)]
FIRST = [("surname", -1), ("_id", 1)]


@pytest.fixture(scope="module")
def sides(database: DatabaseProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    """The encrypted collection, and the same in clear."""
    with both_sides(database, tmp_path_factory.mktemp("mixed"), POLICY) as both:
        yield both


@pytest.fixture
def sides_of_tenants(database: DatabaseProcess, tmp_path: Path) -> Iterator[Both]:
    """The same where each tenant has keys of its own."""
    with both_sides(database, tmp_path, WITH_CONTEXTS, has_contexts=True) as both:
        yield both


def documents(chance: random.Random) -> list[Document]:
    made = []
    for number in range(14):
        kin = [
            {"note": chance.choice(NOTES), "surname": chance.choice(NAMES)}
            for _ in range(chance.randrange(3))
        ]
        values: Document = {
            "surname": chance.choice([*NAMES, None]),
            "was": chance.choice(NAMES),
            "notes": chance.choice([*NOTES, None]),
            "ward": chance.choice([1, 2, 3]),
            "kin": kin,
        }
        kept = {name: value for name, value in values.items() if chance.random() < 0.85}
        made.append({"_id": number, "tenant": chance.choice(TENANTS), **kept})
    return made


def condition(chance: random.Random, path: str) -> Any:
    if path == "ward":
        return chance.choice([1, 2, {"$gt": 1}, {"$exists": False}])
    if path.endswith(("notes", "note")):
        return chance.choice(
            [
                *("x1", 2.5, True, re.compile("^x"), {"$ne": "x1"}, {"$in": ["x1", 7, re.compile("^y")]}),
                *({"$nin": ["y", re.compile("x")]}, {"$not": re.compile("x")}, {"$gt": "x1"}),
                *({"$not": {"$lt": "y", "$gt": "a"}}, {"$mod": [7, 0]}, {"$ne": "y", "$gt": "a"}),
            ]
        )
    return chance.choice(
        [
            *("Anna", re.compile("^a", re.I), {"$gt": "B"}, {"$not": {"$gte": "b"}}),
            *({"$in": ["Bob", re.compile("n")]}, {"$nin": ["Bob", re.compile("n")]}, {"$ne": "Bob"}),
        ]
    )


def drawn_filter(chance: random.Random, depth: int = 0) -> Document:
    found: Document = {}
    for _ in range(chance.choice([1, 2, 2, 3])):
        if chance.random() < 0.2 and depth < 2:
            found[chance.choice(["$and", "$or", "$nor"])] = [drawn_filter(chance, depth + 1)]
        else:
            path = chance.choice(["notes", "notes", "kin.note", "surname", "surname", "kin.surname", "ward"])
            found[path] = condition(chance, path)
    return found


def command(chance: random.Random, within: Document) -> tuple[str, Any]:
    """Its name, and what it does to a collection; `within`: the documents that its filters are about."""
    first, second = within | drawn_filter(chance), within | drawn_filter(chance)
    amount = chance.randrange(4)
    update = chance.choice(
        [{"$set": {"m": 1}}, {"$set": {"ward": 2}}, {"$unset": {"ward": 1}}, {"$unset": {"notes": 1}}]
    )
    group = {
        "_id": "$ward",
        "least": {"$min": "$surname"},
        "top": {"$top": {"sortBy": dict(ORDER), "output": "$_id"}},
    }
    # the second one would have to see what the first one has written, if that were a field of a filter
    writes: list[UpdateMany | DeleteMany] = [UpdateMany({"ward": 1}, {"$set": {"m": 1}})]
    writes += [UpdateMany(first, {"$set": {"q": 1}}), DeleteMany(second)]

    def sorted_find(found: Collection[Document]) -> Any:
        return [each["_id"] for each in found.find(first).sort(ORDER).skip(amount).limit(amount)]

    def grouped(found: Collection[Document]) -> Any:
        return list(
            found.aggregate([{"$match": first}, {"$group": group}, {"$sort": {"least": 1, "_id": 1}}])
        )

    def bulk(found: Collection[Document]) -> Any:
        result = found.bulk_write(writes)
        return result.matched_count, result.deleted_count

    def in_transaction(found: Collection[Document]) -> Any:
        with found.database.client.start_session() as session, session.start_transaction():
            matched = found.update_many(first, update, session=session).matched_count
            return matched, sorted(each["_id"] for each in found.find(second, session=session))

    return chance.choice(
        [
            ("find", lambda found: sorted(each["_id"] for each in found.find(first))),
            ("sorted find", sorted_find),
            ("sorted find", sorted_find),
            ("group", grouped),
            ("update", lambda found: found.update_many(first, update).matched_count),
            ("delete", lambda found: found.delete_many(first).deleted_count),
            ("findAndModify", lambda found: found.find_one_and_update(first, update, sort=FIRST)),
            ("bulk", bulk),
            ("transaction", in_transaction),
        ]
    )


def outcome(found: Collection[Document], run: Any, before: list[Document]) -> tuple[Any, list[Document]]:
    """What a command gives, and what it leaves behind, which is put back."""
    try:
        answer = run(found)
    except BulkWriteError as error:
        answer = f"refused: {error.details['writeErrors'][0]['errmsg']}"
    except OperationFailure as error:
        answer = f"refused: {error}"
    after = list(found.find().sort("_id"))
    if after != before:
        found.delete_many({})
        found.insert_many([dict(each) for each in before])
    return answer, after


def test_a_question_that_the_server_refuses_fails_the_whole_command(sides: Both) -> None:
    covered = sides[0]
    covered.insert_one({"_id": 900, "notes": "x1", "ward": 9})
    changes = [
        UpdateMany({"_id": 900}, {"$set": {"bed": 8}}),
        UpdateMany({"ward": {"$regex": "("}, "notes": re.compile("^x")}, {"$set": {"bed": 7}}),
    ]
    try:
        with pytest.raises(OperationFailure) as caught:
            covered.bulk_write(changes)
        assert not isinstance(caught.value, BulkWriteError)
        assert caught.value.code != 238
        assert covered.find_one({"_id": 900}) == {"_id": 900, "notes": "x1", "ward": 9}
    finally:
        covered.delete_one({"_id": 900})


def test_conditions_of_all_kinds_together_are_answered_as_in_plaintext(sides: Both) -> None:
    compare(sides, random.Random(20), has_tenants=False)


def test_the_same_where_each_tenant_has_keys_of_its_own(sides_of_tenants: Both) -> None:
    compare(sides_of_tenants, random.Random(21), has_tenants=True)


def compare(sides: Both, chance: random.Random, *, has_tenants: bool) -> None:
    """Many commands on both sides."""
    compared, before = dict[str, int](), list[Document]()
    for number in range(COMMANDS):
        if number % 25 == 0:
            before = documents(chance)
            for side in sides:
                side.delete_many({})
                side.insert_many([dict(each) for each in before])
        name, run = command(chance, {"tenant": chance.choice([*TENANTS, 9])} if has_tenants else {})
        found, wanted = (outcome(side, run, before) for side in sides)
        if any(str(answer).startswith("refused") for answer, _ in (found, wanted)):
            continue
        assert found == wanted, (number, name)
        compared[name] = compared.get(name, 0) + 1
    assert len(compared) == 8, compared
    assert sum(compared.values()) > COMMANDS / 2, compared
