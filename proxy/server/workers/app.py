"""The proxy as a whole: started in an order that leaves nothing half-started, drained on SIGTERM.

    load     policy, crypto self-test, keyring with every class, TLS files    (`start.load`)
    probe    connect to the servers: TLS, hello, topology                     (off with upstream.probe: false)
    bind     audit log and its writer, admin address, every listener; nothing accepts yet
    ready    accept

Whatever fails before `ready` is one error with a hint and an exit code, and no client was accepted.
SIGHUP reads it all again (`reload`): what can change while it runs changes in one step, or nothing does.
"""

import asyncio
import logging
import os
import socket
import ssl
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, final

import uvloop
from bson import ObjectId

from sealwire import __version__
from sealwire.files.errors import SourceError
from sealwire.keys.contexts.cache import ContextCache
from sealwire.keys.frontier.record import process_place
from sealwire.keys.keyring.keyring import Keyring
from sealwire.proxy.server.admin import AdminServer, make_admin
from sealwire.proxy.server.audit_writer.keeper import WriterKeeper
from sealwire.proxy.server.audit_writer.sink import RingAudit, Shell
from sealwire.proxy.server.config.policy_file import PolicyFile
from sealwire.proxy.server.config.rows import Address
from sealwire.proxy.server.config.settings import Config, Member
from sealwire.proxy.server.connections.entrances import Entrances
from sealwire.proxy.server.connections.services import Services
from sealwire.proxy.server.connections.sessions import SessionMaker
from sealwire.proxy.server.context_feed import ContextFeed
from sealwire.proxy.server.discovery.monitor import LEAST_PAUSE_S, UpstreamMonitor
from sealwire.proxy.server.discovery.view import PortLayout
from sealwire.proxy.server.dry_run import MAX_NAMED, observed_findings
from sealwire.proxy.server.errors import ServerError
from sealwire.proxy.server.findings import warn
from sealwire.proxy.server.frontiers.feed import FrontierFeed
from sealwire.proxy.server.frontiers.store import ServerStore
from sealwire.proxy.server.health import Following, Health, ProxyPhase, is_ready
from sealwire.proxy.server.key_feed import KeyFeed
from sealwire.proxy.server.limit_feed import LimitFeed
from sealwire.proxy.server.observability.audit import AuditSink, LogAudit
from sealwire.proxy.server.observability.audit_settings import WhenFull
from sealwire.proxy.server.observability.logs import note
from sealwire.proxy.server.observability.metrics import Metrics
from sealwire.proxy.server.page.facts import PageFacts, facts_of
from sealwire.proxy.server.ports import PortRange, bind, bind_shared
from sealwire.proxy.server.probe import own_mark
from sealwire.proxy.server.tasks import OneAtATime, spawn, take_signals, within
from sealwire.proxy.server.tls import TlsSide
from sealwire.proxy.server.upstream import ways_of
from sealwire.proxy.server.workers import announce, memory, worker_channel
from sealwire.proxy.server.workers.joint_metrics import families_of
from sealwire.proxy.server.workers.memory import allow_connections
from sealwire.proxy.server.workers.pulse import Pulse, ServerWatch
from sealwire.proxy.server.workers.reload import InForce, Reload, ReloadRefused, Renewed, note_refused
from sealwire.proxy.server.workers.start import Loaded, Probed, probe_data
from sealwire.proxy.server.workers.worker_channel import Seat
from sealwire.proxy.session.login.handshake import Topology
from sealwire.proxy.session.shared import Shared

_log = logging.getLogger("sealwire.server")

# How long the loop may take to report that the last connections were cut.
_ABORT_S = 1.0
# A replica set has a listener for each member; people know a process by the first ones.
_FEW = 3


# Where one process puts its audit records: to its own audit writer, to the supervisor's, or into the log.


async def open_audit(
    config: Config, seat: Seat | None, metrics: Metrics, has_room: Callable[[], None]
) -> tuple[AuditSink, WriterKeeper | None]:
    """The sink, and who keeps the audit writer running where that is this process; the caller closes both.

    `has_room` is called when what waits has become less. Raises AuditError, KeysError.
    """
    settings = config.audit
    writer: WriterKeeper | None = None
    if seat is not None:
        ends = seat.ring
    elif settings is not None:
        writer = WriterKeeper(settings, 1, config.log_level, config.log_format)
        await writer.start()
        ends = writer.ends(1)
    else:
        ends = None
    if ends is None:
        return LogAudit(), writer
    when_full = WhenFull.FAIL_CLOSED if settings is None else settings.when_full
    shell = Shell(asyncio.get_running_loop().call_later, has_room)
    always = {} if seat is None else {"worker": seat.number}
    copies = () if settings is None else settings.copies
    return RingAudit(ends, metrics, shell, when_full, always, copies), writer


