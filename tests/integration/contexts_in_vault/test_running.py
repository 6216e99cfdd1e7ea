"""A key for each tenant, kept in Vault, through the proxies of two hosts: values, shredding, an outage."""

import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.errors import OperationFailure

from sealwire.crypto.envelope import parse_context_header
from sealwire.keys.kek.kek import EnvironmentKek
from sealwire.keys.keyring.file import create_keyring
from sealwire.testbed.database import DatabaseProcess
from sealwire.testbed.openbao import OpenBao, dev_server
from tests.integration.conftest import Document
from tests.integration.contexts_in_vault.asking import documented_policy
from tests.integration.running_site import client_of, new_environ, site_at
from tests.proxy.server.site import Site, serving
from tests.support import warm
from tests.support.openbao import make_token
from tests.support.waiting import until

pytestmark = pytest.mark.integration

RULES = """
version: 1
classes:
  ssn: {mode: deterministic, type: string, key: {per: tenant_id}}
  notes: {mode: random, key: {per: tenant_id}}
collections:
  shared.people: {ssn: ssn, notes: notes}
"""
STORE = "vault:secret/clinic/contexts"


@pytest.fixture
def bao(tmp_path: Path) -> Iterator[OpenBao]:
    with dev_server(tmp_path / "bao") as server:
        yield server


@pytest.fixture
def site(bao: OpenBao, database: DatabaseProcess, tmp_path: Path) -> Site:
    """The keyring is a file: Vault has the keys of contexts only. Proxies have the rights on the page."""
    environ = new_environ()
    site = site_at(database, tmp_path, RULES, environ)
    site.config["keys"]["contexts"] = STORE
    site.config["vault"] = {"address": bao.address, "timeout_s": 10, "deadline_s": 20}
    create_keyring(site.keyring, EnvironmentKek(environ=environ), ["ssn", "notes"], datetime.now(UTC))
    environ |= {"VAULT_TOKEN": token_for(bao, "sealwire-contexts"), "VAULT_ADDR": bao.address}
    return site


def token_for(bao: OpenBao, name: str) -> str:
    return make_token(bao, documented_policy(name, "clinic/contexts"), name=name)


@pytest.fixture
def clients(site: Site, database: DatabaseProcess) -> Iterator[list[MongoClient[Document]]]:
    """Two proxies that share nothing but Vault and the server; and the server itself."""
    with ExitStack() as stack:
        opened = [client_of(stack.enter_context(serving(site))) for _ in range(2)]
        opened.append(MongoClient[Document](database.uri()))
        opened[-1].drop_database("shared")
        yield [stack.enter_context(client) for client in opened]


def command(site: Site, *words: str, code: int = 0, **more: str) -> Any:
    """What a command prints as JSON."""
    line = [sys.executable, "-m", "sealwire", *words, "--contexts", STORE, "--keyring", "keyring.json"]
    environ = site.environ | more
    done = warm.run(
        line, env=environ, cwd=site.folder, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout) if done.stdout else {}


def is_null(people: Any) -> bool:
    return people.find_one({"_id": 1})["notes"] is None


def test_hosts_share_keys_forget_what_is_shredded_and_refuse_what_they_cannot_look_up(
    site: Site, clients: list[MongoClient[Document]], database: DatabaseProcess, bao: OpenBao
) -> None:
    first, second, direct = (client["shared"]["people"] for client in clients)
    direct.insert_one({"_id": 9, "tenant_id": "t2", "notes": "plain"})
    first.insert_many([{"_id": n, "tenant_id": f"t{n % 2}", "notes": f"n{n}", "ssn": "1"} for n in range(4)])
    second.insert_one({"_id": 4, "tenant_id": "t1", "notes": "n4", "ssn": "1"})
    for people in (first, second):
        assert [each["_id"] for each in people.find({"tenant_id": "t1", "ssn": "1"}).sort("_id")] == [1, 3, 4]
    stored = {
        each["_id"]: parse_context_header(bytes(each["ssn"]))[1] for each in direct.find({"_id": {"$lt": 9}})
    }
    assert stored[0] == stored[2] != stored[1] == stored[3] == stored[4]
    moved = command(
        site,
        "migrate",
        "encrypt",
        "policy.yaml",
        "shared.people",
        "--json",
        SEALWIRE_SERVER_URI=database.uri(),
    )
    assert (moved["state"], moved["values"]) == ("done", 1)
    operator = token_for(bao, "sealwire-contexts-operator")
    assert command(site, "keys", "contexts", "notes", "--json", VAULT_TOKEN=operator)["live"] == 3

    gone = command(site, "keys", "shred", "notes", "t1", "--now", "--confirm", "notes", VAULT_TOKEN=operator)
    assert (gone["key_in_row"], gone["key_in_files"], gone["store"]) == ("no", "unknown", STORE)
    for people in (first, second):
        until(partial(is_null, people))
        assert {each["_id"]: each["notes"] for each in people.find()} == {
            0: "n0", 1: None, 2: "n2", 3: None, 4: None, 9: "plain"
        }  # fmt: skip
        with pytest.raises(OperationFailure) as refused:
            people.insert_one({"tenant_id": "t1", "notes": "back"})
        assert refused.value.code == 211

    bao.stop()
    assert first.count_documents({"tenant_id": "t0", "ssn": "1"}) == 2
    with pytest.raises(OperationFailure) as refused:
        first.insert_one({"_id": 10, "tenant_id": "new", "notes": "x"})
    assert refused.value.code == 262
    assert direct.count_documents({"_id": 10}) == 0
    command(site, "keys", "contexts", "notes", "--json", code=69)
