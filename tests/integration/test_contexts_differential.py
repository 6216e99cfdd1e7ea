"""Generated commands on plaintext, and through a proxy whose classes have contexts: one answer, or a refusal.

The text of a value is that of its context, so plaintext that is equal is in one context, and one envelope.
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bson import ObjectId
from pymongo import MongoClient
from pymongo.database import Database
from pymongo.errors import OperationFailure

from sealwire.testbed.database import DatabaseProcess
from tests.integration.conftest import Databases, Document, Record
from tests.integration.differential.sides import is_of_a_move
from tests.integration.running_site import contexts_site, unread
from tests.policies.taint.campaign import chosen_seed
from tests.policies.taint.labels import LABELS
from tests.policies.taint.owned_commands import draw_owned
from tests.policies.taint.owners import POLICY, RULES
from tests.policies.taint.values import Pairs, children

pytestmark = pytest.mark.integration
SEQUENCES, COMMANDS = 40, 25
_FEW = ("five", "ann")
"""Contexts of these only, so that filters find documents."""
_READ_AND_WRITTEN = ("insert", "find", "count", "distinct", "update", "findAndModify", "aggregate", "delete")


@pytest.fixture
def sides(database: DatabaseProcess, tmp_path: Path) -> Iterator[Databases]:
    """The database through the proxy, and one in plaintext."""
    site = contexts_site(database, tmp_path, RULES, list(POLICY.class_names))
    with unread(site) as ours, MongoClient[Document](database.uri()) as direct:
        yield ours["clinic"], direct["plain"]


def answer_of(side: Database[Document], body: Document) -> Any:
    """What a command comes to: the parts of its reply that speak of documents, or its error's code.

    Raises OperationFailure where classes move, and it may be sent again.
    """
    try:
        reply = side.command(body)
    except OperationFailure as failure:
        if is_of_a_move(failure):
            raise
        if "Sealwire refused" in str(failure):
            return None
        return failure.code
    errors = reply.get("writeErrors", [])
    if any("Sealwire refused" in each["errmsg"] for each in errors):
        return None
    names = ("n", "nModified", "value", "values", "upserted", "lastErrorObject")
    found = {name: reply[name] for name in names if name in reply}
    batch = reply.get("cursor", {}).get("firstBatch")
    return plainly([batch, found, [each["code"] for each in errors]])


def plainly(value: Any) -> Any:
    """A value without the ids that a server makes."""
    if isinstance(value, dict):
        return {name: plainly(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [plainly(inner) for inner in value]
    return "made" if isinstance(value, ObjectId) and value not in LABELS["oid"] else value


def commands(seed: int) -> Iterator[Document]:
    """A sequence on one collection, which begins with documents."""
    taken, number = 0, seed * 10**6
    while taken < COMMANDS:
        number += 1
        case = draw_owned(number, _FEW)
        name = next(iter(case.body))
        body = {key: value for key, value in case.body.items() if key not in ("$db", "collation")}
        is_first = taken < COMMANDS // 4
        if name not in _READ_AND_WRITTEN or (is_first and name != "insert") or doubled(body):
            continue
        if (name == "delete" and taken % 5) or "$sample" in str(body):
            continue  # too few documents would be left, or another one each time
        for several in ("documents", "updates"):
            if several in body:
                body[several] = body[several][:1]  # one is refused, or none
        if name == "insert":
            body["documents"][0]["_id"] = taken
        taken += 1
        yield body


def doubled(value: Any) -> bool:
    return isinstance(value, Pairs) or any(doubled(inner) for _, inner in children(value))


def test_answers_are_those_of_plaintext(sides: Databases, record_property: Record) -> None:
    ours, plain = sides
    tally: Counter[str] = Counter()
    for seed in range(chosen_seed(1) * 1000, chosen_seed(1) * 1000 + SEQUENCES):
        for side in sides:
            side["people"].drop()
        for body in commands(seed):
            found = answer_of(ours, body)
            if found is None:
                tally["refused"] += 1
                continue
            assert found == answer_of(plain, body), f"sequence {seed}: {body}"
            tally["held"] += 1
            tally["found"] += bool(isinstance(found, list) and (found[0] or found[1].get("n")))
        documents = [plainly(list(side["people"].find().sort("_id"))) for side in sides]
        assert documents[0] == documents[1], f"sequence {seed}"
    record_property("summary", f"contexts: {dict(tally)}")
    assert tally["held"] > SEQUENCES * COMMANDS / 5
