"""A key for each tenant, through running proxies: values, filters, two workers at once, and shredding."""

import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.errors import OperationFailure

from sealwire.crypto.envelope import parse_context_header
from sealwire.keys.kek.kek import EnvironmentKek
from sealwire.keys.keyring.file import create_keyring
from sealwire.testbed.database import DatabaseProcess
from tests.faults.scene import until
from tests.integration.conftest import Document
from tests.integration.running_site import client_of, new_environ, site_at
from tests.proxy.server.site import Site, serving
from tests.support import warm

pytestmark = pytest.mark.integration

RULES = """
version: 1
classes:
  ssn: {mode: deterministic, type: string, key: {per: tenant_id}}
  notes: {mode: random, key: {per: tenant_id}}
  ward: {mode: deterministic, type: string, key: {per: "$database"}}
collections:
  "*.people": {ssn: ssn, notes: notes, ward: ward, visits.note: notes}
"""
Collection = Any


@pytest.fixture
def site(database: DatabaseProcess, tmp_path: Path) -> Site:
    environ = new_environ()
    site = site_at(database, tmp_path, RULES, environ)
    site.config["keys"]["contexts"] = "contexts.db"
    create_keyring(site.keyring, EnvironmentKek(environ=environ), ["ssn", "notes", "ward"], datetime.now(UTC))
    return site


@pytest.fixture
def clients(site: Site, database: DatabaseProcess) -> Iterator[list[MongoClient[Document]]]:
    """Two proxies that share a store, and the server itself."""
    with ExitStack() as stack:
        opened = [client_of(stack.enter_context(serving(site))) for _ in range(2)]
        opened.append(MongoClient[Document](database.uri()))
        for name in ("clinic", "race"):
            opened[-1].drop_database(name)
        yield [stack.enter_context(client) for client in opened]


def found(people: Collection, condition: Document) -> Document:
    document = people.find_one(condition)
    assert document is not None
    return dict(document)


def test_values_of_tenants_are_found_under_their_own_keys(clients: list[MongoClient[Document]]) -> None:
    first, second, direct = clients
    people = first["clinic"]["people"]
    people.insert_many(
        [{"_id": n, "tenant_id": n % 2, "ssn": "x", "notes": f"n{n}", "ward": "w"} for n in range(4)]
    )
    other = second["clinic"]["people"]
    assert {each["notes"] for each in other.find()} == {"n0", "n1", "n2", "n3"}
    assert [each["_id"] for each in other.find({"tenant_id": 1, "ssn": "x"}).sort("_id")] == [1, 3]
    assert [each["_id"] for each in other.find({"ward": "w"}, {"_id": 1}).sort("_id")] == [0, 1, 2, 3]
    assert other.find_one({"tenant_id": 7, "ssn": "x"}) is None
    assert other.count_documents({"$or": [{"tenant_id": 1, "ssn": "x"}, {"tenant_id": 0, "ssn": "y"}]}) == 2
    with pytest.raises(OperationFailure) as refused:
        other.find_one({"ssn": "x"})
    assert "[context]" in str(refused.value)
    stored = {each["_id"]: each for each in direct["clinic"]["people"].find()}
    keys = {number: parse_context_header(bytes(each["ssn"]))[1] for number, each in stored.items()}
    assert keys[0] == keys[2] != keys[1] == keys[3]
    assert bytes(stored[0]["ssn"]) == bytes(stored[2]["ssn"]) != bytes(stored[1]["ssn"])


def test_updates_store_under_the_key_of_the_tenant_that_they_name(
    clients: list[MongoClient[Document]],
) -> None:
    people, other = (client["clinic"]["people"] for client in clients[:2])
    people.insert_one({"_id": 1, "tenant_id": 5, "ssn": "a"})
    people.update_one({"_id": 1, "tenant_id": 5}, {"$set": {"ssn": "b", "tenant_id": 5}})
    people.update_one({"tenant_id": 6, "ssn": "c"}, {"$set": {"notes": "new"}}, upsert=True)
    assert found(other, {"tenant_id": 5, "ssn": "b"})["_id"] == 1
    assert found(other, {"tenant_id": 6, "ssn": "c"})["notes"] == "new"
    for update in ({"$set": {"tenant_id": 7}}, {"$unset": {"tenant_id": 1}}, [{"$set": {"a": 1}}]):
        with pytest.raises(OperationFailure) as refused:
            people.update_one({"tenant_id": 5}, update)
        assert "[context]" in str(refused.value)


def test_two_workers_that_make_the_same_first_keys_agree(clients: list[MongoClient[Document]]) -> None:
    tenants = range(40)

    def write(client: MongoClient[Document]) -> None:
        for tenant in tenants:
            client["race"]["people"].insert_one({"tenant_id": tenant, "ssn": "same"})

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(write, clients[:2]))
    counts = [
        clients[0]["race"]["people"].count_documents({"tenant_id": each, "ssn": "same"}) for each in tenants
    ]
    assert counts == [2] * len(tenants)


