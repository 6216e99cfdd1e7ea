"""The site is built from the pages as they are, with all that they link to, and asks no other host."""

import re
from pathlib import Path

import pytest
from mkdocs.commands.build import build
from mkdocs.config import load_config
from mkdocs.exceptions import Abort

from tools.docs_site import DOCS, ROOT, _published, linked, navigation, outside_of_docs, place_of, targets_of

FOREIGN = re.compile(
    r"<(?:script|img|iframe|source)[^>]* src=[\"']?(?:https?:)?//|<link[^>]* href=[\"']?(?:https?:)?//"
)


def built(into: Path, docs: Path = DOCS) -> Path:
    config = load_config(str(ROOT / "mkdocs.yml"), site_dir=str(into), docs_dir=str(docs), strict=True)
    config.plugins.on_startup(command="build", dirty=False)
    build(config)
    return into


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(tmp_path_factory.mktemp("site"))


def test_every_page_is_on_the_site(site: Path) -> None:
    pages = [page.relative_to(DOCS).with_suffix(".html") for page in DOCS.rglob("*.md")]
    names = [page.with_name("index.html") if page.stem == "README" else page for page in pages]
    assert [name for name in names if not (site / name).is_file()] == []


def test_a_reader_s_browser_asks_no_other_host(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert [page.name for page in pages if FOREIGN.search(page.read_text(encoding="utf-8"))] == []
    styles = "".join(style.read_text(encoding="utf-8") for style in site.rglob("*.css"))
    assert re.findall(r"url\([\"']?(?:https?:)?//", styles) == []


def test_what_lies_outside_of_docs_has_its_place(site: Path) -> None:
    page = site / "repository" / "deploy" / "vault" / "openbao.hcl.html"
    assert "listener" in page.read_text(encoding="utf-8")
    listed = (site / "repository" / "deploy" / "index.html").read_text(encoding="utf-8")
    assert "vault/openbao.hcl.html" in listed


def test_a_step_of_a_list_holds_its_commands(site: Path) -> None:
    text = (site / "operations" / "vault.html").read_text(encoding="utf-8")
    step = text[text.index("<p>Look at the plan") :]
    assert step.index("<pre") < step.index("</li>")


@pytest.mark.parametrize("link", ["gone.md", "README.md#gone", "../gone.md"])
def test_a_broken_link_ends_the_build(tmp_path: Path, link: str) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "README.md").write_text(f"# One page\n\n[a link]({link})\n", encoding="utf-8")
    with pytest.raises(Abort):
        built(tmp_path / "site", docs)


def test_the_index_is_the_navigation(site: Path) -> None:
    text = (
        "# Pages\n\n[one](one.md)\n\n## First\n\n| page | |\n|---|---|\n| [a.md](b/a.md) | See [c](c.md). |\n"
    )
    assert navigation(text) == ["README.md", {"First": ["b/a.md"]}]
    shown = (site / "index.html").read_text(encoding="utf-8")
    assert shown.index("To use Sealwire") < shown.index('href="operations/keys.html"')


def test_links_are_put_relative_to_the_page() -> None:
    assert linked("[a](../../deploy/vault/openbao.hcl)", "operations/vault.md") == (
        "[a](../repository/deploy/vault/openbao.hcl.md)"
    )
    assert linked("[a](docs/policies.md#views)", "repository/README.md") == "[a](../policies.md#views)"
    assert linked("[a](https://example.org/x)", "README.md") == "[a](https://example.org/x)"


def test_a_link_out_of_the_repository_and_one_in_code_lead_nowhere() -> None:
    assert targets_of("[a](../../../../etc/hosts)\n```\n[b](policies.md)\n```\n", DOCS) == []


def test_a_file_that_git_does_not_have_is_not_published() -> None:
    private = ROOT / "deploy" / "test-of-the-site.json"
    private.write_text("{}", encoding="utf-8")
    _published.cache_clear()
    try:
        assert targets_of("[a](../deploy/test-of-the-site.json)", DOCS) == []
        assert private not in outside_of_docs([DOCS / "README.md"])
    finally:
        private.unlink()


def test_pages_outside_of_docs_are_followed() -> None:
    found = outside_of_docs([DOCS / "README.md"])
    assert {ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "deploy"} <= set(found)
    assert place_of(ROOT / "deploy") == "repository/deploy/README.md"
