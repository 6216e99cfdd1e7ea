"""The site is built from the pages as they are, with all that they link to, and asks no other host."""

import re
from pathlib import Path

import markdown
import pytest
from mkdocs.commands.build import build
from mkdocs.config import load_config
from mkdocs.exceptions import Abort

from sealwire.policies.errors import EXPLANATIONS, Reason
from tests.support.doc_commands import Block, CommandFailed, blocks_of, run_document
from tests.support.rows import rows
from tests.support.shown_commands import ShownCommand, follow, shown_in
from tools.docs_site import (
    DOCS,
    ROOT,
    _published,
    for_python_markdown,
    linked,
    navigation,
    outside_of_docs,
    place_of,
    targets_of,
)
from tools.generate_docs import DOCS as DOCS_FOLDER
from tools.generate_docs import PAGES

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


def test_the_home_page_is_the_navigation(site: Path) -> None:
    text = (
        "# Home\n\n[one](one.md)\n\n## Ways in\n\n- [two](two.md)\n\n## First\n\n| page | |\n|---|---|\n"
        "| [Do a](b/a.md) | See [c](c.md). |\n\n### Part\n\n| page | |\n|---|---|\n| [Do d](d.md) | |\n"
    )
    assert navigation(text) == ["README.md", {"First": [{"Do a": "b/a.md"}, {"Part": [{"Do d": "d.md"}]}]}]
    shown = (site / "index.html").read_text(encoding="utf-8")
    assert shown.index("Use it") < shown.index('href="operations/keys.html"')
    assert "Make, keep and check keys" in shown


def test_no_group_of_the_navigation_is_longer_than_seven() -> None:
    _, *sections = navigation((DOCS / "README.md").read_text(encoding="utf-8"))
    groups = [inside for section in sections for inside in section.values()]
    groups += [
        inside for group in groups for each in group for inside in each.values() if isinstance(inside, list)
    ]
    assert len(groups) > len(sections)
    assert max(map(len, groups)) <= 7


def test_the_home_page_has_its_picture_and_its_plot(site: Path) -> None:
    shown = (site / "index.html").read_text(encoding="utf-8")
    pictures = re.findall(r'<img [^>]*src="([^"]*\.svg)"', shown)
    assert len(pictures) == 2
    assert all("<svg" in (site / picture).read_text(encoding="utf-8") for picture in pictures)


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


EXTENSIONS = ["tables", "pymdownx.superfences"]


def html(text: str) -> str:
    return str(markdown.markdown(for_python_markdown(text), extensions=EXTENSIONS))


def test_what_belongs_to_a_numbered_item_stays_in_it() -> None:
    page = "1. first:\n\n   ```sh test name\n   make x\n   ```\n\n   more\n2. second\n"
    assert for_python_markdown(page) == (
        "1.  first:\n\n    ```sh\n    make x\n    ```\n\n    more\n\n2.  second\n"
    )
    assert html(page).count("<li>") == 2
    assert html(page).count("<ol>") == 1


def test_a_list_inside_of_a_list_stays_inside() -> None:
    made = html("- one\n  - inside\n  - beside\n- two\n")
    assert made.count("<ul>") == 2
    assert made.count("<li>") == 4


@rows("second, tag", ("- a", "<ul>"), ("1. a", "<ol>"), ("| a |\n|---|\n| b |", "<table>"))
def test_a_list_or_table_need_not_have_a_blank_line_before_it(second: str, tag: str) -> None:
    assert tag in html(f"A text:\n{second}\n")


def test_a_number_at_the_beginning_of_a_line_of_text_is_no_list() -> None:
    assert "<ol>" not in html("It was made in\n2026. That is all.\n")


def test_a_line_that_goes_on_without_indentation_belongs_to_its_item() -> None:
    assert html("- one\ngoes on\n\nafter\n").endswith("<p>after</p>")


