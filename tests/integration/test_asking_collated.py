"""Conditions on text under a collation, in reads and in each kind of write: all is as in plaintext.

The test server orders texts by an accent before it looks at the letters behind it. So no end of a range has
an accent here, and no text goes on behind one. In `$elemMatch` it negates as without a collation, so nothing
is negated there.
"""

import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from bson import Int64, Regex
from pymongo import UpdateMany
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
  visits: {mode: deterministic, type: long, ask: true}
collections:
  clinic.patients: {surname: surname, kin.surname: surname, notes: notes, kin.note: notes, visits: visits}
"""
TEXTS = ["Anna", "anna", "ANNA", "Zoe", "zoe", "ZOE", "Zo", "12", "1a", "zoë", "ZOË", ""]
ENDS = ["Anna", "1A", "zo", "b", ""]
ASKED = ("[question]", "[question-size]")


def document(chance: random.Random, number: int, *, has_arrays: bool) -> Document:
    def one() -> Any:
        several = [[chance.choice(TEXTS), chance.choice(TEXTS)], []] if has_arrays else []
        return chance.choice([*[chance.choice(TEXTS)] * 5, None, *several])

    found: Document = {"_id": number, "ward": chance.choice(["a", "A", "b", None])}
    found |= {name: one() for name in ("surname", "notes") if chance.random() < 0.85}
    found |= {"bed": "x"} if chance.random() < 0.5 else {}
    kin = [{name: one() for name in ("surname", "note")} for _ in range(chance.randrange(3))]
    return found | {"visits": Int64(chance.randrange(3)), "kin": kin}


def condition(chance: random.Random) -> Document:
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
    query, mark = condition(chance), {"$inc": {"marks": 1}}
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
    with both_sides(database, tmp_path_factory.mktemp("collated"), POLICY) as both:
        yield both


def test_commands_under_collations_do_what_they_do_in_plaintext(sides: Both) -> None:
    chance, answered = random.Random(29), 0
    for _ in range(8):
        has_arrays = chance.random() < 0.5
        stored = [document(chance, number, has_arrays=has_arrays) for number in range(20)]
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
