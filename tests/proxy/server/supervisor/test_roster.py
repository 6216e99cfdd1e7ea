"""What the supervisor decides, without processes: who starts when, who is replaced, and when it gives up."""

import asyncio
import signal
import sys

import pytest
from prometheus_client import CollectorRegistry, Counter

from sealwire.proxy.server.config.rows import Address
from sealwire.proxy.server.supervisor import roster
from sealwire.proxy.server.supervisor.roster import (
    CUT,
    DRAIN,
    DRAIN_GRACE_S,
    FIRST_PAUSE_S,
    LONGEST_PAUSE_S,
    MOST_FAILURES,
    RENEW,
    STABLE_S,
    START_S,
    AllReady,
    AskedWorkers,
    Finish,
    Order,
    Roster,
    RunOutcome,
    Start,
    Tell,
    WorkerProcesses,
)
from sealwire.proxy.server.workers.joint_metrics import families_of
from sealwire.proxy.server.workers.worker_channel import Ask, Family, Figures, Members, Seat, encode
from tests.proxy.server.harness import soon

DRAIN_S = 30.0


def started(workers: int, now_s: float = 100.0) -> Roster:
    """All workers ready at `now_s`."""
    roster = Roster(workers, DRAIN_S)
    roster.tick(now_s)
    for number in range(1, workers + 1):
        roster.became_ready(number, now_s)
    assert roster.ready == workers
    return roster


def test_workers_start_one_after_the_other_and_all_are_announced_once() -> None:
    roster = Roster(3, DRAIN_S)
    assert roster.tick(1.0) == [Start(1)]
    assert roster.tick(2.0) == []
    assert roster.became_ready(1, 3.0) == [Start(2)]
    assert roster.became_ready(1, 3.5) == []  # every beat says so again
    assert roster.became_ready(2, 4.0) == [Start(3)]
    assert roster.became_ready(3, 5.0) == [AllReady()]
    roster.ended(2, 0, 50.0)
    assert roster.became_ready(2, 51.0) == []


@pytest.mark.parametrize("code", [78, -9, 0])
def test_the_first_worker_speaks_for_all_when_it_cannot_start(code: int) -> None:
    roster = Roster(4, DRAIN_S)
    roster.tick(1.0)
    assert roster.ended(1, code, 2.0) == [Finish(RunOutcome.NEVER_STARTED, code)]
    assert roster.tick(1e6) == []


def test_a_worker_that_had_served_is_replaced_at_once() -> None:
    roster = started(2, 100.0)
    assert roster.ended(2, -11, 100.0 + STABLE_S) == [Start(2)]
    assert roster.ready == 1


def test_a_worker_that_ends_soon_is_replaced_after_a_pause_that_doubles_up_to_a_limit() -> None:
    roster = started(2, 100.0)
    now_s, pauses = 100.0, []
    for _ in range(10):
        assert roster.ended(2, 1, now_s) == []
        pause_s = 0.0
        while not (orders := roster.tick(now_s + pause_s)):
            pause_s += FIRST_PAUSE_S / 2
        assert orders == [Start(2)]
        pauses.append(pause_s)
        now_s += pause_s
    assert pauses[:4] == [FIRST_PAUSE_S * factor for factor in (1, 2, 4, 8)]
    assert pauses[-1] == LONGEST_PAUSE_S


def test_failures_without_end_leave_the_proxy_alone_while_one_worker_serves() -> None:
    roster = started(2, 100.0)
    orders: list[Order] = []
    for round_ in range(20):
        now_s = 100.0 + 100 * round_
        orders += roster.ended(2, 69, now_s) + roster.tick(now_s + 99)
    assert not any(isinstance(order, Finish) for order in orders)


def test_it_gives_up_when_workers_fail_in_a_row_and_none_serves() -> None:
    roster = started(2, 100.0)
    roster.ended(1, -11, 101.0)
    orders = roster.ended(2, -11, 101.0)
    now_s, failures = 101.0, 2
    while not any(isinstance(order, Finish) for order in orders):
        now_s += LONGEST_PAUSE_S
        (start,) = orders or roster.tick(now_s)
        assert isinstance(start, Start)
        orders = roster.ended(start.number, -11, now_s)
        failures += 1
    assert orders == [Finish(RunOutcome.GAVE_UP, -11)]
    assert failures == MOST_FAILURES
    assert roster.tick(1e6) == []


