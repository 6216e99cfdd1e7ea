"""The processes of workers, each with a line to it on its standard input."""

import asyncio
import signal
import socket
from collections.abc import Callable, Sequence
from typing import final

from sealwire.proxy.server.audit_writer.sink import RingEnds
from sealwire.proxy.server.workers.worker_channel import Message, Seat, encode

WorkerCommand = Callable[[int], Sequence[str]]
"""From a worker's number to the command line that runs it."""


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
