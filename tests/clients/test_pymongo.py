"""The client that `make test` runs both ways; the others are in the slow tests."""

import pytest

from tests.clients.harness import Client, Ways, check, parameters
from tests.clients.table import FAST

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("client", parameters(FAST))
def test_the_client_sees_the_same_both_ways(client: Client, ways: Ways) -> None:
    check(client, ways)
