"""The commands of `test_contexts_differential`, by two proxies, while classes move to plaintext and back.

Contexts are values of fields, of the document or of a sub-document: commands fix them, or are refused.
"""

import os
import random
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.database import Database
from pymongo.errors import OperationFailure

from sealwire.policies.file.schema import Mode
from tests.integration.conftest import Document
from tests.integration.differential.moving import MovingSite, moving_site
from tests.integration.differential.sequences import has_number, is_searchable
from tests.integration.differential.sides import MOST_TRIES, is_of_a_move
from tests.integration.outside.chosen import own_server
from tests.integration.test_contexts_differential import answer_of, commands, plainly
from tests.policies.taint.campaign import chosen_seed
from tests.policies.taint.owners import POLICY, RULES

pytestmark = [pytest.mark.integration, own_server("it moves keys, and watches the database sealwire")]

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


def run(folder: Path, sequences: int, record_property: Callable[[str, object], None]) -> None:
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


def test_answers_are_those_of_plaintext(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    run(tmp_path, FEW, record_property)


@pytest.mark.slow(minutes=5)
def test_answers_are_those_of_plaintext_many_times(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    run(tmp_path, MANY, record_property)
