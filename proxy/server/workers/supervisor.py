"""The process that starts workers and answers for them: it holds the ports and the admin address, no key.

What happens when is decided by `roster.Roster`; here its orders are carried out. Workers are
started by running the program again: they inherit the environment, standard error and one socket.
"""

import asyncio
import logging
import signal
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import assert_never

import uvloop
from prometheus_client import CollectorRegistry, Counter, Gauge, ProcessCollector

from sealwire.files.errors import SourceError
from sealwire.proxy.server.admin import AdminServer
from sealwire.proxy.server.audit_writer.keeper import WriterKeeper
from sealwire.proxy.server.config.restart_keys import changed, effective
from sealwire.proxy.server.config.settings import Address, Config, Member
from sealwire.proxy.server.discovery.layout import PortLayout
from sealwire.proxy.server.discovery.monitor import UpstreamMonitor
from sealwire.proxy.server.errors import ListenProblem, ServerError, StartReason, WorkersFailed
from sealwire.proxy.server.health import Health, JointHealth, Phase
from sealwire.proxy.server.observability.logs import configure, note
from sealwire.proxy.server.page.facts import PageFacts, read_facts
from sealwire.proxy.server.page.panels import WatchReader
from sealwire.proxy.server.ports import PortRange, reserve
from sealwire.proxy.server.tasks import OneAtATime, spawn
from sealwire.proxy.server.tls import NO_TLS, listen_side, upstream_side
from sealwire.proxy.server.workers.admin_page import AskedFeed, admin_files, make_admin
from sealwire.proxy.server.workers.announce import announce_addresses
from sealwire.proxy.server.workers.hangup import take_reload
from sealwire.proxy.server.workers.joint_metrics import JointMetrics, families_of
from sealwire.proxy.server.workers.roster import (
    AllReady,
    Cut,
    Drain,
    Finish,
    Order,
    Outcome,
    Reload,
    Roster,
    Start,
)
from sealwire.proxy.server.workers.start import ReadConfig
from sealwire.proxy.server.workers.worker_channel import (
    Ask,
    Beat,
    ChannelError,
    Figures,
    Members,
    Seat,
    Stranger,
    encode,
    read_message,
)

_log = logging.getLogger("sealwire.server")

TICK_S = 0.25

# A worker that does not answer in time is shown as it was last seen.
FIGURES_S = 2.0

# The whole page, with the wait for the supervisor's own loop.
PAGE_S = 5.0

WorkerCommand = Callable[[int], Sequence[str]]
"""From a worker's number to the command line that runs it."""


class SupervisorMetrics:
    """Figures that only the supervisor has."""

    def __init__(self, workers: int) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        configured = Gauge("sealwire_workers", "Worker processes configured", registry=self.registry)
        configured.set(workers)
        self.ready = Gauge("sealwire_workers_ready", "Workers that accept clients", registry=self.registry)
        self.exits = Counter(
            "sealwire_worker_exits", "Workers that ended before their time", ["how"], registry=self.registry
        )
        for how in ("exit", "signal"):
            self.exits.labels(how)
        self.reloads = Counter(
            "sealwire_reloads", "Reloads of the whole configuration", ["outcome"], registry=self.registry
        )


