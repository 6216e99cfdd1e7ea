"""How an interval is written."""

from datetime import timedelta

import click
import pytest

from sealwire.cli.keys.options import Interval


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90d", timedelta(days=90)),
        ("13w", timedelta(days=91)),
        ("36h", timedelta(hours=36)),
        ("0d", timedelta(0)),
        ("99999d", timedelta(days=99_999)),
        ("never", None),
    ],
)
def test_hours_days_and_weeks_are_read(text: str, expected: timedelta | None) -> None:
    assert Interval().convert(text, None, None) == expected


def test_what_is_read_already_stays() -> None:
    assert Interval().convert(timedelta(days=3), None, None) == timedelta(days=3)


@pytest.mark.parametrize(
    "text", ["", "90", "d", "-1d", "1.5d", "90 d", "90D", "100000d", "3m", "90d\n", "٣d"]
)
def test_anything_else_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(click.BadParameter, match="90d"):
        Interval().convert(text, None, None)