def test_one_worker_that_lasts_forgives_the_failures_before_it() -> None:
    roster = started(1, 100.0)
    now_s = 100.0
    for _ in range(3 * MOST_FAILURES):
        orders = roster.ended(1, -11, now_s)
        assert not any(isinstance(order, Finish) for order in orders)
        now_s += 100
        if Start(1) not in orders:
            assert roster.tick(now_s) == [Start(1)]
        roster.became_ready(1, now_s)
        now_s += STABLE_S + 1


def test_a_start_without_end_is_cut() -> None:
    roster = started(2, 100.0)
    roster.ended(2, 1, 100.0 + STABLE_S)
    assert roster.tick(100.0 + STABLE_S + START_S) == [Tell(2, CUT)]
    assert roster.ended(2, -9, 300.0) == []
    assert roster.tick(400.0) == [Start(2)]


def test_a_reload_reaches_those_that_are_ready_and_later_the_one_that_starts() -> None:
    roster = Roster(2, DRAIN_S)
    roster.tick(1.0)
    roster.became_ready(1, 2.0)
    assert roster.reload() == [Tell(1, RENEW)]
    assert roster.became_ready(2, 3.0) == [Tell(2, RENEW), AllReady()]
    assert roster.reload() == [Tell(1, RENEW), Tell(2, RENEW)]


def test_a_replacement_that_was_reloaded_while_it_started_and_died_owes_nothing() -> None:
    roster = started(2, 100.0)
    roster.ended(2, 1, 200.0)
    roster.reload()
    roster.ended(2, 1, 201.0)
    assert roster.tick(300.0) == [Start(2)]
    assert roster.became_ready(2, 301.0) == []


def test_a_stop_drains_all_and_ends_when_the_last_has_gone() -> None:
    roster = started(2, 100.0)
    assert roster.stop(200.0) == [Tell(1, DRAIN), Tell(2, DRAIN)]
    assert roster.ended(1, 0, 201.0) == []
    assert roster.ended(2, 0, 202.0) == [Finish(RunOutcome.DRAINED)]


def test_a_second_stop_ends_them_at_once() -> None:
    roster = started(2, 100.0)
    roster.stop(200.0)
    roster.ended(1, 0, 201.0)
    assert roster.stop(201.0) == [Tell(2, CUT)]
    assert roster.ended(2, -9, 201.5) == [Finish(RunOutcome.DRAINED)]


def test_a_drain_has_a_limit_and_starts_nobody() -> None:
    roster = started(2, 100.0)
    roster.ended(2, -11, 101.0)
    assert roster.stop(102.0) == [Tell(1, DRAIN)]
    assert roster.tick(102.0 + DRAIN_S) == []
    assert roster.tick(102.0 + DRAIN_S + DRAIN_GRACE_S) == [Tell(1, CUT)]


def test_a_reload_can_give_a_drain_more_time() -> None:
    roster = started(1)
    roster.drain_s = 10 * DRAIN_S
    roster.stop(200.0)
    assert roster.tick(200.0 + DRAIN_S + DRAIN_GRACE_S) == []
    assert roster.tick(200.0 + 10 * DRAIN_S + DRAIN_GRACE_S) == [Tell(1, CUT)]


def test_a_worker_that_becomes_ready_during_a_drain_is_told_again() -> None:
    roster = Roster(2, DRAIN_S)
    roster.tick(1.0)
    assert roster.stop(2.0) == [Tell(1, DRAIN)]
    assert roster.became_ready(1, 3.0) == [Tell(1, DRAIN)]
    assert roster.ended(1, 0, 4.0) == [Finish(RunOutcome.DRAINED)]


