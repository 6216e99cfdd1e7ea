"""Part `server`: what the real server itself takes for what Sealwire stores, with nothing in between.

The same patients, in clear and as they lie encrypted, asked over one raw connection in turns. An envelope is
longer than its value, and the server reads it as a binary: what that costs, no proxy can win back.
"""

import socket
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice, repeat

from bson import decode

from bench.dataset import GROUP, Document, documents
from bench.messages import BODY, ask, message
from bench.parts.real import Real, database_of
from bench.pymongo_operations import SEED
from bench.recording import bytes_to_server, load_bench_policy, make_session
from bench.report.extents import Extent
from bench.report.figures import Case, Results, Sample, Tell, take_slices
from bench.routes.load import Meter, Used, sample_of
from bench.routes.routes import DIRECT, SEALWIRE, Route
from bench.workloads import FIND_100, FIND_ONE, INSERT_ONE, UPDATE_ONE, find_group, find_one, update_one
from sealwire.proxy.session.session import Session
from sealwire.testbed.child import LOOPBACK
from sealwire.wire.header import request_id_of

PART = "server"
AS_STORED = "as-stored"
"""The route on which the server is asked as Sealwire asks it."""
_SEEDS = {DIRECT: 8_001, AS_STORED: 8_002}
Requests = Iterator[bytes]


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
            case = Case(PART, workload)
            tell(str(case))
            runs = {name: partial(_slice, way, workload) for name, way in asked.items()}
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


def _slice(way: _Asked, workload: str, seconds: float) -> Sample:
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
