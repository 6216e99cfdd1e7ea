"""How long the event loop is kept awake, and that a proxy which is told to do so still serves and ends."""

import os
from collections.abc import Callable
from dataclasses import replace

import pytest

from sealwire.proxy.server.connections.busy_poll import TAKEN_S, BusyPoll
from tests.proxy.server.fake_session import FakeSessions
from tests.proxy.server.harness import (
    client_of,
    exchange,
    fake_server,
    make_config,
    make_loaded,
    running,
)

# Longer than any test: how fast this machine is decides nothing.
FOR_EVER_US = 10**9


class Loop:
    """Turns when it is told to; time passes only then."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.ready: list[Callable[[], None]] = []

    def call_soon(self, callback: Callable[[], None]) -> None:
        self.ready.append(callback)

    def turns_until_asleep(self, turn_s: float = 1.0, at_most: int = 100) -> int:
        for turn in range(at_most):
            if not self.ready:
                return turn
            self.now_s += turn_s
            ready, self.ready = self.ready, []
            for callback in ready:
                callback()
        raise AssertionError("the loop never sleeps")


def polling(span_s: float) -> tuple[Loop, BusyPoll]:
    loop = Loop()
    return loop, BusyPoll(loop.call_soon, span_s, lambda: loop.now_s)


def test_the_loop_sleeps_until_something_arrives() -> None:
    loop, _ = polling(5.0)
    assert loop.ready == []


def test_without_a_span_it_always_sleeps() -> None:
    loop, poll = polling(0.0)
    poll.touch()
    assert loop.ready == []


def test_it_is_awake_for_the_span_and_then_sleeps_again() -> None:
    loop, poll = polling(5.0)
    for _ in range(3):
        poll.touch()
        assert loop.turns_until_asleep() == 5


def test_what_arrives_while_it_is_awake_prolongs_that_and_adds_no_second_turn() -> None:
    loop, poll = polling(5.0)
    poll.touch()
    loop.now_s += 3.0
    poll.touch()
    poll.touch()
    assert len(loop.ready) == 1
    assert loop.turns_until_asleep() == 5


def test_it_sleeps_as_soon_as_somebody_else_took_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    loop, poll = polling(5.0)
    taken_s = iter((0.0, TAKEN_S / 2, 2 * TAKEN_S))

    def offer() -> None:
        loop.now_s += next(taken_s)

    monkeypatch.setattr(os, "sched_yield", offer)
    poll.touch()
    assert loop.turns_until_asleep(turn_s=1e-6) == 3
    poll.touch()
    assert len(loop.ready) == 1


@pytest.mark.integration
@pytest.mark.parametrize("busy_poll_us", [0, FOR_EVER_US])
async def test_what_a_connection_receives_keeps_a_proxy_awake_if_that_is_asked_for(
    busy_poll_us: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns = 0

    def count() -> None:
        nonlocal turns
        turns += 1

    monkeypatch.setattr(os, "sched_yield", count)
    async with fake_server() as server:
        config = replace(make_config(server.port), busy_poll_us=busy_poll_us)
        async with running(make_loaded(config), FakeSessions()) as proxy, client_of(proxy) as client:
            await exchange(server, client, b"question", b"answer")
    assert (turns > 0) is (busy_poll_us > 0)
