"""The proxy as a whole: started in an order that leaves nothing half-started, drained on SIGTERM.

    load     policy, crypto self-test, keyring with every class, TLS files    (`start.load`)
    probe    connect to the servers: TLS, hello, topology                     (off with upstream.probe: false)
    bind     audit file, admin address, every listener; nothing accepts yet
    ready    accept

Whatever fails before `ready` is one error with a hint and an exit code, and no client was accepted.
"""

import asyncio
import logging
import resource
import signal
import socket
import time
from collections.abc import Awaitable, Iterable
from typing import Any

import uvloop

from sealwire.keys.keyring import Keyring
from sealwire.proxy.server import memory
from sealwire.proxy.server.admin import AdminServer
from sealwire.proxy.server.audit import open_audit
from sealwire.proxy.server.busy_poll import BusyPoll
from sealwire.proxy.server.config import Address, Member, TlsMode
from sealwire.proxy.server.errors import ServerError
from sealwire.proxy.server.health import Health, Phase
from sealwire.proxy.server.key_feed import KeyFeed
from sealwire.proxy.server.listener import Listener
from sealwire.proxy.server.logs import note
from sealwire.proxy.server.metrics import Metrics
from sealwire.proxy.server.ports import bind
from sealwire.proxy.server.services import Route, Services
from sealwire.proxy.server.sessions import SessionMaker
from sealwire.proxy.server.start import Loaded, make_upstreams, probe
from sealwire.proxy.server.tasks import spawn
from sealwire.proxy.server.tls import TlsSide, listen_side, upstream_side
from sealwire.proxy.server.worker_channel import Seat
from sealwire.proxy.session.conversation import SessionSettings
from sealwire.proxy.session.handshake import Topology
from sealwire.proxy.session.rewrite import forget_grids

_log = logging.getLogger("sealwire.server")

TICK_S = 1.0

# Two sockets a connection, and some for listeners, the admin address, files and probes.
_SPARE_FILES = 64

# After the last cut the loop gets this long to report the ends.
_ABORT_S = 1.0


