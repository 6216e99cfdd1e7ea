"""The runner of documents' commands: what it runs, in which order, and how it tells of a failure."""

from pathlib import Path

import pytest

from sealwire.policies.errors import EXPLANATIONS, Reason
from tests.support.doc_commands import Block, CommandFailed, blocks_of, run_document
from tests.support.shown_commands import ShownCommand, follow, shown_in
from tools.generate_docs import DOCS, PAGES

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


@pytest.mark.parametrize(
    ("command", "said"), [("repeat x1", "x2 again\n"), ("state", "id x1\n"), ("state", "id x1 2, up 3\n")]
)
def test_a_difference_is_found(command: str, said: str) -> None:
    with pytest.raises(AssertionError, match="it prints"):
        follow(SHOWN_PAGE, "day", {**SAID, command: said}.__getitem__)


# Generated pages are what the code would generate now.


@pytest.mark.parametrize("name", PAGES)
def test_a_generated_page_says_what_the_code_says(name: str) -> None:
    assert (DOCS / name).read_text() == PAGES[name]()


def test_every_reason_has_an_explanation() -> None:
    assert set(EXPLANATIONS) == set(Reason)
