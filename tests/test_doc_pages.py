"""Every page is in the index, and what pages name of this repository is there."""

import re
from pathlib import Path

import pytest

from sealwire.policies.errors import Reason, Refusal
from tests.build_context import ROOT
from tests.support.doc_commands import blocks_of

DOCS = ROOT / "docs"
INDEX = DOCS / "README.md"
EXAMPLE = ROOT / "examples" / "fastapi_clinic" / "README.md"
PAGES = (ROOT / "README.md", *sorted(DOCS.rglob("*.md")), EXAMPLE)
ROOTS = (ROOT, ROOT / "sealwire", ROOT / "tests")
"""Where a path may begin: the rooms' tests mirror the rooms."""

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))

LINK = re.compile(r"\]\(([^)#\s]+)[^)\s]*\)")
CODE = re.compile(r"`([^`\n]+)`")
NAMED_FILE = re.compile(r"(?<![\w./-])((?:[\w-]+/)+[\w-]+\.(?:py|sh|yaml|toml|mjs))\b")
DOTTED = re.compile(r"^(?:python -m )?((?:[a-z_]\w*\.)+\w+)(?:\(\))?$")


def linked(page: Path) -> list[Path]:
    """The files that a page links to."""
    links = LINK.findall(page.read_text(encoding="utf-8"))
    return [(page.parent / link).resolve() for link in links if not link.startswith(("http", "mailto"))]


def is_there(path: str) -> bool:
    return any((root / path).exists() for root in ROOTS)


def modules_named(text: str) -> list[str]:
    """Dotted names in code whose first part is a folder of Python modules here."""
    dotted = (DOTTED.match(code) for code in CODE.findall(text))
    names = [found[1].removeprefix("sealwire.") for found in dotted if found is not None]
    return [name for name in names if _folder(name.partition(".")[0]) is not None and not is_there(name)]


def _folder(name: str) -> Path | None:
    return next((root / name for root in ROOTS if (root / name / "__init__.py").is_file()), None)


def is_module_or_name(dotted: str) -> bool:
    """Whether `room.module`, `room.module.name` or `room.name` is there."""
    first, *parts = dotted.split(".")
    folder = _folder(first)
    while folder is not None and parts and (folder / parts[0]).is_dir():
        folder = folder / parts.pop(0)
    if folder is None or not parts:
        return folder is not None
    module = folder / f"{parts[0]}.py"
    source = module if module.is_file() else folder / "__init__.py"
    names = parts[1:] if module.is_file() else parts
    text = source.read_text(encoding="utf-8") if source.is_file() else ""
    return all(re.search(rf"\b{name}\b", text) for name in names)


# The configuration has sections that are called as rooms are.
SETTINGS = set(re.findall(r"`([a-z_]+(?:\.[a-z_]+)+)`", (DOCS / "configuration.md").read_text())) | {
    *("keys.cache", "audit.jsonl", "audit.jsonl.000000000051234", "audit.key", "audit.key.pub")
}


@each_page
def test_what_a_page_links_to_is_there(page: Path) -> None:
    assert [str(target) for target in linked(page) if not target.exists()] == []


@each_page
def test_the_files_that_a_page_names_are_there(page: Path) -> None:
    named = set(NAMED_FILE.findall(page.read_text(encoding="utf-8")))
    assert sorted(path for path in named if not is_there(path)) == []


@each_page
def test_the_modules_that_a_page_names_are_there(page: Path) -> None:
    named = set(modules_named(page.read_text(encoding="utf-8"))) - SETTINGS
    assert sorted(name for name in named if not is_module_or_name(name)) == []


def test_a_page_that_names_what_is_gone_is_noticed() -> None:
    text = "`proxy.session.revealing.reveal` `policies.planning.gone` `wire/framing.py` wire/gone.py"
    assert NAMED_FILE.findall(text) == ["wire/framing.py", "wire/gone.py"]
    assert [is_there(path) for path in NAMED_FILE.findall(text)] == [True, False]
    named = modules_named(text)
    assert named == ["proxy.session.revealing.reveal", "policies.planning.gone"]
    assert [is_module_or_name(name) for name in named] == [True, False]


def test_every_page_is_in_the_index_once() -> None:
    decisions = DOCS / "adr"
    pages = [page for page in PAGES[1:] if page != INDEX and page.parent != decisions]
    listed = [
        DOCS / page
        for page in re.findall(r"^\| \[[^]]*\]\(([^)]+)\)", INDEX.read_text(encoding="utf-8"), re.M)
    ]
    inside = [page for page in pages if page.is_relative_to(DOCS)]
    assert sorted(listed) == sorted([*inside, decisions / "README.md"])
    assert set(pages) <= set(linked(INDEX))


def test_every_decision_is_listed_with_its_title() -> None:
    listed = linked(DOCS / "adr" / "README.md")
    assert sorted(set(listed)) == sorted(path for path in (DOCS / "adr").glob("0*.md"))


def test_the_error_that_the_readme_shows_is_what_a_client_gets() -> None:
    shown = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    assert f"``` {Refusal(Reason.PATTERN, path='nhs_number', rule='$regex').message} ```" in shown


def test_one_run_of_each_bench_is_kept_and_its_page_links_to_it() -> None:
    kept = {path.name for path in (ROOT / "bench" / "results").glob("*[0-9]T*Z-*")}
    runs = sorted(name.removesuffix(".json") for name in kept if name.endswith(".json"))
    assert [run.partition("-")[0] for run in runs[1:]] == ["backup", "migration"]
    assert [name for name in kept if not name.startswith(tuple(runs))] == []
    linked_runs = {path.name for path in linked(DOCS / "benchmarks.md") if path.parent.name == "results"}
    assert f"{runs[0]}.json" in linked_runs


# Every page for operators has its way back, says how it fails, and has commands that a test runs.


OPERATIONS = ROOT / "docs" / "operations"
NAMES = (
    *("access", "alerts", "audit", "backup", "compliance", "coverage", "erasure", "install"),
    *("luks", "migration", "monitoring", "page", "restore-drill", "tls", "topology", "upgrade", "vault"),
)


@pytest.mark.parametrize("name", NAMES)
def test_a_page_has_what_an_operator_looks_for(name: str) -> None:
    text = (OPERATIONS / f"{name}.md").read_text(encoding="utf-8")
    headings = re.findall(r"^## (.*)$", text, re.M)
    assert "Rollback" in headings
    assert {"When it fails", "Exit codes"} & set(headings)
    assert blocks_of(text)


@pytest.mark.parametrize("name", NAMES)
def test_every_block_that_is_to_be_run_is_run_by_a_test(name: str) -> None:
    sources = [
        path.read_text(encoding="utf-8") for path in (ROOT / "tests" / "integration").glob("test_*.py")
    ]
    running = "\n".join(source for source in sources if f"{name}.md" in source)
    for block in blocks_of((OPERATIONS / f"{name}.md").read_text(encoding="utf-8")):
        assert f'"{block.name}"' in running
