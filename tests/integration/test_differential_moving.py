"""Classes move from key to key, window by window, while generated sequences run by two proxies: the same answers.

The processes that move them are killed at random moments, and others go on.
"""

from pathlib import Path

import pytest

from tests.integration.differential.broken_proxy import Rule
from tests.integration.differential.campaign import run_moving
from tests.integration.differential.moving import moving_site
from tests.integration.differential.races import CLASS, DATABASE, FIELD, KINDS, RACED, Races, Side

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
    assert {side for _, side in races.counted} == set(Side)
    assert {kind for kind, _ in races.counted} == set(KINDS)


@pytest.mark.parametrize(
    ("rule", "kind", "noticed"),
    [(Rule.HOLDING_UP, "transaction", "won"), (Rule.WAITING, "count", "lost")],
    ids=lambda each: each.value if isinstance(each, Rule) else "",
)
def test_a_proxy_without_a_rule_is_noticed(tmp_path: Path, rule: Rule, kind: str, noticed: str) -> None:
    with moving_site(tmp_path, RACED_POLICY, 1, (CLASS,), rule) as site:
        races = Races(site, 1, transaction_s=3)
        with pytest.raises(AssertionError, match=noticed):
            races.run(20, (kind,))


def test_an_answer_that_differs_while_classes_move_is_noticed(tmp_path: Path) -> None:
    """Without another rule sequences differ, and the campaign ends with the first that does."""
    with pytest.raises(AssertionError, match="in Sequence"):
        run_moving(tmp_path, 1, 300, Rule.NEW_FORM)
