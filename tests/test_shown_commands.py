"""Pages that show what commands print: what of it is compared, and that a difference is found."""

import pytest

from tests.support.shown_commands import ShownCommand, follow, shown_in

PAGE = """
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
    assert shown_in(PAGE, "other") == [ShownCommand("state", "")]
    with pytest.raises(ValueError, match="no block"):
        shown_in(PAGE, "none")


def test_a_page_is_followed() -> None:
    assert follow(PAGE, "day", SAID.__getitem__) == {"ID": "x1", "time": "10:00:01"}


@pytest.mark.parametrize(
    ("command", "said"), [("repeat x1", "x2 again\n"), ("state", "id x1\n"), ("state", "id x1 2, up 3\n")]
)
def test_a_difference_is_found(command: str, said: str) -> None:
    with pytest.raises(AssertionError, match="it prints"):
        follow(PAGE, "day", {**SAID, command: said}.__getitem__)
