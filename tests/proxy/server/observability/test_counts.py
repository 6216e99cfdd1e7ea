"""Which messages are timed for the histograms."""

from collections import Counter

import pytest

from bench.messages import message
from sealwire.proxy.server.observability.counts import CoreCounts

FIND = message({"find": "patients", "filter": {"nhs_number": "9434765919"}})


def sampled(counts: CoreCounts, data: bytes) -> bool:
    """As a connection asks."""
    counts.until_sampled -= 1
    return counts.until_sampled <= 0 and counts.samples(data)


def with_code(code: int) -> bytes:
    return FIND[:12] + code.to_bytes(4, "little") + FIND[16:]


def test_one_message_in_eight_is_timed_and_each_command_of_a_loop_as_often() -> None:
    counts = CoreCounts()
    places = Counter(number % 8 for number in range(80_000) if sampled(counts, FIND))
    assert sum(places.values()) == pytest.approx(10_000, rel=0.02)
    assert set(places) == set(range(8))
    assert all(found == pytest.approx(1250, rel=0.15) for found in places.values())


@pytest.mark.parametrize(
    "data",
    [
        *(message({name: 1}) for name in ("hello", "isMaster", "saslStart", "saslContinue", "ping")),
        with_code(2004),  # the first handshake of some drivers
        FIND[40:],  # the rest of a message
        b"",
    ],
)
def test_what_drivers_send_by_themselves_passes_its_turn_on(data: bytes) -> None:
    counts = CoreCounts()
    assert not any(sampled(counts, data) for _ in range(50))
    assert sampled(counts, FIND)


@pytest.mark.parametrize("data", [with_code(2012), message({"x" * 40: 1}), FIND[:27]])
def test_a_message_whose_name_is_not_seen_is_timed(data: bytes) -> None:
    assert sampled(CoreCounts(), data)
