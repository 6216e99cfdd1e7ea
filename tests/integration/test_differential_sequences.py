"""Generated sequences of commands on plaintext and through Sealwire: the same answers, or a refusal.

An example is a whole sequence: documents in two collections under a generated policy, sometimes indexes or
a view, then one to six commands or transactions, each compared, and the collections at the end. `make test`
runs 120, always the same ones, and 100 while classes move (test_differential_moving); `make test-slow`
50,000 new ones, or as many as `SEALWIRE_SEQUENCES` says. `SEALWIRE_SEED` chooses others, or repeats a run.
"""

import os
import random
from functools import partial
from pathlib import Path

import pytest

from sealwire.policies.aggregation.server_stages import SERVER_STAGES
from sealwire.policies.commands.planner import MATRIX
from sealwire.policies.planning.rules import Verdict
from tests.integration.conftest import Record
from tests.integration.differential.campaign import SHAPES, both_ways, run_campaign
from tests.integration.differential.compare import Command
from tests.integration.differential.defects import UNKNOWN_TO_SERVER
from tests.integration.differential.processes import run_here, run_parts
from tests.integration.differential.runner import PLAIN, Run, Runner
from tests.integration.differential.sequences import Sequence
from tests.integration.differential.shapes import draw_shapes, policy_yaml
from tests.integration.differential.sides import Outcome
from tests.integration.differential.tally import Tally
from tests.integration.outside.chosen import own_server
from tests.policies.taint.campaign import chosen_seed
from tests.support.rows import rows

pytestmark = pytest.mark.integration

FEW_EXAMPLES, MANY_EXAMPLES = 120, int(os.environ.get("SEALWIRE_SEQUENCES", "50000"))
LEAST_SHARE = 0.7
COMPLETE = 25_000
"""So many sequences have every operator, answered; of fewer a rare one may have been drawn by none."""
MAY_BE_MISSING = 15
"""Of 4,000 sequences one to four were missing in four runs, of 1,000 ten in one. `.ci/run` draws 1,500."""

NOT_GENERATED = {
    *("$sample", "$sampleRate"),  # no two answers need be the same
    *(name.decode() for name in SERVER_STAGES),  # tell of the server, not of documents
    "$rand",  # no two answers are the same
    *("$changeStream", "$changeStreamSplitLargeEvent", "$geoNear"),  # in test_scripted_differential
    *("$zip", "$objectToArray", "$arrayToObject"),  # in test_newly_answered
    "$jsonSchema",  # says nothing of covered values, or is refused
    *UNKNOWN_TO_SERVER,
}


def check(tally: Tally, examples: int, record_property: Record) -> None:
    record_property("summary", "\n".join(tally.table()))
    assert tally.examples >= examples
    # a proxy that refuses everything would agree with everybody
    assert tally.share_answered > LEAST_SHARE


def test_the_same_answers_or_refusals(tmp_path: Path, record_property: Record) -> None:
    seed = chosen_seed(1)
    record_property("summary", f"differential: {FEW_EXAMPLES} sequences from seed {seed}")
    tally = run_here(tmp_path, seed, FEW_EXAMPLES, run_campaign)
    check(tally, FEW_EXAMPLES, record_property)
    assert tally.refused_statements > FEW_EXAMPLES / 20


@rows(
    "otherwise, option",
    (3, "older"),
    pytest.param(4, "contexts", marks=own_server("its proxy has a store of context keys")),
)
def test_older_versions_and_contexts_without_a_key_change_no_answer(
    tmp_path: Path, record_property: Record, otherwise: int, option: str
) -> None:
    seed, examples = chosen_seed(otherwise), FEW_EXAMPLES // 2
    record_property("summary", f"differential with {option}: {examples} sequences from seed {seed}")
    campaign = partial(run_campaign, older=option == "older", contexts=option == "contexts")
    check(run_here(tmp_path, seed, examples, campaign), examples, record_property)


@pytest.mark.slow(minutes=5)
def test_the_same_answers_or_refusals_many_times(record_property: Record) -> None:
    """Every operator and stage of the support matrix that is said to work was answered, and compared."""
    seed = chosen_seed(random.SystemRandom().randrange(10**9))
    record_property("summary", f"differential: {MANY_EXAMPLES} sequences from seed {seed}")
    tally = run_parts(seed, MANY_EXAMPLES)
    check(tally, MANY_EXAMPLES, record_property)
    promised = {
        name.decode()
        for family in MATRIX
        for name, rule in family.rules.items()
        if name.startswith(b"$") and rule.verdict is not Verdict.REFUSED
    }
    missing = promised - set(tally.answered) - NOT_GENERATED
    assert len(missing) <= (0 if MANY_EXAMPLES >= COMPLETE else MAY_BE_MISSING), missing


