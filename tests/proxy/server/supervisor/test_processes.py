"""Processes are started, told and ended by their numbers."""

import signal
import sys

import pytest

from sealwire.proxy.server.config.settings import Address
from sealwire.proxy.server.supervisor.processes import WorkerProcesses
from sealwire.proxy.server.workers.worker_channel import Members, Seat, encode
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
