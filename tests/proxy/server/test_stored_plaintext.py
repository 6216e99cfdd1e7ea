"""Which questions a start asks about stored plaintext, and what it makes of the answers."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from sealwire.keys.keyring.data_key import DataKey, KeyState
from sealwire.keys.keyring.keyring import Keyring
from sealwire.policies.file.loader import load_policy
from sealwire.proxy.server import stored_plaintext
from sealwire.proxy.server.config.settings import AccessControl, Config
from sealwire.proxy.server.errors import PlaintextStored, StartReason
from sealwire.proxy.server.findings import Finding
from sealwire.proxy.server.stored_plaintext import stored_findings
from sealwire.proxy.server.tls import NO_TLS
from sealwire.proxy.server.workers.start import make_upstreams
from tests.keys.samples import NOW
from tests.proxy.server.harness import make_config
from tests.support.policies import policy_of
from tests.support.reasons import raising

POLICY = b"""
version: 1
classes:
  nhs: {mode: deterministic, type: string}
  age: {mode: deterministic, type: long}
  known: {mode: deterministic, type: string, accept_plaintext: true}
  clear: {mode: deterministic, type: string}
  moving: {mode: deterministic, type: string}
  notes: {mode: random}
collections:
  clinic.patients:
    {nhs: nhs, kin.nhs: nhs, age: age, known: known, clear: clear, moving: moving, notes: notes}
