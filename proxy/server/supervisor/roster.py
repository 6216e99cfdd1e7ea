"""What the supervisor decides: when a worker is started, told to reload or drain, and ended. No I/O.

Theory of operation. Each of the N workers walks

    WAITING -> STARTING -> READY -> (its process ends) -> WAITING, or GONE while draining

One starts at a time: unlocking a key file takes 128 MiB, and what keeps the first one from starting would
keep all of them, and is to be said once. So when the first one ends before any was ever ready, that is the
end of all, with its exit code. Later a worker that ends is replaced: at once if it had served for a while,
else after a pause that doubles. Failures in a row end the proxy only when no worker serves any more: as long
as one does, clients are better off with it, for example while the provider of the keys is away.

Every method returns orders, to be carried out in order.
"""

import asyncio
import logging
import signal
import socket
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final, final

from sealwire.proxy.server.audit_writer.records import RingEnds
from sealwire.proxy.server.config.rows import Address
from sealwire.proxy.server.config.settings import Config, Member
from sealwire.proxy.server.discovery.monitor import UpstreamMonitor
from sealwire.proxy.server.discovery.view import PortLayout
from sealwire.proxy.server.errors import ListenProblem
from sealwire.proxy.server.observability.logs import note
from sealwire.proxy.server.page.facts import PageFacts
from sealwire.proxy.server.ports import PortRange, reserve
from sealwire.proxy.server.tls import upstream_side
from sealwire.proxy.server.workers import worker_channel
from sealwire.proxy.server.workers.announce import announce_addresses
from sealwire.proxy.server.workers.joint_metrics import JointMetrics

# A worker that served this long had no trouble with its start.
STABLE_S = 10.0

FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 30.0

# After so many failures in a row, with no worker ready, the proxy gives up.
MOST_FAILURES = 5

# The probe and the provider of the keys have limits of their own, far below this.
START_S = 120.0

# What a drain may take beyond its own limit.
DRAIN_GRACE_S = 5.0


# The ports that the process above workers holds for them: of listed members, or a range for followed
# ones.
#
# A port that is held here never listens: workers come and go, and share it while they are there.

_log = logging.getLogger("sealwire.server")


# ----------------------------------- the processes of workers, each with a line to it on its standard input

WorkerCommand = Callable[[int], Sequence[str]]
"""From a worker's number to the command line that runs it."""


# --------------------- workers are asked for what they count and know, and what they answer is put together

# A worker that does not answer in time is shown as it was last seen.
FIGURES_S: Final = 2.0


@final
class AskedWorkers:
    """For one event loop."""

    def __init__(
        self, numbers: Callable[[], Iterable[int]], send: Callable[[int, worker_channel.Ask], None]
    ) -> None:
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

    async def page(self, own: Callable[[], tuple[worker_channel.Family, ...]]) -> bytes:
        """The metrics page of all workers and of `own`, which is called once they have answered."""
        await self._ask()
        return self._joint.render(own())

    def use_servers(self, names: Iterable[str]) -> None:
        """There are these servers now."""
        self._joint.use_servers(names)

    def heard(self, number: int, figures: worker_channel.Figures) -> None:
        """The answer of a worker."""
        self._joint.heard(number, figures.families)
        if figures.facts is not None:
            self._facts[number] = figures.facts
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
            self._send(number, worker_channel.Ask(self._asked, facts))
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
        self, number: int, ring: RingEnds | None, seat: Callable[[], worker_channel.Seat]
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
        writer.write(worker_channel.encode(seat()))
        return process, reader

    def tell(self, number: int, message: worker_channel.Message) -> None:
        """Write to the line of one that runs."""
        self._writers[number].write(worker_channel.encode(message))

    def tell_all(self, message: worker_channel.Message) -> None:
        """Write to every line."""
        told = worker_channel.encode(message)
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


