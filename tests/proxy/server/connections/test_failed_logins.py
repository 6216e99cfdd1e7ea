"""Failures to log in from one address are gathered, and none is lost in number."""

from dataclasses import replace

import pytest

from sealwire.proxy.server.connections.failed_logins import (
    MAX_ADDRESSES,
    WINDOW_S,
    FailedLogins,
    is_of_nobody,
)
from sealwire.proxy.server.observability.audit import Origin
from sealwire.proxy.session.effects import Audit

FAILED = Audit("login-failed", "", "saslStart", "code 18")


class Place:
    """A clock, and a log that takes lines or does not."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.lines: list[tuple[Audit, Origin]] = []
        self.takes = True
        self.gathered = FailedLogins(self._write, lambda: self.now_s)

    def _write(self, record: Audit, origin: Origin) -> bool:
        if self.takes:
            self.lines.append((record, origin))
        return self.takes

    def fail(self, client: str, times: int = 1, reason: str = "code 18") -> bool:
        taken = [
            self.gathered.write(replace(FAILED, reason=reason), Origin(client, number))
            for number in range(times)
        ]
        return all(taken)

    def later(self, seconds: float = WINDOW_S) -> None:
        self.now_s += seconds
        self.gathered.tick()

    @property
    def counts(self) -> list[int]:
        return [record.count for record, _ in self.lines]


def test_the_first_has_its_line_at_once_and_what_follows_one_together() -> None:
    place = Place()
    place.fail("10.0.0.1:1", 5000)
    assert place.counts == [1]
    place.later(WINDOW_S / 2)
    assert place.counts == [1]
    place.later()
    assert place.counts == [1, 4999]
    record, origin = place.lines[-1]
    assert (record.event, origin.client, origin.connection) == ("login-failed", "10.0.0.1:1", 4999)


def test_single_failures_that_are_far_apart_have_a_line_each() -> None:
    place = Place()
    for _ in range(3):
        place.fail("10.0.0.1:1")
        place.later()
    assert place.counts == [1, 1, 1]


def test_who_goes_on_has_a_line_for_each_window() -> None:
    place = Place()
    for _ in range(4):
        place.fail("10.0.0.1:1", 100)
        place.later()
    assert sum(place.counts) == 400
    assert len(place.lines) == 5


def test_addresses_are_told_apart_and_ports_and_networks_are_not() -> None:
    place = Place()
    for client in ("10.0.0.1:1", "10.0.0.1:2", "::ffff:10.0.0.1:3", "10.0.0.2:1"):
        place.fail(client)
    for client in ("2001:db8::1:1", "2001:db8::2:1", "2001:db8:0:1::1:1"):
        place.fail(client)
    place.later()
    assert place.counts.count(1) == 5
    assert place.counts.count(2) == 1


def test_addresses_without_number_share_a_line() -> None:
    place = Place()
    for each in range(MAX_ADDRESSES + 500):
        place.fail(f"10.{each // 65536}.{each // 256 % 256}.{each % 256}:1")
    place.later()
    assert len(place.lines) == MAX_ADDRESSES + 2
    assert sum(place.counts) == MAX_ADDRESSES + 500


def test_what_the_log_does_not_take_is_given_again() -> None:
    place = Place()
    place.fail("10.0.0.1:1", 10)
    place.takes = False
    place.later()
    place.fail("10.0.0.1:1", 5)
    place.takes = True
    place.later()
    assert sum(place.counts) == 15


def test_the_first_is_refused_where_the_log_takes_nothing_and_counts_later() -> None:
    place = Place()
    place.takes = False
    assert not place.fail("10.0.0.1:1")
    place.takes = True
    place.later()
    assert place.counts == [1]


@pytest.mark.parametrize("times", [1, 7])
def test_the_end_loses_none(times: int) -> None:
    place = Place()
    place.fail("unknown", times)
    place.gathered.close()
    place.gathered.close()
    assert sum(place.counts) == times


def test_commands_without_a_login_are_gathered_apart_from_failed_logins() -> None:
    place = Place()
    refused = Audit("refused", "", "find", "LoginNeeded")
    for number in range(100):
        place.fail("10.0.0.1:1")
        assert place.gathered.write(refused, Origin("10.0.0.1:1", number))
    place.later()
    assert sorted((record.event, record.count) for record, _ in place.lines) == [
        ("login-failed", 1),
        ("login-failed", 99),
        ("refused", 1),
        ("refused", 99),
    ]


@pytest.mark.parametrize(
    ("record", "is_gathered"),
    [
        (FAILED, True),
        (Audit("refused", "", "find", "LoginNeeded"), True),
        (Audit("refused", "", "authenticate", "CertificateLogin"), True),
        (Audit("refused", "a.b", "find", "range"), False),
        (Audit("break-glass", "a.b", "find"), False),
    ],
)
def test_what_needs_a_login_is_not_gathered(record: Audit, is_gathered: bool) -> None:
    assert is_of_nobody(record) is is_gathered