"""
PATTERN = b"""
version: 1
classes: {nhs: {mode: deterministic, type: string}}
collections: {"tenant_*.p*": {nhs: nhs}}
"""
BINARY = b"""
version: 1
classes: {scan: {mode: deterministic, type: binData}}
collections: {clinic.scans: {scan: scan}}
"""


def keyring() -> Keyring:
    keys = [
        DataKey(name, number, 1, KeyState.ACTIVE, NOW, bytes([number]) * 64, is_plaintext=name == "clear")
        for number, name in enumerate(("nhs", "age", "known", "clear", "moving", "notes", "scan"), 1)
    ]
    return Keyring([*keys, DataKey("moving", 5, 2, KeyState.PENDING, NOW, bytes([9]) * 64)])


def config(access: AccessControl = AccessControl.NONE) -> Config:
    return replace(make_config(1, probe=True), access_control=access)


class Server:
    """Answers by the path that a question names, and remembers the questions."""

    def __init__(self, answers: Mapping[str, Mapping[str, Any]] | None = None) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.answers = answers or {}

    async def ask(self, database: str, command: dict[str, Any]) -> Mapping[str, Any]:
        self.asked.append((database, command))
        if "listDatabases" in command:
            return {"ok": 1, "databases": [{"name": "tenant_1"}, {"name": "other"}, {"name": "tenant_2"}]}
        if "listCollections" in command:
            listed = [{"name": "patients"}, {"name": "visits"}]
            return self.answers.get(database, {"ok": 1, "cursor": {"id": 0, "firstBatch": listed}})
        path = next(iter(command["filter"]))
        return self.answers.get(path, {"ok": 1, "cursor": {"id": 0, "firstBatch": []}})

    @asynccontextmanager
    async def asking(self, *_: object) -> AsyncIterator[Any]:
        yield self.ask


async def look(server: Server, monkeypatch: pytest.MonkeyPatch, policy: bytes = POLICY) -> list[Finding]:
    monkeypatch.setattr(stored_plaintext, "_asking", server.asking)
    settings = config()
    upstreams = make_upstreams(settings, NO_TLS)
    rules = load_policy(policy, "policy.yaml").enforced
    return await stored_findings(settings, rules, keyring(), upstreams, None)


async def test_each_path_of_an_encrypted_class_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server()
    assert await look(server, monkeypatch) == []
    asked = [(database, command["find"], command["filter"]) for database, command in server.asked]
    assert asked == [
        ("clinic", "patients", {"nhs": {"$type": ["string"]}}),
        ("clinic", "patients", {"kin.nhs": {"$type": ["string"]}}),
        ("clinic", "patients", {"age": {"$type": ["int", "long"]}}),
    ]
    for _, command in server.asked:
        assert (command["limit"], command["singleBatch"]) == (1, True)
        assert 1000 <= command["maxTimeMS"] <= 2000
        assert command["projection"]["_id"] == 0


async def test_a_value_that_is_found_ends_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server({"kin.nhs": {"ok": 1, "cursor": {"id": 0, "firstBatch": [{}]}}})
    with raising(PlaintextStored, StartReason.PLAINTEXT_STORED) as refused:
        await look(server, monkeypatch)
    assert "clinic.patients kin.nhs" in str(refused.value)


async def test_a_path_that_cannot_be_asked_is_said_and_the_others_are_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server = Server({"nhs": {"ok": 0, "code": 13}})
    (found,) = await look(server, monkeypatch)
    assert found.event == "stored plaintext was not looked for"
    assert found.fields == {"paths": 1}
    assert len(server.asked) == 3


async def test_a_pattern_stands_for_the_collections_that_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server()
    assert await look(server, monkeypatch, PATTERN) == []
    finds = [(database, command["find"]) for database, command in server.asked if "find" in command]
    assert finds == [("tenant_1", "patients"), ("tenant_2", "patients")]
    refusing = Server({"tenant_2": {"ok": 0, "code": 13}})
    assert [each.fields for each in await look(refusing, monkeypatch, PATTERN)] == [{"paths": 1}]


async def test_binary_data_cannot_be_told_from_ciphertext(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server()
    assert [each.fields for each in await look(server, monkeypatch, BINARY)] == [{"paths": 1}]
    assert server.asked == []


async def test_nobody_is_asked_without_a_user_or_where_nothing_is_to_be_asked() -> None:
    async def found(settings: Config) -> list[Finding]:
        rules = load_policy(POLICY, "policy.yaml")
        upstreams = make_upstreams(settings, NO_TLS)
        return await stored_findings(settings, rules, keyring(), upstreams, None)

    required = config(AccessControl.REQUIRED)
    assert [each.fields for each in await found(required)] == [{"paths": 3}]
    assert await found(replace(required, probe=False)) == []
    # a server that is not there is said as well, and no error
    assert [each.fields for each in await found(config())] == [{"paths": 3}]


def test_a_random_class_accepts_plaintext_anyway() -> None:
    with pytest.raises(Exception, match="accept_plaintext"):
        policy_of(
            b"version: 1\nclasses: {n: {mode: random, accept_plaintext: true}}\ncollections: {a.b: {n: n}}\n"
        )


# ------------------------------------------------- encrypted values in a collection that is only observed


async def test_each_path_that_is_observed_is_asked_for_ciphertext(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server()
    assert await look(server, monkeypatch, POLICY + b"mode: observe\n") == []
    asked = {path: condition for _, each in server.asked for path, condition in each["filter"].items()}
    assert set(asked) == {"nhs", "kin.nhs", "age", "known", "clear", "moving", "notes"}
    for condition in asked.values():
        assert condition["$type"] == "binData"
        assert bytes(condition["$bitsAllSet"]) == b"SW"
        assert bytes(condition["$bitsAllClear"]) == bytes(255 - each for each in b"SW")


@pytest.mark.parametrize("path", ["nhs", "notes"])
async def test_ciphertext_where_it_is_only_observed_ends_the_start(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = Server({path: {"ok": 1, "cursor": {"id": 0, "firstBatch": [{}]}}})
    with raising(PlaintextStored, StartReason.PLAINTEXT_STORED) as refused:
        await look(server, monkeypatch, POLICY + b"mode: observe\n")
    assert f"clinic.patients {path} holds encrypted values" in str(refused.value)
    assert "observe" in refused.value.hint


@pytest.mark.parametrize("silent", ["refuses", "no user", "no probe"])
async def test_a_class_with_a_key_is_not_observed_unseen(
    silent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    denied = {"ok": 0, "code": 13}
    server = Server(dict.fromkeys(("nhs", "clear"), denied))
    monkeypatch.setattr(stored_plaintext, "_asking", server.asking)
    settings = config(AccessControl.REQUIRED if silent == "no user" else AccessControl.NONE)
    settings = replace(settings, probe=silent != "no probe")
    upstreams = make_upstreams(settings, NO_TLS)
    rules = load_policy(POLICY + b"mode: observe\n", "policy.yaml").enforced
    with pytest.raises(PlaintextStored) as refused:
        await stored_findings(settings, rules, keyring(), upstreams, None)
    assert "clinic.patients nhs" in str(refused.value)
    assert "clinic.patients clear" not in str(refused.value)
    found = await stored_findings(settings, rules, Keyring([]), upstreams, None)
    assert len(found) == (silent != "no probe")
