"""The process that starts workers and answers for them: it holds the ports and the admin address, no key.

What happens when is decided by `roster.Roster`; here its orders are carried out. Workers are
started by running the program again: they inherit the environment, standard error and one socket.
"""

import asyncio
import logging
import time
from dataclasses import asdict, replace
from typing import assert_never

import uvloop
from prometheus_client import CollectorRegistry, Counter, Gauge, ProcessCollector

from sealwire.files.errors import SourceError
from sealwire.proxy.server.admin import AdminServer, admin_files, make_admin
from sealwire.proxy.server.audit_writer.keeper import WriterKeeper
from sealwire.proxy.server.config.settings import Config, changed, effective
from sealwire.proxy.server.errors import ServerError, StartReason, WorkersFailed
from sealwire.proxy.server.health import Beat, Health, JointHealth, ProxyPhase, is_ready
from sealwire.proxy.server.observability.logs import configure, note
from sealwire.proxy.server.page.facts import PageFacts
from sealwire.proxy.server.page.panels import WatchReader
from sealwire.proxy.server.probe import own_mark
from sealwire.proxy.server.supervisor import roster
from sealwire.proxy.server.tasks import OneAtATime, spawn, take_signals
from sealwire.proxy.server.tls import NO_TLS, listen_side, upstream_side
from sealwire.proxy.server.workers import worker_channel
from sealwire.proxy.server.workers.joint_metrics import families_of
from sealwire.proxy.server.workers.reload import note_refused
from sealwire.proxy.server.workers.start import ReadConfig

_log = logging.getLogger("sealwire.server")

TICK_S = 0.25

# The whole page, with the wait for the supervisor's own loop.
PAGE_S = 5.0


class SupervisorMetrics:
    """Figures that only the supervisor has."""

    def __init__(self, workers: int) -> None:
        registry = self.registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        Gauge("sealwire_workers", "Worker processes configured", registry=registry).set(workers)
        self.workers_ready = Gauge("sealwire_workers_ready", "Workers that accept clients", registry=registry)
        self.ready = Gauge("sealwire_ready", "1 while clients are served, as /readyz says", registry=registry)
        text = "Workers that ended before their time"
        self.exits = Counter("sealwire_worker_exits", text, ["how"], registry=registry)
        for how in ("exit", "signal"):
            self.exits.labels(how)
        text = "Reloads of the whole configuration"
        self.reloads = Counter("sealwire_reloads", text, ["outcome"], registry=registry)


