"""Pages that are written for GitHub, as Python-Markdown has to get them."""

import markdown
import pytest

from tools.github_markdown import for_python_markdown

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


@pytest.mark.parametrize(
    ("second", "tag"), [("- a", "<ul>"), ("1. a", "<ol>"), ("| a |\n|---|\n| b |", "<table>")]
)
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
