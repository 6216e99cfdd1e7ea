"""One word for each thing, as far as names can keep the glossary's promise; and no sentence is a riddle."""

import ast
import re

import pytest

from tests.build_context import ROOT
from tests.glossary_names import places_of_classes, places_of_words, product_files
from tests.test_doc_pages import PAGES, is_module_or_name

GLOSSARY = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
RIDDLE = re.compile(r"^(?:Of |None:|Measured is )")


def table_below(heading: str) -> list[tuple[str, str, str]]:
    """The rows of the table in a section."""
    section = GLOSSARY.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (.+?) \| (.+?) \| (.+?) \|$", section, re.MULTILINE)
    return rows[1:]


def listed(cell: str) -> set[str]:
    return set() if cell == "nowhere" else set(cell.split(", "))


def test_the_terms_are_in_order_and_each_has_one_row() -> None:
    words = [word.lower() for word, _, _ in table_below("Terms")]
    assert len(words) > 50
    assert words == sorted(set(words))


def test_the_types_and_modules_that_carry_a_term_are_there() -> None:
    for word, _, code in table_below("Terms"):
        named = re.findall(r"`([^`]+)`", code)
        assert named, word
        assert [name for name in named if not is_module_or_name(name.removeprefix("sealwire."))] == []


def test_a_class_has_a_name_of_its_own() -> None:
    assert {name: places for name, places in places_of_classes().items() if len(places) > 1} == {}


@pytest.mark.parametrize(("words", "means", "where"), table_below("Words with one place"))
def test_a_word_stands_in_its_one_place(words: str, means: str, where: str) -> None:
    found = set().union(*(places_of_words()[word] for word in listed(words)))
    allowed = listed(where)
    assert {path for path in found if not _is_below(path, allowed)} == set(), means
    assert {place for place in allowed if not any(_is_below(path, {place}) for path in found)} == set()


def _is_below(path: str, places: set[str]) -> bool:
    return any(f"{path}/".startswith(f"{place}/") for place in places)


def riddles(text: str) -> list[str]:
    """The paragraphs that begin as an answer to a question that nobody has read."""
    return [part for part in re.split(r"\n\s*\n", text.strip()) if RIDDLE.match(part.strip())]


def test_a_docstring_says_what_it_speaks_of() -> None:
    found = {}
    for path in product_files():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            # docstrings, and the lines below attributes
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
                text = node.value.value
                if isinstance(text, str) and riddles(text):
                    found[f"{path.relative_to(ROOT)}:{node.lineno}"] = riddles(text)
    assert found == {}


def test_a_page_says_what_it_speaks_of() -> None:
    # decisions are not rewritten
    pages = [page for page in PAGES if page.parent.name != "adr"]
    found = {str(page.relative_to(ROOT)): riddles(page.read_text(encoding="utf-8")) for page in pages}
    assert {page: texts for page, texts in found.items() if texts} == {}


def test_a_riddle_is_noticed() -> None:
    assert riddles("Of a long one several.")
    assert riddles("A sentence.\n\n    None: it has no requests.")
    assert riddles("None of them passes. Of these, two are read.") == []