class Supervisor:
    """Runs the workers of one configuration until they have drained or failed."""

    def __init__(
        self, config: Config, reread: ReadConfig, command: WorkerCommand, watch: WatchReader | None = None
    ) -> None:
        """`watch` reads for the page what the watch has to tell."""
        self._watch = watch
        self.metrics = SupervisorMetrics(config.workers)
        self._config = config
        self._reread = reread
        self._reloads = OneAtATime(self._reload, "reload")
        self._command = command
        self._roster = Roster(config.workers, config.limits.drain_s)
        self._health = JointHealth(Health(beat_at=time.monotonic()))
        self._joint = JointMetrics()
        self._processes: dict[int, asyncio.subprocess.Process] = {}
        self._writers: dict[int, asyncio.StreamWriter] = {}
        self._signals_due: dict[int, signal.Signals] = {}
        """For workers whose process is just being made."""
        self._audit_writer: WriterKeeper | None = None
        self._facts: dict[int, PageFacts] = {}
        """What workers answered to the last question for them."""
        self._answers: dict[tuple[int, int], asyncio.Future[None]] = {}
        self._asked = 0
        self._reserved: list[list[socket.socket]] = []
        """Sockets of each member, where the configuration lists them."""
        self._range: PortRange | None = None
        """Where servers are followed."""
        self._left_out: tuple[Address, ...] = ()
        """Members that may not be used."""
        self._stranger_met = asyncio.Event()
        self._monitor: UpstreamMonitor | None = None
        self._loop: asyncio.AbstractEventLoop
        self._finish: asyncio.Future[Finish]
        self._admin: AdminServer | None = None

    async def run(self) -> Finish:
        """Reserve the ports, serve until `stop` or failure. Raises ListenProblem; AuditError, KeysError."""
        self._loop = asyncio.get_running_loop()
        self._finish = self._loop.create_future()
        try:
            feed = AskedFeed(lambda: self._config, self.render, self.facts)
            files = admin_files(self._config)
            self._admin = admin = make_admin(self._config, self._health, feed, files, self._watch)
            await self._find_servers()
            await self._start_audit_writer()
            admin.start()
            note(_log, logging.INFO, "admin address", address=str(admin.address))
            ticking = spawn(self._tick(), "tick")
            watching = spawn(self._watch_servers(), "watch servers")
            finish = await self._finish
            watching.cancel()
            ticking.cancel()
            return finish
        finally:
            for process in self._processes.values():
                _send(process, signal.SIGKILL)
            if self._audit_writer is not None:
                await self._audit_writer.close()
            for sock in (sock for sockets in self._reserved for sock in sockets):
                sock.close()
            if self._range is not None:
                self._range.close()
            if self._admin is not None:
                self._admin.close()

    async def _find_servers(self) -> None:
        """Take the ports, of whoever is found where servers are followed. Raises ServerError."""
        config = self._config
        if config.discovery is None:
            self._reserved = [reserve(member.listen) for member in config.members]
            return
        files = await asyncio.to_thread(upstream_side, config.upstream_tls)
        self._monitor = UpstreamMonitor(config, config.discovery, files.context, self._stranger_met)
        layout = await self._monitor.first()
        self._range = PortRange(config.discovery.listen, config.discovery.ports)
        self._use_layout(layout, layout.members)

    def _use_layout(self, layout: PortLayout, members: tuple[Member, ...]) -> None:
        self._config = replace(self._config, members=members)
        self._left_out = layout.left_out
        known = [*(member.upstream for member in members), *layout.left_out]
        self._joint.use_servers(map(str, known))

    async def _watch_servers(self) -> None:
        if self._monitor is not None:
            await self._monitor.run(self._follow)

    def _follow(self, layout: PortLayout) -> bool:
        """Servers have come or gone: tell every worker, which opens and drains listeners.

        Whether each member has a port that is its own.
        """
        known = set(self._config.members)
        members = tuple(each for each in layout.members if each in known or self._is_free(each))
        self._use_layout(layout, members)
        told = encode(Members(members, self._numeric(), self._left_out))
        for writer in self._writers.values():
            writer.write(told)
        for member, addresses in zip(members, self._numeric(), strict=True):
            if member not in known:
                announce_addresses(member, addresses)
        return len(members) == len(layout.members)

    def _is_free(self, member: Member) -> bool:
        """Whether nobody listens on a new member's port; workers would share it with whoever does."""
        try:
            if self._range is not None:
                self._range.require_free(member.listen.port)
        except ListenProblem as error:
            fields = {"upstream": str(member.upstream), "problem": str(error)}
            note(_log, logging.ERROR, "no listener for a member", hint=error.hint, **fields)
            return False
        return True

    def _numeric(self) -> tuple[tuple[Address, ...], ...]:
        """The numeric addresses of each member's listener."""
        if self._range is None:
            return tuple(tuple(_addresses(sockets)) for sockets in self._reserved)
        return tuple(self._range.addresses(member.listen.port) for member in self._config.members)

    async def _start_audit_writer(self) -> None:
        config = self._config
        if config.audit is not None:
            self._audit_writer = WriterKeeper(
                config.audit, config.workers, config.log_level, config.log_format
            )
            await self._audit_writer.start()

    def stop(self) -> None:
        """Drain all workers; a second call ends them at once."""
        if not self._health.draining:
            self._health.draining = True
            note(_log, logging.INFO, "draining", workers=self._roster.ready)
        self._carry_out(self._roster.stop(time.monotonic()))

    def reload(self) -> None:
        """Let all workers read everything again, unless the configuration itself is wrong already."""
        self._reloads.ask()

    async def _reload(self) -> None:
        before = self._config
        try:
            read = await asyncio.to_thread(self._reread)
            # where its files lie waits for a restart, what is in them does not
            tls = await asyncio.to_thread(listen_side, before.admin_tls)
            files = NO_TLS
            if self._monitor is not None:
                files = await asyncio.to_thread(upstream_side, read.upstream_tls)
        except (SourceError, ServerError) as error:
            # It is said once, here. Workers are not asked to read what cannot be read.
            self.metrics.reloads.labels("failed").inc()
            note(_log, logging.ERROR, "reload refused, nothing changed", problem=str(error), hint=error.hint)
            return
        # servers may have come or gone meanwhile
        config = replace(effective(before, read), members=self._config.members)
        self._config = config
        if self._monitor is not None:
            self._monitor.use(config, files.context)
        if self._admin is not None:
            self._admin.use_tls(tls)
        if (config.log_level, config.log_format) != (before.log_level, before.log_format):
            configure(config.log_level, config.log_format)
        if waiting := changed(before, read):
            keys = ", ".join(waiting)
            note(_log, logging.WARNING, "new values wait for a restart, the old ones count", keys=keys)
        self._roster.allow_drain(config.limits.drain_s)
        self._carry_out(self._roster.reload())

    def render(self) -> bytes:
        """The metrics page, for the admin address's threads. Raises TimeoutError."""
        return asyncio.run_coroutine_threadsafe(self._page(), self._loop).result(PAGE_S)

    def facts(self) -> PageFacts | None:
        """What the workers' policy and keyring say, for those threads as well; None without a worker.

        While workers differ, it is what the first of them says. Raises TimeoutError.
        """
        return asyncio.run_coroutine_threadsafe(self._heard_facts(), self._loop).result(PAGE_S)

    async def _heard_facts(self) -> PageFacts | None:
        self._facts.clear()
        await self._ask(facts=True)
        return next((self._facts[number] for number in sorted(self._facts)), None)

    async def _page(self) -> bytes:
        await self._ask()
        self.metrics.ready.set(self._roster.ready)
        return self._joint.render(families_of(self.metrics.registry))

    async def _ask(self, *, facts: bool = False) -> None:
        """Ask all workers, and wait for their answers, for a while."""
        self._asked += 1
        waiting: list[asyncio.Future[None]] = []
        for number in self._health.workers:
            answer: asyncio.Future[None] = self._loop.create_future()
            self._answers[number, self._asked] = answer
            waiting.append(answer)
            self._writers[number].write(encode(Ask(self._asked, facts)))
        if waiting:
            await asyncio.wait(waiting, timeout=FIGURES_S)
        self._answers = {key: answer for key, answer in self._answers.items() if answer not in waiting}

    async def _tick(self) -> None:
        while True:
            now_s = time.monotonic()
            self._health.own.beat_at = now_s
            self._carry_out(self._roster.tick(now_s))
            await asyncio.sleep(TICK_S)

    def _carry_out(self, orders: list[Order]) -> None:
        for order in orders:
            match order:
                case Start():
                    spawn(self._run_worker(order.number), f"worker {order.number}")
                case Drain():
                    self._signal(order.number, signal.SIGTERM)
                case Reload():
                    self._signal(order.number, signal.SIGHUP)
                case Cut():
                    self._signal(order.number, signal.SIGKILL)
                case AllReady():
                    for member, addresses in zip(self._config.members, self._numeric(), strict=True):
                        announce_addresses(member, addresses)
                    note(_log, logging.INFO, "ready", workers=self._roster.ready)
                case Finish():
                    if order.outcome is Outcome.DRAINED:
                        note(_log, logging.INFO, "stopped")
                    if not self._finish.done():
                        self._finish.set_result(order)
                case _:
                    assert_never(order)

    def _signal(self, number: int, what: signal.Signals) -> None:
        process = self._processes.get(number)
        if process is None:
            self._signals_due[number] = what
        else:
            _send(process, what)

    # -- one worker ------------------------------------------------------------------------------------------

    async def _run_worker(self, number: int) -> None:
        """From the start of its process to its end."""
        try:
            process, reader = await self._start(number)
        except OSError as error:
            note(_log, logging.ERROR, "worker cannot be started", worker=number, problem=str(error))
            self._worker_ended(number, error.errno or 1)
            return
        listening = spawn(self._listen(number, reader), f"listen to worker {number}")
        code = await process.wait()
        listening.cancel()
        self._worker_ended(number, code)

    async def _start(self, number: int) -> tuple[asyncio.subprocess.Process, asyncio.StreamReader]:
        ours, theirs = socket.socketpair()
        ring = None if self._audit_writer is None else self._audit_writer.ends(number)
        with theirs:
            process = await asyncio.create_subprocess_exec(
                *self._command(number),
                stdin=theirs.fileno(),
                pass_fds=() if ring is None else (ring.memory, ring.wake),
            )
        self._processes[number] = process
        if (due := self._signals_due.pop(number, None)) is not None:
            _send(process, due)
        ours.setblocking(False)
        reader, writer = await asyncio.open_unix_connection(sock=ours)
        self._writers[number] = writer
        members = () if self._range is None else self._config.members
        seat = Seat(number, self._config.workers, self._numeric(), ring, members, self._left_out)
        writer.write(encode(seat))
        return process, reader

    async def _listen(self, number: int, reader: asyncio.StreamReader) -> None:
        try:
            while True:
                message = await read_message(reader)
                match message:
                    case Stranger():
                        self._stranger_met.set()
                    case Beat():
                        self._beat(number, message)
                    case Figures():
                        self._joint.heard(number, message.families)
                        if message.facts:
                            self._facts[number] = read_facts(message.facts)
                        answer = self._answers.get((number, message.number))
                        if answer is not None and not answer.done():
                            answer.set_result(None)
                    case _:
                        raise ChannelError(type(message).__name__)
        except (asyncio.IncompleteReadError, OSError):
            return  # the worker is ending; the exit of its process tells how
        except (ChannelError, ValueError) as error:
            note(_log, logging.CRITICAL, "bug: a worker says what none should", error, worker=number)
            self._signal(number, signal.SIGKILL)

    def _beat(self, number: int, beat: Beat) -> None:
        now_s = time.monotonic()
        self._health.workers[number] = Health(
            beat.phase,
            beat.keyring,
            now_s,
            policy=beat.policy,
            frontier=beat.frontier,
            plaintext=beat.plaintext,
            in_clear=beat.in_clear,
            audit=beat.audit,
            audit_trouble=beat.audit_trouble,
            contexts=beat.contexts,
            reach=beat.reach,
            down=beat.down,
        )
        if beat.phase is Phase.READY:
            self._carry_out(self._roster.became_ready(number, now_s))

    def _worker_ended(self, number: int, code: int) -> None:
        self._processes.pop(number, None)
        self._signals_due.pop(number, None)
        self._health.workers.pop(number, None)
        self._joint.ended(number)
        if (writer := self._writers.pop(number, None)) is not None:
            writer.close()
        for (worker, _), answer in self._answers.items():
            if worker == number and not answer.done():
                answer.set_result(None)
        orders = self._roster.ended(number, code, time.monotonic())
        said_why = any(isinstance(order, Finish) and order.code > 0 for order in orders)
        if not self._roster.draining and not said_why:
            how = "exit" if code >= 0 else "signal"
            self.metrics.exits.labels(how).inc()
            note(_log, logging.ERROR, "worker ended", worker=number, **{how: abs(code)})
        self._carry_out(orders)


