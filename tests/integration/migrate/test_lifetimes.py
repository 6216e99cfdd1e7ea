"""How long a transaction may last on a server: a job asks it, or its operator says so."""

from collections.abc import Mapping
from typing import Any, cast

import pytest
from pymongo.errors import OperationFailure

from sealwire.keys.frontier.record import DATABASE, FRONTIERS, TRANSACTION_S, stated_transaction_s
from sealwire.sidecars.direct import Client, connected
from sealwire.sidecars.errors import MigrationReason, Unusable
from sealwire.sidecars.migration.windows.frontiers import transaction_lifetime_s
from tests.integration.migrate.clinics import Clinic
from tests.integration.migrate.conftest import TRANSACTIONS_S
from tests.integration.migrate.numbers import fill, reencryption

pytestmark = pytest.mark.integration

HELLO = {"isWritablePrimary": True}
ROUTER = {"isWritablePrimary": True, "msg": "isdbgrid"}


class PlayedServer:
    """Answers `hello`, and `getParameter` with a document or an error's code."""

    def __init__(self, hello: Mapping[str, Any], said: Mapping[str, Any] | int) -> None:
        self._hello = hello
        self._said = said

    def get_database(self, _name: str, _options: object) -> "PlayedServer":
        return self

    def command(self, command: object, **_options: object) -> Mapping[str, Any]:
        if command == "hello":
            return self._hello
        if isinstance(self._said, int):
            raise OperationFailure("no", self._said)
        return self._said


def lifetime(hello: Mapping[str, Any], said: Mapping[str, Any] | int, named: float | None) -> float:
    return transaction_lifetime_s(cast(Client, PlayedServer(hello, said)), named)


LIMIT = "transactionLifetimeLimitSeconds"


@pytest.mark.parametrize(
    ("hello", "said", "named", "expected"),
    [
        (HELLO, {LIMIT: 90}, None, 90.0),
        (HELLO, {LIMIT: 90}, 30.0, 90.0),
        (HELLO, {LIMIT: 90}, 300.0, 300.0),
        (HELLO, {}, None, TRANSACTION_S),
        (HELLO, {}, 5.0, 5.0),
        (HELLO, {LIMIT: "soon"}, None, TRANSACTION_S),
        (HELLO, 72, None, TRANSACTION_S),
        (HELLO, 59, None, TRANSACTION_S),
        (HELLO, 13, 120.0, 120.0),
        (ROUTER, 72, 120.0, 120.0),
        (ROUTER, {LIMIT: 600}, 120.0, 120.0),
    ],
)
def test_the_longest_that_is_known_counts(
    hello: Mapping[str, Any], said: Mapping[str, Any] | int, named: float | None, expected: float
) -> None:
    assert lifetime(hello, said, named) == expected


@pytest.mark.parametrize(
    ("hello", "said", "named"),
    [
        (HELLO, 13, None),
        (HELLO, 8000, None),
        (ROUTER, 72, None),
        (ROUTER, {LIMIT: 60}, None),
        (HELLO, {LIMIT: 86_401}, None),
        (HELLO, {LIMIT: 86_401}, 60.0),
    ],
)
def test_no_move_begins_where_nobody_can_say_or_it_is_longer_than_a_day(
    hello: Mapping[str, Any], said: Mapping[str, Any] | int, named: float | None
) -> None:
    with pytest.raises(Unusable) as refused:
        lifetime(hello, said, named)
    assert refused.value.reason is MigrationReason.LIFETIME


@pytest.mark.parametrize(("words", "expected"), [((), TRANSACTIONS_S), (("--transaction-lifetime", "9"), 9)])
def test_the_frontier_says_which_one_a_job_goes_by(
    rotating: Clinic, words: tuple[str, ...], expected: int
) -> None:
    with rotating.database.connect() as client:
        fill(rotating, client, 3)
        with connected(rotating.database.uri()) as asked:
            assert transaction_lifetime_s(asked, None) == TRANSACTIONS_S
        assert rotating.job(*reencryption(rotating), *words)["state"] == "done"
        found = client[DATABASE][FRONTIERS].find_one({})
        assert found is not None
        assert stated_transaction_s(found) == expected
