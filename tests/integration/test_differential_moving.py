"""Generated sequences by two proxies while classes move, to keys and plaintext: the same answers, or refused.

The processes that move them are killed at random moments, and others go on. `make test` runs 100
sequences, `make test-slow` 20,000 others, or as many as `SEALWIRE_MOVING_SEQUENCES` says; `SEALWIRE_SEED`
chooses others. How far the moves have come at a command is another matter in each run. Some of the classes
have a key for each database.
"""

import os
import random
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from sealwire.keys.contexts.sqlite_store import SqliteContextStore
from sealwire.policies.file.loader import load_policy
from sealwire.sidecars.migration.contexts import JobContexts
from tests.integration.differential.broken_proxy import Rule
from tests.integration.differential.campaign import run_moving
from tests.integration.differential.moving import moving_site
from tests.integration.differential.processes import PART, run_here, run_parts
from tests.integration.differential.races import CLASS, DATABASE, FIELD, KINDS, RACED, Races, Side
from tests.integration.differential.sides import Outcome
from tests.integration.differential.tally import Tally
from tests.integration.outside.chosen import own_server
from tests.integration.test_differential_sequences import LEAST_SHARE, chosen_seed

pytestmark = [pytest.mark.integration, own_server("it moves keys, and watches the database sealwire")]

FEW_EXAMPLES, MANY_EXAMPLES = 100, int(os.environ.get("SEALWIRE_MOVING_SEQUENCES", "20000"))
OFTEN = 60
"""A kind that was sent so often has been answered by one policy or another."""
ONE_POLICY = 3
"""One may refuse so many kinds altogether, such as bounds where no class has a range; eight refuse none."""
Record = Callable[[str, object], None]

RACED_POLICY = f"""
version: 1
classes:
  {CLASS}: {{mode: deterministic, type: string}}
collections:
  {DATABASE}.{RACED}: {{{FIELD}: {CLASS}}}
"""


def check(tally: Tally, examples: int, record_property: Record) -> None:
    """The figures of a run in which nothing differed."""
    record_property("summary", "\n".join(tally.table()))
    assert tally.examples >= examples
    # else the sequences met no move, or none was alive to be killed
    assert tally.moves["kills"] > 0
    for each in ("rounds", "classes to plaintext", "classes from plaintext", "keys of random classes"):
        assert tally.moves[each] > 0
    assert min(tally.moves["with contexts to plaintext"], tally.moves["with contexts from plaintext"]) > 0
    # beside other tests a campaign came to a fifth of what it has alone: 1.3 values for each sequence
    assert tally.moves["steps of frontiers"] > examples / 100
    assert tally.moves["values judged"] > examples / 100
    assert tally.moves["sequences cut short"] < examples / 5
    assert tally.share_answered > LEAST_SHARE


def test_the_same_answers_while_classes_move(tmp_path: Path, record_property: Record) -> None:
    seed = chosen_seed(1)
    record_property("summary", f"differential while classes move: {FEW_EXAMPLES} sequences from seed {seed}")
    tally = run_here(tmp_path, seed, FEW_EXAMPLES, partial(run_moving, to_clear=True))
    check(tally, FEW_EXAMPLES, record_property)
    assert tally.refused_statements > FEW_EXAMPLES / 20


@pytest.mark.slow(minutes=5)
def test_the_same_answers_while_classes_move_many_times(record_property: Record) -> None:
    seed = chosen_seed(random.SystemRandom().randrange(10**9))
    record_property("summary", f"differential while classes move: {MANY_EXAMPLES} sequences from seed {seed}")
    tally, failed = run_parts(seed, MANY_EXAMPLES, PART, "--moving", "--to-clear")
    assert not failed, "\n".join(f"--seed {part.seed} differs:\n{part.output}" for part in failed)
    check(tally, MANY_EXAMPLES, record_property)
    answered = {kind for kind, outcome in tally.outcomes if outcome is Outcome.ANSWERED}
    sent = Counter[str]()
    for (kind, _), count in tally.outcomes.items():
        sent[kind] += count
    often = {kind for kind, count in sent.items() if count >= OFTEN}
    # nothing is written by a pipeline where a class of the collection has keys for contexts
    never = often - answered - {"aggregate writes"}
    assert len(never) <= (0 if MANY_EXAMPLES >= 8 * PART else ONE_POLICY), never


def test_one_of_two_clients_wins_a_value(tmp_path: Path) -> None:
    with moving_site(tmp_path, RACED_POLICY, 1, (CLASS,)) as site:
        races = Races(site, 1)
        races.run(80)
        # a busy machine may take a window past before anybody meets it
        while {side for _, side in races.counted} != set(Side) and sum(races.counted.values()) < 400:
            races.run(20)
    assert {side for _, side in races.counted} == set(Side)
    assert {kind for kind, _ in races.counted} == set(KINDS)


def test_one_of_two_clients_wins_a_value_of_a_context(tmp_path: Path) -> None:
    """The class has a key for each database, and moves to plaintext and back."""
    keyed = frozenset({CLASS})
    with (
        moving_site(tmp_path, RACED_POLICY, 1, (CLASS,), to_clear=True, keyed=keyed) as site,
        closing(SqliteContextStore(tmp_path / "contexts.db")) as store,
    ):
        policies = load_policy((tmp_path / "policy.yaml").read_bytes(), "policy.yaml")
        races = Races(site, 1, contexts=lambda keyring: JobContexts(store, keyring, policies))
        races.run(120)
    assert {kind for kind, _ in races.counted} == set(KINDS)
    assert {side for _, side in races.counted} >= {Side.BEFORE, Side.BEHIND}


@pytest.mark.slow
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


@pytest.mark.slow
def test_an_answer_that_differs_while_classes_move_is_noticed(tmp_path: Path) -> None:
    """Without another rule sequences differ, and the campaign ends with the first that does."""
    with pytest.raises(AssertionError, match="in Sequence"):
        run_moving(tmp_path, 1, 120, Rule.NEW_FORM)