@final
class MemberPorts:
    """`find` first, then `watch` as a task. For one event loop."""

    def __init__(
        self, changed: Callable[[worker_channel.Members], None], tell: Callable[[worker_channel.Silent], None]
    ) -> None:
        """`changed` is told of every other layout, and workers by `tell` of servers that do not answer."""
        self._changed = changed
        self._tell = tell
        self.members: tuple[Member, ...] = ()
        """Those that have a port."""
        self.left_out: tuple[Address, ...] = ()
        """Members that may not be used."""
        self.stranger_met = asyncio.Event()
        """Set by whoever hears that a server has named a member without a listener."""
        self._reserved: list[list[socket.socket]] = []
        """Sockets of each member, where the configuration lists them."""
        self._range: PortRange | None = None
        """Where servers are followed."""
        self.monitor: UpstreamMonitor | None = None
        """It follows the servers, where members come and go."""

    @property
    def numeric(self) -> tuple[tuple[Address, ...], ...]:
        """The numeric addresses of each member's listener."""
        if self._range is None:
            return tuple(tuple(_addresses(sockets)) for sockets in self._reserved)
        return tuple(self._range.addresses(member.listen.port) for member in self.members)

    async def find(self, config: Config) -> None:
        """Take the ports, of whoever is found where servers are followed. Raises ServerError."""
        self.members = config.members
        if config.discovery is None:
            for member in config.members:
                self._reserved.append(reserve(member.listen))
            return
        files = await asyncio.to_thread(upstream_side, config.upstream_tls)
        self.monitor = UpstreamMonitor(config, config.discovery, files.context, self.stranger_met)
        layout = await self.monitor.first()
        self._range = PortRange(config.discovery.listen, config.discovery.ports)
        self.members, self.left_out = layout.members, layout.left_out

    async def watch(self) -> None:
        """Follow the servers forever, where they are followed."""
        if self.monitor is not None:
            await self.monitor.run(self._follow, lambda servers: self._tell(worker_channel.Silent(servers)))

    def announce(self) -> None:
        """Log where the clients of each member connect."""
        for member, addresses in zip(self.members, self.numeric, strict=True):
            announce_addresses(member, addresses)

    def close(self) -> None:
        """Give all of them back."""
        for sock in (sock for sockets in self._reserved for sock in sockets):
            sock.close()
        if self._range is not None:
            self._range.close()

    def _follow(self, layout: PortLayout) -> bool:
        """Servers have come or gone: workers open and drain listeners.

        Whether each member has a port that is its own.
        """
        known = set(self.members)
        self.members = tuple(each for each in layout.members if each in known or self._is_free(each))
        self.left_out = layout.left_out
        self._changed(worker_channel.Members(self.members, self.numeric, self.left_out))
        for member, addresses in zip(self.members, self.numeric, strict=True):
            if member not in known:
                announce_addresses(member, addresses)
        return len(self.members) == len(layout.members)

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


def _addresses(sockets: list[socket.socket]) -> list[Address]:
    return [Address(*sock.getsockname()[:2]) for sock in sockets]


DRAIN: Final = signal.SIGTERM
"""Tells a worker to finish what is under way and to end."""
RENEW: Final = signal.SIGHUP
"""Tells it to read its configuration again."""
CUT: Final = signal.SIGKILL
"""Ends it at once."""


@dataclass(frozen=True, slots=True)
class Start:
    """Start a process for this worker."""

    number: int


@dataclass(frozen=True, slots=True)
class Tell:
    """Send this worker one of these signals."""

    number: int
    what: signal.Signals


@dataclass(frozen=True, slots=True)
class AllReady:
    """Say that every worker is ready; given once."""


@dataclass(frozen=True, slots=True)
class Finish:
    """Nothing is left to do."""

    outcome: "RunOutcome"
    code: int = 0
    """Exit code of the worker that decided it; negative: the signal that ended it."""


class RunOutcome(Enum):
    """How it all ended."""

    DRAINED = "drained"
    NEVER_STARTED = "never-started"
    """The first worker ended before it was ready."""
    GAVE_UP = "gave-up"
    """Workers ended soon after their start, again and again."""


Order = Start | Tell | AllReady | Finish


class _State(Enum):
    WAITING = "waiting"
    STARTING = "starting"
    READY = "ready"
    GONE = "gone"


@dataclass(slots=True)
class _Worker:
    state: _State = _State.WAITING
    since_s: float = 0.0
    """When `state` began. In WAITING: when it ends."""
    reload: bool = False
    """A reload came while it started: it may have read the files before."""


