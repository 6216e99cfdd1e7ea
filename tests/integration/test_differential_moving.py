"""Classes move from key to key, window by window, while generated sequences run by two proxies: the same answers.

The processes that move them are killed at random moments, and others go on.
"""

from pathlib import Path

import pytest

from tests.integration.differential.broken_proxy import Rule
from tests.integration.differential.moving import moving_site
from tests.integration.differential.races import CLASS, DATABASE, FIELD, RACED, Races, Side

pytestmark = pytest.mark.integration

RACED_POLICY = f"""
version: 1
classes:
  {CLASS}: {{mode: deterministic, type: string}}
collections:
  {DATABASE}.{RACED}: {{{FIELD}: {CLASS}}}
"""


def test_one_of_two_clients_wins_a_value(tmp_path: Path) -> None:
    with moving_site(tmp_path, RACED_POLICY, 1, (CLASS,)) as site:
        races = Races(site, 1)
        races.run(80)
    sides = {side for _, side in races.counted}
    print(races.counted, races.waits, site.moves.counted)
    assert sides == set(Side)


def test_a_value_that_both_win_is_noticed(tmp_path: Path) -> None:
    with moving_site(tmp_path, RACED_POLICY, 1, (CLASS,), Rule.HOLDING_UP) as site:
        races = Races(site, 1, transaction_s=3)
        with pytest.raises(AssertionError, match="won"):
            races.run(20, "transaction")