# The members that have a listener in this process: those of the configuration, or those that are followed.
#
# With workers the supervisor follows the servers, and tells each worker of its members and where to listen.
# A single process does both.


@final
class MemberListeners:
    """One for each proxy: `find`, then `place`, then `watch` as a task."""

    def __init__(
        self,
        seat: Seat | None,
        servers: ServerWatch,
        stranger_met: asyncio.Event,
        use_members: Callable[[tuple[Member, ...]], Config],
    ) -> None:
        """`use_members` hears of every change, and returns the configuration with these members."""
        self._seat = seat
        self._servers = servers
        self._stranger_met = stranger_met
        self._use_members = use_members
        self.monitor: UpstreamMonitor | None = None
        """It follows the servers. A worker has none: its supervisor follows them."""
        self._range: PortRange | None = None
        self._numeric: dict[Member, tuple[Address, ...]] = {}
        """The numeric addresses of each member's listener, where somebody holds them for this process."""
        self._left_out: tuple[Address, ...] = ()
        """Members that whoever follows the servers lets not be used."""
        self._owed: worker_channel.Members | None = None
        """The members that the supervisor has named, while this worker lacks a listener for one of them."""
        self._heartbeat_s: float | None = None
        """Between two looks at the servers; None: they are not followed."""
        self._entrances: Entrances | None = None

    async def find(self, config: Config, context: ssl.SSLContext | None) -> Config:
        """The configuration with the members that have to have listeners. Raises ServerError."""
        discovery, seat = config.discovery, self._seat
        if discovery is None:
            return config
        self._heartbeat_s = discovery.heartbeat_s
        if seat is not None:
            self._numeric = dict(zip(seat.members, seat.listeners, strict=True))
            self._left_out = seat.left_out
            return self._use_members(seat.members)
        self.monitor = UpstreamMonitor(config, discovery, context, self._stranger_met)
        layout = await self.monitor.first()
        self._range = PortRange(discovery.listen, discovery.ports)
        self._left_out = layout.left_out
        return self._use_members(layout.members)

    def place(self, entrances: Entrances, config: Config, topologies: Sequence[Topology]) -> None:
        """Bind a listener for each member; none accepts yet. Raises ListenProblem."""
        self._entrances, seat = entrances, self._seat
        if config.discovery is not None:
            entrances.lay_out(PortLayout(config.members), self._sockets_of, self._left_out)
        else:
            for number, (member, topology) in enumerate(zip(config.members, topologies, strict=True)):
                if config.load_balanced:
                    # each process is a service of its own: its connections fail together
                    topology = replace(topology, service_id=ObjectId().binary)  # noqa: PLW2901
                sockets = bind(member.listen) if seat is None else bind_shared(seat.listeners[number])
                entrances.place(member, topology, sockets)
        self._servers.use(entrances.reached)

    async def watch(self) -> None:
        """Follow the servers, or what the supervisor says of them, forever."""
        if self.monitor is not None:
            await self.monitor.run(
                lambda layout: self.follow(worker_channel.Members(layout.members, (), layout.left_out)),
                self.doubt,
            )
        elif self._heartbeat_s is not None:
            # the supervisor tells of members once, and knows nothing of a worker without a descriptor left
            while True:
                await asyncio.sleep(self._heartbeat_s)
                if self._owed is not None:
                    self.follow(self._owed)

    def follow(self, told: worker_channel.Members) -> bool:
        """There are these members now; for a worker also where to listen. Whether all listeners stand."""
        entrances = self._entrances
        if entrances is None or entrances.are_closed:
            return True
        self._numeric = dict(zip(told.members, told.listeners, strict=True)) if told.listeners else {}
        self._use_members(told.members)
        for listener in entrances.lay_out(PortLayout(told.members), self._sockets_of, told.left_out):
            if self._seat is None:
                announce.announce_addresses(listener.member, listener.addresses)
        self._servers.use(entrances.reached)
        stands = len(entrances.reached) == len(told.members)
        self._owed = None if stands or not told.listeners else told
        return stands

    def doubt(self, silent: tuple[Address, ...]) -> None:
        """Have these servers looked at: they did not answer whoever follows them."""
        for upstream, reach in [] if self._entrances is None else self._entrances.reached:
            if upstream.address in silent:
                reach.doubt()

    async def close(self) -> None:
        """Accept no more, and give the ports back; connections that are open stay."""
        if self._entrances is not None:
            await self._entrances.close()
        if self._range is not None:
            self._range.close()

    def _sockets_of(self, member: Member) -> list[socket.socket]:
        """Raises ListenProblem."""
        if self._range is not None:
            self._range.require_free(member.listen.port)
            return bind_shared(self._range.addresses(member.listen.port))
        return bind_shared(self._numeric[member])


