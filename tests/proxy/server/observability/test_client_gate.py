"""A storm of connection problems stays readable, bounded, and names each client."""

import logging
from typing import Any

import pytest

from sealwire.proxy.server.observability.client_gate import INTERVAL_S, MAX_LINES, MAX_NAMED, ClientGate

LOGGER = logging.getLogger("sealwire.test")


class Storm:
    """A gate, its clock, and what it let through."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        self.now_s = 100.0
        self.gate = ClientGate(lambda: self.now_s)
        self._caplog = caplog

    def refuse(self, address: str, kind: str = "limit") -> None:
        self.gate.note(LOGGER, logging.WARNING, "client not served", kind, problem="x", client=address)

    def lines(self) -> list[tuple[str, dict[str, Any]]]:
        """The lines since the last call."""
        found = [(record.getMessage(), vars(record)["fields"]) for record in self._caplog.records]
        self._caplog.clear()
        return found


@pytest.fixture
def storm(caplog: pytest.LogCaptureFixture) -> Storm:
    return Storm(caplog)


def test_each_client_has_a_line_of_each_kind(storm: Storm) -> None:
    for address in ("10.0.0.7:1", "10.0.0.8:1", "10.0.0.7:2", "::1:3"):
        storm.refuse(address)
    storm.refuse("10.0.0.7:9", "handshake")
    shown = [fields["client"] for _, fields in storm.lines()]
    assert shown == ["10.0.0.7:1", "10.0.0.8:1", "::1:3", "10.0.0.7:9"]


def test_what_was_held_is_told_of_with_its_clients_though_nothing_follows(storm: Storm) -> None:
    for port in range(4):
        storm.refuse(f"10.0.0.7:{port}")
        storm.refuse(f"::1:{port}")
    storm.gate.tick()
    assert len(storm.lines()) == 2
    storm.now_s += INTERVAL_S
    storm.gate.tick()
    told = {"held": "client not served", "kind": "limit", "similar_lines_held": 6, "clients": "10.0.0.7,::1"}
    assert storm.lines() == [("similar lines held", told)]
    storm.gate.tick()
    assert storm.lines() == []


def test_the_next_line_of_a_kind_tells_of_it_too(storm: Storm) -> None:
    storm.refuse("10.0.0.7:1")
    storm.refuse("10.0.0.7:2")
    storm.now_s += INTERVAL_S
    storm.refuse("10.0.0.8:1")
    _, told, shown = storm.lines()
    assert (told[1]["clients"], shown[1]["client"]) == ("10.0.0.7", "10.0.0.8:1")


def test_a_flood_from_many_addresses_has_a_bound_of_lines_and_of_names(storm: Storm) -> None:
    for number in range(5000):
        storm.refuse(f"10.0.{number // 250}.{number % 250}:1")
    assert len(storm.lines()) == MAX_LINES
    storm.now_s += INTERVAL_S
    storm.gate.tick()
    ((_, told),) = storm.lines()
    assert told["similar_lines_held"] == 5000 - MAX_LINES
    assert len(told["clients"].split(",")) == MAX_NAMED
    assert told["of_other_clients"] == 5000 - MAX_LINES - MAX_NAMED


def test_a_line_without_a_client_is_held_too(storm: Storm) -> None:
    for _ in range(3):
        storm.gate.note(LOGGER, logging.ERROR, "cannot accept", "accept", problem="x")
    assert [event for event, _ in storm.lines()] == ["cannot accept"]
    storm.now_s += INTERVAL_S
    storm.gate.tick()
    assert storm.lines() == [
        ("similar lines held", {"held": "cannot accept", "kind": "accept", "similar_lines_held": 2})
    ]


def test_at_the_end_what_is_held_is_told_of_before_its_time(storm: Storm) -> None:
    for kind in ("limit", "handshake", "limit"):
        storm.refuse("10.0.0.7:1", kind)
    storm.lines()
    storm.gate.close()
    told = {"held": "client not served", "kind": "limit", "similar_lines_held": 1, "clients": "10.0.0.7"}
    assert storm.lines() == [("similar lines held", told)]
    storm.gate.close()
    assert storm.lines() == []
