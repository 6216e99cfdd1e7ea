"""Part `real`: the real server, asked with pymongo as applications ask it, and on one raw connection.

Every route has a database of its own in one server. The policy covers that of Sealwire.

The table `server` is what the server itself takes for what Sealwire stores, with nothing in between: the same
patients, as plaintext and encrypted, asked for in turns. An envelope is longer than its value, and the server
reads it as a binary. No proxy can win back what that costs.
"""

import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, islice, repeat
from pathlib import Path

from bson import decode

from bench.dataset import DATABASE, GROUP, Document, documents
from bench.pymongo_driver import SEED
from bench.recording import bytes_to_server, load_bench_policy, make_keyring, make_session
from bench.report.extents import Extent
from bench.report.figures import Case, Results, Sample, Tell, take_slices
from bench.report.goals import AS_STORED, LATENCY, REAL_THREADS, SERVER, THROUGHPUT, decided
from bench.routes.load import Meter, Used, sample_of
from bench.routes.processes import Talker, unpack
from bench.routes.routes import CLIENT_SIDE, DIRECT, SEALWIRE, Ground, Route, start_routes
from bench.workloads import (
    BODY,
    FIND_100,
    FIND_ONE,
    INSERT_ONE,
    UPDATE_ONE,
    ask,
    find_group,
    find_one,
    message,
    update_one,
)
from sealwire.keys.kek.kek import generate_encoded_kek
from sealwire.keys.keyring.keyring import Keyring
from sealwire.proxy.session.session import Session
from sealwire.testbed.certificates import create_authority
from sealwire.testbed.child import LOOPBACK, Started
from sealwire.testbed.database import DatabaseOptions, DatabaseProcess, ServerTls
from sealwire.wire.framing import request_id_of

_SEEDS = {DIRECT: 8_001, AS_STORED: 8_002}
Requests = Iterator[bytes]


@dataclass(frozen=True, slots=True)
class Real:
    """A loaded server, the routes to it, and a pymongo behind each."""

    server: Started
    keys: Keyring
    routes: Mapping[str, Route]
    drivers: Mapping[str, Talker]
    missing: Mapping[str, str] = field(default_factory=dict)


def database_of(route: str) -> str:
    """The policy covers one database; each route without encryption has another."""
    return DATABASE if route == SEALWIRE else f"of_{route.replace('-', '_')}"


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
        drivers: dict[str, Talker] = {}
        for seed, (name, route) in enumerate(routes.items()):
            drivers[name] = stack.enter_context(Talker([sys.executable, "-m", "bench.pymongo_driver"]))
            # the databases hold the same patients, so that they are equally large and equally hard
            order = _start_order(route, seed) | {"documents": extent.real_documents}
            drivers[name].ask(order | {"encrypting": name == CLIENT_SIDE, "loading": True})
        yield Real(ground.plain, keys, routes, drivers, missing)


def measure_pymongo(real: Real, extent: Extent, results: Results, tell: Tell, *, tls: bool) -> None:
    """Latency with one thread, then throughput with several; adds to `results`."""
    results.not_measured |= {f"pymongo {name}": reason for name, reason in real.missing.items()}
    busy = {name: route for name, route in real.routes.items() if name in extent.real_busy_routes}
    for part, threads, routes in ((LATENCY, 1, real.routes), (THROUGHPUT, REAL_THREADS, busy)):
        for name in extent.real:
            case = Case(f"pymongo-{part}", name, threads, tls)
            tell(str(case))
            _measure(case, routes, real.drivers, extent, results)


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
    results.series += take_slices(case, runs, extent.real_slice_s, extent.real_rounds, decided)


def _slice(driver: Talker, route: Route, case: Case, seconds: float) -> Sample:
    meter = Meter(route)
    order = {"do": "run", "operation": case.workload, "threads": case.connections, "seconds": seconds}
    answer = driver.ask(order)
    latencies = unpack(answer["latencies"])
    sample = sample_of(latencies, answer["seconds"], meter.stop(len(latencies), answer["cpu_s"]))
    return {**sample, **meter.resident()}


