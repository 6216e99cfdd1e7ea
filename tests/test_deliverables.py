"""The page of deliverables names what is there, and claims no more than the compliance page."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from fastapi.routing import APIRoute

from sealwire.examples.fastapi_clinic.app import router
from tests.build_context import ROOT
from tests.test_compliance import CODE, is_setting, is_test
from tests.test_compliance import ROWS as CLAIMS

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


@pytest.mark.parametrize(
    ("change", "fault"),
    [
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
    ],
)
def test_what_is_not_so_is_noticed(change: dict[str, str], fault: str) -> None:
    good = ROWS[0]
    assert (good.state, faults_of(good)) == ("yes", [])
    assert fault in faults_of(replace(good, **change))
