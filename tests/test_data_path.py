"""The data path of the architecture page is what a real find and its reply go through, in that order.

The protocols of both peers are called as asyncio would call them, with transports that keep what they are
given, and the calls below them are recorded.
"""

import asyncio
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any, cast

import pytest

from sealwire.proxy.server.config.settings import Limits
from sealwire.proxy.server.connections.entrances import ClientProtocol
from sealwire.proxy.server.connections.services import Route, Services
from sealwire.proxy.server.observability.audit import LogAudit
from sealwire.proxy.server.observability.metrics import Metrics
from sealwire.proxy.server.upstream import ServerProtocol, Upstream, UpstreamWay
from tests.build_context import ROOT
from tests.proxy.session.world import command, reply, sealed, session
from tests.test_rooms import ARCHITECTURE, data_path_steps

pytestmark = pytest.mark.plain_core(reason="compiled functions are not seen by a profiler")

MOST_FILES = 40
"""So many files does a find pass through with its reply. Who makes them fewer lowers this."""

NUMBER = "943 476 5919"
FIND = command({"find": "patients", "filter": {"nhs_number": NUMBER}, "$db": "clinic"})
FOUND = reply(
    {
        "cursor": {
            "id": 0,
            "ns": "clinic.patients",
            "firstBatch": [{"_id": 1, "nhs_number": sealed("nhs", NUMBER)}],
        },
        "ok": 1.0,
    }
)


class Transport:
    """What the shell asks of a transport; it keeps what is written."""

    def __init__(self) -> None:
        self.written = b""

    def write(self, data: bytes) -> None:
        self.written += data

    def set_write_buffer_limits(self, high: int) -> None:
        """Its buffer never fills."""

    def get_extra_info(self, name: str) -> object:
        """It is its own socket, and has no peer."""
        return self if name == "socket" else None

    def setsockopt(self, *_options: int) -> None:
        """The socket's options mean nothing here."""

    def pause_reading(self) -> None:
        """Nothing reads by itself."""

    def resume_reading(self) -> None:
        """As above."""

    def is_closing(self) -> bool:
        return False


class Server(Upstream):
    """A server that is reached at once."""

    def __init__(self) -> None:
        self.transport = Transport()
        self.protocol: ServerProtocol

    def way_for(self, _names: tuple[str, ...], _issuer: str) -> UpstreamWay:
        return UpstreamWay(None)

    async def connect_for(self, events: Any, _failed: object, way: UpstreamWay | None = None) -> None:
        del way
        self.protocol = ServerProtocol(events)
        self.protocol.connection_made(cast(asyncio.BaseTransport, self.transport))


Step = tuple[str, str]


def traced(work: Callable[[], object]) -> list[Step]:
    """The functions of the product that `work` calls, as (path, function), in the order of their calls."""
    steps: list[Step] = []

    def note(frame: FrameType, event: str, _argument: object) -> None:
        path = frame.f_code.co_filename
        if event == "call" and path.startswith(f"{ROOT}/") and "/tests/" not in path:
            inside = path.removeprefix(f"{ROOT}/").removeprefix("sealwire/")
            steps.append((inside, frame.f_code.co_qualname))

    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(None)
    return steps


def first_missing(named: list[Step], called: list[Step]) -> Step | None:
    """The first of `named` that is not called after those before it; None where all are, in order."""
    calls = iter(called)
    return next((step for step in named if step not in calls), None)


async def find_and_reply() -> tuple[list[Step], Transport, Transport]:
    """The calls that a find and its reply lead to, and both transports with what was written to them."""
    server, client = Server(), Transport()
    metrics = Metrics()
    services = Services(cast(Any, None), metrics, LogAudit(), Limits())
    protocol = ClientProtocol(services, Route(server, session), lambda: None)
    protocol.connection_made(cast(asyncio.BaseTransport, client))
    protocol.data_received(command({"ping": 1, "$db": "admin"}, 99))
    await asyncio.sleep(0)  # what is sent first opens the connection to the server, in a task
    called = traced(lambda: protocol.data_received(FIND))
    called += traced(lambda: server.protocol.data_received(FOUND))
    return called, client, server.transport


async def test_a_find_and_its_reply_take_the_path_of_the_architecture_page() -> None:
    called, client, server = await find_and_reply()
    assert server.written
    assert NUMBER.encode() not in server.written
    assert NUMBER.encode() in client.written
    named = data_path_steps(ARCHITECTURE.read_text(encoding="utf-8"))
    assert named[0] == called[0]
    assert first_missing(named, called) is None


async def test_the_architecture_page_names_every_file_that_a_find_and_its_reply_pass_through() -> None:
    called, _, _ = await find_and_reply()
    named = data_path_steps(ARCHITECTURE.read_text(encoding="utf-8"))
    files = {path for path, _ in called}
    assert {path for path, _ in named} == files
    assert len(files) <= MOST_FILES


async def test_another_order_and_a_function_that_is_not_called_are_noticed() -> None:
    called, _, _ = await find_and_reply()
    named = data_path_steps(ARCHITECTURE.read_text(encoding="utf-8"))
    assert first_missing(named[::-1], called) is not None
    gone = ("wire/framing.py", "Framer.feed")
    assert first_missing([*named[:3], gone, *named[3:]], called) == gone
