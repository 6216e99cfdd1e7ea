"""Being on record changes nothing for client and server, whatever the server answers."""

import random
from typing import Any

import bson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealwire.policies.file.loader import load_policy
from sealwire.proxy.session.auditing.settings import CommandAudit, CommandScope
from sealwire.proxy.session.effects import Audit, Begun, Close, Done, Effect, NeedKeys
from sealwire.proxy.session.session import Session
from sealwire.proxy.session.shared import SessionSettings
from tests.proxy.session.world import POLICY_TEXT, command, reply, sealed, sealed_randomly, session_of

POLICY = load_policy(
    POLICY_TEXT + b"subjects: {class: nhs, links: {clinic.visits.p: clinic.patients._id}}\n", "policy.yaml"
)
COMMANDS: list[dict[str, Any]] = [
    {"find": "patients", "filter": {"nhs_number": "1"}},
    {"aggregate": "patients", "pipeline": [{"$match": {"visits": 3}}], "cursor": {}},
    {"getMore": bson.Int64(7), "collection": "patients"},
    {"distinct": "patients", "key": "nhs_number"},
    {"findAndModify": "patients", "query": {"nhs_number": "1"}, "remove": True},
    {"insert": "patients", "documents": [{"nhs_number": "1"}], "comment": "purpose=x"},
    {"update": "patients", "updates": [{"q": {"nhs_number": "1"}, "u": {"$set": {"visits": 1}}}]},
    {"explain": {"find": "patients", "filter": {"nhs_number": "1"}}},
]


def session(scope: CommandScope | None) -> Session:
    audit = None if scope is None else CommandAudit(scope, lambda path, kind, value: f"{path}{kind}{value!r}")
    return session_of(SessionSettings(POLICY, login_required=False, audit=audit))


def answers(documents: int, filling: int) -> list[dict[str, Any]]:
    shown = {
        "_id": 1,
        "nhs_number": sealed("nhs", "1"),
        "tags": [sealed("nhs", "2")],
        "notes": sealed_randomly("secret", "x"),
        "filling": "x" * filling,
    }
    batch = [shown] * documents
    return [
        {"cursor": {"firstBatch": batch, "id": bson.Int64(7), "ns": "clinic.patients"}, "ok": 1.0},
        {"cursor": {"nextBatch": batch, "id": bson.Int64(0), "ns": "clinic.patients"}, "ok": 1.0},
        {"values": [sealed("nhs", "1")] * documents, "ok": 1.0},
        {"value": shown, "ok": 1.0},
        {"n": 1, "ok": 1.0, "writeErrors": [{"index": 0, "code": 11000, "errmsg": "dup"}]},
        {"ok": 0.0, "code": 5, "errmsg": "no"},
    ]


def seen(effects: list[Effect]) -> list[Effect]:
    return [each for each in effects if not isinstance(each, Begun | Done)]


def broken(message: bytes, chance: random.Random) -> bytes:
    """A message with some bytes changed behind its header."""
    data = bytearray(message)
    for _ in range(chance.choice((0, 1, 1, 2, 5))):
        place = chance.randrange(21, len(data))
        data[place] = chance.choice((0, 1, 2, 3, 4, 5, 0xFF, chance.randrange(256)))
    return bytes(data)


@pytest.mark.parametrize("scope", [CommandScope.ALL, CommandScope.PROTECTED, CommandScope.WRITES])
@given(st.sampled_from(range(len(COMMANDS))), st.sampled_from(range(6)), st.integers(0, 2**32))
def test_client_and_server_see_the_same(scope: CommandScope, asked: int, told: int, seed: int) -> None:
    chance = random.Random(seed)
    request = command({**COMMANDS[asked], "$db": "clinic"})
    answer = broken(reply(answers(chance.randrange(4), chance.randrange(50))[told]), chance)
    quiet, loud = session(None), session(scope)
    assert seen(loud.client_data(request)) == seen(quiet.client_data(request))
    there, here = loud.server_data(answer), quiet.server_data(answer)
    assert seen(there) == seen(here)
    if not any(isinstance(each, Close | Audit | NeedKeys) for each in here) and scope is CommandScope.ALL:
        assert sum(isinstance(each, Done) for each in there) == 1


@pytest.mark.parametrize("seed", range(40))
def test_client_and_server_see_the_same_of_long_replies(seed: int) -> None:
    chance = random.Random(seed)
    request = command({**COMMANDS[seed % 5], "$db": "clinic"})
    answer = broken(reply(answers(400, 4000)[seed % 4]), chance)
    quiet, loud = session(None), session(CommandScope.PROTECTED)
    assert seen(loud.client_data(request)) == seen(quiet.client_data(request))
    for start in range(0, len(answer), 100_000):
        part = answer[start : start + 100_000]
        there, here = loud.server_data(part), quiet.server_data(part)
        assert seen(there) == seen(here)
