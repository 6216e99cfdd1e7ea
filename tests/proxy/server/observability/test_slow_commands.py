"""A line for what took long, with where the time went."""

import logging

import pytest

from sealwire.proxy.server.observability.slow_commands import EVERY_S, SlowLog
from tests.proxy.server.observability.finished_commands import finished


def test_a_slow_command_has_a_line_with_a_breakdown(caplog: pytest.LogCaptureFixture) -> None:
    SlowLog(100).finished(finished(0.1))
    (record,) = caplog.records
    assert (record.getMessage(), record.levelno) == ("slow command", logging.WARNING)
    assert vars(record)["fields"] == {
        "command": "find",
        "namespace": "clinic.patients",
        "total_us": 100_000,
        "planning_us": 1000,
        "encrypting_us": 2000,
        "server_us": 90_000,
        "decrypting_us": 4000,
        "waiting_us": 3000,
        "values": 1,
        "decrypted": 12,
        "client": "10.0.0.7:51402",
        "connection": 8,
    }


def test_a_fast_one_has_none(caplog: pytest.LogCaptureFixture) -> None:
    SlowLog(100).finished(finished(0.0999))
    assert caplog.records == []


def test_a_refused_one_says_why(caplog: pytest.LogCaptureFixture) -> None:
    SlowLog(0).finished(finished(0.1, reason="range", namespace=""))
    (record,) = caplog.records
    fields = vars(record)["fields"]
    assert fields["reason"] == "range"
    assert "namespace" not in fields


def test_a_storm_is_bounded_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    now = 0.0
    log = SlowLog(1, lambda: now)
    for _ in range(50):
        log.finished(finished())
    now = EVERY_S
    log.finished(finished())
    assert len(caplog.records) == 2
    assert vars(caplog.records[1])["fields"]["similar_lines_held"] == 49
