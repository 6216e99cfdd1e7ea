"""Generated commands on plaintext, and through a proxy whose classes have contexts: one answer, or a refusal.

The text of a value is that of its context, so plaintext that is equal is in one context, and one envelope.
"""

from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from bson import ObjectId
from pymongo import MongoClient
from pymongo.database import Database
from pymongo.errors import OperationFailure

from sealwire.keys.kek.kek import EnvironmentKek
from sealwire.keys.keyring.file import create_keyring
from sealwire.testbed.database import DatabaseProcess
from tests.integration.conftest import Document
from tests.integration.differential.sides import is_of_a_move
from tests.integration.running_site import client_of, new_environ, site_at
from tests.policies.taint.campaign import chosen_seed
from tests.policies.taint.labels import LABELS
from tests.policies.taint.owned_commands import draw_owned
from tests.policies.taint.owners import POLICY, RULES
from tests.policies.taint.values import Pairs, children
from tests.proxy.server.site import serving

pytestmark = pytest.mark.integration
SEQUENCES, COMMANDS = 40, 25
_FEW = ("five", "ann")
"""Contexts of these only, so that filters find documents."""
_READ_AND_WRITTEN = ("insert", "find", "count", "distinct", "update", "findAndModify", "aggregate", "delete")


@pytest.fixture
def sides(
    database: DatabaseProcess, tmp_path: Path
) -> Iterator[tuple[Database[Document], Database[Document]]]:
    """The database through the proxy, and one in plaintext."""
    environ = new_environ()
    site = site_at(database, tmp_path, RULES, environ)
    site.config["keys"]["contexts"] = "contexts.db"
    kek = EnvironmentKek(environ=environ)
    create_keyring(site.keyring, kek, list(POLICY.class_names), datetime.now(UTC))
    with ExitStack() as stack:
        running = stack.enter_context(serving(site, 300.0))
        # of the refusals more is written than a pipe holds
        Thread(target=lambda: deque(running.said, 0), daemon=True).start()
        stack.callback(running.process.kill)  # before its pipe is closed, which waits for who reads it
        ours = stack.enter_context(client_of(running))
        yield ours["clinic"], stack.enter_context(MongoClient[Document](database.uri()))["plain"]


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


def test_answers_are_those_of_plaintext(
    sides: tuple[Database[Document], Database[Document]], record_property: Callable[[str, object], None]
) -> None:
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