class Supervisor:
    """Runs the workers of one configuration until they have drained or failed."""

    def __init__(
        self,
        config: Config,
        reread: ReadConfig,
        command: roster.WorkerCommand,
        watch: WatchReader | None = None,
    ) -> None:
        """`watch` reads for the page what the watch has to tell."""
        self._watch = watch
        self.metrics = SupervisorMetrics(config.workers)
        self.config = config
        """The one in force."""
        self._reread = reread
        self._reloads = OneAtATime(self._reload, "reload")
        self._processes = roster.WorkerProcesses(command)
        self._roster = roster.Roster(config.workers, config.limits.drain_s)
        self._seated: set[int] = set()
        """The numbers of workers that were ready once."""
        self._health = JointHealth(Health(beat_at=time.monotonic(), provider=config.kek.kind.value))
        self._ports = roster.MemberPorts(self._use_members, self._processes.tell_all)
        self._asked = roster.AskedWorkers(lambda: tuple(self._health.workers), self._processes.tell)
        self._audit_writer: WriterKeeper | None = None
        self._loop: asyncio.AbstractEventLoop
        self._finish: asyncio.Future[roster.Finish]
        self._admin: AdminServer | None = None

    async def run(self) -> roster.Finish:
        """Reserve the ports, serve until `stop` or failure. Raises ListenProblem; AuditError, KeysError."""
        self._loop = asyncio.get_running_loop()
        self._finish = self._loop.create_future()
        try:
            files = admin_files(self.config)
            self._admin = admin = make_admin(self.config, self._health, self, files, self._watch)
            await self._ports.find(self.config)
            self._show_members()
            await self._start_audit_writer()
            admin.start()
            note(_log, logging.INFO, "admin address", address=str(admin.address))
            ticking = spawn(self._tick(), "tick")
            watching = spawn(self._ports.watch(), "watch servers")
            finish = await self._finish
            watching.cancel()
            ticking.cancel()
            return finish
        finally:
            self._processes.kill()
            if self._audit_writer is not None:
                await self._audit_writer.close()
            self._ports.close()
            if self._admin is not None:
                self._admin.close()

    def _use_members(self, told: worker_channel.Members) -> None:
        """Servers have come or gone: tell every worker, which opens and drains listeners."""
        self._show_members()
        self._processes.tell_all(told)

    def _show_members(self) -> None:
        ports = self._ports
        self.config = replace(self.config, members=ports.members)
        if ports.monitor is not None:
            known = [*(member.upstream for member in ports.members), *ports.left_out]
            self._asked.use_servers(map(str, known))

    async def _start_audit_writer(self) -> None:
        config = self.config
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
        before = self.config
        try:
            read = await asyncio.to_thread(self._reread)
            # where its files lie waits for a restart, what is in them does not
            tls = await asyncio.to_thread(listen_side, before.admin_tls)
            files = NO_TLS
            if self._ports.monitor is not None:
                files = await asyncio.to_thread(upstream_side, read.upstream_tls)
                await self._ports.monitor.require_usable(effective(before, read), files.context)
        except (SourceError, ServerError) as error:
            # It is said once, here. Workers are not asked to read what cannot be read.
            self.metrics.reloads.labels("failed").inc()
            note_refused(error)
            return
        # servers may have come or gone meanwhile
        config = replace(effective(before, read), members=self.config.members)
        self.config = config
        if self._ports.monitor is not None:
            self._ports.monitor.use(config, files.context)
        if self._admin is not None:
            self._admin.use_tls(tls)
        if (config.log_level, config.log_format) != (before.log_level, before.log_format):
            configure(config.log_level, config.log_format)
        if waiting := changed(before, read):
            keys = ", ".join(waiting)
            note(_log, logging.WARNING, "new values wait for a restart, the old ones count", keys=keys)
        self._roster.drain_s = config.limits.drain_s
        self._carry_out(self._roster.reload())

    def render(self) -> bytes:
        """The metrics page, for the admin address's threads. Raises TimeoutError."""
        return asyncio.run_coroutine_threadsafe(self._asked.page(self._own_figures), self._loop).result(
            PAGE_S
        )

    def facts(self) -> PageFacts | None:
        """What the workers' policy and keyring say, for those threads as well; None without a worker.

        While workers differ, it is what the first of them says. Raises TimeoutError.
        """
        return asyncio.run_coroutine_threadsafe(self._asked.facts(), self._loop).result(PAGE_S)

    def _own_figures(self) -> tuple[worker_channel.Family, ...]:
        self.metrics.workers_ready.set(self._roster.ready)
        self.metrics.ready.set(is_ready(self._health.now()))
        return families_of(self.metrics.registry)

    async def _tick(self) -> None:
        while True:
            now_s = time.monotonic()
            self._health.own.beat_at = now_s
            self._carry_out(self._roster.tick(now_s))
            await asyncio.sleep(TICK_S)

    def _carry_out(self, orders: list[roster.Order]) -> None:
        for order in orders:
            match order:
                case roster.Start():
                    spawn(self._run_worker(order.number), f"worker {order.number}")
                case roster.Tell():
                    self._processes.signal(order.number, order.what)
                case roster.AllReady():
                    self._ports.announce()
                    note(_log, logging.INFO, "ready", workers=self._roster.ready)
                case roster.Finish():
                    if order.outcome is roster.RunOutcome.DRAINED:
                        note(_log, logging.INFO, "stopped")
                    if not self._finish.done():
                        self._finish.set_result(order)
                case _:
                    assert_never(order)

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
        ring = None if self._audit_writer is None else self._audit_writer.ends(number)

        def seat() -> worker_channel.Seat:
            ports = self._ports
            members = () if ports.monitor is None else ports.members
            where = ports.numeric, ring, members, ports.left_out
            again = number in self._seated
            return worker_channel.Seat(number, self.config.workers, *where, own_mark.text, again)

        return await self._processes.start(number, ring, seat)

    async def _listen(self, number: int, reader: asyncio.StreamReader) -> None:
        try:
            while True:
                message = await worker_channel.read_message(reader)
                match message:
                    case worker_channel.Stranger():
                        self._ports.stranger_met.set()
                    case Beat():
                        self._beat(number, message)
                    case worker_channel.Figures():
                        self._asked.heard(number, message)
                    case _:
                        raise worker_channel.ChannelError(type(message).__name__)
        except (asyncio.IncompleteReadError, OSError):
            return  # the worker is ending; the exit of its process tells how
        except (worker_channel.ChannelError, ValueError) as error:
            note(_log, logging.CRITICAL, "bug: a worker says what none should", error, worker=number)
            self._processes.signal(number, roster.CUT)

    def _beat(self, number: int, beat: Beat) -> None:
        now_s = time.monotonic()
        self._health.workers[number] = Health(**asdict(beat), beat_at=now_s)
        if beat.phase is ProxyPhase.READY:
            self._seated.add(number)
            self._carry_out(self._roster.became_ready(number, now_s))

    def _worker_ended(self, number: int, code: int) -> None:
        self._processes.ended(number)
        self._health.workers.pop(number, None)
        self._asked.ended(number)
        orders = self._roster.ended(number, code, time.monotonic())
        said_why = any(isinstance(order, roster.Finish) and order.code > 0 for order in orders)
        if not self._roster.draining and not said_why:
            how = "exit" if code >= 0 else "signal"
            self.metrics.exits.labels(how).inc()
            note(_log, logging.ERROR, "worker ended", worker=number, **{how: abs(code)})
        self._carry_out(orders)


async def _run_with_signals(supervisor: Supervisor) -> roster.Finish:
    take_signals(supervisor.stop, supervisor.reload)
    return await supervisor.run()


def serve(
    config: Config, reread: ReadConfig, command: roster.WorkerCommand, watch: WatchReader | None = None
) -> int:
    """Run workers until SIGTERM or SIGINT; the exit code. Raises ServerError.

    An exit code other than 0 is that of the first worker, which has said why it could not start.
    """
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        finish = runner.run(_run_with_signals(Supervisor(config, reread, command, watch)))
    match finish.outcome:
        case roster.RunOutcome.DRAINED:
            return 0
        case roster.RunOutcome.NEVER_STARTED if finish.code > 0:
            return finish.code
        case roster.RunOutcome.NEVER_STARTED:
            problem = f"the first worker was ended before it was ready: {_how(finish.code)}"
        case roster.RunOutcome.GAVE_UP:
            problem = f"workers ended again and again soon after their start, the last: {_how(finish.code)}"
    raise WorkersFailed(
        StartReason.WORKERS_FAILED, problem, "lines of the log with a worker's number say what it met"
    )


def _how(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"
