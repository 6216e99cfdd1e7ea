"""Clients of Debian's packages, unchanged: the same both ways."""

import re
import subprocess

import pytest

from tests.clients.debian import CLIENTS, for_older, java, older_login
from tests.clients.harness import Client, Ways, check, parameters, run

pytestmark = [pytest.mark.integration, pytest.mark.slow]

JAVA = "Java driver"
JAVA_STEPS = 22


@pytest.fixture(scope="module")
def all_ways(ways: Ways) -> Ways:
    """With a login for the older drivers."""
    older_login(ways)
    return ways


@pytest.mark.parametrize("client", parameters(CLIENTS))
def test_the_client_sees_the_same_both_ways(client: Client, all_ways: Ways) -> None:
    check(client, all_ways)


def test_a_driver_with_legacy_queries_is_told_so_as_mongodb_tells_it(all_ways: Ways) -> None:
    """Debian's Java driver, of 2018. It works on servers before MongoDB 5.1, and on the tests' server."""
    authority = all_ways.proxy.options.authority
    assert authority is not None
    client = Client(JAVA, "Java", lambda: java(authority), respell=_for_java)
    seen = run(client, all_ways.direct(client))
    assert (seen.version[:2], len(seen.steps)) == ("3.", JAVA_STEPS)
    through = [*client.command(), f"{all_ways.through(client)}&serverSelectionTimeoutMS=3000"]
    done = subprocess.run(through, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode != 0
    assert done.stdout == ""
    assert re.search(r"error 352: 'legacy queries are supported for hello only", done.stderr)


def _for_java(uri: str) -> str:
    """Its word for TLS is another one; authorities come from a store of the virtual machine."""
    return re.sub(r"&tlsCAFile=[^&]+", "", for_older(uri)).replace("tls=true", "ssl=true")