class Roster:
    """The workers of one proxy, numbered from 1; `now_s` is any steady clock."""

    def __init__(self, workers: int, drain_s: float) -> None:
        self._workers = {number: _Worker() for number in range(1, workers + 1)}
        self.drain_s = drain_s
        """How long a drain may take."""
        self._failures = 0
        self._ever_ready = False
        self._announced = False
        self._draining_since_s: float | None = None
        self._finished = False

    @property
    def draining(self) -> bool:
        """Whether no worker is started any more."""
        return self._draining_since_s is not None

    @property
    def ready(self) -> int:
        """Workers that accept clients."""
        return sum(worker.state is _State.READY for worker in self._workers.values())

    def tick(self, now_s: float) -> list[Order]:
        """The clock, about once a second, and once at the beginning."""
        if self._draining_since_s is not None:
            late = now_s - self._draining_since_s >= self.drain_s + DRAIN_GRACE_S
            return self._cut_running() if late else []
        overdue: list[Order] = [
            Tell(number, CUT)
            for number, worker in self._workers.items()
            if worker.state is _State.STARTING and now_s - worker.since_s >= START_S
        ]
        return overdue + self._start_next(now_s)

    def became_ready(self, number: int, now_s: float) -> list[Order]:
        """A worker accepts clients."""
        worker = self._workers[number]
        if worker.state is not _State.STARTING:
            return []
        worker.state, worker.since_s = _State.READY, now_s
        if self.draining:
            return [Tell(number, DRAIN)]
        self._ever_ready = True
        orders: list[Order] = []
        if worker.reload:
            worker.reload = False
            orders.append(Tell(number, RENEW))
        if not self._announced and self.ready == len(self._workers):
            self._announced = True
            orders.append(AllReady())
        return orders + self._start_next(now_s)

    def ended(self, number: int, code: int, now_s: float) -> list[Order]:
        """A worker's process has ended."""
        worker = self._workers[number]
        served_s = now_s - worker.since_s if worker.state is _State.READY else 0.0
        worker.state, worker.reload = _State.GONE, False
        if self.draining:
            return self._finish_if_gone()
        if not self._ever_ready:
            return self._finish(RunOutcome.NEVER_STARTED, code)
        self._failures = 0 if served_s >= STABLE_S else self._failures + 1
        if self._failures >= MOST_FAILURES and not self.ready:
            return self._cut_running() + self._finish(RunOutcome.GAVE_UP, code)
        worker.state, worker.since_s = _State.WAITING, now_s + self._pause_s()
        return self._start_next(now_s)

    def reload(self) -> list[Order]:
        """The configuration is to be read again by all."""
        for worker in self._workers.values():
            worker.reload = worker.state is _State.STARTING
        return [Tell(number, RENEW) for number in self._in(_State.READY)]

    def stop(self, now_s: float) -> list[Order]:
        """Drain all workers; when that is under way, end them at once."""
        if self.draining:
            return self._cut_running()
        self._draining_since_s = now_s
        for number in self._in(_State.WAITING):
            self._workers[number].state = _State.GONE
        return [Tell(number, DRAIN) for number in self._running()] or self._finish_if_gone()

    def _start_next(self, now_s: float) -> list[Order]:
        if self._finished or self._in(_State.STARTING):
            return []
        for number in self._in(_State.WAITING):
            worker = self._workers[number]
            if worker.since_s <= now_s:
                worker.state, worker.since_s = _State.STARTING, now_s
                return [Start(number)]
        return []

    def _pause_s(self) -> float:
        if not self._failures:
            return 0.0
        return min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** (self._failures - 1))

    def _cut_running(self) -> list[Order]:
        return [Tell(number, CUT) for number in self._running()]

    def _running(self) -> list[int]:
        return self._in(_State.STARTING) + self._in(_State.READY)

    def _in(self, state: _State) -> list[int]:
        return [number for number, worker in self._workers.items() if worker.state is state]

    def _finish_if_gone(self) -> list[Order]:
        return self._finish(RunOutcome.DRAINED, 0) if not self._running() else []

    def _finish(self, outcome: RunOutcome, code: int) -> list[Order]:
        if self._finished:
            return []
        self._finished = True
        return [Finish(outcome, code)]
