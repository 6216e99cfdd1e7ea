"""The faults that mutation testing puts into the core, and the list of those that nobody can notice."""

import gc
import importlib
import math
import os
import time
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from pathlib import Path
from types import FunctionType, SimpleNamespace
from typing import Any
from unittest.mock import Mock, call

import pytest

from tests.build_context import ROOT
from tests.support.measuring import START, Measurement, measured_tests, measuring, unmeasured
from tests.support.rows import rows
from tools import mutation
from tools.coverage_run import (
    EVERY,
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
from tools.coverage_run import LIST as COVERAGE_LIST
from tools.mutants import Mutant, compiled, mutants_of
from tools.mutation import (
    LEAST,
    LIST,
    ROOMS,
    TESTS,
    Fate,
    Judged,
    equivalents,
    jobs_of,
    judged_in_parallel,
    room_of,
    targets,
    verdict,
)
from tools.reach import Reach, in_turn

MODULE = "wire/op_msg.py"
FOUND = mutants_of(MODULE)


def named(function: str, before: str, after: str) -> Mutant:
    (mutant,) = [each for each in FOUND if each.key == (MODULE, function, before, after)]
    return mutant


@rows(
    "function, before, after",
    ("", "MAX_SEQUENCES: Final = 16", "MAX_SEQUENCES: Final = 17"),
    ("_sequence_at", "if start + 4 > limit:", "if start + 4 >= limit:"),
    ("_sequence_at", "if size < 5 or end > limit:", "if size < 5 and end > limit:"),
    ("_sequence_at", "nul = find_nul(message, start + 4, end)", "nul = find_nul(message, start - 4, end)"),
    ("_parse", "if not body:", "if body:"),
    ("_parse", "if sequences:", "if not sequences:"),
    ("_parse", "raise ProtocolError(WireReason.CHECKSUM, end)", "pass"),
    ("_parse", "_require_distinct(message, body, sequences)", "pass"),
    ("_parse", "return OpMsg(flags, body, tuple(sequences), end)", "return None"),
)
def test_every_kind_of_fault_is_made(function: str, before: str, after: str) -> None:
    assert named(function, before, after).line > 0


def test_docstrings_annotations_and_the_text_of_errors_stay() -> None:
    raises = [mutant.after for mutant in FOUND if mutant.before.startswith("raise ")]
    assert set(raises) == {"pass"}
    assert not [mutant for mutant in FOUND if mutant.before.startswith("class ")]


def test_a_mutant_is_compiled_with_its_fault_and_nothing_else() -> None:
    mutant = named("_sequence_at", "if start + 4 > limit:", "if start + 4 >= limit:")
    code, line = compiled(mutant, "faulty")
    plain = compile((ROOT / MODULE).read_text(encoding="utf-8"), "plain", "exec")
    changed = [
        one.co_name
        for one, other in zip(code.co_consts, plain.co_consts, strict=True)
        if hasattr(one, "co_code") and (one.co_code, one.co_consts) != (other.co_code, other.co_consts)
    ]
    assert changed == ["_sequence_at"]
    assert line < mutant.line


@pytest.mark.parametrize("module", ["wire/framing.py", "crypto/envelope.py", "keys/kek/kek.py"])
def test_every_mutant_differs_from_its_module_and_is_compiled_where_it_was_found(module: str) -> None:
    plain = compile((ROOT / module).read_text(encoding="utf-8"), "same", "exec")
    for mutant in mutants_of(module):
        assert mutant.before != mutant.after
        code, _ = compiled(mutant, "same")
        assert code != plain


def test_what_can_never_be_reached_has_no_fault() -> None:
    assert not [each for each in mutants_of("keys/providers.py") if "assert_never" in each.before]


def test_a_mutant_is_shown_to_the_tests_that_run_its_line_the_likely_and_the_quick_first() -> None:
    mutant = named("_sequence_at", "if start + 4 > limit:", "if start + 4 >= limit:")
    names = ["slow", "own slow", "other", "own", "quick", "elsewhere"]
    seconds = dict(zip(names, [9.0, 5.0, 0.2, 0.2, 0.1, 0.0], strict=True))
    runs = frozenset(names) - {"elsewhere"}
    reach = Reach(seconds, {(MODULE, mutant.line): runs, (MODULE, mutant.line + 1): frozenset(names)})
    items: list[Any] = [
        SimpleNamespace(nodeid=name, path=Path("test_op_msg.py" if "own" in name else "test_x.py"))
        for name in names
    ]
    assert mutant.lines == 1
    ordered = in_turn(mutant, items, reach)
    assert [item.nodeid for item in ordered] == ["own", "quick", "other", "own slow", "slow"]
    at_import = named("", "MAX_SEQUENCES: Final = 16", "MAX_SEQUENCES: Final = 17")
    ordered = in_turn(at_import, items, Reach(seconds, {(MODULE, 1): frozenset(["other", "slow"])}))
    assert [item.nodeid for item in ordered] == ["own", "other", "elsewhere", "quick", "own slow", "slow"]


def test_a_fault_is_put_into_the_functions_too_that_one_made_at_import() -> None:
    importlib.import_module("sealwire.policies.updates.updates")
    (mutant,) = [
        each
        for each in mutants_of("policies/updates/updates.py")
        if (each.function, each.after) == ("_on_arrays", "if not walk.node.is_random:")
    ]
    gc.unfreeze()
    living = [each for each in gc.get_objects() if type(each) is FunctionType]
    gc.freeze()
    found = targets(mutant, living)
    assert {each.__qualname__ for each, _ in found} == {"_on_arrays", "_on_arrays.<locals>.handle"}
    assert all(each.__code__.co_code != code.co_code for each, code in found if "handle" in each.__qualname__)


def test_what_runs_before_the_first_test_is_known() -> None:
    reach = Reach(imported={(MODULE, 5)})
    assert reach.is_imported(MODULE, range(4, 6))
    assert not reach.is_imported(MODULE, range(6, 8))
    assert not reach.is_imported("wire/framing.py", range(4, 6))


def test_every_room_of_the_core_has_mutants_and_tests() -> None:
    for room, patterns in ROOMS.items():
        found = [path for pattern in patterns.split() for path in ROOT.glob(pattern)]
        files = [path.relative_to(ROOT).as_posix() for path in found]
        assert files
        assert {room_of(file) for file in files} == {room}
        assert (ROOT / TESTS[room]).is_dir()


def test_a_part_is_of_one_room() -> None:
    mutants = [*FOUND, *mutants_of("crypto/errors.py")]
    parts = [part for each in jobs_of(mutants).values() for part in each]
    assert Counter(mutant for part in parts for mutant in part) == Counter(mutants)
    assert all(len({room_of(mutant.module) for mutant in part}) == 1 for part in parts)


class AtOnce:
    """A pool that does its work when it is asked to."""

    def __init__(self, *_: object, **__: object) -> None:
        pass

    def __enter__(self) -> "AtOnce":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def submit(self, work: Callable[..., Any], *arguments: Any) -> Future[Any]:
        done: Future[Any] = Future()
        done.set_result(work(*arguments))
        return done


@rows(
    "left_s, told",
    (math.inf, ["measure wire", "judge wire", "judge wire", "measure crypto", "judge crypto"]),
    (mutation.MEASURING_S / 2, []),
)
def test_a_room_is_measured_when_the_mutants_of_the_one_before_are_judged(
    monkeypatch: pytest.MonkeyPatch, left_s: float, told: list[str]
) -> None:
    found: list[str] = []

    def judge(part: list[Mutant], *_: object) -> list[Judged]:
        found.append(f"judge {room_of(part[0].module)}")
        return [Judged(each, Fate.KILLED, 0.0) for each in part]

    monkeypatch.setattr(mutation, "ProcessPoolExecutor", AtOnce)
    monkeypatch.setattr(mutation, "reach_of", lambda room: found.append(f"measure {room}"))
    monkeypatch.setattr(mutation, "judge", judge)
    monkeypatch.setattr(mutation, "PART", 2)
    mutants = [*FOUND[:3], *mutants_of("crypto/errors.py")[:1]]
    judged = list(judged_in_parallel(mutants, 1, time.time() + left_s))
    assert found == told
    assert [each.mutant for each in judged] == (mutants if told else [])


def test_the_list_holds_mutants_that_exist_each_with_a_reason() -> None:
    listed = equivalents(LIST.read_text(encoding="utf-8"))
    existing = {mutant.key for module in {key[0] for key in listed} for mutant in mutants_of(module)}
    assert [key for key in listed if key not in existing] == []
    assert all(listed.values())


def test_a_sample_fails_when_too_few_are_noticed() -> None:
    most = 100 - int(LEAST)
    fates = [Fate.SURVIVED] * most + [Fate.TIMED_OUT] + [Fate.KILLED] * (99 - most)
    assert verdict(fates, 100)[1] == 0
    assert verdict([Fate.SURVIVED, *fates[:-1]], 100)[1] == 1


def test_a_part_of_a_sample_fails_only_where_the_whole_would_and_says_what_is_missing() -> None:
    most = 100 - int(LEAST)
    text, status = verdict([Fate.SURVIVED] * most, 100)
    assert (status, f"{100 - most} more" in text, " 0.0 % noticed" in text) == (0, True, True)
    assert verdict([Fate.SURVIVED] * (most + 1), 100)[1] == 1
    text, status = verdict([], 300)
    assert (status, "no mutant (300 more were left out)" in text) == (0, True)
    assert verdict([], 0) == ("no mutant", 0)


# Every source module has its tests, and the list of those that are tested elsewhere is right.


def test_every_source_module_has_a_test_module_or_a_reason() -> None:
    assert homeless(read_list(COVERAGE_LIST.read_text(encoding="utf-8")), source_modules()) == []


def test_the_list_is_as_the_command_writes_it() -> None:
    text = COVERAGE_LIST.read_text(encoding="utf-8")
    assert list_text(read_list(text)) == text


@rows(
    "module, tests",
    ("wire/framing.py", "tests/wire/test_framing.py"),
    ("sealwire/cli/tls/group.py", "tests/cli/tls/test_group.py"),
)
def test_tests_mirror_the_rooms(module: str, tests: str) -> None:
    assert mirror(module) == tests


def test_links_lead_to_no_module_twice() -> None:
    modules = source_modules()
    assert "wire/framing.py" in modules
    assert not [module for module in modules if module.startswith("sealwire/wire/")]


@rows(
    "percent, row, is_right",
    (OWN, Listed(), True),
    (OWN - SWAY, Listed(), True),
    (OWN - SWAY - 0.1, Listed(), False),
    (71.0, Listed(percent=70), True),
    (63.9, Listed(percent=70), False),
    (100.0, Listed(percent=70), True),
)
def test_a_figure_may_not_fall(percent: float, row: Listed, *, is_right: bool) -> None:
    assert (judge("wire/framing.py", percent, row) == []) is is_right


@rows(
    "percent, mirrored, row, is_needed",
    (77.9, 0.0, Listed(percent=70), True),
    (78.0, 0.0, Listed(percent=70), False),
    (OWN, 0.0, Listed(percent=89), True),
    (OWN + SWAY, 0.0, Listed(percent=89), False),
    (100.0, OWN + SWAY - 0.1, Listed(tests=("tests/test_a.py",)), True),
    (100.0, OWN + SWAY, Listed(tests=("tests/test_a.py",)), False),
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
    assert "tests/test_mutants.py" not in measured
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
