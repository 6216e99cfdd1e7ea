"""Generated commands that MongoDB rejects: through Sealwire each is rejected too, and none does anything.

An example is a sequence of one to eight such commands on documents in two collections, under a generated
policy. `make test` runs 80, `make test-slow` 3,000 or as many as `SEALWIRE_SEQUENCES` says, if that is less;
always the same ones. `SEALWIRE_SEED` chooses others.
"""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tests.integration.differential.campaign import SHAPES, both_ways, run_campaign
from tests.integration.differential.compare import Command
from tests.integration.differential.processes import PART, run_here, run_parts
from tests.integration.differential.runner import PLAIN, Run
from tests.integration.differential.sequences import Sequence
from tests.integration.differential.shapes import draw_shapes, policy_yaml
from tests.integration.differential.sides import Outcome
from tests.integration.differential.tally import Tally
from tests.policies.taint.campaign import chosen_seed

pytestmark = pytest.mark.integration

FEW_EXAMPLES, MANY_EXAMPLES = 80, min(3_000, int(os.environ.get("SEALWIRE_SEQUENCES", "3000")))
LEAST_SHARE_REJECTED = 0.5
Record = Callable[[str, object], None]


def check(tally: Tally, examples: int, record_property: Record) -> None:
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
    record_property("summary", f"malformed: {FEW_EXAMPLES} sequences from seed {seed}")
    tally = run_here(tmp_path, seed, FEW_EXAMPLES, partial(run_campaign, malformed=True))
    check(tally, FEW_EXAMPLES, record_property)


@pytest.mark.slow(minutes=5)
def test_what_the_server_rejects_does_nothing_many_times(record_property: Record) -> None:
    seed = chosen_seed(1000)
    record_property("summary", f"malformed: {MANY_EXAMPLES} sequences from seed {seed}")
    tally, failed = run_parts(seed, MANY_EXAMPLES, PART, "--malformed")
    assert not failed, "\n".join(f"--seed {part.seed} differs:\n{part.output}" for part in failed)
    check(tally, MANY_EXAMPLES, record_property)


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
