"""The page of deliverables names what is there, and claims no more than the compliance page."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from fastapi.routing import APIRoute

from sealwire.examples.fastapi_clinic.app import router
from tests import node_programs
from tests.build_context import ROOT
from tests.support import debian
from tests.support.rows import rows
from tests.support.runs import ran
from tests.support.skips import skip_or_fail
from tests.test_compliance import CODE, is_setting, is_test
from tests.test_compliance import ROWS as CLAIMS
from tools import debian_programs as unpacking

DOCS = ROOT / "docs"
PAGE = DOCS / "deliverables.md"
COLUMNS = ("asked", "row", "here", "page", "tests", "state")
ASKED = {
    **{"Script `setup_database_encryption.sh`": 9, "Script `encryption.py`": 10},
    **{"Script `backup_database.py`": 8, "Script `verify_tls_config.py`": 8, "Script `setup_vault.sh`": 14},
    **{"Endpoints": 8, "Tests": 13, "Deliveries": 11, "Documents": 4, "Ways back": 10},
}
"""How many things each part has: one that is taken out of the page is missed."""
ROUTES = {
    f"{verb} {route.path}"
    for route in router.routes
    if isinstance(route, APIRoute)
    for verb in route.methods or ()
}
STATES = {claim.id: claim.state for claim in CLAIMS}

LINK = re.compile(r"\]\(([^)#\s]*)#?([^)\s]*)\)")
FENCE = re.compile(r"^ *```.*?^ *```$", re.M | re.S)
HEADING = re.compile(r"^#+ (.+)$", re.M)
STATE = re.compile(r"yes|(?:partly|not): \w.*")


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a table, and the heading above it."""

    part: str
    asked: str
    claims: str
    here: str
    page: str
    tests: str
    state: str


def rows_of(text: str) -> Iterator[Row]:
    """The rows of all tables with these columns."""
    part = ""
    for line in text.splitlines():
        if line.startswith("## "):
            part = line.removeprefix("## ")
        cells = tuple(cell.strip() for cell in line.strip("|").split(" | "))
        if line.startswith("| ") and len(cells) == len(COLUMNS) and cells != COLUMNS:
            yield Row(part, *cells)


def anchors_of(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub and the site make them."""
    titles = HEADING.findall(FENCE.sub("", page.read_text(encoding="utf-8")))
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def goes_nowhere(link: tuple[str, str]) -> bool:
    name, anchor = link
    page = (DOCS / name).resolve() if name else PAGE
    return not page.is_file() or (bool(anchor) and anchor not in anchors_of(page))


def faults_of(row: Row) -> list[str]:
    """What a row names that is not there, lacks, or claims beyond the compliance page."""
    faults = [code for code in CODE.findall(row.here) if not is_setting(code) and code not in ROUTES]
    faults += [code for code in CODE.findall(row.tests) if not is_test(code)]
    links = LINK.findall(row.page)
    faults += ["#".join(link) for link in links + LINK.findall(row.asked) if goes_nowhere(link)]
    claims = re.findall(r"[\w.]+", row.claims)
    faults += [claim for claim in claims if claim not in STATES]
    if not links:
        faults.append("no page")
    if STATE.fullmatch(row.state) is None:
        faults.append("no state")
    if row.state == "yes" and any(STATES.get(claim) != "met" for claim in claims):
        faults.append("more than the compliance page")
    if not row.state.startswith("not") and not (CODE.search(row.here) and CODE.search(row.tests)):
        faults.append("nothing here, or no test")
    return faults


ROWS = list(rows_of(PAGE.read_text(encoding="utf-8")))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.part}: {row.asked[:40]}")
def test_all_that_a_row_names_is_there(row: Row) -> None:
    assert faults_of(row) == []


def test_nothing_that_is_asked_for_is_missing() -> None:
    assert Counter(row.part for row in ROWS) == ASKED
    text = PAGE.read_text(encoding="utf-8")
    assert len(ROWS) == len(re.findall(r"^\| (?!asked \||state \||yes \||partly \||not \|)", text, re.M))


def test_every_route_of_the_api_has_its_row() -> None:
    named = [code for row in ROWS if row.part == "Endpoints" for code in CODE.findall(row.here)]
    assert {code for code in named if " /" in code} == ROUTES


def test_every_layer_has_its_way_back() -> None:
    operations = (DOCS / "ENCRYPTION_OPERATIONS.md").read_text(encoding="utf-8")
    _, _, layers = operations.partition("\n## The layers and their ways back\n")
    titles = re.findall(r"^### (.+)$", layers, re.M)
    linked = [anchor for row in ROWS if row.part == "Ways back" for _, anchor in LINK.findall(row.asked)]
    assert sorted(linked) == sorted(
        re.sub(r"[^\w ]", "", title.lower()).replace(" ", "-") for title in titles
    )


@rows(
    "change, fault",
    ({"here": "`sealwire luks sundry`"}, "sealwire luks sundry"),
    ({"here": "`sealwire luks setup --no-such-option`"}, "sealwire luks setup --no-such-option"),
    ({"here": "`GET /nowhere`"}, "GET /nowhere"),
    ({"here": "`crypto/gone.py`"}, "crypto/gone.py"),
    ({"here": "by hand"}, "nothing here, or no test"),
    ({"tests": "`crypto/test_cipher.py::test_gone`"}, "crypto/test_cipher.py::test_gone"),
    ({"tests": ""}, "nothing here, or no test"),
    ({"page": "[gone](operations/gone.md)"}, "operations/gone.md#"),
    ({"page": "[gone](operations/luks.md#gone)"}, "operations/luks.md#gone"),
    ({"page": ""}, "no page"),
    ({"asked": "[gone](luks.md)"}, "luks.md#"),
    ({"claims": "L1.1, L1.99"}, "L1.99"),
    ({"claims": "L2.7"}, "more than the compliance page"),
    ({"state": "partly"}, "no state"),
    ({"state": "perhaps"}, "no state"),
)
def test_what_is_not_so_is_noticed(change: dict[str, str], fault: str) -> None:
    good = ROWS[0]
    assert (good.state, faults_of(good)) == ("yes", [])
    assert fault in faults_of(replace(good, **change))


# A Debian program comes from the machine or is unpacked; a test without it is skipped, and fails in CI.


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without the program and without apt."""
    monkeypatch.setattr(unpacking, "UNPACKED", tmp_path)
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    monkeypatch.delenv("CI", raising=False)
    return tmp_path


@pytest.mark.usefixtures("bare")
def test_a_test_without_the_program_is_skipped_on_a_workstation() -> None:
    with pytest.raises(pytest.skip.Exception):
        debian.require_program("nginx", "nginx", "-v")


@pytest.mark.usefixtures("bare")
def test_a_test_without_the_program_fails_in_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception):
        debian.require_program("nginx", "nginx", "-v")


