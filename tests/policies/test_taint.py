"""Generated commands with markers at covered paths: whatever the planner says, no marker leaves.

`make test` plans 30,000 commands, `make test-slow` a million, of which `.ci/run` takes the first 200,000:
always the same ones, so that a change is judged by itself. `SEALWIRE_SEED` chooses others. What fails is made
small and printed as extended JSON.
"""

from collections.abc import Callable

import pytest

from tests.policies.taint.campaign import Report, attack, chosen_seed, shrunk
from tests.policies.taint.commands import Case, draw_case
from tests.policies.taint.outcome import outcome_of
from tests.policies.taint.values import MARK, MARKERS, Pairs, encoded, shown
from tests.support.skips import takes_samples

FEW_EXAMPLES, MANY_EXAMPLES = 30_000, 1_000_000
KEYED_EXAMPLES = 8_000
MANY_PARTS = 20
TRIED_PARTS = 4 if takes_samples() else MANY_PARTS
MANY_SEED = 1000
Record = Callable[[str, object], None]


def run(seed: int, examples: int, record_property: Record) -> Report:
    """The report of a run in which nothing was found; the seed is printed, whatever comes of it."""
    report = attack(seed, examples)
    record_property("summary", f"taint: seed {seed}, {report.examples} commands, {report.refused} refused")
    assert not report.findings, f"seed {seed}: {report}"
    # a planner that refuses everything would let nothing through
    assert report.refused < 0.92 * examples
    return report


def test_no_marker_leaves(record_property: Record) -> None:
    report = run(chosen_seed(1), FEW_EXAMPLES, record_property)
    assert report.missing == set()


def test_no_marker_leaves_where_classes_have_a_key_for_each_context() -> None:
    report = attack(chosen_seed(1), KEYED_EXAMPLES, is_keyed=True)
    assert not report.findings, str(report)
    assert report.refused < 0.95 * KEYED_EXAMPLES


@pytest.mark.slow
@pytest.mark.parametrize("part", range(TRIED_PARTS))
def test_no_marker_leaves_of_many_commands(part: int, record_property: Record) -> None:
    run(chosen_seed(MANY_SEED) + part, MANY_EXAMPLES // MANY_PARTS, record_property)


def test_a_seed_draws_the_same_command_again() -> None:
    for seed in range(50):
        assert repr(draw_case(seed)) == repr(draw_case(seed))


def test_every_marker_is_found_in_its_bytes() -> None:
    assert all(MARK in encoded({"": marker}) for marker in MARKERS)


def test_every_case_has_a_marker_or_a_reason_to_be_refused() -> None:
    cases = [draw_case(seed) for seed in range(2_000)]
    for case in cases:
        sequences = {"": [list(found) for found in case.sequences.values()]}
        assert case.refused or MARK in encoded(case.body) + encoded(sequences)
    assert any(case.refused for case in cases)
    assert any(case.sequences for case in cases)


def test_a_doubled_name_stands_twice_on_the_wire_and_in_print() -> None:
    twice = Pairs((("a", 1), ("a", {"b": Pairs((("c", 2), ("c", 3)))})))
    assert encoded({"x": twice}).count(b"\x10a\0") == 1
    assert encoded({"x": twice}).count(b"\x10c\0") == 2
    assert shown(twice).count('"c"') == 2


# A planner that passes everything: what it lets through is noticed, and made small.
_LEAK = {"find": "unheard", "filter": {"$and": [{"ward": "a"}, {"nhs_number": "tAiN"}]}, "limit": 5}


def test_a_marker_that_leaves_is_noticed_and_the_command_made_small() -> None:
    case = Case({**_LEAK, "$db": "other"}, {}, frozenset())
    assert outcome_of(case).problem
    small = shrunk(case)
    assert small.body == {"find": "unheard", "filter": {"$and": [{"nhs_number": "tAiN"}]}, "$db": "other"}


def test_a_trap_that_is_planned_is_noticed() -> None:
    body = {"aggregate": "wards", "pipeline": [{"$out": "stats"}], "cursor": {}, "$db": "clinic"}
    assert not outcome_of(Case(body, {}, frozenset())).problem
    assert outcome_of(Case(body, {}, frozenset(), "a reason")).problem


def test_a_value_in_another_context_than_its_own_is_noticed() -> None:
    told = {"find": "patients", "filter": {"tenant": 7, "nhs_number": "tAiN"}, "$db": "clinic"}
    assert not outcome_of(Case(told, {}, frozenset()), is_keyed=True).problem
    other = {**told, "filter": {"tenant": 8, "nhs_number": "tAiN"}}
    assert outcome_of(Case(other, {}, frozenset()), is_keyed=True).problem


def test_a_refusal_and_a_covered_marker_are_no_findings() -> None:
    covered = Case({"find": "patients", "filter": {"nhs_number": "tAiN"}, "$db": "clinic"}, {}, frozenset())
    refused = Case({"find": "patients", "filter": {"notes": "tAiN"}, "$db": "clinic"}, {}, frozenset())
    assert (outcome_of(covered).refused, outcome_of(covered).problem) == (False, "")
    assert (outcome_of(refused).refused, outcome_of(refused).problem) == (True, "")