def _addresses(sockets: list[socket.socket]) -> list[Address]:
    return [Address(*sock.getsockname()[:2]) for sock in sockets]


def _send(process: asyncio.subprocess.Process, what: signal.Signals) -> None:
    try:
        process.send_signal(what)
    except ProcessLookupError:
        return  # the worker has just ended, and `_run_worker` is told


async def _run_with_signals(supervisor: Supervisor) -> Finish:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, supervisor.stop)
    take_reload(loop, supervisor.reload)
    return await supervisor.run()


def serve(
    config: Config, reread: ReadConfig, command: WorkerCommand, watch: WatchReader | None = None
) -> int:
    """Run workers until SIGTERM or SIGINT; the exit code. Raises ServerError.

    An exit code other than 0 is that of the first worker, which has said why it could not start.
    """
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        finish = runner.run(_run_with_signals(Supervisor(config, reread, command, watch)))
    match finish.outcome:
        case Outcome.DRAINED:
            return 0
        case Outcome.NEVER_STARTED if finish.code > 0:
            return finish.code
        case Outcome.NEVER_STARTED:
            problem = f"the first worker was ended before it was ready: {_how(finish.code)}"
        case Outcome.GAVE_UP:
            problem = f"workers ended again and again soon after their start, the last: {_how(finish.code)}"
    raise WorkersFailed(
        StartReason.WORKERS_FAILED, problem, "lines of the log with a worker's number say what it met"
    )


def _how(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"
