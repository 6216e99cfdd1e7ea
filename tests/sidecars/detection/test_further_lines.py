"""Which lines of commands that have several are missing."""

from typing import Any

import pytest

from sealwire.sidecars.detection.further_lines import FurtherLines

NEXT = {"connection": 8}


@pytest.mark.parametrize(
    ("lines", "missing"),
    [
        ([], 0),
        ([{}, NEXT], 0),
        ([{"parts": 2}, {"part": 2}], 0),
        ([{"parts": 3}, {"part": 3}], 1),
        ([{"parts": 4}], 3),
        ([{"part": 3}], 2),
        ([{"parts": 2}, {"part": 2}, {"parts": 2}, {"part": 2}], 0),
        ([{"parts": 2}, NEXT | {"part": 2}], 2),
        ([{"parts": 2}, {"part": 2, "time": "12:01"}], 2),
        ([{"parts": 2}, {"part": 2, "worker": 2}], 2),
        ([{"parts": -1}, {"part": "2"}], 0),
        ([{"parts": 10**15}, {"part": 7}], 10**15 - 2),
        ([{"parts": 2}, {"part": 5}], 3),
    ],
    ids=[
        *("no line", "one each", "both", "one of three", "all others", "the first", "written twice"),
        *(
            "of another connection",
            "of another time",
            "of another worker",
            "no numbers",
            "any number",
            "beyond the last",
        ),
    ],
)
def test_the_missing_ones_are_counted(lines: list[dict[str, Any]], missing: int) -> None:
    further = FurtherLines()
    for each in lines:
        further.note({"time": "12:00", "client": "10.0.0.1:1", "connection": 7, "command": "find", **each})
    assert further.missing == missing
