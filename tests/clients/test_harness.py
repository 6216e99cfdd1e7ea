"""A difference that nobody documented is found, and so is a documented one that is gone."""

import pytest

from tests.clients.harness import Client, Seen, compare

CLIENT = Client("a client", "Python", list)
DIRECT = Seen("1", {"find": [1], "prefix": 2})
REFUSED = {"message": "a pattern cannot match ciphertext [pattern]"}


def test_what_was_refused_for_its_reason_stands_in_the_row() -> None:
    row = compare(CLIENT, DIRECT, Seen("1", {"find": [1], "prefix": REFUSED}))
    assert (row.same, row.refused) == (["find"], {"prefix": "pattern"})


@pytest.mark.parametrize(
    "steps",
    [
        pytest.param({"find": [2], "prefix": REFUSED}, id="another answer"),
        pytest.param({"find": REFUSED, "prefix": REFUSED}, id="refused without a word"),
        pytest.param({"find": [1], "prefix": {"message": "[sort]"}}, id="another reason"),
        pytest.param({"find": [1], "prefix": 2}, id="not refused any more"),
        pytest.param({"find": [1]}, id="a step is missing"),
    ],
)
def test_any_other_difference_fails(steps: dict[str, object]) -> None:
    with pytest.raises(AssertionError):
        compare(CLIENT, DIRECT, Seen("1", steps))
