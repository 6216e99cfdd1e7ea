"""The tables of the compliance page name what is there, and an owner for what is left."""

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import click
import pytest

from sealwire.cli import sealwire
from tests.build_context import ROOT
from tests.support.doc_commands import blocks_of
from tests.support.rows import rows
from tools import claims
from tools.claims import FAILED, Claim, copy_files, read_claims, unnoticed

DOCS = ROOT / "docs"
PAGE = DOCS / "ENCRYPTION_COMPLIANCE.md"
COLUMNS = ("row", "asked", "state", "how, and by which setting", "tests", "evidence, and what remains")
STATES = {"met", "partly", "yours"}
ASKED = {
    **{"G": 7, "C": 8, "L1.": 9, "L2.": 7, "L3.": 7, "L4.": 9, "L5.": 8},
    **{"D": 9, "T": 13, "P": 8, "W": 4, "S": 10, "X": 4},
}
"""How many rows each part of the directive has: one that is taken out of the page is missed."""
OUTCOMES = ("B3a", "B3b", "B3c", "B3d", "B3e")
OWNERS = (
    *("SIRO", "Caldicott Guardian", "DPO", "IAO", "CSO", "IT operations"),
    *("application owner", "line managers"),
)
DOCUMENTS = (
    *("ENCRYPTION_COMPLIANCE.md", "ENCRYPTION_OPERATIONS.md", "ENCRYPTION_ARCHITECTURE.md"),
    *("INCIDENT_RESPONSE.md", "governance/dpia.md", "governance/privacy-notice.md", "governance/staff.md"),
)