class Proxy:
    """One running proxy: `run` starts it and returns when it has drained."""

    def __init__(self, loaded: Loaded, new_sessions: SessionMaker, seat: Seat | None = None) -> None:
        """With a `seat` it is one of several workers: they share ports, and the supervisor has the admin."""
        self.metrics = Metrics()
        self.health = Health()
        self.ready = asyncio.Event()
        self.services: Services
        self._loaded = loaded
        self._new_sessions = new_sessions
        self._seat = seat
        self._stopping = asyncio.Event()
        self._upstreams = make_upstreams(loaded)
        self._listeners: list[Listener] = []
        self._admin: AdminServer | None = None

    @property
    def addresses(self) -> list[Address]:
        """Where clients can connect."""
        return [address for listener in self._listeners for address in listener.addresses]

    @property
    def admin_address(self) -> Address | None:
        """Where the admin server answers, once it is bound."""
        return self._admin.address if self._admin is not None else None

    async def run(self) -> None:
        """Start, serve until `stop`, drain. Raises ServerError when it cannot start."""
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(self._loop_exception)
        topologies, down = await probe(self._loaded, self._upstreams)
        for error in down:
            note(_log, logging.WARNING, "member is down", problem=str(error), hint=error.hint)
        config = self._loaded.config
        audit = open_audit(config.audit, self.metrics, None if self._seat is None else self._seat.number)
        try:
            self.services = Services(
                keys=KeyFeed(
                    self._loaded.source, self._loaded.first, config.keys, self.metrics, self._hand_on
                ),
                metrics=self.metrics,
                audit=audit,
                limits=config.limits,
                poll=BusyPoll(loop.call_soon, config.busy_poll_us / 1e6),
            )
            self.health.keyring = self.services.keys.freshness
            self._bind(topologies)
            self._announce()
            ticking = spawn(self._tick(), "tick")
            await self._stopping.wait()
            await self._drain()
            ticking.cancel()
        finally:
            for listener in self._listeners:
                await listener.close()
            if self._admin is not None:
                self._admin.close()
            audit.close()

    def stop(self) -> None:
        """Drain and return from `run`; a second call cuts what is still open."""
        if self.health.phase is Phase.DRAINING:
            self._abort_all()
        self._stopping.set()

    def drain(self) -> None:
        """Drain and return from `run`; a second call changes nothing."""
        self._stopping.set()

    def reload(self) -> None:
        """Look at certificates and keys again, now."""
        self.reload_certificates()
        self.services.keys.reload()

    def reload_certificates(self) -> None:
        """Read the TLS files again for connections from now on; on an error, log it and keep the old ones."""
        config = self._loaded.config
        try:
            listen, upstream = listen_side(config.listen_tls), upstream_side(config.upstream_tls)
        except ServerError as error:
            self.metrics.certificate_reloads.labels("failed").inc()
            note(_log, logging.ERROR, "certificates kept", problem=str(error), hint=error.hint)
            return
        for listener in self._listeners:
            listener.use_context(listen.context)
        for server in self._upstreams:
            server.use_context(upstream.context)
        self.metrics.certificate_reloads.labels("loaded").inc()
        self._show_certificates(listen, upstream)
        note(_log, logging.INFO, "certificates loaded")

    def _bind(self, topologies: list[Topology]) -> None:
        config = self._loaded.config
        self.health.beat_at = time.monotonic()
        seat = self._seat
        if seat is None:
            self._admin = AdminServer(config.admin, self.health, self.metrics)
        for place, member in enumerate(config.members):
            new_session = self._new_sessions(SessionSettings(self._loaded.policy, topologies[place]))
            route = Route(self._upstreams[place], new_session)
            sockets = bind(member.listen) if seat is None else _bind_shared(seat.listeners[place])
            self._listeners.append(Listener(self.services, route, sockets, self._loaded.listen.context))

    def _announce(self) -> None:
        config = self._loaded.config
        for variable in config.ignored_variables:
            note(_log, logging.WARNING, "environment variable names no key", variable=variable)
        for side, mode in (("listen", config.listen_tls.mode), ("upstream", config.upstream_tls.mode)):
            if mode is TlsMode.PLAINTEXT:
                note(_log, logging.WARNING, "no TLS on this side", side=side)
        unavailable = self._loaded.first.unavailable
        if unavailable is not None:
            fields = {"reason": unavailable.reason.value, "problem": str(unavailable)}
            note(_log, logging.WARNING, "keys come from the cache", hint=unavailable.hint, **fields)
        self._show_certificates(self._loaded.listen, self._loaded.upstream)
        _allow_files(2 * config.limits.connections + _SPARE_FILES)
        if self._admin is not None:
            self._admin.start()
            note(_log, logging.INFO, "admin address", address=str(self._admin.address))
        for member, listener in zip(config.members, self._listeners, strict=True):
            listener.start()
            if self._seat is None:
                announce_addresses(member, listener.addresses)
        self.health.phase = Phase.READY
        self.metrics.ready.set(1)
        self.ready.set()
        note(_log, logging.INFO, "ready" if self._seat is None else "worker ready")

    def _hand_on(self, keyring: Keyring) -> None:
        """Sessions may last for days: what was rotated, or given up, counts for those that are open too."""
        forget_grids()
        for connection in tuple(self.services.live):
            connection.use_keyring(keyring)

    def _show_certificates(self, listen: TlsSide, upstream: TlsSide) -> None:
        for name, side in (("listen", listen), ("upstream", upstream)):
            if side.not_after is not None:
                self.metrics.certificate_expiry.labels(name).set(side.not_after.timestamp())
            if side.not_after is not None and side.warning:
                not_after = side.not_after.isoformat()
                note(_log, logging.WARNING, side.warning, side=name, not_after=not_after)

    async def _tick(self) -> None:
        trimmer = memory.Trimmer()
        while True:
            await asyncio.sleep(TICK_S)
            now = time.monotonic()
            self.health.beat_at = now
            self.services.keys.tick()
            self.health.keyring = self.services.keys.freshness
            for connection in tuple(self.services.live):
                connection.tick(now)
            trimmer.tick(now, 2 * self.services.numbered - len(self.services.live))

    async def _drain(self) -> None:
        services = self.services
        self.health.phase = Phase.DRAINING
        self.metrics.ready.set(0)
        services.draining = True
        note(_log, logging.INFO, "draining", connections=len(services.live))
        for listener in self._listeners:
            await listener.close()
        for connection in tuple(services.live):
            connection.drain()
        if not await _within(services.wait_empty(), services.limits.drain_s):
            note(_log, logging.WARNING, "drain ended by its limit", connections=len(services.live))
            self._abort_all()
            await _within(services.wait_empty(), _ABORT_S)
        note(_log, logging.INFO, "stopped")

    def _abort_all(self) -> None:
        for connection in tuple(self.services.live):
            connection.abort()

    def _loop_exception(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """In place of asyncio's own handler, which logs the text of exceptions."""
        self.metrics.bugs.inc()
        note(_log, logging.CRITICAL, "bug: in the event loop", context.get("exception"))


def announce_addresses(member: Member, addresses: Iterable[Address]) -> None:
    """Log where the clients of `member` connect."""
    names = {"upstream": str(member.upstream), "advertise": str(member.advertise)}
    for address in addresses:
        note(_log, logging.INFO, "listening", address=str(address), **names)


def _bind_shared(addresses: Iterable[Address]) -> list[socket.socket]:
    return [sock for address in addresses for sock in bind(address, shared=True)]


async def _within(waiting: Awaitable[None], seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):
            await waiting
    except TimeoutError:
        return False
    return True


def _allow_files(needed: int) -> None:
    """Raise the soft limit of open files; many systems start processes with 1024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < needed:
        note(_log, logging.WARNING, "open files are limited", allowed=hard, needed=needed)
        needed = hard
    if soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


async def _run_with_signals(loaded: Loaded, new_sessions: SessionMaker) -> None:
    proxy = Proxy(loaded, new_sessions)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, proxy.stop)
    loop.add_signal_handler(signal.SIGHUP, proxy.reload)
    await proxy.run()


def serve(loaded: Loaded, new_sessions: SessionMaker) -> None:
    """Run a proxy on uvloop until SIGTERM or SIGINT. Raises ServerError when it cannot start."""
    memory.fix_thresholds()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_run_with_signals(loaded, new_sessions))


def check(loaded: Loaded) -> None:
    """Ask the servers as `serve` would, then stop: nothing is bound. Raises ServerError."""

    async def ask() -> None:
        await probe(loaded, make_upstreams(loaded))

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(ask())
