"""A storm of connection problems stays readable, bounded, and names each client."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from sealwire.proxy.server.connections.services import (
    INTERVAL_S,
    MAX_LINES,
    MAX_NAMED,
    ClientGate,
)
from sealwire.proxy.server.connections.sessions import ClientStage, has_kept_place, one_to_end
from tests.support.rows import rows

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


# Who makes room for a newcomer: the silent, then those without a login of the address that has most.


S, A, K, E = ClientStage.SILENT, ClientStage.ANONYMOUS, ClientStage.KNOWN, ClientStage.ENDING


@dataclass
class Placed:
    number: int
    host: str
    standing: ClientStage

    def abort(self) -> None:
        raise AssertionError


@rows(
    "standings, expected",
    ([(S, "a"), (S, "b"), (A, "a"), (K, "a")], 0),  # the oldest that has said nothing
    ([(K, "a")] * 6, None),  # who is logged in stays
    ([(E, "a")] * 6, None),
    ([(A, "a")] * 3 + [(K, "a")], None),  # monitors within their share stay
    ([(A, "a")] * 3 + [(A, "b")] + [(K, "a")], 2),  # the newest of the address that has most
    ([(A, "new")] * 4, None),  # the newcomer's own address has the most
    ([(A, "a"), (A, "b"), (A, "c"), (A, "d")], None),  # nobody has more than the newcomer would
    ([(A, "a")] * 2 + [(A, "new")] * 2, None),
    ([(A, "a")] * 4 + [(A, "new")] * 2, 3),
)
def test_who_makes_room(standings: Sequence[tuple[ClientStage, str]], expected: int | None) -> None:
    placed = [Placed(number, host, standing) for number, (standing, host) in enumerate(standings)]
    found = one_to_end(reversed(placed), "new", 3)
    assert (None if found is None else found.number) == expected


@pytest.mark.parametrize(
    ("taken", "expected"),
    [
        ({"a": 20}, True),
        ({"a": 19, "new": 1}, True),
        ({"a": 18, "new": 2}, False),  # a tenth is no few
        ({"a": 20, "b": 1}, True),
        ({"a": 20, "b": 2}, False),  # those are taken too
    ],
)
def test_beyond_the_limit_an_address_with_few_places_may_come(
    taken: Mapping[str, int], *, expected: bool
) -> None:
    hosts = [host for host, count in taken.items() for _ in range(count)]
    assert has_kept_place(hosts, "new", 20) is expected
    assert not has_kept_place(hosts, "a", 20)


def test_a_small_limit_has_nothing_beyond() -> None:
    assert not has_kept_place(["a"] * 9, "new", 9)
