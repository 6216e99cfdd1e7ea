"""Nothing of a command stays once it is answered: many classes here are unknown to the garbage collector."""

import gc
import sys
from collections.abc import Callable
from typing import Any

import pytest
from bson.binary import Binary

from sealwire.crypto.envelope import SUBTYPE
from sealwire.proxy.session.effects import ToClient, ToServer
from sealwire.proxy.session.session import Session
from tests.proxy.session.world import command, reply, sealed, session

WARM_UP, ROUNDS = 50, 1_000
# What the interpreter itself keeps differs a little from one moment to the next.
TOLERATED_BLOCKS = ROUNDS // 4

FIND = {"find": "patients", "filter": {"nhs_number": "943 476 5919"}, "$db": "clinic"}
INSERT = {
    "insert": "patients",
    "documents": [{"nhs_number": "1", "ward": 3}, {"nhs_number": "2"}],
    "$db": "clinic",
}
UPDATE = {
    "update": "patients",
    "updates": [{"q": {"nhs_number": "1"}, "u": {"$set": {"nhs_number": "2"}}, "upsert": True}],
    "$db": "clinic",
}
PIPELINE = {
    "aggregate": "patients",
    "pipeline": [{"$match": {"nhs_number": {"$in": ["1", "2"]}}}, {"$sort": {"ward": 1}}],
    "cursor": {},
    "$db": "clinic",
}
REFUSED = {"find": "patients", "filter": {"nhs_number": {"$regex": "^94"}}, "$db": "clinic"}
ELSEWHERE = {"ping": 1, "$db": "admin"}
CLEAR = {"ok": 1.0}
TAMPERED = sealed("nhs", "x")[:-1] + b"\0"


def exchange(core: Session, body: dict[str, Any], answer: dict[str, Any]) -> None:
    assert isinstance(core.client_data(command(body))[-1], ToServer)
    assert any(isinstance(effect, ToClient) for effect in core.server_data(reply(answer)))


@pytest.mark.parametrize(
    ("body", "answer"),
    [
        (FIND, {"cursor": {"firstBatch": [{"nhs_number": sealed("nhs", "943 476 5919")}]}, "ok": 1.0}),
        (FIND, {"cursor": {"firstBatch": [{"nhs_number": Binary(TAMPERED, SUBTYPE)}]}, "ok": 1.0}),
        (INSERT, CLEAR),
        (UPDATE, CLEAR),
        (PIPELINE, CLEAR),
        (ELSEWHERE, CLEAR),
    ],
    ids=["find", "undecryptable", "insert", "update", "pipeline", "elsewhere"],
)
def test_an_answered_command(body: dict[str, Any], answer: dict[str, Any]) -> None:
    core = session()
    assert_nothing_grows(lambda: exchange(core, body, answer))


def test_a_refused_command() -> None:
    core = session()
    assert any(isinstance(effect, ToClient) for effect in core.client_data(command(REFUSED)))
    assert_nothing_grows(lambda: core.client_data(command(REFUSED)))


def test_what_stays_is_noticed() -> None:
    kept: list[bytes] = []
    with pytest.raises(AssertionError):
        assert_nothing_grows(lambda: kept.append(command(ELSEWHERE)))


def test_a_session() -> None:
    assert_nothing_grows(lambda: exchange(session(), ELSEWHERE, CLEAR))


def assert_nothing_grows(step: Callable[[], object]) -> None:
    for _ in range(WARM_UP):
        step()
    gc.collect()
    before = sys.getallocatedblocks()
    for _ in range(ROUNDS):
        step()
    gc.collect()
    assert sys.getallocatedblocks() - before < TOLERATED_BLOCKS
