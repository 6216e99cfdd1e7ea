"""Generated sequences on the server: such as are answered, and such as MongoDB rejects."""

import sys
import traceback
from pathlib import Path

from pymongo.errors import PyMongoError

from tests.integration.differential.campaign import SHAPES, both_ways, compare_many
from tests.integration.differential.shapes import draw_shapes, policy_yaml
from tests.integration.outside.chosen import STANDALONE
from tests.integration.outside.report import Row

MALFORMED_SHARE = 0.3
"""How many malformed sequences are run for each of the others."""


def run_campaigns(folder: Path, seed: int, examples: int) -> list[Row]:
    """A row for each of the two. `folder` takes the files of the proxies."""
    return [
        _campaign(folder / "answered", seed, examples, malformed=False),
        _campaign(folder / "malformed", seed, int(examples * MALFORMED_SHARE), malformed=True),
    ]


def _campaign(folder: Path, seed: int, examples: int, *, malformed: bool) -> Row:
    row = Row("differential", "malformed commands" if malformed else "commands")
    sys.stderr.write(f"{examples} generated sequences of {row.counted}\n")
    shapes = draw_shapes(seed, SHAPES)
    with both_ways(folder, policy_yaml(shapes)) as runner:
        try:
            compare_many(runner, shapes, seed, examples, malformed=malformed)
        except (AssertionError, PyMongoError) as error:
            how = "".join(traceback.format_exception_only(error))
            row.differences.append((f"a sequence of {row.counted}, made small", how))
        tally = runner.tally
    row.refused = tally.reasons
    # Where something differed, the search for a smaller sequence is counted as well.
    row.held = tally.commands - tally.refused - len(row.differences)
    if tally.left_out:
        row.not_applicable[STANDALONE] = tally.left_out
    return row
