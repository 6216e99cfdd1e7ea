"""Two tenants with equal values: what compares them answers as plaintext does, or is refused.

Stages are drawn that bring values together, and one that compares them; whatever is answered has to be what
a plaintext server answers.
"""

from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from threading import Thread
from typing import Any

import pytest
from bson import encode
from pymongo import MongoClient
from pymongo.database import Database
from pymongo.errors import OperationFailure

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
  ssn: {mode: deterministic, type: string, key: {per: tenant}}
  ward: {mode: deterministic, type: string, key: {per: $database}}
collections:
  clinic.people: {ssn: ssn, other: ssn, tags: ssn, ward: ward}
  clinic.visits: {ssn: ssn, ward: ward}
"""
DRAWN = 1_200
FIVE: Document = {"$match": {"tenant": 5}}
_EQUAL = {"$expr": {"$eq": ["$ssn", "$$s"]}}

PATHS = ("ssn", "other", "tags", "ward")


@pytest.fixture
def sides(
    database: DatabaseProcess, tmp_path: Path
) -> Iterator[tuple[Database[Document], Database[Document]]]:
    """The database through the proxy, and one in plaintext, with the same documents."""
    environ = new_environ()
    site = site_at(database, tmp_path, RULES, environ)
    site.config["keys"]["contexts"] = "contexts.db"
    create_keyring(site.keyring, EnvironmentKek(environ=environ), ["ssn", "ward"], datetime.now(UTC))
    with ExitStack() as stack:
        running = stack.enter_context(serving(site, 300.0))
        # of the refusals more is written than a pipe holds
        Thread(target=lambda: deque(running.said, 0), daemon=True).start()
        stack.callback(running.process.kill)  # before its pipe is closed, which waits for who reads it
        ours = stack.enter_context(client_of(running))["clinic"]
        plain = stack.enter_context(MongoClient[Document](database.uri()))["plain"]
        for side in (ours, plain):
            side["people"].insert_many(people())
            side["visits"].insert_many(visits())
        yield ours, plain


def people() -> list[Document]:
    random = Random(3)

    def value() -> str:
        return random.choice("abc")

    return [
        {
            "_id": number,
            "tenant": random.choice((5, 6)),
            "ssn": value(),
            "other": value(),
            "tags": [value() for _ in range(random.randrange(3))],
            "ward": value(),
            "x": random.randrange(3),
        }
        for number in range(12)
    ]


def visits() -> list[Document]:
    random = Random(4)
    return [
        {"_id": number, "tenant": random.choice((5, 6)), "ssn": random.choice("abc"), "ward": "a"}
        for number in range(8)
    ]


def pipeline(random: Random) -> list[Document]:
    """Stages before, of which each may change what is known of tenants, and one that compares."""
    before = [_drawn(random, _BEFORE) for _ in range(random.choice((0, 0, 1, 1, 2)))]
    start = [FIVE] if random.random() < 0.5 else []
    return [{"$sort": {"_id": 1}}, *start, *before, _drawn(random, _COMPARING)]


def _foreign(random: Random) -> Document:
    return random.choice((FIVE, {"$match": {"tenant": 6}}, {"$match": {"tenant": {"$gt": 5}}}, {"$limit": 4}))


_BEFORE: tuple[Callable[[Random], Document] | Document, ...] = (
    lambda r: {"$set": {"tenant": r.choice((5, "$x"))}},
    {"$unwind": "$tags"},
    lambda r: {"$unwind": {"path": "$tags", "includeArrayIndex": r.choice(("tenant", "at"))}},
    {"$match": {"x": {"$gt": 0}}},
    {"$limit": 8},
    lambda r: {"$project": {"tenant": r.choice((1, "$x")), "ssn": 1, "tags": 1, "ward": 1, "x": 1}},
    lambda r: {"$unionWith": {"coll": "visits", "pipeline": [{"$sort": {"_id": 1}}, _foreign(r)]}},
    {"$group": {"_id": "$x", "tenant": {"$first": "$tenant"}, "tags": {"$push": "$ssn"}}},
    lambda r: {
        "$lookup": {
            "from": "visits",
            "pipeline": [{"$sort": {"_id": 1}}, _foreign(r), {"$project": {"ssn": 1}}],
            "as": "seen",
        }
    },
    {"$set": {"tags": "$seen.ssn"}},
)


def _drawn(random: Random, stages: Sequence[Callable[[Random], Document] | Document]) -> Document:
    found = random.choice(stages)
    return found(random) if callable(found) else found


def _key(r: Random) -> Any:
    path = f"${r.choice(PATHS)}"
    return r.choice((path, {"t": "$tenant", "k": path}, {"x": "$x", "k": path}))


_COMPARING: tuple[Callable[[Random], Document] | Document, ...] = (
    lambda r: {"$group": {"_id": _key(r), "n": {"$sum": 1}}},
    lambda r: {"$sortByCount": f"${r.choice(PATHS)}"},
    lambda r: {"$group": {"_id": r.choice(("$tenant", "$x", None)), "s": {"$addToSet": _key(r)}}},
    lambda r: {"$setWindowFields": {"partitionBy": _key(r), "output": {"n": {"$sum": 1}}}},
    lambda r: {"$project": {"same": {r.choice(("$eq", "$ne")): ["$ssn", "$other"]}}},
    {"$project": {"same": {"$in": ["$ssn", {"$ifNull": ["$tags", []]}]}}},
    {"$project": {"same": {"$in": ["$ssn", {"$ifNull": ["$seen.ssn", []]}]}}},
    {"$project": {"n": {"$size": {"$setUnion": [{"$ifNull": ["$tags", []]}]}}}},
    lambda r: {"$facet": {"a": [{"$group": {"_id": _key(r), "n": {"$sum": 1}}}]}},
    lambda r: {
        "$lookup": {
            "from": r.choice(("people", "visits")),
            "localField": r.choice(("ssn", "tags", "ward")),
            "foreignField": r.choice(("ssn", "ward")),
            "pipeline": [*r.choice(([], [_foreign(r)])), {"$sort": {"_id": 1}}, {"$project": {"x": 1}}],
            "as": "joined",
        }
    },
    lambda r: {
        "$lookup": {
            "from": "visits",
            "let": {"s": "$ssn"},
            "pipeline": [*r.choice(([], [_foreign(r)])), {"$match": _EQUAL}, {"$sort": {"_id": 1}}],
            "as": "joined",
        }
    },
    {
        "$graphLookup": {
            "from": "people",
            "startWith": "$ssn",
            "connectFromField": "other",
            "connectToField": "ssn",
            "as": "joined",
        }
    },
)


def plainly(value: Any) -> Any:
    """A value in which what has no order has one."""
    if isinstance(value, dict):
        return {name: plainly(value[name]) for name in sorted(value)}
    if isinstance(value, list):
        return sorted((plainly(each) for each in value), key=lambda each: encode({"v": each}))
    return value


def answer_of(side: Database[Document], command: Document) -> Any:
    """The values that a command finds; the code of an error; None where Sealwire refuses it."""
    try:
        reply = side.command(command)
    except OperationFailure as failure:
        return None if "Sealwire refused" in str(failure) else failure.code
    return plainly(reply["values"] if "values" in reply else reply["cursor"]["firstBatch"])


def test_what_compares_values_of_two_tenants_answers_as_plaintext_or_is_refused(
    sides: tuple[Database[Document], Database[Document]], record_property: Callable[[str, object], None]
) -> None:
    ours, plain = sides
    tally: Counter[str] = Counter()
    for seed in range(DRAWN):
        random = Random(seed)
        command: Document = {"aggregate": "people", "pipeline": pipeline(random), "cursor": {}}
        if seed % 20 == 0:
            query = random.choice(({}, {"tenant": 5}, {"tenant": {"$in": [5, 6]}}))
            command = {"distinct": "people", "key": random.choice(PATHS), "query": query}
        found = answer_of(ours, command)
        tally["refused" if found is None else "error" if isinstance(found, int) else "answered"] += 1
        if found is not None:
            assert found == answer_of(plain, command), f"{seed}: {command}"
    record_property("summary", f"contexts compared: {dict(tally)}")
    assert min(tally["answered"], tally["refused"]) > DRAWN / 10
