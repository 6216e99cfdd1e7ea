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
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.database import Database
from pymongo.errors import OperationFailure

from sealwire.keys.contexts.sqlite_store import SqliteContextStore
from sealwire.policies.file.loader import load_policy
from sealwire.policies.file.schema import Mode
from sealwire.sidecars.migration.contexts import JobContexts
from tests.integration.conftest import Document, Record
from tests.integration.differential.broken_proxy import Rule
from tests.integration.differential.campaign import run_moving
from tests.integration.differential.moving import MovingSite, moving_site
from tests.integration.differential.processes import PART, run_here, run_parts
from tests.integration.differential.races import CLASS, DATABASE, FIELD, KINDS, RACED, Races, Side
from tests.integration.differential.sequences import has_number, is_searchable
from tests.integration.differential.sides import MOST_TRIES, Outcome, is_of_a_move
from tests.integration.differential.tally import Tally
from tests.integration.outside.chosen import own_server
from tests.integration.test_contexts_differential import answer_of, commands, plainly
from tests.integration.test_differential_sequences import LEAST_SHARE
from tests.policies.taint.campaign import chosen_seed
from tests.policies.taint.owners import POLICY, RULES
from tests.support.rows import rows

pytestmark = [pytest.mark.integration, own_server("it moves keys, and watches the database sealwire")]

FEW_EXAMPLES, MANY_EXAMPLES = 100, int(os.environ.get("SEALWIRE_MOVING_SEQUENCES", "20000"))
OFTEN = 60
"""A kind that was sent so often has been answered by one policy or another."""
ONE_POLICY = 3
"""One may refuse so many kinds altogether, such as bounds where no class has a range; eight refuse none."""

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
    tally = run_parts(seed, MANY_EXAMPLES, "--moving", "--to-clear")
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
@rows(
    "rule, kind, noticed",
    (Rule.HOLDING_UP, "transaction", "won"),
    (Rule.WAITING, "count", "lost"),
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


# The commands of `test_contexts_differential`, by two proxies, while classes move to plaintext and back.
#
# Contexts are values of fields, of the document or of a sub-document: commands fix them, or are refused.


FEW, MANY = 100, int(os.environ.get("SEALWIRE_MOVING_SEQUENCES", "3000"))
_OURS, _PLAIN, _ROWS = "clinic", "plain", "people"


class Runs:
    """Sequences, each on an empty collection."""

    def __init__(self, site: MovingSite, seed: int) -> None:
        self.tally: Counter[str] = Counter()
        self._site = site
        self._plain = site.direct[_PLAIN]
        self._chance = random.Random(seed)

    def run(self, seed: int) -> None:
        """Raises AssertionError for the first command whose answer differs."""
        for side in (self._site.direct[_OURS], self._plain):
            side[_ROWS].drop()
        for body in commands(seed):
            if has_number(body) or not is_searchable(body):
                continue
            found = self._patiently(partial(answer_of, body=body))
            if found is None:
                self.tally["refused"] += 1
                continue
            assert found == answer_of(self._plain, body), f"sequence {seed}: {body}"
            self.tally["held"] += 1
            if not is_searchable(rows_of(self._plain)):
                self.tally["cut short"] += 1
                return
        rows = self._patiently(rows_of)
        assert plainly(rows) == plainly(rows_of(self._plain)), f"sequence {seed}"

    def _patiently(self, ask: Callable[[Database[Document]], Any]) -> Any:
        """By one of the proxies; sent again while classes move."""
        for _ in range(MOST_TRIES):
            client: MongoClient[Document] = self._chance.choice(self._site.clients)
            try:
                return ask(client[_OURS])
            except OperationFailure as error:
                if not is_of_a_move(error):
                    raise
                self.tally["sent again"] += 1
        raise AssertionError("a command that waits forever")


def rows_of(side: Database[Document]) -> list[Document]:
    return list(side[_ROWS].find().sort("_id"))


def run(folder: Path, sequences: int, record_property: Record) -> None:
    by_mode = {
        mode: tuple(name for name, said in POLICY.classes.items() if said.mode is mode) for mode in Mode
    }
    keyed = frozenset(POLICY.class_names)
    first = chosen_seed(1) * 1000
    with moving_site(
        folder,
        RULES,
        first,
        by_mode[Mode.DETERMINISTIC],
        to_clear=True,
        keyed=keyed,
        random_classes=by_mode[Mode.RANDOM],
        has_ballast=False,
    ) as site:
        runs = Runs(site, first)
        for seed in range(first, first + sequences):
            runs.run(seed)
        site.moves.wait_for_return()
        generations = [each["generation"] for each in site.frontiers.find()]
        moves = site.moves.counted
    record_property("summary", f"contexts while classes move: {dict(runs.tally)}, {dict(moves)}")
    assert runs.tally["held"] > sequences * 5
    assert runs.tally["cut short"] < sequences / 3
    assert moves["with contexts to plaintext"] > 0
    assert moves["with contexts from plaintext"] > 0
    assert sum(generations) > sequences / 100


def test_answers_are_those_of_plaintext(tmp_path: Path, record_property: Record) -> None:
    run(tmp_path, FEW, record_property)


@pytest.mark.slow(minutes=5)
def test_answers_are_those_of_plaintext_many_times(tmp_path: Path, record_property: Record) -> None:
    run(tmp_path, MANY, record_property)
