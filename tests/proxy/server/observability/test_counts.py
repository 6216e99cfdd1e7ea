"""Which messages are timed for the histograms, what of their time is ours, and sums of what was counted."""

from collections import Counter

import pytest

from bench.workloads import message
from sealwire.proxy.server.observability.counts import CommandTimer, CoreCounts
from sealwire.proxy.session.watch import CommandNote

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


def test_what_passes_while_the_server_has_the_command_is_not_ours() -> None:
    now = iter([10.0, 10.0, 10.2, 11.2, 11.5])
    timer = CommandTimer(lambda: next(now))
    timer.turn(is_ours=True)
    timer.turn(is_ours=False)  # sent on after 0.2 s
    timer.turn(is_ours=True)  # the reply came after 1 s
    timer.turn(is_ours=False)
    assert round(timer.own_s, 6) == 0.5
    assert round(timer.total_s, 6) == 1.5


def test_a_wait_that_sealwire_makes_is_ours() -> None:
    now = iter([0.0, 0.1, 2.1])
    timer = CommandTimer(lambda: next(now))
    timer.turn(is_ours=True)  # it waits for keys
    timer.turn(is_ours=False)
    assert round(timer.own_s, 6) == round(timer.total_s, 6) == 2.1


def test_what_a_session_notes_is_kept_with_the_time_of_the_note() -> None:
    now = iter([0.0, 0.0, 0.5, 1.0, 1.5])
    timer = CommandTimer(lambda: next(now))
    note = CommandNote("find", "clinic.patients", 0.1, 0.2, 1, None)
    timer.turn(is_ours=True)
    timer.turn(is_ours=False)
    timer.take(note, 0)
    timer.turn(is_ours=True)
    timer.turn(is_ours=False)
    timer.take(None, 3)
    assert (timer.note, timer.noted_s, timer.opened, timer.own_s) == (note, 0.5, 3, 1.0)
