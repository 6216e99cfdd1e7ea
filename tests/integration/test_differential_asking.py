"""Generated sequences with conditions that need a question: the answers of plaintext, or a refusal.

Every class says `ask: true`, random ones as well. `make test` runs 60 sequences, always the same ones, and
`make test-slow` 5,000 new ones, the same without `ask`, and 500 while classes move; a part of them if
`SEALWIRE_SEQUENCES` says so.
"""

import random
import re
from functools import partial
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
from pymongo import MongoClient

from sealwire.testbed.database import DatabaseProcess
from tests.integration.conftest import Document, Record
from tests.integration.differential.campaign import run_campaign
from tests.integration.differential.processes import PART, run_here, run_parts
from tests.integration.differential.tally import Tally
from tests.integration.outside.chosen import own_server
from tests.integration.test_differential_sequences import MANY_EXAMPLES
from tests.policies.taint.campaign import chosen_seed
from tests.support.proxied import proxied

pytestmark = [pytest.mark.integration, own_server("its patterns are those that Python reads as PCRE2 does")]

FEW_EXAMPLES, MANY_ASKED = 60, max(MANY_EXAMPLES // 10, 100)
MOVING = max(MANY_EXAMPLES // 100, 50)
OPERATORS = {
    *("$regex", "$gt", "$gte", "$lt", "$lte", "$mod"),
    *("$bitsAllSet", "$bitsAllClear", "$bitsAnySet", "$bitsAnyClear"),
}
LEAST_SHARE = 0.7
READS = ("find", "count", "distinct", "aggregate", "view find", "view count", "find hint")


def reads_answered(tally: Tally) -> float:
    """0 to 1: how many of the reads that may ask were answered."""
    counts = [
        (outcome.value, tally.outcomes[kind, outcome]) for kind, outcome in tally.outcomes if kind in READS
    ]
    total = sum(count for _, count in counts)
    return 1 - sum(count for name, count in counts if name == "refused") / max(total, 1)


def test_answers_are_those_of_plaintext(tmp_path: Path, record_property: Record) -> None:
    seed = chosen_seed(2)
    tally = run_here(tmp_path, seed, FEW_EXAMPLES, partial(run_campaign, asks=True), parts=1)
    record_property("summary", f"asking: seed {seed}\n" + "\n".join(tally.table()))
    assert tally.share_answered > LEAST_SHARE
    assert len(OPERATORS & set(tally.answered)) > 5


@pytest.mark.slow(minutes=5)
def test_answers_are_those_of_plaintext_many_times(record_property: Record) -> None:
    """And more of them than without questions."""
    seed = chosen_seed(random.SystemRandom().randrange(10**9))
    shares = {}
    for option in ("--asks", "--unasked"):
        tally = run_parts(seed, MANY_ASKED, option)
        shares[option] = tally.share_answered, reads_answered(tally)
        record_property("summary", f"{option}: seed {seed}\n" + "\n".join(tally.table()))
        if option == "--asks":
            assert set(tally.answered) >= OPERATORS or MANY_ASKED < PART
    said = {option: f"{share:.1%}, of reads {reads:.1%}" for option, (share, reads) in shares.items()}
    record_property("summary", f"answered: {said}")
    assert shares["--asks"][1] > shares["--unasked"][1] + 0.1


@pytest.mark.slow
def test_answers_are_those_of_plaintext_while_classes_move(record_property: Record) -> None:
    seed = chosen_seed(random.SystemRandom().randrange(10**9))
    tally = run_parts(seed, MOVING, "--asks", "--moving", "--to-clear")
    record_property("summary", f"asking while classes move: seed {seed}\n" + "\n".join(tally.table()))
    assert tally.moves["steps of frontiers"] > 0


POLICY = """
version: 1
classes:
  surname: {mode: deterministic, type: string, ask: true}
collections:
  clinic.patients: {surname: surname}
"""
STILL, TURNS = 60, 60


def test_what_nobody_changes_is_found_while_others_write(database: DatabaseProcess, tmp_path: Path) -> None:
    """And whatever is found satisfied the condition when it was read."""
    with (
        proxied(tmp_path, POLICY, database.address) as proxy,
        MongoClient[Document](proxy.uri()) as client,
        MongoClient[Document](proxy.uri()) as other,
    ):
        patients = client["clinic"]["patients"]
        patients.drop()
        patients.create_index("surname")
        patients.insert_many({"_id": each, "surname": f"{'ab'[each % 2]}{each}"} for each in range(STILL))
        stop = Event()
        writer = Thread(target=_write, args=(other["clinic"]["patients"], stop))
        writer.start()
        try:
            queries: list[Any] = [
                re.compile("^a"),
                {"$gte": "a", "$lt": "b"},
                {"$regex": "^A", "$options": "i"},
            ]
            for turn in range(TURNS):
                found = list(patients.find({"surname": queries[turn % 3]}))
                assert all(each["surname"].startswith("a") for each in found)
                still = sorted(each["_id"] for each in found if each["_id"] < STILL)
                assert still == list(range(0, STILL, 2))
        finally:
            stop.set()
            writer.join()
        client.drop_database("clinic")


def _write(patients: Any, stop: Event) -> None:
    """New values, changed values and values that go, until it is to stop."""
    chance = random.Random(3)
    while not stop.is_set():
        number = STILL + chance.randrange(20)
        surname = f"{chance.choice('ab')}{chance.randrange(500)}"
        if chance.random() < 0.3:
            patients.delete_one({"_id": number})
        else:
            patients.update_one({"_id": number}, {"$set": {"surname": surname}}, upsert=True)