def test_a_way_that_encrypts_nothing_is_noticed(tmp_path: Path) -> None:
    """The comparison itself: without Sealwire the answers agree, and what is stored does not."""
    shapes = draw_shapes(1, SHAPES)
    with both_ways(tmp_path, policy_yaml(shapes)) as runner:
        blind = Runner(runner.direct, runner.direct, runner.policy, runner.keyring)
        with pytest.raises(AssertionError, match="plaintext"):
            blind.run(Sequence(shapes[0], [{"_id": 1, "s": "1"}], [], [], []))


def test_an_answer_that_differs_is_noticed(tmp_path: Path) -> None:
    shapes = draw_shapes(1, SHAPES)
    with both_ways(tmp_path, policy_yaml(shapes)) as runner:
        count = Command("count", {"count": "people"})
        runner.run(Sequence(shapes[0], [{"_id": 1}], [], [], [count]))
        runner.direct["plain"].people.insert_one({"_id": 2})
        runner.used.clear()  # so that the second document stays
        with pytest.raises(AssertionError, match="count"):
            runner.run(Sequence(shapes[0], [], [], [], [count]))


# Generated commands that MongoDB rejects: through Sealwire each is rejected too, and none does anything.
#
# An example is a sequence of one to eight such commands on documents in two collections, under a generated
# policy. `make test` runs 80, `make test-slow` 3,000 or as many as `SEALWIRE_SEQUENCES` says, if that is
# less; always the same ones. `SEALWIRE_SEED` chooses others.


FEW_MALFORMED, MANY_MALFORMED = 80, min(3_000, int(os.environ.get("SEALWIRE_SEQUENCES", "3000")))
LEAST_SHARE_REJECTED = 0.5


def check_malformed(tally: Tally, examples: int, record_property: Record) -> None:
    record_property("summary", "\n".join(tally.table()))
    assert tally.examples >= examples
    assert rejected(tally) > LEAST_SHARE_REJECTED


def rejected(tally: Tally) -> float:
    """The share of malformed commands that Sealwire or the server rejected; the test server takes some."""
    sent = {key: count for key, count in tally.outcomes.items() if key[0] != "insert"}
    answered = sum(count for (_, outcome), count in sent.items() if outcome is Outcome.ANSWERED)
    return 1 - answered / sum(sent.values())


def test_what_the_server_rejects_does_nothing(tmp_path: Path, record_property: Record) -> None:
    seed = chosen_seed(1)
    record_property("summary", f"malformed: {FEW_MALFORMED} sequences from seed {seed}")
    tally = run_here(tmp_path, seed, FEW_MALFORMED, partial(run_campaign, malformed=True))
    check_malformed(tally, FEW_MALFORMED, record_property)


@pytest.mark.slow(minutes=5)
def test_what_the_server_rejects_does_nothing_many_times(record_property: Record) -> None:
    seed = chosen_seed(1000)
    record_property("summary", f"malformed: {MANY_MALFORMED} sequences from seed {seed}")
    tally = run_parts(seed, MANY_MALFORMED, "--malformed")
    check_malformed(tally, MANY_MALFORMED, record_property)


def test_a_command_that_only_one_way_rejects_is_noticed(tmp_path: Path) -> None:
    shapes = draw_shapes(1, SHAPES)
    with both_ways(tmp_path, policy_yaml(shapes)) as runner:
        runner.direct["plain"].people.insert_one({"_id": 1})
        insert = Command("malformed insert", {"insert": "people", "documents": [{"_id": 1}]}, malformed=True)
        with pytest.raises(AssertionError, match="malformed insert"):
            runner.run(Sequence(shapes[0], [], [], [], [insert]))


def test_a_rejected_command_that_does_something_is_noticed(tmp_path: Path) -> None:
    shapes = draw_shapes(1, SHAPES)
    stored = Command("insert", {"insert": "people", "documents": [{"_id": 1}]})
    bad = {"q": {}, "u": {"$unheard": 1}}
    rejected_one = Command("malformed update", {"update": "people", "updates": [bad]}, malformed=True)
    with both_ways(tmp_path, policy_yaml(shapes)) as runner:
        run = Run(runner, Sequence(shapes[0], [], [], [], [stored, rejected_one]))
        run.command(stored)
        run.command(rejected_one)
        for name in (PLAIN, shapes[0].database):
            runner.direct[name].people.insert_one({"_id": 2})
        with pytest.raises(AssertionError, match="rejected"):
            run.command(rejected_one)
