"""The Python driver's own tests have the same outcomes through Sealwire, but for those that are named."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.clients import driver_suite
from tests.clients.driver_suite import (
    NOTHING,
    ONE_COLLECTION,
    SYNCHRONOUS,
    node_id,
    read_outcomes,
    unexpected,
)
from tests.support.skips import skip_in_samples

RESULTS = """\
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
    with driver_suite.proxied(tmp_path / "server", ONE_COLLECTION) as ports:
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
    with driver_suite.proxied(tmp_path / "server", policy) as ports:
        through, found = driver_suite.differences(ports, SYNCHRONOUS)
    passed = sum(outcome == "passed" for outcome in through.values())
    record_property(
        "summary", f"all of the driver's own tests: {passed} passed, {len(found)} not as directly"
    )
    assert passed > 2500
    assert unexpected(found, through, policy) == []


def test_outcomes_are_read_and_an_error_around_a_test_counts(tmp_path: Path) -> None:
    results = tmp_path / "results.xml"
    results.write_text(RESULTS)
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