CODE = re.compile(r"`([^`]+)`")
TEST = re.compile(r"^((?:[\w-]+/)*test_\w+\.py)(?:::([A-Z]\w+))?::(test_\w+)$")
FILE = re.compile(r"^(?:[\w.-]+/)+[\w.-]+$|^[\w.-]+\.(?:py|sh|yaml)$")
PLAIN = {"aes-xts-plain64", ".tar.gz.enc", "--due", "--watch", "--drill"}


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a table."""

    id: str
    asked: str
    state: str
    how: str
    tests: str
    evidence: str


def rows_of(text: str) -> list[Row]:
    """The rows of all tables with these columns."""
    lines = [line.strip() for line in text.splitlines() if line.startswith("| ")]
    cells = [tuple(cell.strip() for cell in line.strip("|").split(" | ")) for line in lines]
    heads = {COLUMNS, ("state", "meaning")}
    return [Row(*row) for row in cells if row not in heads and len(row) == len(COLUMNS)]


def gone_from(row: Row) -> list[str]:
    """What a row names for tests that are none of this repository."""
    return [code for code in CODE.findall(row.tests) if not is_test(code)]


def is_test(code: str) -> bool:
    """Whether `path/test_x.py::test_y` or `path/test_x.py::Class::test_y` is a test of this repository."""
    named = TEST.match(code)
    path = ROOT / "tests" / named[1] if named else None
    if named is None or path is None or not path.is_file():
        return False
    text = path.read_text(encoding="utf-8")
    if named[2]:
        _, _, text = text.partition(f"\nclass {named[2]}:")
        text = re.split(r"^\S", text, maxsplit=1, flags=re.M)[0]
    indent = "    " if named[2] else ""
    return re.search(rf"^{indent}(?:async )?def {named[3]}\(", text, re.M) is not None


def _settings() -> set[str]:
    keys = re.findall(r"^\| `([a-z_.]+)` \|", (DOCS / "configuration.md").read_text(encoding="utf-8"), re.M)
    pages = "".join((DOCS / page).read_text(encoding="utf-8") for page in ("policies.md", "roles.md"))
    return {*keys, *re.findall(r"^\| `([\w.]+)` \|", pages, re.M)}


def _is_command(code: str) -> bool:
    command: click.Command = sealwire
    for word in code.split()[1:]:
        if word.startswith("-") or word.isupper():
            return any(word in option.opts for option in command.params) or word.isupper()
        found = (
            command.get_command(click.Context(command), word) if isinstance(command, click.Group) else None
        )
        if found is None:
            return False
        command = found
    return True


def _is_make_target(code: str) -> bool:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    return re.search(rf"^{code.removeprefix('make ')}:", makefile, re.M) is not None


def _is_variable(code: str) -> bool:
    pages = [DOCS / "configuration.md", *(DOCS / "operations").glob("*.md")]
    return any(f"`{code}`" in page.read_text(encoding="utf-8") for page in pages)


def is_setting(code: str) -> bool:
    """Whether it is a key of configuration or policy, a command, a target, a variable or a file."""
    if code.startswith("sealwire "):
        return _is_command(code)
    if code.startswith("make "):
        return _is_make_target(code)
    if code.startswith("SEALWIRE_"):
        return _is_variable(code)
    if FILE.match(code) and (ROOT / code).exists():
        return True
    return code in _settings() or code in PLAIN


ROWS = rows_of(PAGE.read_text(encoding="utf-8"))
each_row = pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)


def test_every_point_of_the_directive_has_its_row() -> None:
    asked = [f"{part}{number}" for part, count in ASKED.items() for number in range(1, count + 1)]
    assert sorted(row.id for row in ROWS) == sorted([*asked, *OUTCOMES])


@each_row
def test_every_row_names_its_tests_or_its_owner(row: Row) -> None:
    assert row.state in STATES
    assert gone_from(row) == []
    assert CODE.findall(row.tests) or row.state == "yours"
    if row.state == "yours":
        remains = row.evidence.partition("Remains: ")[2]
        assert remains.startswith(OWNERS)
        assert "because" in remains


@each_row
def test_what_is_only_partly_so_says_what_is_not(row: Row) -> None:
    if row.state == "partly":
        assert re.search(
            r"Remains: |not there yet|not on record yet|does not|cannot|\*\*Not reached", row.evidence
        )
    for remains in re.findall(r"Remains: (.*)", row.evidence):
        assert remains.startswith(OWNERS)


@each_row
def test_every_setting_and_command_of_a_row_is_there(row: Row) -> None:
    assert [code for code in CODE.findall(row.how) if not is_setting(code)] == []
    commands = [code for code in CODE.findall(row.evidence) if code.startswith(("sealwire ", "make "))]
    assert [code for code in commands if not is_setting(code)] == []


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_command_that_a_document_names_is_there(name: str) -> None:
    text = (DOCS / name).read_text(encoding="utf-8")
    commands = [code for code in CODE.findall(text) if code.startswith(("sealwire ", "make "))]
    assert [code for code in commands if not is_setting(code)] == []


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_block_that_is_to_be_run_is_run_by_a_test(name: str) -> None:
    running = (ROOT / "tests" / "integration" / "test_operations_pages.py").read_text(encoding="utf-8")
    for block in blocks_of((DOCS / name).read_text(encoding="utf-8")):
        assert f'"{name}", "{block.name}"' in running


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_document_that_is_asked_for_is_there(name: str) -> None:
    assert (DOCS / name).read_text(encoding="utf-8").startswith("# ")


@rows(
    "name, section, named",
    ("ENCRYPTION_OPERATIONS.md", "A quarter", ("sealwire keys status", "operations/keys.md")),
    ("ENCRYPTION_OPERATIONS.md", "Layer 3: backups", ("restore-drill.md", "sealwire backup unpack")),
    ("ENCRYPTION_OPERATIONS.md", "Layer 5: keys", ("operations/keys.md", "sealwire keys rewrap")),
    ("operations/luks.md", "Set up", ("sealwire luks setup /dev/sdb", "/etc/crypttab")),
    ("INCIDENT_RESPONSE.md", "The first hour", ("sealwire incident open", "sealwire audit verify")),
    ("INCIDENT_RESPONSE.md", "Seventy-two hours", ("72",)),
    ("INCIDENT_RESPONSE.md", "Templates", ("ICO",)),
)
def test_a_section_says_how_what_is_asked_for_is_done(
    name: str, section: str, named: tuple[str, ...]
) -> None:
    text = (DOCS / name).read_text(encoding="utf-8")
    found = re.search(rf"^(##+) {re.escape(section)}\n(.*?)(?=^##? |\Z)", text, re.M | re.S)
    assert found is not None
    assert [each for each in named if each not in found[2]] == []


@rows(
    "cell",
    "`wire/test_gone.py::test_x`",
    "`test_compliance.py::test_gone`",
    "`test_compliance.py`",
    "`test_compliance.py::rows_of`",
    "`../pyproject.toml::test_x`",
    "`crypto/test_cipher.py::test_it_depends_on_key_domain_and_data`",
    "`crypto/test_cipher.py::TestTag::test_nothing_was_said_of`",
)
def test_a_test_that_is_not_there_is_noticed(cell: str) -> None:
    assert gone_from(Row("G1", "", "met", "", cell, "")) != []


@rows(
    "code, is_there",
    ("sealwire backup list", True),
    ("sealwire backup lost", False),
    ("sealwire luks status --json", True),
    ("sealwire luks status --yaml", False),
    ("listen.tls.mode", True),
    ("listen.tls.mood", False),
    ("SEALWIRE_AUDIT_PATH", True),
    ("SEALWIRE_NOTHING", False),
    ("make demo-backup", True),
    ("make nothing", False),
)
def test_settings_and_commands_are_told_from_what_is_none(code: str, *, is_there: bool) -> None:
    assert is_setting(code) is is_there


def test_the_rows_are_all_rows_of_the_tables() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert len(ROWS) == len(re.findall(r"^\| (?!row \||state \||met \||partly \||yours \|)", text, re.M))


# The faults of tests/claims.toml are about rows and tests of the compliance page, and are noticed.


CLAIMS = read_claims()
CLAIM = Claim("P2", "keys/test_x.py::test_x", "a.py", "long", "short")
CLAIMS_PAGE = {row.id: row for row in ROWS}


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.row)
def test_every_fault_is_one_that_its_row_s_test_can_notice(claim: Claim) -> None:
    assert claim.test in CODE.findall(CLAIMS_PAGE[claim.row].tests)
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
