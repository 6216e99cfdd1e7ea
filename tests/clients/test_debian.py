"""Clients of Debian's packages, unchanged: the same both ways."""

import pytest

from tests.clients.debian import CLIENTS, java_client, older_login
from tests.clients.harness import Client, Ways, check, parameters

pytestmark = [pytest.mark.integration, pytest.mark.slow(minutes=4)]


@pytest.fixture(scope="module")
def all_ways(ways: Ways) -> Ways:
    """With a login for the older drivers."""
    older_login(ways)
    return ways


@pytest.mark.parametrize("client", parameters(CLIENTS))
def test_the_client_sees_the_same_both_ways(client: Client, all_ways: Ways) -> None:
    check(client, all_ways)


def test_javas_client_sees_the_same_both_ways(all_ways: Ways) -> None:
    """Its driver of 2018 asks for `buildInfo` and logs in by legacy queries, as Java's before 4.0 do."""
    authority = all_ways.proxy.options.authority
    assert authority is not None
    check(java_client(authority), all_ways)