class Proxy:
    """One running proxy: `run` starts it and returns when it has drained."""

    def __init__(self, loaded: Loaded, new_session: SessionMaker, seat: Seat | None = None) -> None:
        """With a `seat` it is one of several workers: they share ports, and the supervisor has the admin."""
        self.metrics = Metrics()
        self.health = Health()
        self.metrics.ready.set_function(lambda: is_ready(self.health))
        self.metrics.frontier_lost.set_function(lambda: self.health.frontier is Following.LOST)
        self.ready = asyncio.Event()
        self.services: Services
        self.frontiers: FrontierFeed
        self._loaded = loaded
        self._in_force = InForce(loaded)
        self._new_session = new_session
        self._seat = seat
        if seat is not None and seat.mark:
            own_mark.text = seat.mark
        self._stopping = asyncio.Event()
        self.stranger_met = asyncio.Event()
        """A server has named a member that has no listener: whoever follows the servers is to ask them."""
        self._reloads = OneAtATime(self._reload, "reload")
        self._servers = ServerWatch(time.monotonic)
        self.members = MemberListeners(seat, self._servers, self.stranger_met, self._in_force.use_members)
        """Which members have listeners."""
        self._probed: Probed
        self._entrances: Entrances | None = None
        self._pulse: Pulse
        self._admin: AdminServer | None = None
        self._writer: WriterKeeper | None = None
        """Who keeps the audit writer running; with workers that is the supervisor."""

    @property
    def addresses(self) -> list[Address]:
        """Where clients can connect."""
        return [] if self._entrances is None else self._entrances.addresses

    @property
    def config(self) -> Config:
        """The one in force."""
        return self._in_force.config

    @property
    def policy(self) -> PolicyFile:
        """The one in force."""
        return self._in_force.policies[0]

    @property
    def shared(self) -> Shared:
        """What the sessions share."""
        return self._in_force.shared

    def render(self) -> bytes:
        """The text of /metrics, for any thread."""
        return self.metrics.render()

    def facts(self) -> PageFacts:
        """What the policy and the keyring say, for any thread: what is read is replaced and never changed."""
        # a copy in one step: the event loop adds and takes away
        classes = dict(self.shared.moves.classes)
        moving = {name: None if uses is None else uses.frontier for name, uses in classes.items()}
        return facts_of(self.policy.rules, self.services.keys.keyring, moving)

    async def run(self) -> None:
        """Start, serve until `stop`, drain. Raises ServerError when it cannot start."""
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(self._loop_exception)
        config = await self.members.find(self.config, self._loaded.upstream.context)
        is_successor = self._seat is not None and self._seat.is_successor
        self._probed = await probe_data(config, self._loaded, is_asked=not is_successor)
        audit, self._writer = await open_audit(config, self._seat, self.metrics, self._audit_has_room)
        try:
            keys = KeyFeed(
                self._loaded.source, self._loaded.first, config.keys, self.metrics, self._use_keyring
            )
            opened = self._loaded.contexts
            cache = None if opened is None else ContextCache()
            shared = self._in_force.share(keys.keyring, cache)
            shared.probe_mark = own_mark.text.encode()
            contexts = None
            if opened is not None and cache is not None:
                contexts = ContextFeed(opened, cache, keys, config.keys, self.metrics)
            self.services = Services(
                keys=keys,
                metrics=self.metrics,
                audit=audit,
                limits=config.limits,
                fences_servers=self._loaded.frontier_uri is not None,
                contexts=contexts,
                stranger_met=self.stranger_met.set,
            )
            self.services.listen(config, shared)
            self._pulse = Pulse(self.health, self.services, shared, self._servers)
            self._pulse.begin()
            uri = self._loaded.frontier_uri
            store = None if uri is None else ServerStore(uri, self._place())
            limits = LimitFeed(shared, store, self.metrics)
            async with self._followed_frontiers(store), limits:
                self._bind()
                self._announce()
                ticking = spawn(self._pulse.run(self.frontiers), "tick")
                watching = spawn(self.members.watch(), "watch servers")
                await self._stopping.wait()
                watching.cancel()
                await self._drain()
                ticking.cancel()
        finally:
            await self.members.close()
            if self._admin is not None:
                self._admin.close()
            if self.health.phase is not ProxyPhase.STARTING:
                self.services.failed_logins.close()
                audit.say("stopped")
            audit.close()
            if self._writer is not None:
                await self._writer.close()
            if self._loaded.contexts is not None:
                self._loaded.contexts.store.close()

    def stop(self) -> None:
        """Drain and return from `run`; a second call cuts what is still open."""
        if self.health.phase is ProxyPhase.DRAINING:
            self._abort_all()
        self._stopping.set()

    def drain(self) -> None:
        """Drain and return from `run`; a second call changes nothing."""
        self._stopping.set()

    def reload(self) -> None:
        """Read configuration, policy, certificates and keys again; what is wrong is logged, and no change."""
        self._reloads.ask()

    async def _reload(self) -> None:
        """One reload. During the start it waits, because the start may have read older files."""
        await self.ready.wait()
        services = self.services
        try:
            reload = Reload(self._loaded.reread, services.keys, self.metrics, self._loaded.frontier_uri)
            renewed = await reload.renew(self.config, self.policy)
            if self.members.monitor is not None:  # with workers the supervisor has asked
                await self.members.monitor.require_usable(renewed.config, renewed.upstream.context)
        except (SourceError, ServerError, ReloadRefused) as error:
            self.metrics.reloads.labels("failed").inc()
            note_refused(error)
            return
        except Exception as error:  # noqa: BLE001 - whatever it is, the proxy goes on as it was
            self.metrics.bugs.inc()
            self.metrics.reloads.labels("failed").inc()
            note(_log, logging.CRITICAL, "bug: reload failed, nothing changed", error)
            return
        if services.draining:
            note(_log, logging.WARNING, "reload comes too late, the proxy is draining")
            return
        self._put_in_place(renewed)

    def _put_in_place(self, renewed: Renewed) -> None:
        """Put everything in place in one step of the loop, so that no connection sees half of it."""
        before = self.config
        covered = self.policy.rules
        if self._in_force.renew(renewed):
            announce.warn_of_less(covered, self.policy.rules)
            self.frontiers.use_policy(self.policy.rules.covering)
            for connection in tuple(self.services.live):
                connection.settings_changed()
        config = self.config
        self.services.limits = config.limits
        self.services.keys.use_settings(config.keys)
        if self.services.contexts is not None:
            self.services.contexts.use_settings(config.keys)
        self.services.listen(config, self.shared)
        if self._entrances is not None:
            self._entrances.use_listen(renewed.listen.context)
            self._entrances.use_upstream(ways_of(config, renewed.upstream.context, renewed.identities.ways))
        if self.members.monitor is not None:
            self.members.monitor.use(config, renewed.upstream.context)
        if self._admin is not None:
            self._admin.use_tls(renewed.admin)
        self.metrics.reloads.labels("loaded").inc()
        self.metrics.certificate_reloads.labels("loaded").inc()
        announce.announce_reload(before, config, renewed, None if self._seat is None else self._seat.number)
        if config.limits.connections > before.limits.connections:
            allow_connections(config.limits.connections)
        self._show(renewed.listen, renewed.upstream)
        note(_log, logging.INFO, "certificates loaded")
        self.services.audit.say("configuration", policy=self.policy.shown)

    def _audit_has_room(self) -> None:
        for connection in tuple(self.services.live):
            connection.audit_has_room()

    def _bind(self) -> None:
        config = self.config
        self.health.beat_at = time.monotonic()
        seat = self._seat
        if seat is None:
            loaded = self._loaded
            self.health.provider = config.kek.kind.value
            self._admin = make_admin(config, self.health, self, loaded.admin_files, loaded.watch)
        new_session = partial(self._new_session, self.shared)
        ways = ways_of(config, self._loaded.upstream.context, self._loaded.identities.ways)
        self._entrances = Entrances(self.services, new_session, self._loaded.listen.context, ways)
        self.members.place(self._entrances, config, self._probed.topologies)

    def _announce(self) -> None:
        announce.announce_start(self.config, self._loaded, self._probed)
        self._show(self._loaded.listen, self._loaded.upstream)
        allow_connections(self.config.limits.connections)
        if self._admin is not None:
            self._admin.start()
            note(_log, logging.INFO, "admin address", address=str(self._admin.address))
        if self._entrances is not None:
            self._entrances.start()
            for listener in self._entrances if self._seat is None else ():
                announce.announce_addresses(listener.member, listener.addresses)
        self.health.frontier = self.frontiers.following
        generation = self._pulse.note_keyring()
        self.services.audit.say(
            "started", version=__version__, policy=self.policy.shown, generation=generation
        )
        self.health.phase = ProxyPhase.READY
        self.ready.set()
        note(_log, logging.INFO, "ready" if self._seat is None else "worker ready")

    def _show(self, listen: TlsSide, upstream: TlsSide) -> None:
        policy = self.policy
        self.health.policies = (policy.shown,)
        announce.show_policy(policy, self.metrics)
        self.health.observed = policy.rules.unprotected[:MAX_NAMED]
        warn([*observed_findings(policy.rules), *announce.role_findings(policy.rules, self.config)])
        announce.show_certificates(listen, upstream, self.config, self.metrics)

    def _use_keyring(self, keyring: Keyring) -> None:
        """Sessions may last for days: what was rotated, or given up, counts for those that are open too."""
        self.shared.use_keyring(keyring)
        self.frontiers.use_keyring(keyring)

    def _followed_frontiers(self, store: ServerStore | None) -> FrontierFeed:
        keys, live = self.services.keys, self.services.live
        self.frontiers = FrontierFeed(self.shared.moves, live, keys.load_anew, self.metrics, store)
        self.frontiers.contexts = self.services.contexts
        self.frontiers.use_policy(self.policy.rules.covering)
        self.frontiers.use_keyring(keys.keyring)
        return self.frontiers

    def _place(self) -> str:
        """Where this process is found, for people who wait for it."""
        config, discovery = self.config, self.config.discovery
        # the same for each worker: members that are followed come and go meanwhile
        listening = [str(member.listen) for member in config.members[:_FEW]]
        if discovery is not None:
            listening = [str(Address(discovery.listen, discovery.first_port))]
        return process_place(socket.gethostname(), listening, os.getpid())

    async def _drain(self) -> None:
        services = self.services
        self.health.phase = ProxyPhase.DRAINING
        services.draining = True
        note(_log, logging.INFO, "draining", connections=len(services.live))
        await self.members.close()
        for connection in tuple(services.live):
            connection.drain()
        if not await within(services.wait_empty(), services.limits.drain_s):
            note(_log, logging.WARNING, "drain ended by its limit", connections=len(services.live))
            self._abort_all()
            await within(services.wait_empty(), _ABORT_S)
        await services.close_traces()
        services.gate.close()
        note(_log, logging.INFO, "stopped")

    def _abort_all(self) -> None:
        for connection in tuple(self.services.live):
            connection.abort()

    def _loop_exception(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """In place of asyncio's own handler, which logs the text of exceptions."""
        self.metrics.bugs.inc()
        note(_log, logging.CRITICAL, "bug: in the event loop", context.get("exception"))


# A worker's line to the supervisor, on standard input.
#
# SIGTERM and SIGINT drain a worker, however often they come: a service manager or a terminal sends them to
# every process of a group, and the supervisor sends its own. To end a worker at once the supervisor kills it.
# A supervisor that has gone is a drain as well, so no worker is left behind.

BEAT_S = 1.0


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
                proxy.members.follow(message)
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


async def _run(
    loaded: Loaded, new_session: SessionMaker, line: socket.socket | None, seat: Seat | None
) -> None:
    proxy = Proxy(loaded, new_session, seat)
    if line is None:
        take_signals(proxy.stop, proxy.reload)
        await proxy.run()
        return
    take_signals(proxy.drain, proxy.reload)
    talking = spawn(talk(proxy, line), "supervisor")
    try:
        await proxy.run()
    finally:
        talking.cancel()


def serve(
    loaded: Loaded, new_session: SessionMaker, line: socket.socket | None = None, seat: Seat | None = None
) -> None:
    """Run a proxy on uvloop until SIGTERM or SIGINT. Raises ServerError when it cannot start.

    A worker has a `line` to the supervisor, and a `seat`.
    """
    memory.fix_thresholds()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_run(loaded, new_session, line, seat))
