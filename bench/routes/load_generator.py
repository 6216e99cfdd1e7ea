"""The load generator's own process: uvloop, canned requests, one request at a time on each connection.

    python -m bench.routes.load_generator

It reads and answers lines (`Talker`). Of a reply it reads only the length, except that the first
one on every connection of a run has to be ok.
"""

import asyncio
import gc
import ssl
import sys
import time
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import uvloop
from bson import decode

from bench.routes.processes import pack, serve
from bench.workloads import BODY, split_messages

LOOPBACK = "127.0.0.1"
# Nothing that is measured takes longer; a route that stopped must not stop the bench.
_SILENT_AFTER_S = 20.0
_HEADER_BYTES = 16


class Slice:
    """One run over all connections of a route: what to ask, until when, and what has come of it."""

    def __init__(self, requests: Sequence[bytes], stride: int, seconds: float) -> None:
        self.requests = requests
        self.stride = stride
        self.latencies = array("f")
        self.late = array("f")
        self.started = time.perf_counter()
        self.end = self.started + seconds
        self.waiting = stride
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def fail(self, error: Exception) -> None:
        """End it at once."""
        if not self.over.done():
            self.over.set_exception(error)

    def stop(self) -> None:
        """One connection has its last answer."""
        self.waiting -= 1
        if not self.waiting and not self.over.done():
            self.over.set_result(None)


class Link(asyncio.Protocol):
    """One connection. It asks, waits for the whole reply, and asks again."""

    def __init__(self, turn: int) -> None:
        self.transport: asyncio.Transport
        self._turn = turn
        self._sent = 0.0
        self._missing = 0
        self._checked = False
        self._slice: Slice | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have the interface of asyncio.Transport but are not instances of it.
        self.transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        if self._slice is not None:
            self._slice.fail(EOFError("a connection was closed while it waited for an answer"))

    def begin(self, slice_: Slice) -> None:
        """Ask until its end."""
        self._slice = slice_
        self._checked = False
        self._ask(slice_, time.perf_counter())

    def data_received(self, data: bytes) -> None:
        slice_ = self._slice
        if slice_ is None:
            return
        if not self._missing:
            if len(data) < _HEADER_BYTES:
                slice_.fail(ValueError("a reply came in crumbs"))
                return
            self._missing = int.from_bytes(data[:4], "little")
            if not self._checked:
                self._check(slice_, data)
        self._missing -= len(data)
        if self._missing > 0:
            return
        if self._missing < 0:
            slice_.fail(ValueError("more came than was asked for"))
            return
        now = time.perf_counter()
        if now < slice_.end:
            slice_.latencies.append(now - self._sent)
            self._ask(slice_, now)
        else:
            slice_.late.append(now - self._sent)
            self._slice = None
            slice_.stop()

    def _ask(self, slice_: Slice, now: float) -> None:
        self._sent = now
        self.transport.write(slice_.requests[self._turn % len(slice_.requests)])
        self._turn += slice_.stride

    def _check(self, slice_: Slice, data: bytes) -> None:
        self._checked = True
        if len(data) == self._missing and not decode(data[BODY:]).get("ok"):
            slice_.fail(ValueError("an operation failed"))


class Generator:
    """Connections by the name of their route."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._links: dict[str, list[Link]] = {}
        self._requests: dict[str, list[bytes]] = {}

    def open(self, name: str, port: int, connections: int, authority: str | None) -> dict[str, Any]:
        """Connect, one after another; handshakes are not measured."""
        context = None if authority is None else ssl.create_default_context(cafile=authority)
        host = None if authority is None else LOOPBACK

        async def connect() -> list[Link]:
            links = []
            for number in range(connections):
                _, link = await self._loop.create_connection(
                    lambda number=number: Link(number), LOOPBACK, port, ssl=context, server_hostname=host
                )
                links.append(link)
            return links

        self._links[name] = self._loop.run_until_complete(connect())
        return {"open": connections}

    def close(self, name: str) -> dict[str, Any]:
        """Close a route's connections."""

        async def close() -> None:
            for link in self._links.pop(name, []):
                link.transport.close()
            await asyncio.sleep(0)

        self._loop.run_until_complete(close())
        return {}

    def run(self, name: str, requests: str, seconds: float) -> dict[str, Any]:
        """Ask on every connection of a route again and again for `seconds`.

        What is still on its way then is waited for and is late: counted, but not among the latencies, unless
        nothing else came at all.
        """
        if requests not in self._requests:
            self._requests[requests] = list(split_messages(Path(requests).read_bytes()))
        # collected between the runs only, so that no pause counts as somebody's latency
        gc.collect()
        used = time.process_time()
        done = self._loop.run_until_complete(self._run(self._links[name], self._requests[requests], seconds))
        used = time.process_time() - used
        if not done.latencies:
            seconds = time.perf_counter() - done.started
            return {"latencies": pack(done.late), "late": 0, "seconds": seconds, "cpu_s": used}
        late = len(done.late)
        return {"latencies": pack(done.latencies), "late": late, "seconds": seconds, "cpu_s": used}

    @staticmethod
    async def _run(links: Sequence[Link], requests: Sequence[bytes], seconds: float) -> Slice:
        slice_ = Slice(requests, len(links), seconds)
        for link in links:
            link.begin(slice_)
        if links:
            async with asyncio.timeout(seconds + _SILENT_AFTER_S):
                await slice_.over
        return slice_


def main() -> None:
    """Serve lines until the input ends."""
    loop = uvloop.new_event_loop()
    generator = Generator(loop)
    gc.disable()
    serve(sys.stdin, sys.stdout, {"open": generator.open, "close": generator.close, "run": generator.run})
    loop.close()


if __name__ == "__main__":
    main()
