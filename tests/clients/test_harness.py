"""A difference that nobody documented is found, and so is a documented one that is gone."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.clients import driver_suite
from tests.clients.debian import CLIENTS, java_client
from tests.clients.driver_suite import (
    NOTHING,
    ONE_COLLECTION,
    SYNCHRONOUS,
    node_id,
    read_outcomes,
    unexpected,
)
from tests.clients.harness import PARTS, RESULTS, Client, Seen, absent, compare
from tests.clients.table import FAST, SLOW
from tests.support.rows import rows
from tests.support.skips import skip_in_samples

MISSING = {part: "it cannot" for part in PARTS if part != "find"}
CLIENT = Client("a client", "Python", list, absent=MISSING)
DIRECT = Seen("1", {"find": [1], "prefix": 2})
REFUSED = {"message": "a pattern cannot match ciphertext [pattern]"}


def test_what_was_refused_for_its_reason_stands_in_the_row() -> None:
    row = compare(CLIENT, DIRECT, Seen("1", {"find": [1], "prefix": REFUSED}))
    assert (row.same, row.refused) == (["find"], {"prefix": "pattern"})


@rows(
    "steps",
    pytest.param({"find": [2], "prefix": REFUSED}, id="another answer"),
    pytest.param({"find": REFUSED, "prefix": REFUSED}, id="refused without a word"),
    pytest.param({"find": [1], "prefix": {"message": "[sort]"}}, id="another reason"),
    pytest.param({"find": [1], "prefix": 2}, id="not refused any more"),
    pytest.param({"find": [1]}, id="a step is missing"),
)
def test_any_other_difference_fails(steps: dict[str, object]) -> None:
    with pytest.raises(AssertionError):
        compare(CLIENT, DIRECT, Seen("1", steps))


def test_a_part_of_the_scenario_is_left_out_with_a_word_only() -> None:
    through = Seen("1", {"find": [1], "prefix": REFUSED})
    silent = replace(CLIENT, absent={part: why for part, why in MISSING.items() if part != "GridFS"})
    with pytest.raises(AssertionError, match="GridFS"):
        compare(silent, DIRECT, through)


def test_a_part_that_is_played_is_not_called_absent() -> None:
    with pytest.raises(AssertionError):
        compare(replace(CLIENT, absent=MISSING | {"find": "it cannot"}), DIRECT, Seen("1", {**DIRECT.steps}))


def test_the_table_has_every_client_and_every_absence_with_its_reason() -> None:
    rows = {row["client"]: row for row in json.loads(RESULTS.read_text(encoding="utf-8"))}
    clients = {each.name: each for each in (*FAST, *SLOW, *CLIENTS, java_client(RESULTS))}
    assert set(rows) == set(clients)
    for name, row in rows.items():
        assert absent([*row["same"], *row["refused"]]) == set(row["absent"])
        assert row["absent"] == dict(clients[name].absent)
        assert all(row["absent"].values())


# The Python driver's own tests have the same outcomes through Sealwire, but for those that are named.


PART_RESULTS = """\
<testsuites><testsuite>
<testcase classname="test.test_a.TestA" name="test_one"/>
<testcase classname="test.test_a.TestA" name="test_two"><skipped/></testcase>
<testcase classname="test.test_a.TestA" name="test_three"><failure/></testcase>
<testcase classname="test.test_a.TestA" name="test_four"/>
<testcase classname="test.test_a.TestA" name="test_four"><error/></testcase>
</testsuite></testsuites>
"""


@pytest.mark.integration
@pytest.mark.slow(minutes=4)
def test_a_sample_has_the_outcomes_that_it_has_directly(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """The collection that most of these tests use has a covered field, which they do not use."""
    with driver_suite.both_ports(tmp_path / "server", ONE_COLLECTION) as ports:
        through, found = driver_suite.differences(ports, driver_suite.SAMPLE)
    passed = sum(outcome == "passed" for outcome in through.values())
    record_property("summary", f"the driver's own tests: {passed} passed, {len(found)} not as directly")
    assert passed > 200
    assert unexpected(found, through) == []


@pytest.mark.integration
@pytest.mark.slow
@pytest.mark.parametrize("policy", [NOTHING, ONE_COLLECTION], ids=["nothing-covered", "one-collection"])
def test_all_have_the_outcomes_that_they_have_directly(
    policy: str, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    skip_in_samples("the driver's own suite")
    with driver_suite.both_ports(tmp_path / "server", policy) as ports:
        through, found = driver_suite.differences(ports, SYNCHRONOUS)
    passed = sum(outcome == "passed" for outcome in through.values())
    record_property(
        "summary", f"all of the driver's own tests: {passed} passed, {len(found)} not as directly"
    )
    assert passed > 2500
    assert unexpected(found, through, policy) == []


def test_outcomes_are_read_and_an_error_around_a_test_counts(tmp_path: Path) -> None:
    results = tmp_path / "results.xml"
    results.write_text(PART_RESULTS)
    found = read_outcomes(results)
    assert {name.removeprefix("test.test_a.TestA::test_"): what for name, what in found.items()} == {
        "one": "passed",
        "two": "skipped",
        "three": "failed",
        "four": "failed",
    }


def test_a_difference_has_to_be_written_down_and_to_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver_suite, "expected", lambda _: {"known": "why", "elsewhere": "why"})
    ran = {"known": "passed", "new": "failed", "same": "passed"}
    assert unexpected({"new": "passed, failed"}, ran) == [
        "new: passed, failed",
        "known: no difference any more",
    ]


def test_the_same_test_of_the_asynchronous_client_needs_no_word_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(driver_suite, "expected", lambda _: {"test.test_a.TestA::test_b": "why"})
    twin = "test.asynchronous.test_a.TestAsyncA::test_b"
    assert unexpected({twin: "passed, failed"}, {twin: "failed"}) == []


def test_a_test_can_be_asked_for_by_its_name_in_the_results() -> None:
    assert node_id("test.test_a.TestA::test_b") == "test/test_a.py::TestA::test_b"


def test_every_difference_has_a_reason() -> None:
    assert all(reason.strip() for reason in driver_suite.expected().values())


def test_a_difference_may_be_there_only_if_something_is_covered() -> None:
    test = "test.test_cursor.TestCursor::test_comment"
    assert test in driver_suite.expected()
    assert test not in driver_suite.expected(NOTHING)
