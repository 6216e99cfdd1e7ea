"""The soak: Sealwire with two workers before a server, TLS on both sides, logins, and the load."""

import asyncio
import os
import platform
import random
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import median, quantiles
from time import monotonic, perf_counter
from typing import Any

from pymongo import AsyncMongoClient
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.errors import OperationFailure, PyMongoError

from bench.routes.processes import cpu_seconds, resident_kib, tree
from sealwire.testbed.certificates import create_authority
from sealwire.testbed.proxy_process import ProxyProcess
from tests.faults.scene import figure, open_files
from tests.integration.conftest import POLICY
from tests.support.proxied import proxied
from tests.support.secantus import CLINIC, ROOT, USERS, secantus
from tests.support.waiting import until

# The load: clients that insert, find, change, count and delete documents of their own, each at its own
# pace.
#
# Nothing is retried, so that an error is one. What a client finds has to be what it stored, and nobody
# else's.


Document = dict[str, Any]

MOST_DOCUMENTS = 40
"""Of one client; then it deletes rather than inserts."""
REFUSED = 238


class Load:
    """All clients together, and what became of what they asked."""

    def __init__(self, uri: str, connections: int, pause_s: float) -> None:
        self.operations: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        self.latencies_s: list[float] = []
        """Since they were last taken."""
        self._uri = uri
        self._connections = connections
        self._pause_s = pause_s

    async def run(
        self, groups: int, complete: asyncio.Event, ending: asyncio.Event, lifetime_s: float
    ) -> None:
        """Until the end: groups of clients with a pool each, which go and come back at different times.

        complete: set once all are connected; nobody leaves before.
        """
        size = self._connections // groups
        async with asyncio.TaskGroup() as tasks:
            for group in range(groups):
                leaves_after_s = lifetime_s * (1 + group / groups)
                tasks.create_task(self._group(group, size, complete, ending, leaves_after_s))

    async def _group(
        self, group: int, size: int, complete: asyncio.Event, ending: asyncio.Event, lifetime_s: float
    ) -> None:
        """Connections with logins of their own, given up and made anew."""
        visitors = [Visitor(f"{group}-{number}", self) for number in range(size)]
        while not ending.is_set():
            options: dict[str, Any] = {"maxPoolSize": size, "minPoolSize": size, "directConnection": True}
            options["maxIdleTimeMS"] = 100_000  # the test server hangs up on who was silent for 300 s
            async with AsyncMongoClient[Document](
                self._uri, retryWrites=False, retryReads=False, serverSelectionTimeoutMS=60_000, **options
            ) as client:
                leaving = asyncio.Event()
                patients = client["clinic"]["patients"]
                await asyncio.gather(
                    _leave(leaving, complete, ending, lifetime_s),
                    *(each.work(patients, leaving, ending, self._pause_s) for each in visitors),
                )

    def happened(self, name: str, took_s: float) -> None:
        """An operation has its answer."""
        self.operations[name] += 1
        self.latencies_s.append(took_s)


async def _leave(
    leaving: asyncio.Event, complete: asyncio.Event, ending: asyncio.Event, lifetime_s: float
) -> None:
    await complete.wait()
    with suppress(TimeoutError):
        await asyncio.wait_for(ending.wait(), lifetime_s)
    leaving.set()


class Visitor:
    """One client and the documents that it has stored."""

    def __init__(self, name: str, load: Load) -> None:
        self._name = name
        self._load = load
        self._chance = random.Random(name)
        self._numbers: list[int] = []
        self._next = 0
        self._acts = {
            "find": (40, self._find),
            "insert": (25, self._insert),
            "update": (15, self._update),
            "delete": (10, self._delete),
            "count": (5, self._count),
            "cursor": (3, self._cursor),
            "refused": (2, self._refused),
        }

    async def work(
        self,
        patients: AsyncCollection[Document],
        leaving: asyncio.Event,
        ending: asyncio.Event,
        pause_s: float,
    ) -> None:
        """One operation after the other, with pauses, until it is time to leave or to end."""
        names = list(self._acts)
        weights = [weight for weight, _ in self._acts.values()]
        while not (leaving.is_set() or ending.is_set()):
            await asyncio.sleep(self._chance.random() * 2 * pause_s)
            name = self._chance.choices(names, weights)[0]
            if not self._numbers or (name == "insert" and len(self._numbers) >= MOST_DOCUMENTS):
                name = "insert" if not self._numbers else "delete"
            began_s = perf_counter()
            try:
                await self._acts[name][1](patients)
            except (PyMongoError, AssertionError) as error:
                self._load.errors[f"{name}: {type(error).__name__}"] += 1
            else:
                self._load.happened(name, perf_counter() - began_s)

    def _document(self, number: int) -> Document:
        token = f"{self._name}-{number}"
        return {
            "_id": token,
            "nhs_number": f"nhs-{token}",
            "address": {"postcode": f"pc-{number % 7}", "city": "Leeds"},
            "contacts": [{"phone": f"phone-{token}"}],
            "date_of_birth": datetime(1950, 1 + number % 12, 1 + number % 28, tzinfo=UTC),
            "visits": number % 100,
            "notes": {"text": "x" * (number % 500), "owner": self._name},
        }

    def _some(self) -> Document:
        return self._document(self._chance.choice(self._numbers))

    async def _insert(self, patients: AsyncCollection[Document]) -> None:
        self._next += 1
        await patients.insert_one(self._document(self._next))
        self._numbers.append(self._next)

    async def _find(self, patients: AsyncCollection[Document]) -> None:
        wanted = self._some()
        found = await patients.find_one({"nhs_number": wanted["nhs_number"]})
        assert found is not None
        assert (found["_id"], found["notes"]) == (wanted["_id"], wanted["notes"])

    async def _update(self, patients: AsyncCollection[Document]) -> None:
        wanted = self._some()
        change = {"$set": {"contacts.0.phone": f"phone-{self._chance.random()}"}}
        done = await patients.update_one({"nhs_number": wanted["nhs_number"]}, change)
        assert done.matched_count == 1

    async def _delete(self, patients: AsyncCollection[Document]) -> None:
        number = self._numbers.pop(self._chance.randrange(len(self._numbers)))
        done = await patients.delete_one({"nhs_number": self._document(number)["nhs_number"]})
        assert done.deleted_count == 1

    async def _count(self, patients: AsyncCollection[Document]) -> None:
        names = [self._document(number)["nhs_number"] for number in self._numbers[:5]]
        pipeline: list[Document] = [
            {"$match": {"nhs_number": {"$in": names}}},
            {"$group": {"_id": "$nhs_number"}},
        ]
        found = [each["_id"] async for each in await patients.aggregate(pipeline)]
        assert sorted(found) == sorted(names)

    async def _cursor(self, patients: AsyncCollection[Document]) -> None:
        names = [self._document(number)["nhs_number"] for number in self._numbers[:9]]
        found = [each async for each in patients.find({"nhs_number": {"$in": names}}, batch_size=2)]
        assert {each["notes"]["owner"] for each in found} == {self._name}
        assert len(found) == len(names)

    async def _refused(self, patients: AsyncCollection[Document]) -> None:
        try:
            await patients.find_one({"notes": {"text": "x"}})
        except OperationFailure as error:
            assert error.code == REFUSED  # noqa: PT017 - anything else is an error
        else:
            raise AssertionError("answered")


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
        settings = {"workers": WORKERS}
        with proxied(folder, POLICY, database.address, authority, settings=settings) as proxy:
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