@dataclass(frozen=True, slots=True)
class _Asked:
    """One way to ask: a connection of its own, and requests without end."""

    route: Route
    connection: socket.socket
    requests: Mapping[str, Requests]


def measure_server(real: Real, extent: Extent, results: Results, tell: Tell) -> None:
    """Every operation both ways; adds to `results`. Needs what the other parts have loaded."""
    session = make_session(real.keys, load_bench_policy())
    seal = partial(_sealed, session)
    with _connect(real.server.port) as one, _connect(real.server.port) as other:
        asked = {
            DIRECT: _Asked(_route(DIRECT, real), one, _requests(DIRECT, extent, bytes)),
            AS_STORED: _Asked(_route(AS_STORED, real), other, _requests(AS_STORED, extent, seal)),
        }
        for workload in (FIND_ONE, INSERT_ONE, UPDATE_ONE, FIND_100):
            case = Case(SERVER, workload)
            tell(str(case))
            runs = {name: partial(_raw_slice, way, workload) for name, way in asked.items()}
            results.series += take_slices(case, runs, extent.real_slice_s, extent.real_rounds)


def _connect(port: int) -> socket.socket:
    connection = socket.create_connection((LOOPBACK, port))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def _route(name: str, real: Real) -> Route:
    return Route(name, real.server.port, None, real.server.pid, None)


def _sealed(session: Session, request: bytes) -> bytes:
    """The command as Sealwire sends it on."""
    sent = bytes_to_server(session.client_data(request))
    session.server_data(message({"ok": 1.0}, request_id_of(sent)))
    return sent


def _requests(name: str, extent: Extent, seal: Callable[[bytes], bytes]) -> Mapping[str, Requests]:
    database = database_of(SEALWIRE if name == AS_STORED else name)
    patients = list(islice(documents(SEED), extent.real_documents))

    def without_end(command: Callable[[Document], Document], source: Iterator[Document]) -> Requests:
        for each in source:
            yield seal(message(command(each) | {"$db": database}))

    known = chain.from_iterable(repeat(patients))
    groups = chain.from_iterable(repeat([{"group": number} for number in range(len(patients) // GROUP)]))
    return {
        FIND_ONE: without_end(lambda each: find_one("patients", {"nhs_number": each["nhs_number"]}), known),
        INSERT_ONE: without_end(
            lambda each: {"insert": "arrivals", "documents": [each], "ordered": True}, documents(_SEEDS[name])
        ),
        UPDATE_ONE: without_end(lambda each: update_one(each, each["postcode"]), known),
        FIND_100: without_end(lambda each: find_group("patients", each["group"]), groups),
    }


def _raw_slice(way: _Asked, workload: str, seconds: float) -> Sample:
    """Ask again and again until the answers have taken `seconds`; making requests does not count."""
    meter = Meter(way.route)
    latencies: list[float] = []
    taken = used = 0.0
    while taken < seconds:
        request = next(way.requests[workload])
        began, used_before = time.perf_counter(), time.process_time()
        reply = ask(way.connection, request)
        latencies.append(time.perf_counter() - began)
        used += time.process_time() - used_before
        taken += latencies[-1]
        _check(workload, decode(reply[BODY:]))
    whole: Used = meter.stop(len(latencies), used)
    return sample_of(latencies, taken, whole)


def _check(workload: str, answer: Document) -> None:
    """Raises RuntimeError when it is not the answer that was to be measured."""
    wanted = {FIND_100: GROUP, FIND_ONE: 1}.get(workload)
    found = answer.get("n", 0) if wanted is None else len(answer.get("cursor", {}).get("firstBatch", ()))
    if answer.get("ok") != 1 or found != (wanted or 1):
        raise RuntimeError(f"{workload}: another answer than expected")
