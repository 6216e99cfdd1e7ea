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
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, final

import uvloop

from sealwire import __version__
from sealwire.files.errors import SourceError
from sealwire.keys.contexts.cache import ContextCache
from sealwire.keys.frontier.record import process_place
from sealwire.keys.keyring.keyring import Keyring
from sealwire.proxy.server.admin import AdminServer, make_admin
from sealwire.proxy.server.audit_writer.keeper import WriterKeeper
from sealwire.proxy.server.audit_writer.sink import RingAudit, Shell
from sealwire.proxy.server.config.policy_file import PolicyFile, make_settings, put_first
from sealwire.proxy.server.config.rows import Address
from sealwire.proxy.server.config.settings import Config, Member
from sealwire.proxy.server.connections.entrances import Entrances
from sealwire.proxy.server.connections.services import Services
from sealwire.proxy.server.connections.sessions import SessionMaker
from sealwire.proxy.server.context_feed import ContextFeed
from sealwire.proxy.server.dry_run import MAX_NAMED, observed_findings
from sealwire.proxy.server.errors import ServerError
from sealwire.proxy.server.findings import warn
from sealwire.proxy.server.frontiers.feed import FrontierFeed
from sealwire.proxy.server.frontiers.store import ServerStore
from sealwire.proxy.server.health import Following, Health, Phase, is_ready
from sealwire.proxy.server.key_feed import KeyFeed
from sealwire.proxy.server.limit_feed import LimitFeed
from sealwire.proxy.server.observability.audit import AuditSink, LogAudit, command_audit
from sealwire.proxy.server.observability.audit_settings import WhenFull
from sealwire.proxy.server.observability.logs import note
from sealwire.proxy.server.observability.metrics import Metrics
from sealwire.proxy.server.page.facts import PageFacts, facts_of
from sealwire.proxy.server.probe import own_mark
from sealwire.proxy.server.tasks import OneAtATime, spawn, take_signals, within
from sealwire.proxy.server.tls import TlsSide
from sealwire.proxy.server.workers import announce, memory
from sealwire.proxy.server.workers.command_listeners import CommandListeners
from sealwire.proxy.server.workers.member_listeners import MemberListeners
from sealwire.proxy.server.workers.memory import allow_connections
from sealwire.proxy.server.workers.pulse import Pulse, ServerWatch
from sealwire.proxy.server.workers.reload import Reload, ReloadRefused, Renewed, note_refused
from sealwire.proxy.server.workers.start import Loaded, Probed, probe_data
from sealwire.proxy.server.workers.worker_channel import Seat
from sealwire.proxy.session.auditing.subjects import CommandAudit
from sealwire.proxy.session.login.identities import NO_IDENTITIES, Identities
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


# What is in force in one process: configuration, policies and identities, and what sessions share of
# them.
#
# A reload replaces all of it in one step of the event loop; members come and go in between.


@final
class InForce:
    """Begins with what was loaded; `share` once, then `renew` at each reload. For one event loop."""

    def __init__(self, loaded: Loaded) -> None:
        self.config: Config = loaded.config
        self.policies: tuple[PolicyFile, ...] = (loaded.policy,)
        """The one that counts, then those that counted before."""
        self.shared: Shared
        """What the sessions share; replaced in parts by reloads, by the key feed and by the frontier feed."""
        self._first_identities = loaded.identities.identities
        self._identities: Identities = NO_IDENTITIES
        self._audited: CommandAudit | None = None

    def share(self, keyring: Keyring, cache: ContextCache | None) -> Shared:
        """Make what sessions share. Raises AuditError and KeysError for what the section `audit` names."""
        self._audited = command_audit(self.config.audit)
        self._identities = self._first_identities
        settings = make_settings(self.config, self.policies, self._audited, self._identities)
        self.shared = Shared(settings, keyring, cache)
        return self.shared

    def use_members(self, members: tuple[Member, ...]) -> Config:
        """There are these members now; the configuration with them."""
        self.config = replace(self.config, members=members)
        return self.config

    def renew(self, renewed: Renewed) -> bool:
        """Let what was read count; whether sessions have other settings now.

        Where nothing has changed for them they keep their settings, and with these the server's answers.
        """
        before = self.config
        # servers may have come or gone meanwhile
        config = self.config = replace(renewed.config, members=before.members)
        policies, identities = put_first(renewed.policy, self.policies), renewed.identities.identities
        is_same = policies[0] is self.policies[0] and _of_sessions(config) == _of_sessions(before)
        if is_same and not identities and not self._identities:
            return False
        self._identities = identities
        announce.warn_of_less(self.policies[0].rules, policies[0].rules)
        self.policies = policies
        self.shared.use_settings(make_settings(config, policies, self._audited, identities))
        return True


