"""The processes of workers, each with a line to it on its standard input."""

import asyncio
import signal
import socket
from collections.abc import Callable, Iterable, Sequence
from typing import Final, final

from sealwire.proxy.server.audit_writer.sink import RingEnds
from sealwire.proxy.server.page.facts import PageFacts, read_facts
from sealwire.proxy.server.workers.joint_metrics import JointMetrics
from sealwire.proxy.server.workers.worker_channel import Ask, Family, Figures, Message, Seat, encode

WorkerCommand = Callable[[int], Sequence[str]]
"""From a worker's number to the command line that runs it."""


# --------------------- workers are asked for what they count and know, and what they answer is put together

# A worker that does not answer in time is shown as it was last seen.
FIGURES_S: Final = 2.0


@final
class AskedWorkers:
    """For one event loop."""

    def __init__(self, numbers: Callable[[], Iterable[int]], send: Callable[[int, Ask], None]) -> None:
        """`numbers` are the workers that can answer now; `send` asks one of them."""
        self._numbers = numbers
        self._send = send
        self._joint = JointMetrics()
        self._facts: dict[int, PageFacts] = {}
        """What workers answered to the last question for them."""
        self._answers: dict[tuple[int, int], asyncio.Future[None]] = {}
        self._asked = 0

    async def facts(self) -> PageFacts | None:
        """What policy and keyring say, of workers that differ those of the first; None without a worker."""
        self._facts.clear()
        await self._ask(facts=True)
        return next((self._facts[number] for number in sorted(self._facts)), None)

    async def page(self, own: Callable[[], tuple[Family, ...]]) -> bytes:
        """The metrics page of all workers and of `own`, which is called once they have answered."""
        await self._ask()
        return self._joint.render(own())

    def use_servers(self, names: Iterable[str]) -> None:
        """There are these servers now."""
        self._joint.use_servers(names)

    def heard(self, number: int, figures: Figures) -> None:
        """The answer of a worker. Raises ValueError where its facts are none."""
        self._joint.heard(number, figures.families)
        if figures.facts:
            self._facts[number] = read_facts(figures.facts)
        answer = self._answers.get((number, figures.number))
        if answer is not None and not answer.done():
            answer.set_result(None)

    def ended(self, number: int) -> None:
        """A worker has ended: nobody waits for it."""
        self._joint.ended(number)
        for (worker, _), answer in self._answers.items():
            if worker == number and not answer.done():
                answer.set_result(None)

    async def _ask(self, *, facts: bool = False) -> None:
        """Ask all workers, and wait for their answers, for a while."""
        self._asked += 1
        waiting: list[asyncio.Future[None]] = []
        for number in self._numbers():
            answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._answers[number, self._asked] = answer
            waiting.append(answer)
            self._send(number, Ask(self._asked, facts))
        if waiting:
            await asyncio.wait(waiting, timeout=FIGURES_S)
        self._answers = {key: answer for key, answer in self._answers.items() if answer not in waiting}


@final
class WorkerProcesses:
    """Those that run now, by their numbers. For one event loop."""

    def __init__(self, command: WorkerCommand) -> None:
        self._command = command
        self._running: dict[int, asyncio.subprocess.Process] = {}
        self._writers: dict[int, asyncio.StreamWriter] = {}
        self._signals_due: dict[int, signal.Signals] = {}
        """For workers whose process is just being made."""

    async def start(
        self, number: int, ring: RingEnds | None, seat: Callable[[], Seat]
    ) -> tuple[asyncio.subprocess.Process, asyncio.StreamReader]:
        """Start one and give it its seat, made once it can be told of changes. Raises OSError."""
        ours, theirs = socket.socketpair()
        with theirs:
            process = await asyncio.create_subprocess_exec(
                *self._command(number),
                stdin=theirs.fileno(),
                pass_fds=() if ring is None else (ring.memory, ring.wake),
            )
        self._running[number] = process
        if (due := self._signals_due.pop(number, None)) is not None:
            _send(process, due)
        ours.setblocking(False)
        reader, writer = await asyncio.open_unix_connection(sock=ours)
        self._writers[number] = writer
        writer.write(encode(seat()))
        return process, reader

    def tell(self, number: int, message: Message) -> None:
        """Write to the line of one that runs."""
        self._writers[number].write(encode(message))

    def tell_all(self, message: Message) -> None:
        """Write to every line."""
        told = encode(message)
        for writer in self._writers.values():
            writer.write(told)

    def signal(self, number: int, what: signal.Signals) -> None:
        """Send a signal, to one whose process is just being made as soon as it is there."""
        process = self._running.get(number)
        if process is None:
            self._signals_due[number] = what
        else:
            _send(process, what)

    def ended(self, number: int) -> None:
        """It has ended, or could not be started: close its line."""
        self._running.pop(number, None)
        self._signals_due.pop(number, None)
        if (writer := self._writers.pop(number, None)) is not None:
            writer.close()

    def kill(self) -> None:
        """End all at once."""
        for process in self._running.values():
            _send(process, signal.SIGKILL)


def _send(process: asyncio.subprocess.Process, what: signal.Signals) -> None:
    try:
        process.send_signal(what)
    except ProcessLookupError:
        return  # it has just ended, and who waits for it is told