def test_a_stop_while_all_wait_for_their_turn_ends_at_once() -> None:
    roster = started(1, 100.0)
    roster.ended(1, 1, 101.0)
    assert roster.stop(101.1) == [Finish(RunOutcome.DRAINED)]
    assert roster.tick(1000.0) == []


pytestmark = pytest.mark.integration

SEAT = Seat(1, 2, ((Address("127.0.0.1", 27018),),))
# says back what it hears on the same line
ECHO = "import os; [os.write(0, data) for data in iter(lambda: os.read(0, 4096), b'')]"


def command(_number: int) -> list[str]:
    return [sys.executable, "-S", "-c", ECHO]


async def test_a_process_has_its_seat_first_and_then_what_all_are_told() -> None:
    processes = WorkerProcesses(command)
    process, reader = await soon(processes.start(1, None, lambda: SEAT))
    told = Members((), (), (Address("m0", 27017),))
    processes.tell_all(told)
    expected = encode(SEAT) + encode(told)
    assert await soon(reader.readexactly(len(expected))) == expected
    processes.kill()
    assert await soon(process.wait()) == -signal.SIGKILL
    processes.signal(1, signal.SIGTERM)  # it has ended meanwhile
    processes.ended(1)


async def test_a_signal_for_one_that_is_just_being_made_reaches_it() -> None:
    processes = WorkerProcesses(command)
    processes.signal(1, signal.SIGKILL)
    process, _ = await soon(processes.start(1, None, lambda: SEAT))
    assert await soon(process.wait()) == -signal.SIGKILL
    processes.ended(1)


async def test_a_line_that_is_closed_ends_what_reads_it() -> None:
    processes = WorkerProcesses(command)
    process, reader = await soon(processes.start(1, None, lambda: SEAT))
    await soon(reader.readexactly(len(encode(SEAT))))
    processes.ended(1)
    assert await soon(process.wait()) == 0


def figures(number: int, count: int = 1) -> Figures:
    registry = CollectorRegistry()
    Counter("things", "Things", registry=registry).inc(count)
    return Figures(number, families_of(registry))


class Asked:
    """Workers 1 and 2, which answer when the test says so."""

    def __init__(self) -> None:
        self.questions: list[tuple[int, Ask]] = []
        self.workers = AskedWorkers(lambda: (1, 2), lambda *question: self.questions.append(question))

    async def page(self) -> "asyncio.Task[bytes]":
        """What is on its way, and has asked."""
        task = asyncio.get_running_loop().create_task(self.workers.page(tuple[Family, ...]))
        await asyncio.sleep(0)
        return task


async def test_a_page_has_the_figures_of_all_workers() -> None:
    asked = Asked()
    page = await asked.page()
    assert asked.questions == [(1, Ask(1)), (2, Ask(1))]
    asked.workers.heard(1, figures(1, 3))
    asked.workers.heard(2, figures(1, 4))
    assert b"things_total 7.0" in await soon(page)


async def test_nobody_waits_for_a_worker_that_has_ended_and_its_counts_stay() -> None:
    asked = Asked()
    first = await asked.page()
    asked.workers.heard(1, figures(1, 3))
    asked.workers.heard(2, figures(1, 4))
    await soon(first)
    page = await asked.page()
    asked.workers.ended(1)
    asked.workers.heard(2, figures(2, 5))
    assert b"things_total 8.0" in await soon(page)


async def test_a_worker_that_does_not_answer_is_shown_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roster, "FIGURES_S", 0.01)
    asked = Asked()
    page = await asked.page()
    asked.workers.heard(1, figures(1, 3))
    assert b"things_total 3.0" in await soon(page)
    asked.workers.heard(2, figures(1, 4))  # too late for that page, and no harm
    assert await soon(asked.workers.facts()) is None
    assert asked.questions[-1] == (2, Ask(2, facts=True))


async def test_an_answer_to_a_question_of_before_is_none() -> None:
    asked = Asked()
    page = await asked.page()
    asked.workers.heard(1, figures(0, 3))
    asked.workers.heard(2, figures(1, 4))
    assert not page.done()
    asked.workers.heard(1, figures(1, 3))
    assert b"things_total 7.0" in await soon(page)
