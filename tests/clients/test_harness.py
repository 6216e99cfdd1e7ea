"""A difference that nobody documented is found, and so is a documented one that is gone."""

import json
from dataclasses import replace

import pytest

from tests.clients.debian import CLIENTS, java_client
from tests.clients.harness import PARTS, RESULTS, Client, Seen, absent, compare
from tests.clients.table import FAST, SLOW

MISSING = {part: "it cannot" for part in PARTS if part != "find"}
CLIENT = Client("a client", "Python", list, absent=MISSING)
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


def test_a_part_of_the_scenario_is_left_out_with_a_word_only() -> None:
    through = Seen("1", {"find": [1], "prefix": REFUSED})
    silent = replace(CLIENT, absent={part: why for part, why in MISSING.items() if part != "GridFS"})
    with pytest.raises(AssertionError, match="GridFS"):
        compare(silent, DIRECT, through)


def test_a_part_that_is_played_is_not_called_absent() -> None:
    with pytest.raises(AssertionError):
        compare(replace(CLIENT, absent=MISSING | {"find": "it cannot"}), DIRECT, Seen("1", {**DIRECT.steps}))


def test_the_table_has_every_client_and_every_absence_with_its_reason() -> None:
    rows = {row["client"]: row for row in json.loads(RESULTS.read_text(encoding="utf-8"))}
    clients = {each.name: each for each in (*FAST, *SLOW, *CLIENTS, java_client(RESULTS))}
    assert set(rows) == set(clients)
    for name, row in rows.items():
        assert absent([*row["same"], *row["refused"]]) == set(row["absent"])
        assert row["absent"] == dict(clients[name].absent)
        assert all(row["absent"].values())
