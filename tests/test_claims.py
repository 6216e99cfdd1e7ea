"""The faults of tests/claims.toml are about rows and tests of the compliance page, and are noticed."""

import re
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from tests.build_context import ROOT
from tests.test_compliance import CODE, ROWS
from tools import claims
from tools.claims import FAILED, Claim, copy_files, read_claims, unnoticed

CLAIMS = read_claims()
CLAIM = Claim("P2", "keys/test_x.py::test_x", "a.py", "long", "short")
PAGE = {row.id: row for row in ROWS}


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.row)
def test_every_fault_is_one_that_its_row_s_test_can_notice(claim: Claim) -> None:
    assert claim.test in CODE.findall(PAGE[claim.row].tests)
    assert (ROOT / claim.file).read_text(encoding="utf-8").count(claim.before) == 1
    assert claim.before != claim.after


def test_the_page_says_how_many_rows_have_a_fault() -> None:
    page = (ROOT / "docs" / "ENCRYPTION_COMPLIANCE.md").read_text(encoding="utf-8")
    said = re.search(r"\*\*(\d+) of (\d+)\*\* rows", page)
    assert said is not None
    # the others are an organisation's, and name no test
    testable = [row for row in ROWS if CODE.findall(row.tests)]
    assert (int(said[1]), int(said[2])) == (len({claim.row for claim in CLAIMS}), len(testable))


@pytest.mark.parametrize(("codes", "count"), [((0, FAILED), 0), ((0, 0), 1), ((0, 4), 1), ((1,), 1)])
def test_a_fault_under_which_no_test_fails_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, codes: Sequence[int], count: int
) -> None:
    (tmp_path / "a.py").write_text("as long as this\n")
    seen: list[str] = []
    left = list(codes)

    def run(root: Path, tests: Sequence[str], *, is_broken: bool) -> int:
        assert tests == [CLAIM.test]
        assert is_broken == bool(seen)
        seen.append((root / "a.py").read_text())
        return left.pop(0)

    monkeypatch.setattr(claims, "run_tests", run)
    assert len(unnoticed([CLAIM], tmp_path)) == count
    assert seen == ["as long as this\n", "as short as this\n"][: len(codes)]
    assert (tmp_path / "a.py").read_text() == "as long as this\n"


@pytest.mark.parametrize("text", ["none", "long and long"])
def test_a_fault_that_has_no_place_or_two_is_an_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.py").write_text(text)
    with pytest.raises(ValueError, match="P2"):
        CLAIM.break_in(tmp_path)


@pytest.mark.slow(minutes=2)
def test_the_copy_is_what_runs(tmp_path: Path) -> None:
    copy_files(tmp_path)
    assert (tmp_path / "sealwire" / "keys").is_symlink()
    claim = next(each for each in CLAIMS if each.row == "P2")
    assert unnoticed([claim], tmp_path) == []
    assert len(unnoticed([replace(claim, after=f"{claim.before}  # the same")], tmp_path)) == 1


@pytest.mark.slow(minutes=8)
def test_every_fault_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["claims.py"])
    assert claims.main() == 0