def _of_sessions(config: Config) -> tuple[object, ...]:
    """What `make_settings` takes from a configuration."""
    compression = config.listen_compression, config.upstream_compression
    return config.access_control, config.reveal, compression, config.limits.questions


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
        self._listeners = CommandListeners(self.metrics)
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
            self._listeners.use(config, shared, self.services)
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
            if self.health.phase is not Phase.STARTING:
                self.services.failed_logins.close()
                audit.say("stopped")
            audit.close()
            if self._writer is not None:
                await self._writer.close()
            if self._loaded.contexts is not None:
                self._loaded.contexts.store.close()

    def stop(self) -> None:
        """Drain and return from `run`; a second call cuts what is still open."""
        if self.health.phase is Phase.DRAINING:
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
            await self.members.require_usable(renewed.config, renewed.upstream.context)
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
        if self._in_force.renew(renewed):
            self.frontiers.use_policy(self.policy.rules.covering)
            for connection in tuple(self.services.live):
                connection.settings_changed()
        config = self.config
        self.services.limits = config.limits
        self.services.keys.use_settings(config.keys)
        if self.services.contexts is not None:
            self.services.contexts.use_settings(config.keys)
        self._listeners.use(config, self.shared, self.services)
        if self._entrances is not None:
            self._entrances.use_listen(renewed.listen.context)
            self._entrances.use_upstream(config, renewed.upstream.context, renewed.identities.ways)
        self.members.use(config, renewed.upstream.context)
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
        contexts = self._loaded.listen.context, self._loaded.upstream.context
        self._entrances = Entrances(self.services, new_session, *contexts, self._loaded.identities.ways)
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
            for entrance in self._entrances if self._seat is None else ():
                announce.announce_addresses(entrance.member, entrance.listener.addresses)
        self.health.frontier = self.frontiers.following
        generation = self._pulse.note_keyring()
        self.services.audit.say(
            "started", version=__version__, policy=self.policy.shown, generation=generation
        )
        self.health.phase = Phase.READY
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
        self.health.phase = Phase.DRAINING
        services.draining = True
        note(_log, logging.INFO, "draining", connections=len(services.live))
        await self.members.close()
        for connection in tuple(services.live):
            connection.drain()
        if not await within(services.wait_empty(), services.limits.drain_s):
            note(_log, logging.WARNING, "drain ended by its limit", connections=len(services.live))
            self._abort_all()
            await within(services.wait_empty(), _ABORT_S)
        await self._listeners.close()
        services.gate.close()
        note(_log, logging.INFO, "stopped")

    def _abort_all(self) -> None:
        for connection in tuple(self.services.live):
            connection.abort()

    def _loop_exception(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """In place of asyncio's own handler, which logs the text of exceptions."""
        self.metrics.bugs.inc()
        note(_log, logging.CRITICAL, "bug: in the event loop", context.get("exception"))


async def _run_with_signals(loaded: Loaded, new_session: SessionMaker) -> None:
    proxy = Proxy(loaded, new_session)
    take_signals(proxy.stop, proxy.reload)
    await proxy.run()


def serve(loaded: Loaded, new_session: SessionMaker) -> None:
    """Run a proxy on uvloop until SIGTERM or SIGINT. Raises ServerError when it cannot start."""
    memory.fix_thresholds()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_run_with_signals(loaded, new_session))
