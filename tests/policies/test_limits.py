"""Numbers that servers and the documentation count on. Who changes one changes it here too."""

import pytest

from sealwire.policies.aggregation.views import MAX_NAMES, ViewCatalog
from sealwire.policies.commands.write_errors import CODES, MAX_STATEMENTS
from sealwire.policies.errors import Reason
from sealwire.policies.expressions.constants import MAX_MENTIONS
from sealwire.policies.file.ranges import DEFAULT_MAX_VALUES, MAX_MAX_VALUES
from sealwire.policies.planning import budget
from tests.policies.support import POLICY


@pytest.mark.parametrize(
    ("limit", "number"),
    [
        (MAX_NAMES, 64),
        # maxWriteBatchSize of every MongoDB server
        (MAX_STATEMENTS, 100_000),
        (MAX_MENTIONS, 500_000),
        (DEFAULT_MAX_VALUES, 40_000),
        (MAX_MAX_VALUES, 200_000),
        # maxMessageSizeBytes of every MongoDB server
        (budget.MAX_MADE_BYTES, 48_000_000),
        (budget.MAX_LISTED_VALUES, 250_000),
        (budget.ENVELOPE_BYTES, 34),
        (budget.LISTED_BYTES, 41),
    ],
)
def test_a_limit_is_what_it_was(limit: int, number: int) -> None:
    assert limit == number


def test_a_write_error_has_the_number_of_a_failed_validation() -> None:
    assert CODES[Reason.TYPE] == CODES[Reason.GRID] == 121


def test_a_command_may_lead_to_so_many_names() -> None:
    catalog = ViewCatalog(POLICY)
    for number in range(64):
        assert catalog.room == 64 - number
        catalog.learn(f"clinic.v{number}", None)
    assert catalog.room == 0
