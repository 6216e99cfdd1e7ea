"""Parts `real` and `node`: the real server, asked with drivers as applications ask it.

Every route has a database of its own in one server, but all Sealwires share the one that the policy covers.
"""

import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from bench.dataset import DATABASE
from bench.recording import make_keyring
from bench.report.extents import Extent
from bench.report.figures import Case, Results, Sample, Tell, take_slices
from bench.report.goals import LATENCY, REAL_THREADS, THROUGHPUT
from bench.routes.load import Meter, sample_of
from bench.routes.routes import CLIENT_SIDE, SEALWIRES, Ground, Route, start_routes
from bench.routes.talker import Talker, unpack
from bench.workloads import FIND_ONE, INSERT_ONE
from sealwire.keys.kek.kek import generate_encoded_kek
from sealwire.keys.keyring.keyring import Keyring
from sealwire.testbed.certificates import create_authority
from sealwire.testbed.child import LOOPBACK, Started
from sealwire.testbed.database import DatabaseOptions, DatabaseProcess, ServerTls

_BENCH = Path(__file__).resolve().parents[1]
NODE = _BENCH.parent / "tests" / "node"
NODE_DRIVER = _BENCH / "node_driver.mjs"
_NODE_CONNECTIONS = 8


@dataclass(frozen=True, slots=True)
class Real:
    """A loaded server, the routes to it, and a pymongo behind each."""

    server: Started
    keys: Keyring
    routes: Mapping[str, Route]
    drivers: Mapping[str, Talker]
    missing: Mapping[str, str] = field(default_factory=dict)


def database_of(route: str) -> str:
    """The policy covers one database, all Sealwires'; routes without encryption have their own."""
    return DATABASE if route in SEALWIRES else f"of_{route.replace('-', '_')}"


@contextmanager
def real_server(folder: Path, extent: Extent, *, tls: bool) -> Iterator[Real]:
    """Start server, routes and drivers, and load every database. Cost: 1 ms for each document and route."""
    folder.mkdir(parents=True)
    with ExitStack() as stack:
        ground, keys = _ground(stack, folder, tls=tls)
        wanted = tuple(name for name in extent.real_routes if name != CLIENT_SIDE)
        routes, missing = start_routes(stack, ground, wanted)
        if CLIENT_SIDE in extent.real_routes:
            # it goes to the server directly: what it costs it costs in the application
            routes[CLIENT_SIDE] = Route(
                CLIENT_SIDE, ground.plain.port, None, ground.plain.pid, ground.trusted
            )
        ours = [name for name in routes if name in SEALWIRES]
        drivers: dict[str, Talker] = {}
        for seed, (name, route) in enumerate(routes.items()):
            drivers[name] = stack.enter_context(Talker([sys.executable, "-m", "bench.routes.pymongo_driver"]))
            # the databases hold the same patients, so that they are equally large and equally hard
            order = _start_order(route, seed) | {"documents": extent.real_documents}
            loading = name not in SEALWIRES or name == ours[0]
            drivers[name].ask(order | {"encrypting": name == CLIENT_SIDE, "loading": loading})
        yield Real(ground.plain, keys, routes, drivers, missing)


def measure_pymongo(real: Real, extent: Extent, results: Results, tell: Tell, *, tls: bool) -> None:
    """Latency with one thread, then throughput with several; adds to `results`."""
    results.not_measured |= {f"pymongo {name}": reason for name, reason in real.missing.items()}
    busy = _busy_routes(real, extent)
    for part, threads, routes in ((LATENCY, 1, real.routes), (THROUGHPUT, REAL_THREADS, busy)):
        for name in extent.real:
            case = Case(f"pymongo-{part}", name, threads, tls)
            tell(str(case))
            _measure(case, routes, real.drivers, extent, results)


def measure_node(real: Real, extent: Extent, results: Results, tell: Tell, *, tls: bool) -> None:
    """Find-one and insert-one with the Node.js driver; adds to `results`."""
    if shutil.which("node") is None or not (NODE / "node_modules" / "mongodb").is_dir():
        results.not_measured["node"] = "no Node.js, or its packages are not installed (`make bench` does it)"
        return
    with ExitStack() as stack:
        drivers: dict[str, Talker] = {}
        for seed, (name, route) in enumerate(_busy_routes(real, extent).items()):
            if name != CLIENT_SIDE:
                command: list[str | Path] = ["node", NODE_DRIVER, NODE]
                drivers[name] = stack.enter_context(Talker(command))
                drivers[name].ask(_start_order(route, seed))
        for threads in (1, _NODE_CONNECTIONS):
            for name in (FIND_ONE, INSERT_ONE):
                case = Case("node", name, threads, tls)
                tell(str(case))
                _measure(case, real.routes, drivers, extent, results)


def _busy_routes(real: Real, extent: Extent) -> Mapping[str, Route]:
    return {name: route for name, route in real.routes.items() if name in extent.real_busy_routes}


def _ground(stack: ExitStack, folder: Path, *, tls: bool) -> tuple[Ground, Keyring]:
    kek = generate_encoded_kek()
    keys = make_keyring(folder, kek)
    authority, server_tls = None, None
    if tls:
        authority = create_authority(folder / "authority")
        issued = authority.issue("database")
        server_tls = ServerTls(issued.certificate, issued.key, authority.certificate_file)
    options = DatabaseOptions(folder / "database", tls=server_tls, replica_set=False, cache="4G")
    database = stack.enter_context(DatabaseProcess(options))
    server = Started(database.port, database.pid)
    return Ground(folder, server, server, folder / "keyring.json", kek, authority), keys


def _start_order(route: Route, seed: int) -> dict[str, object]:
    return {
        "do": "start",
        "uri": f"mongodb://{LOOPBACK}:{route.port}/?directConnection=true",
        "authority": None if route.authority is None else str(route.authority),
        "database": database_of(route.name),
        "seed": seed,
    }


def _measure(
    case: Case, routes: Mapping[str, Route], drivers: Mapping[str, Talker], extent: Extent, results: Results
) -> None:
    runs = {
        name: partial(_slice, drivers[name], route, case) for name, route in routes.items() if name in drivers
    }
    results.series += take_slices(case, runs, extent.real_slice_s, extent.real_rounds)


def _slice(driver: Talker, route: Route, case: Case, seconds: float) -> Sample:
    meter = Meter(route)
    order = {"do": "run", "operation": case.workload, "threads": case.connections, "seconds": seconds}
    answer = driver.ask(order)
    latencies = unpack(answer["latencies"])
    sample = sample_of(latencies, answer["seconds"], meter.stop(len(latencies), answer["cpu_s"]))
    return {**sample, **meter.resident()}
