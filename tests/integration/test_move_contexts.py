"""The store of context keys moves while a proxy has the old one open: no context gets two keys."""

import json
import sys
from collections import defaultdict
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pymongo.errors import OperationFailure

from sealwire.crypto.envelope import parse_context_header
from sealwire.keys.kek.kek import EnvironmentKek
from sealwire.keys.keyring.file import create_keyring
from sealwire.testbed.database import DatabaseProcess
from tests.integration.running_site import client_of, new_environ, site_at
from tests.proxy.server.site import Site, serving
from tests.support import warm

pytestmark = pytest.mark.integration

RULES = """
version: 1
classes:
  ssn: {mode: deterministic, type: string, key: {per: tenant_id}}
collections:
  moving.people: {ssn: ssn}
"""


@pytest.fixture
def site(database: DatabaseProcess, tmp_path: Path) -> Site:
    environ = new_environ()
    site = site_at(database, tmp_path, RULES, environ)
    site.config["keys"]["contexts"] = "contexts.db"
    create_keyring(site.keyring, EnvironmentKek(environ=environ), ["ssn"], datetime.now(UTC))
    return site


def again(action: Callable[[], Any]) -> None:
    """It fails, and may be tried again."""
    with pytest.raises(OperationFailure) as refused:
        action()
    assert refused.value.code == 262


def move(site: Site) -> dict[str, Any]:
    line = [sys.executable, "-m", "sealwire", "keys", "move-contexts", "--json"]
    line += ["--contexts", "contexts.db", "--to", "new.db"]
    done = warm.run(
        line, env=site.environ, cwd=site.folder, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def test_a_proxy_with_the_old_store_serves_what_it_has_and_says_nothing_of_the_rest(
    site: Site, database: DatabaseProcess
) -> None:
    with serving(site) as before, client_of(before) as client, database.connect() as direct:
        old = client["moving"]["people"]
        old.drop()
        old.insert_many({"_id": each, "tenant_id": f"t{each % 2}", "ssn": "1"} for each in range(4))
        assert move(site)["keys"] == 3
        assert old.count_documents({"tenant_id": "t0", "ssn": "1"}) == 2
        old.insert_one({"_id": 4, "tenant_id": "t1", "ssn": "1"})
        again(lambda: old.insert_one({"_id": 5, "tenant_id": "t2", "ssn": "1"}))
        assert site.serve().returncode == 78
        site.config["keys"]["contexts"] = "new.db"
        with serving(site) as after, client_of(after) as other:
            new = other["moving"]["people"]
            new.insert_one({"_id": 6, "tenant_id": "t2", "ssn": "1"})
            # not "none": the other one has it
            again(lambda: old.count_documents({"tenant_id": "t2", "ssn": "1"}))
            again(lambda: old.find_one({"_id": 6}))
            assert old.find_one({"_id": 4}) == {"_id": 4, "tenant_id": "t1", "ssn": "1"}
            found = {each["_id"]: each["ssn"] for each in new.find()}
            assert found == dict.fromkeys((0, 1, 2, 3, 4, 6), "1")
            assert new.count_documents({"tenant_id": "t1", "ssn": "1"}) == 3
        stored = defaultdict[str, set[bytes]](set)
        for each in direct["moving"]["people"].find():
            stored[each["tenant_id"]].add(parse_context_header(bytes(each["ssn"]))[1])
        assert {tenant: len(keys) for tenant, keys in stored.items()} == {"t0": 1, "t1": 1, "t2": 1}
