"""Clients of Python and Node, unchanged: the same both ways."""

import pytest

from tests.clients.harness import Client, Ways, check, parameters
from tests.clients.table import SLOW

pytestmark = [pytest.mark.integration, pytest.mark.slow(minutes=3)]


@pytest.mark.parametrize("client", parameters(SLOW))
def test_the_client_sees_the_same_both_ways(client: Client, ways: Ways) -> None:
    check(client, ways)
