"""One worker: a whole proxy without an admin address, and its line to the supervisor on standard input.

SIGTERM and SIGINT drain it, however often they come: a service manager or a terminal sends them to every
process of a group, and the supervisor sends its own. To end a worker at once the supervisor kills it. A
supervisor that has gone is a drain as well, so no worker is left behind.
"""

import asyncio
import logging
import os
import socket
from dataclasses import replace

import uvloop

from sealwire.proxy.server.config.settings import Config, ListenTls, PageSettings, TlsMode
from sealwire.proxy.server.connections.sessions import SessionMaker
from sealwire.proxy.server.discovery.monitor import LEAST_PAUSE_S
from sealwire.proxy.server.errors import StartReason, WorkersFailed
from sealwire.proxy.server.observability.logs import note
from sealwire.proxy.server.tasks import spawn, take_signals
from sealwire.proxy.server.workers import memory, worker_channel
from sealwire.proxy.server.workers.app import Proxy
from sealwire.proxy.server.workers.joint_metrics import families_of
from sealwire.proxy.server.workers.start import Loaded

_log = logging.getLogger("sealwire.server")

BEAT_S = 1.0

# The supervisor sends the seat as soon as the process exists.
SEAT_S = 30.0


def take_seat() -> tuple[socket.socket, worker_channel.Seat]:
    """The line to the supervisor and what it says first. Blocks. Raises ChannelError, OSError."""
    line = socket.socket(fileno=os.dup(0))
    if line.family != socket.AF_UNIX:
        raise worker_channel.ChannelError("standard input is not the line to a supervisor")
    # Nothing else may read from it by mistake.
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    line.settimeout(SEAT_S)
    (length,) = worker_channel.LENGTH.unpack(_exactly(line, worker_channel.LENGTH.size))
    seat = worker_channel.decode(_exactly(line, worker_channel.bounded(length)))
    if not isinstance(seat, worker_channel.Seat):
        raise worker_channel.ChannelError("the first message is not a seat")
    line.setblocking(False)
    return line, seat


def share_of(config: Config, seat: worker_channel.Seat) -> Config:
    """What one worker may take on: its part of the connections, rounded up, and not the admin address.

    So what is wrong with the files of that keeps no worker from taking an ended one's place.
    """
    connections = -(-config.limits.connections // seat.workers)
    limits = replace(config.limits, connections=connections)
    plain = ListenTls(TlsMode.PLAINTEXT)
    return replace(config, limits=limits, admin_tls=plain, admin_page=PageSettings())


def expect_members(config: Config, seat: worker_channel.Seat) -> None:
    """The file may have been changed since the supervisor read it. Raises WorkersFailed."""
    if config.discovery is not None:
        is_same = len(seat.members) == len(seat.listeners)
    else:
        is_same = len(config.members) == len(seat.listeners) and not seat.members
    if not is_same:
        raise WorkersFailed(
            StartReason.WORKERS_FAILED,
            "the members in the configuration are not those that the proxy was started with",
            "start the whole proxy again, or take the change of `members` back",
        )


def serve(loaded: Loaded, new_session: SessionMaker, line: socket.socket, seat: worker_channel.Seat) -> None:
    """Run until drained. Raises ServerError when it cannot start."""
    memory.fix_thresholds()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_work(loaded, new_session, line, seat))


async def _work(
    loaded: Loaded, new_session: SessionMaker, line: socket.socket, seat: worker_channel.Seat
) -> None:
    proxy = Proxy(loaded, new_session, seat)
    take_signals(proxy.drain, proxy.reload)
    talking = spawn(talk(proxy, line), "supervisor")
    try:
        await proxy.run()
    finally:
        talking.cancel()


async def talk(proxy: Proxy, line: socket.socket) -> None:
    """Answer the supervisor, and beat from the moment that the proxy is ready; drain when it has gone."""
    reader, writer = await asyncio.open_unix_connection(sock=line)
    beating = spawn(_beat(proxy, writer), "beat")
    telling = spawn(_tell_of_strangers(proxy, writer), "strangers")
    try:
        while True:
            message = await worker_channel.read_message(reader)
            if isinstance(message, worker_channel.Ask):
                facts = proxy.facts() if message.facts else None
                families = families_of(proxy.metrics.registry)
                writer.write(worker_channel.encode(worker_channel.Figures(message.number, families, facts)))
            elif isinstance(message, worker_channel.Members):
                await proxy.ready.wait()  # what it began with is in its seat
                proxy.members.follow(message.members, message.listeners, message.left_out)
            elif isinstance(message, worker_channel.Silent):
                proxy.members.doubt(message.servers)
    except (asyncio.IncompleteReadError, worker_channel.ChannelError, OSError) as error:
        note(_log, logging.ERROR, "the supervisor has gone", problem=type(error).__name__)
        proxy.drain()
    finally:
        beating.cancel()
        telling.cancel()
        writer.close()


async def _tell_of_strangers(proxy: Proxy, writer: asyncio.StreamWriter) -> None:
    while True:
        await proxy.stranger_met.wait()
        proxy.stranger_met.clear()
        writer.write(worker_channel.encode(worker_channel.Stranger()))
        await asyncio.sleep(LEAST_PAUSE_S)


async def _beat(proxy: Proxy, writer: asyncio.StreamWriter) -> None:
    await proxy.ready.wait()
    while True:
        writer.write(worker_channel.encode(proxy.health.beat))
        await asyncio.sleep(BEAT_S)


def _exactly(line: socket.socket, size: int) -> bytes:
    data = line.recv(size, socket.MSG_WAITALL)
    if len(data) != size:
        raise worker_channel.ChannelError("the supervisor has gone")
    return data