def test_fenced_text_is_left_as_it_is() -> None:
    page = "```yaml\na:\n- b\n  - c\n| d |\n```\n"
    assert for_python_markdown(page) == page


def test_a_fence_may_hold_a_shorter_one() -> None:
    page = "````\n```sh\n- a\n```\n````\n"
    assert for_python_markdown(page) == page


def test_indented_code_below_an_item_keeps_its_indentation() -> None:
    assert for_python_markdown("3. open:\n\n       sh x\n") == "3.  open:\n\n        sh x\n"


# The runner of documents' commands: what it runs, in which order, and how it tells of a failure.


PAGE = """# A page

```sh test
export GREETING=hello
mkdir -p sub && cd sub
```

```
false
```

1. A step:

   ```sh test
   if true; then
     echo "$GREETING from $(basename "$PWD")"
   fi
   ```

```sh
false
```

```sh test broken
echo before
false | cat
echo after
```
"""


@pytest.fixture
def page(tmp_path: Path) -> Path:
    path = tmp_path / "page.md"
    path.write_text(PAGE, encoding="utf-8")
    return path


def test_only_marked_blocks_are_found_with_their_line_and_without_their_indentation() -> None:
    first, second, third = blocks_of(PAGE)
    assert first == Block(3, "", "export GREETING=hello\nmkdir -p sub && cd sub\n")
    assert second.commands.startswith('if true; then\n  echo "')
    assert (third.line, third.name) == (24, "broken")


def test_blocks_share_one_shell(page: Path, tmp_path: Path) -> None:
    assert run_document(page, tmp_path) == "hello from sub\n"


def test_a_failure_anywhere_in_a_pipe_ends_the_run_and_names_the_block(page: Path, tmp_path: Path) -> None:
    with pytest.raises(CommandFailed, match="before") as caught:
        run_document(page, tmp_path, "broken")
    assert caught.value.block.line == 24
    assert "after\n" not in str(caught.value)


def test_only_what_is_given_is_in_the_environment(
    tmp_path: Path, page: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FROM_OUTSIDE", "x")
    page.write_text('```sh test\necho "${FROM_OUTSIDE-unset} ${GIVEN}"; cat\n```\n', encoding="utf-8")
    assert run_document(page, tmp_path, environ={"GIVEN": "yes"}, stdin="typed") == "unset yes\ntyped"


def test_a_page_without_such_blocks_is_an_error(page: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no block"):
        run_document(page, tmp_path, "misspelt")


# Pages that show what commands print: what of it is compared, and that a difference is found.


SHOWN_PAGE = """
```console test day
$ state
...
id <ID>, up <time>
...
$ repeat ID
<ID> again
```

```console test other
$ state
```
"""
SAID = {"state": "a\nb\nid x1, up 10:00:01\n", "repeat x1": "x1 again\n"}


def test_a_block_has_commands_and_what_they_print() -> None:
    assert shown_in(SHOWN_PAGE, "other") == [ShownCommand("state", "")]
    with pytest.raises(ValueError, match="no block"):
        shown_in(SHOWN_PAGE, "none")


def test_a_page_is_followed() -> None:
    assert follow(SHOWN_PAGE, "day", SAID.__getitem__) == {"ID": "x1", "time": "10:00:01"}


@rows("command, said", ("repeat x1", "x2 again\n"), ("state", "id x1\n"), ("state", "id x1 2, up 3\n"))
def test_a_difference_is_found(command: str, said: str) -> None:
    with pytest.raises(AssertionError, match="it prints"):
        follow(SHOWN_PAGE, "day", {**SAID, command: said}.__getitem__)


# Generated pages are what the code would generate now.


@pytest.mark.parametrize("name", PAGES)
def test_a_generated_page_says_what_the_code_says(name: str) -> None:
    assert (DOCS_FOLDER / name).read_text() == PAGES[name]()


def test_every_reason_has_an_explanation() -> None:
    assert set(EXPLANATIONS) == set(Reason)