def keys(site: Site, *words: str, stdin: str = "") -> "subprocess.CompletedProcess[str]":
    line = [sys.executable, "-m", "sealwire", "keys", *words, "--contexts", "contexts.db"]
    line += ["--keyring", "keyring.json"]
    return warm.run(
        line, env=site.environ, cwd=site.folder, input=stdin, capture_output=True, text=True, check=False
    )


def test_a_shredded_tenant_is_null_in_replies_and_is_not_written_to(
    site: Site, clients: list[MongoClient[Document]]
) -> None:
    first, second, _ = clients
    people = first["clinic"]["people"]
    people.insert_many([{"_id": n, "tenant_id": f"t{n}", "notes": "secret", "ssn": "1"} for n in range(2)])
    assert second["clinic"]["people"].count_documents({"tenant_id": "t1", "ssn": "1"}) == 1
    early = keys(site, "shred", "notes", "t1", "--now")
    assert early.returncode == 2
    for name in ("notes", "ssn"):
        done = keys(
            site, "shred", name, "-", "--now", "--confirm", name, "--receipt", f"{name}.json", stdin="t1\n"
        )
        assert done.returncode == 0, done.stderr
    assert "t1" not in (site.folder / "notes.json").read_text()
    receipt = json.loads((site.folder / "notes.json").read_text())
    assert (receipt["key_in_row"], receipt["key_in_files"]) == ("no", "no")
    checked = keys(site, "shred", "notes", "t1", "--verify", "notes.json")
    assert checked.returncode == 0, checked.stderr
    assert keys(site, "shred", "notes", "t0", "--verify", "notes.json").returncode == 65
    until(lambda: found(second["clinic"]["people"], {"_id": 1})["notes"] is None)
    until(lambda: found(people, {"_id": 1})["notes"] is None)
    assert {each["_id"]: each["notes"] for each in people.find()} == {0: "secret", 1: None}
    until(lambda: people.count_documents({"tenant_id": "t1", "ssn": "1"}) == 0)
    with pytest.raises(OperationFailure) as refused:
        people.insert_one({"tenant_id": "t1", "notes": "back"})
    assert refused.value.code == 211
    assert keys(site, "contexts", "notes", "t1", "--readmit").returncode == 0
    people.insert_one({"_id": 9, "tenant_id": "t1", "notes": "back"})
    assert found(second["clinic"]["people"], {"_id": 9})["notes"] == "back"
    counts = json.loads(keys(site, "contexts", "notes", "--json").stdout)
    assert (counts["live"], counts["destroyed"]) == (2, 1)
    assert b"t1" not in (site.folder / "contexts.db").read_bytes()


def test_a_plaintext_collection_is_encrypted_and_decrypted_under_its_contexts(
    site: Site, clients: list[MongoClient[Document]], database: DatabaseProcess
) -> None:
    first, _, direct = clients
    direct["clinic"]["people"].insert_many(
        [{"_id": n, "tenant_id": n % 3, "notes": f"n{n}", "visits": [{"note": "v"}]} for n in range(30)]
    )
    done = migrate(site, database, "encrypt", "policy.yaml", "clinic.people")
    assert (done["state"], done["values"], done["left"]) == ("done", 60, [])
    stored = list(direct["clinic"]["people"].find())
    assert len({parse_context_header(bytes(each["notes"]))[1] for each in stored}) == 3
    assert {each["notes"] for each in first["clinic"]["people"].find()} == {f"n{n}" for n in range(30)}
    (site.folder / "less.yaml").write_text(RULES.replace(" notes: notes,", ""))
    words = ["decrypt", "less.yaml", "clinic.people", "notes", "--confirm", "clinic.people"]
    assert migrate(site, database, *words)["values"] == 30
    assert {each["notes"] for each in direct["clinic"]["people"].find()} == {f"n{n}" for n in range(30)}


def migrate(site: Site, database: DatabaseProcess, *words: str) -> dict[str, Any]:
    line = [sys.executable, "-m", "sealwire", "migrate", *words, "--keyring", "keyring.json", "--json"]
    line += ["--contexts", "contexts.db"]
    environ = site.environ | {"SEALWIRE_SERVER_URI": database.uri()}
    done = warm.run(line, env=environ, cwd=site.folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def test_a_policy_with_contexts_does_not_start_without_their_store(site: Site) -> None:
    del site.config["keys"]["contexts"]
    refused = site.serve("--check")
    assert refused.returncode == 65
    assert "keys.contexts" in refused.stderr
    assert not (site.folder / "contexts.db").exists()
