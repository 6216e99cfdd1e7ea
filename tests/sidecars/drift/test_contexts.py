"""Envelopes in documents of another context."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import bson
import pytest
from bson.binary import Binary

from sealwire.crypto.envelope import SUBTYPE
from sealwire.keys.contexts.cache import ContextCache, ContextWanted
from sealwire.keys.contexts.resolver import Resolver
from sealwire.keys.contexts.sqlite_store import SqliteContextStore
from sealwire.keys.keyring.data_key import DataKey, KeyState
from sealwire.keys.keyring.keyring import Keyring
from sealwire.policies.file.loader import load_policy
from sealwire.policies.planning.contexts import stored_context
from sealwire.sidecars.drift import Census, Condition, ContextJudge
from sealwire.wire import kinds
from tests.keys.samples import NOW
from tests.sidecars.drift.samples import KEYS, NHS

KEYRING = Keyring([DataKey("nhs", NHS, 3, KeyState.ACTIVE, NOW, bytes(range(64)))])
POLICY = load_policy(
    b"""
version: 1
classes:
  nhs: {mode: deterministic, type: string, key: {per: tenant}}
collections:
  clinic.patients: {nhs: nhs, kin.nhs: nhs}
""",
    "policy.yaml",
)
TREE = POLICY.collections["clinic.patients"]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteContextStore]:
    with closing(SqliteContextStore(tmp_path / "contexts.db", create=True)) as store:
        yield store


def envelope(store: SqliteContextStore, tenant: Any) -> Binary:
    """The same value for each tenant."""
    context = stored_context(b"tenant", "clinic.patients", "nhs", bson.encode({"tenant": tenant}), 0)
    assert context is not None
    cache, wanted = ContextCache(), ContextWanted("nhs", context, True)
    cache.put(Resolver(store).find(KEYRING, [wanted]))
    cipher = cache.cipher_for(wanted)
    assert cipher is not None
    inside = bson.encode({"v": "943"})[7:-1]
    return Binary(cipher.encrypt_deterministically(kinds.STRING, inside), SUBTYPE)


def conditions(store: SqliteContextStore | None, *documents: dict[str, Any]) -> dict[Condition, int]:
    judge = None if store is None else ContextJudge(store, KEYRING)
    census = Census(TREE, KEYS, "clinic.patients", judge)
    for each in documents:
        census.read(bson.encode(each))
    found: dict[Condition, int] = {}
    for path in census.report():
        for condition, count in path.values.items():
            found[condition] = found.get(condition, 0) + count
    return found


def test_an_envelope_of_another_context_is_found_and_no_sound_one(store: SqliteContextStore) -> None:
    north, south = envelope(store, "north"), envelope(store, 5)
    documents = (
        {"tenant": "north", "nhs": north, "kin": [{"nhs": north}]},
        {"tenant": 5, "nhs": south},
        {"tenant": "south", "nhs": north},
        {"tenant": "north", "kin": [{"nhs": south}, {"nhs": north}]},
        {"nhs": north},
    )
    assert conditions(store, *documents) == {Condition.PROTECTED: 4, Condition.OTHER_CONTEXT: 3}
    # without the store nobody can say it
    assert conditions(None, *documents) == {Condition.PROTECTED: 7}
    assert not Condition.OTHER_CONTEXT.is_sound


def test_a_key_that_the_store_does_not_have_is_unknown(store: SqliteContextStore, tmp_path: Path) -> None:
    envelope(store, "north")
    with closing(SqliteContextStore(tmp_path / "another.db", create=True)) as another:
        foreign = envelope(another, "north")
    assert conditions(store, {"tenant": "north", "nhs": foreign}) == {Condition.UNKNOWN_KEY: 1}
