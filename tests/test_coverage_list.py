"""Every source module has its tests, and the list of those that are tested elsewhere is right."""

import os
from collections.abc import Mapping
from unittest.mock import Mock, call

import pytest

from tests.support.measuring import START, Measurement, measured_tests, measuring, unmeasured
from tools.coverage_run import (
    EVERY,
    LIST,
    OWN,
    SWAY,
    Listed,
    homeless,
    judge,
    list_text,
    mirror,
    needless,
    read_list,
    source_modules,
)


def test_every_source_module_has_a_test_module_or_a_reason() -> None:
    assert homeless(read_list(LIST.read_text(encoding="utf-8")), source_modules()) == []


def test_the_list_is_as_the_command_writes_it() -> None:
    text = LIST.read_text(encoding="utf-8")
    assert list_text(read_list(text)) == text


@pytest.mark.parametrize(
    ("module", "tests"),
    [
        ("wire/framing.py", "tests/wire/test_framing.py"),
        ("sealwire/cli/tls/group.py", "tests/cli/tls/test_group.py"),
    ],
)
def test_tests_mirror_the_rooms(module: str, tests: str) -> None:
    assert mirror(module) == tests


def test_links_lead_to_no_module_twice() -> None:
    modules = source_modules()
    assert "wire/framing.py" in modules
    assert not [module for module in modules if module.startswith("sealwire/wire/")]


@pytest.mark.parametrize(
    ("percent", "row", "is_right"),
    [
        (OWN, Listed(), True),
        (OWN - SWAY, Listed(), True),
        (OWN - SWAY - 0.1, Listed(), False),
        (71.0, Listed(percent=70), True),
        (63.9, Listed(percent=70), False),
        (100.0, Listed(percent=70), True),
    ],
)
def test_a_figure_may_not_fall(percent: float, row: Listed, *, is_right: bool) -> None:
    assert (judge("wire/framing.py", percent, row) == []) is is_right


@pytest.mark.parametrize(
    ("percent", "mirrored", "row", "is_needed"),
    [
        (77.9, 0.0, Listed(percent=70), True),
        (78.0, 0.0, Listed(percent=70), False),
        (OWN, 0.0, Listed(percent=89), True),
        (OWN + SWAY, 0.0, Listed(percent=89), False),
        (100.0, OWN + SWAY - 0.1, Listed(tests=("tests/test_a.py",)), True),
        (100.0, OWN + SWAY, Listed(tests=("tests/test_a.py",)), False),
    ],
)
def test_what_need_not_be_listed_is_noted(
    percent: float, mirrored: float, row: Listed, *, is_needed: bool
) -> None:
    assert (needless("wire/framing.py", percent, mirrored, row) == []) is is_needed


def test_a_module_without_tests_and_a_name_without_module_are_found() -> None:
    problems = homeless({"wire/gone.py": Listed()}, ["wire/untested.py"])
    assert len(problems) == 2
    assert homeless({"wire/untested.py": Listed(why="it declares names")}, ["wire/untested.py"]) == []


def test_own_tests_are_measured_and_no_others() -> None:
    measured = measured_tests({})
    assert measured is not None
    assert {"tests/wire/test_framing.py", "tests/integration/test_softhsm.py"} <= measured
    assert "tests/test_coverage_list.py" not in measured
    assert measured_tests({EVERY: "1"}) is None


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Mapping[str, str]:
    monkeypatch.setenv(START, "pyproject.toml")
    return os.environ


def test_it_rests_while_other_tests_run_and_so_do_their_processes(started: Mapping[str, str]) -> None:
    coverage, seen = Mock(), []
    measurement = Measurement(coverage, {"own.py", "next.py"})
    for module in ("own.py", "other.py", "third.py", "next.py", "next.py", "other.py", "next.py", "own.py"):
        measurement.begin(module)
        seen.append(START in measuring())
    assert seen == [True, False, False, True, True, False, True, True]
    switch = call.switch_context
    # once for all tests of a module, also after a rest: each time, all that was measured is written
    assert coverage.mock_calls == [
        switch("own.py"),
        call.stop(),
        call.start(),
        switch("next.py"),
        call.stop(),
        call.start(),
        switch("own.py"),
    ]
    assert started[START] == "pyproject.toml"


def test_all_of_them_are_measured_where_that_is_asked_for(started: Mapping[str, str]) -> None:
    coverage = Mock()
    Measurement(coverage, None).begin("other.py")
    assert coverage.mock_calls == [call.switch_context("other.py")]


def test_what_is_shared_is_not_measured(started: Mapping[str, str]) -> None:
    with unmeasured():
        assert START not in started
    assert started[START] == "pyproject.toml"
