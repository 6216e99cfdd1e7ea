"""The longest test files come first."""

from types import SimpleNamespace
from typing import Any

from tests.build_context import ROOT
from tests.support.longest import LONGEST, longest_first


def of(path: str, name: str) -> Any:
    return SimpleNamespace(path=path, name=name)


def test_files_that_are_listed_come_first_and_stay_whole() -> None:
    tests = [of("/t/a.py", "1"), of(f"/t/{LONGEST[1]}", "2"), of(f"/t/{LONGEST[0]}", "3")]
    tests += [of(f"/t/{LONGEST[1]}", "4"), of("/t/b.py", "5")]
    assert "".join(test.name for test in longest_first(tests, "/t")) == "32415"


def test_every_file_of_the_list_is_there_once() -> None:
    assert [name for name in LONGEST if not (ROOT / "tests" / name).is_file()] == []
    assert len(set(LONGEST)) == len(LONGEST)
