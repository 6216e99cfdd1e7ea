"""Two proxies before one server count one limit of a role together."""

from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.errors import OperationFailure

from sealwire.testbed.proxy_process import ProxyOptions, ProxyProcess
from tests.integration.outside.chosen import own_server
from tests.support.secantus import CLINIC, ROOT, USERS, secantus
from tests.support.waiting import until

pytestmark = [pytest.mark.integration, own_server("it has users of its own")]

POLICY = """
version: 1
classes: {nhs: {mode: deterministic, type: string}}
collections: {clinic.patients: {nhs_number: nhs}}
roles:
  clerk:
    users: ["clinic@admin"]
    documents_per_hour: 10
    classes: {nhs: {read: clear}}
"""


def test_two_proxies_grant_one_limit_and_a_restart_does_not_renew_it(tmp_path: Path) -> None:
    policy, uri = tmp_path / "policy.yaml", tmp_path / "frontier.uri"
    policy.write_text(POLICY)
    uri.touch(0o600)
    with secantus(tmp_path, users=USERS) as database, MongoClient[Any](database.uri(ROOT)) as server:
        uri.write_text(database.uri(ROOT))
        server["clinic"]["patients"].insert_many([{"n": n} for n in range(20)])
        settings = {"frontier": {"uri_file": str(uri)}}
        options = [
            ProxyOptions(tmp_path / name, policy, database.address, settings=settings)
            for name in ("one", "other")
        ]
        limits = server["sealwire"]["limits"]
        with ProxyProcess(options[0]) as one, MongoClient[Any](one.uri(CLINIC)) as first:
            assert not is_refused(first, 7)
            until(lambda: limits.count_documents({"amount": 7}) == 1)
            with ProxyProcess(options[1]) as other, MongoClient[Any](other.uri(CLINIC)) as second:
                assert is_refused(second, 4)
                assert not is_refused(second, 3)
                # no document is found, so waiting uses nothing up
                until(lambda: is_refused(first, 0))
        with ProxyProcess(options[0]) as again, MongoClient[Any](again.uri(CLINIC)) as client:
            assert is_refused(client, 0)
        assert CLINIC.name not in str(list(limits.find()))


def is_refused(client: MongoClient[Any], number: int) -> bool:
    """Whether it is too much to read so many documents."""
    try:
        found = list(client["clinic"]["patients"].find({"n": {"$lt": number}}))
    except OperationFailure as error:
        if error.code != 13:
            raise
        return True
    assert len(found) == number
    return False
