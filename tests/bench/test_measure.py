"""Rounds are interleaved and compared pair by pair."""

from pathlib import Path

import pytest

from bench.canned_server import CannedReply, load, save
from bench.measure import measure_operation, summarize


def test_every_route_is_called_equally_often_and_none_always_goes_first() -> None:
    calls: list[str] = []
    routes = {name: (lambda name=name: calls.append(name)) for name in ("direct", "forwarder", "sealwire")}
    figures = measure_operation("ping", routes, rounds=3, calls=2, warm_up=1)
    assert calls[:3] == ["direct", "forwarder", "sealwire"]
    firsts = [calls[3 + 6 * number] for number in range(3)]
    assert firsts == ["direct", "forwarder", "sealwire"]
    assert all(calls.count(name) == 1 + 3 * 2 for name in routes)
    assert [figure.route for figure in figures] == list(routes)
    assert figures[0].ratio == pytest.approx(1.0)


def test_ratios_are_taken_round_by_round() -> None:
    # A slow second round slows both: the ratio stays 2, which the ratio of the medians would not show.
    medians = {"direct": [1.0, 10.0, 1.5], "forwarder": [2.0, 5.0, 1.0], "sealwire": [2.0, 20.0, 3.0]}
    figure = summarize("find", "sealwire", medians, 5)
    assert (figure.lowest_ratio, figure.ratio, figure.highest_ratio) == (2.0, 2.0, 2.0)
    assert figure.floor_ratio == 3.0
    assert (figure.lowest_s, figure.median_s, figure.highest_s) == (2.0, 3.0, 20.0)


def test_a_recording_survives_its_file(tmp_path: Path) -> None:
    replies = [CannedReply(b"find", b"", bytes(range(256))), CannedReply(b"hello", b"x", b"")]
    path = tmp_path / "recording"
    save(path, replies)
    assert load(path) == replies
