"""The soak: Sealwire with two workers before a server, TLS on both sides, logins, and the load."""

import asyncio
import os
import platform
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median, quantiles
from time import monotonic

from bench.routes.processes import cpu_seconds, resident_kib, tree
from sealwire.testbed.certificates import create_authority
from sealwire.testbed.proxy_process import ProxyOptions, ProxyProcess
from tests.faults.scene import figure, open_files, until
from tests.integration.conftest import POLICY
from tests.soak.load import Load
from tests.support.secantus import CLINIC, ROOT, USERS, secantus

CONNECTIONS = 200
GROUPS = 8
WORKERS = 2
PAUSE_S = 0.8
LOOKS = 120
"""So many samples at most."""
CONNECTED_WITHIN_S = 180.0
GROWTH_KIB = 8 * 1024
GROWTH = 0.05


@dataclass(frozen=True, slots=True)
class Sample:
    """What was seen at one moment; latencies since the last one."""

    at_s: float
    resident_kib: int
    """All processes of the proxy."""
    files: int
    connections: int
    operations: int
    p50_ms: float
    p99_ms: float
    cpu_s: float
    machine_load: float
    """Of the whole machine, the average of a minute."""


@dataclass(frozen=True, slots=True)
class Soak:
    """Everything that was seen."""

    seconds: float
    core: str
    machine: str
    operations: dict[str, int]
    errors: dict[str, int]
    bugs: int
    files_at_rest: tuple[int, int]
    """Before the load and after it."""
    samples: list[Sample] = field(repr=False)

    def as_json(self) -> dict[str, object]:
        """For a file."""
        return asdict(self)

    @property
    def growth_kib(self) -> float:
        """How much more memory the last third of the time took than the one before it, by their medians."""
        third = len(self.samples) // 3
        middle, last = self.samples[third : 2 * third], self.samples[-third:]
        return median(each.resident_kib for each in last) - median(each.resident_kib for each in middle)

    @property
    def allowed_growth_kib(self) -> float:
        """Less than this is noise."""
        return max(GROWTH_KIB, GROWTH * self.samples[-1].resident_kib)

    def problems(self) -> list[str]:
        """What was not as it should be."""
        found = [f"{count} x {name}" for name, count in self.errors.items()]
        if self.bugs:
            found.append(f"{self.bugs} bugs")
        if self.growth_kib > self.allowed_growth_kib:
            found.append(f"memory grew by {self.growth_kib:.0f} KiB")
        before, after = self.files_at_rest
        if after > before:
            found.append(f"{after - before} files more than before")
        if max(each.connections for each in self.samples) < CONNECTIONS:
            found.append("fewer connections than wanted")
        return found


def soak(folder: Path, seconds: float, tell: Callable[[str], None]) -> Soak:
    """Run all of it in `folder`. Cost: `seconds` and some 20 more."""
    authority = create_authority(folder / "certificates")
    with secantus(folder, users=USERS, authority=authority) as database:
        with database.connect(ROOT) as direct:
            direct["clinic"].patients.create_index("nhs_number")
        options = ProxyOptions(
            folder / "sealwire",
            POLICY,
            database.address,
            authority.issue("sealwire"),
            authority.certificate_file,
            settings={"workers": WORKERS},
        )
        with ProxyProcess(options) as proxy:
            return asyncio.run(_watched(proxy, seconds, tell))


async def _watched(proxy: ProxyProcess, seconds: float, tell: Callable[[str], None]) -> Soak:
    await asyncio.to_thread(until, lambda: figure(proxy, "sealwire_workers_ready") == WORKERS)
    load, complete, ending = Load(proxy.uri(CLINIC), CONNECTIONS, PAUSE_S), asyncio.Event(), asyncio.Event()
    await _rests(proxy)
    before, samples = _files(proxy), list[Sample]()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(load.run(GROUPS, complete, ending, max(20.0, seconds / 6)))
        await asyncio.to_thread(
            until, lambda: figure(proxy, "sealwire_client_connections") >= CONNECTIONS, CONNECTED_WITHIN_S
        )
        complete.set()
        began_s = monotonic()
        step_s = max(1.0, seconds / LOOKS)
        while monotonic() - began_s < seconds:
            await asyncio.sleep(step_s)
            samples.append(await asyncio.to_thread(_look, proxy, load, monotonic() - began_s))
            tell(_line(samples[-1], load))
        ending.set()
    await _rests(proxy)
    with suppress(AssertionError):  # too many is a problem of the soak's
        await asyncio.to_thread(until, lambda: _files(proxy) <= before)
    after = _files(proxy)
    bugs = int(await asyncio.to_thread(figure, proxy, "sealwire_bugs_total"))
    core = await asyncio.to_thread(_core, proxy)
    machine = f"{os.cpu_count()} cores, Python {platform.python_version()}, Linux {platform.release()}"
    return Soak(
        seconds, core, machine, dict(load.operations), dict(load.errors), bugs, (before, after), samples
    )


def _core(proxy: ProxyProcess) -> str:
    """Which one the proxy itself says that it runs."""
    return "compiled" if figure(proxy, "sealwire_build_info", core="compiled") else "plain"


async def _rests(proxy: ProxyProcess) -> None:
    """Wait until nobody is connected. What they had open at the server may be closed a moment later."""
    await asyncio.to_thread(until, lambda: figure(proxy, "sealwire_client_connections") == 0)


def _files(proxy: ProxyProcess) -> int:
    return sum(map(open_files, tree(proxy.pid)))


def _look(proxy: ProxyProcess, load: Load, at_s: float) -> Sample:
    taken, load.latencies_s = load.latencies_s, []
    return Sample(
        round(at_s, 1),
        resident_kib(proxy.pid),
        _files(proxy),
        int(figure(proxy, "sealwire_client_connections")),
        sum(load.operations.values()),
        *_latencies_ms(taken),
        round(cpu_seconds(proxy.pid), 2),
        round(os.getloadavg()[0], 2),
    )


def _latencies_ms(taken: Sequence[float]) -> tuple[float, float]:
    if len(taken) < 2:
        return 0.0, 0.0
    cuts = quantiles(taken, n=100)
    return round(1000 * cuts[49], 2), round(1000 * cuts[98], 2)


def _line(sample: Sample, load: Load) -> str:
    errors = dict(load.errors) or "none"
    return (
        f"{sample.at_s:6.0f} s  {sample.resident_kib / 1024:6.1f} MiB  {sample.connections:4d} connections  "
        f"{sample.operations:8,d} operations  p99 {sample.p99_ms:6.1f} ms  "
        f"load {sample.machine_load:4.1f}  errors: {errors}"
    )
