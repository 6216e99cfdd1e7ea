"""Processes are started, told and ended by their numbers."""

import asyncio
import signal
import sys

import pytest
from prometheus_client import CollectorRegistry, Counter

from sealwire.proxy.server.config.settings import Address
from sealwire.proxy.server.supervisor import processes
from sealwire.proxy.server.supervisor.processes import AskedWorkers, WorkerProcesses
from sealwire.proxy.server.workers.joint_metrics import families_of
from sealwire.proxy.server.workers.worker_channel import Ask, Family, Figures, Members, Seat, encode
from tests.proxy.server.harness import soon

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
    monkeypatch.setattr(processes, "FIGURES_S", 0.01)
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
