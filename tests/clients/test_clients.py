"""Clients of Python and Node, unchanged: the same both ways. All but one of them are in the slow tests."""

import pytest

from tests.clients.harness import Client, Ways, check, parameters
from tests.clients.table import FAST, SLOW
from tests.support.secantus import ROOT

pytestmark = pytest.mark.integration


@pytest.mark.slow(minutes=3)
@pytest.mark.parametrize("client", parameters(SLOW))
def test_the_client_sees_the_same_both_ways(client: Client, ways: Ways) -> None:
    check(client, ways)


@pytest.mark.parametrize("client", parameters(FAST))
def test_the_client_of_each_run_sees_the_same_both_ways(client: Client, ways: Ways) -> None:
    check(client, ways)


def test_what_asks_for_compression_gets_it(ways: Ways) -> None:
    with ways.proxy.connect(ROOT) as client:
        hello = client.admin.command({"hello": 1, "compression": ["zlib"]})
    assert hello["compression"] == ["zlib"]
