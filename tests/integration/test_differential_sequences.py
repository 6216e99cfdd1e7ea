"""Generated sequences of commands on plaintext and through Sealwire: the same answers, or a refusal.

An example is a whole sequence: documents in two collections under a generated policy, sometimes indexes or
a view, then one to six commands or transactions, each compared, and the collections at the end. `make test`
runs 2,000, always the same ones; `make test-slow` 50,000 new ones. `SEALWIRE_SEED` chooses others, or repeats
a run.
"""

import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.differential.campaign import SHAPES, both_ways, run_campaign
from tests.integration.differential.commands import Command
from tests.integration.differential.processes import run_parts
from tests.integration.differential.runner import Runner
from tests.integration.differential.sequences import Sequence
from tests.integration.differential.shapes import draw_shapes, policy_yaml
from tests.integration.differential.sides import Outcome
from tests.integration.differential.tally import Tally

pytestmark = pytest.mark.integration

FEW_EXAMPLES, MANY_EXAMPLES = 2_000, 50_000
LEAST_SHARE = 0.7
Record = Callable[[str, object], None]

# refused as long as no release answers them
MAY_BE_REFUSED = {"create view", "aggregate joins", "aggregate writes"}


def chosen_seed(otherwise: int) -> int:
    """The seed that the environment asks for, to repeat a run."""
    return int(os.environ.get("SEALWIRE_SEED", otherwise))


def check(tally: Tally, examples: int) -> None:
    """A proxy that refuses everything would agree with everybody; the figures tell that it does not."""
    assert tally.examples >= examples
    assert tally.share_answered > LEAST_SHARE
    answered = {kind for kind, outcome in tally.outcomes if outcome is Outcome.ANSWERED}
    assert {kind for kind, _ in tally.outcomes} - answered <= MAY_BE_REFUSED


def test_the_same_answers_or_refusals(tmp_path: Path, record_property: Record) -> None:
    seed = chosen_seed(1)
    record_property("summary", f"differential: seed {seed}, {FEW_EXAMPLES} sequences")
    tally = run_campaign(tmp_path, seed, FEW_EXAMPLES).tally
    record_property("summary", "\n".join(tally.table()))
    check(tally, FEW_EXAMPLES)


@pytest.mark.slow
def test_the_same_answers_or_refusals_many_times(record_property: Record) -> None:
    seed = chosen_seed(random.SystemRandom().randrange(10**9))
    record_property("summary", f"differential, long: seed {seed} and following, {MANY_EXAMPLES} sequences")
    tally, failed = run_parts(seed, MANY_EXAMPLES)
    record_property("summary", "\n".join(tally.table()))
    assert not failed, "\n".join(f"SEALWIRE_SEED={part.seed}\n{part.output}" for part in failed)
    check(tally, MANY_EXAMPLES)


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