def test_what_was_unpacked_before_is_used(bare: Path) -> None:
    program = bare / "nginx" / "usr" / "sbin" / "nginx"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\nexit 0\n")
    program.chmod(0o755)
    assert debian.require_program("nginx", "nginx", "-v") == program


def test_a_program_that_does_not_run_is_none(bare: Path) -> None:
    program = bare / "nginx" / "usr" / "sbin" / "nginx"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\nexit 127\n")
    program.chmod(0o755)
    with pytest.raises(pytest.skip.Exception):
        debian.require_program("nginx", "nginx", "-v")


@pytest.mark.slow
@pytest.mark.integration
def test_a_package_is_fetched_and_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpacking, "UNPACKED", tmp_path)
    found = unpacking.unpack("nginx", "nginx")
    if found is None:
        skip_or_fail("apt offers no nginx here")
    done = ran([found, "-v"])
    assert "nginx/" in done.stderr


def test_modules_and_libraries_are_found_beside_what_was_unpacked(bare: Path) -> None:
    usr = bare / "haproxy+liblua" / "usr"
    program, library = usr / "sbin" / "haproxy", usr / "lib" / "x86_64-linux-gnu" / "liblua.so.5"
    for path in (program, library):
        path.parent.mkdir(parents=True)
        path.write_text("")
    assert unpacking.find_program("haproxy", "haproxy", "liblua") == program
    assert unpacking.find_program("liblua.so.5", "haproxy", "liblua") == library
    assert unpacking.find_file(program, "lib/*/liblua.so.*") == library
    assert unpacking.find_file(program, "lib/*/other.so") is None
    assert unpacking.library_environment(program)["LD_LIBRARY_PATH"] == str(library.parent)
    assert unpacking.library_environment(library)["LD_LIBRARY_PATH"] == str(library.parent)


def test_a_program_of_the_system_needs_no_libraries_of_ours(bare: Path) -> None:
    environment = unpacking.library_environment(Path("/usr/sbin/nginx"))
    assert str(bare) not in environment.get("LD_LIBRARY_PATH", "")


# A machine without mongosh skips its tests with a reason, unless it is the one that must run them.


@pytest.fixture
def without_mongosh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node_programs, "MONGOSH", tmp_path / "mongosh")
    monkeypatch.setattr("shutil.which", lambda _: "/usr/bin/node")


@pytest.mark.usefixtures("without_mongosh")
def test_a_test_without_mongosh_is_skipped_on_a_workstation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception):
        node_programs.require_mongosh()


@pytest.mark.usefixtures("without_mongosh")
def test_a_test_without_mongosh_fails_in_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception):
        node_programs.require_mongosh()


@pytest.mark.integration
def test_the_pinned_mongosh_runs() -> None:
    mongosh = node_programs.require_mongosh()
    done = ran([mongosh, "--version"], check=True, timeout=60)
    assert done.stdout.strip().count(".") == 2
