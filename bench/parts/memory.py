"""Part `memory`: what idle connections, one large insert and a reader that stopped reading keep in memory.

Every figure is of a fresh process that was warmed up: what it holds then is what "idle" means.
"""

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import islice

from bson import decode, encode

from bench.dataset import DATABASE, LARGE_REPLIES, SIZED_BYTES, Document, documents, sized_documents
from bench.parts.canned import Prepared, start_canned
from bench.parts.core import encrypted_reply
from bench.recording import ENCRYPTED, PLAIN, REQUESTS
from bench.report.extents import Extent
from bench.report.figures import Case, Metric, Results, Sample, Tell, take_turns
from bench.routes.processes import peak_kib, reset_peak, resident_kib
from bench.routes.routes import SEALWIRE, Route, connected, start_routes
from bench.workloads import BODY, FIND_ONE, REQUEST_ID, ask, command, insert_request, split_messages
from sealwire.testbed.child import LOOPBACK
from sealwire.wire.op_msg import build_op_msg

PART = "memory"
IDLE, BATCH = "idle-connection", "insert-batch"
BATCHES = {BATCH: "sized", f"{BATCH}-small": "patients"}
"""The documents of an insert: of 1 KiB, or of some 200 bytes, both with four covered fields."""
_MIB = 1 << 20
# With its four envelopes, and where it lies in an array.
_STORED_BYTES = SIZED_BYTES + 50
_WARM_UP_ASKED = 200
_WARM_UP_CONNECTIONS = 20
_RECEIVE_BUFFER_BYTES = 64 << 10
_SETTLED_WITHIN_S = 15.0
# A driver's command has some bytes besides its documents.
_COMMAND_BYTES = 1_000


def measure_memory(prepared: Prepared, extent: Extent, results: Results, tell: Tell) -> None:
    """All figures; adds to `results`. Cost: 8 s a round."""
    for name, size in LARGE_REPLIES.items():
        _record_large_replies(prepared, name, size)
    for tls in (False, True):
        case = Case(PART, IDLE, tls=tls)
        tell(str(case))
        idle = {
            route: partial(_idle_connections, prepared, extent, route, tls=tls)
            for route in extent.memory_routes
        }
        results.series += take_turns(case, idle, extent.memory_rounds)
    for name in BATCHES:
        tell(name)
        insert = {SEALWIRE: partial(_insert_batch, prepared, extent, name)}
        results.series += take_turns(Case(PART, name), insert, extent.memory_rounds)
    for name in LARGE_REPLIES:
        tell(name)
        slow = {SEALWIRE: partial(_slow_reader, prepared, extent, name)}
        results.series += take_turns(Case(PART, name), slow, extent.memory_rounds)


def _record_large_replies(prepared: Prepared, name: str, size: int) -> None:
    """A request and the one reply to it, as the canned server reads them."""
    contents = list(islice(sized_documents(31), size // _STORED_BYTES))
    reply = encrypted_reply(prepared.keys, "sized", contents)
    if len(reply) > size:
        raise RuntimeError(f"{name}: a reply of {len(reply)} bytes")
    recording = prepared.recording
    recording.file(name, REQUESTS).write_bytes(command({"find": name, "filter": {}}))
    recording.file(name, ENCRYPTED).write_bytes(reply)
    recording.file(name, PLAIN).write_bytes(reply)


@contextmanager
def _fresh(prepared: Prepared, name: str, *, tls: bool) -> Iterator[Route]:
    """A process of its own behind one route, warmed up."""
    with ExitStack() as stack:
        ground = start_canned(stack, prepared, tls=tls)
        routes, missing = start_routes(stack, ground, (name,))
        if missing:
            raise RuntimeError(f"{name}: {missing[name]}")
        route = routes[name]
        requests = list(split_messages(prepared.recording.file(FIND_ONE).read_bytes()))
        with connected(route) as connection:
            for request in islice(requests, _WARM_UP_ASKED):
                ask(connection, request)
        yield route


def _idle_connections(prepared: Prepared, extent: Extent, name: str, *, tls: bool) -> Sample:
    """Resident memory that each of many connections adds, greeted and then left alone."""
    count = extent.idle_connections
    with _fresh(prepared, name, tls=tls) as route, ExitStack() as stack:
        assert route.between is not None

        def greet() -> None:
            ask(stack.enter_context(connected(route)), command({"hello": 1}))

        for _ in range(_WARM_UP_CONNECTIONS):
            greet()
        before = _settled(route.between, extent.quiet_s)
        for _ in range(count):
            greet()
        after = _settled(route.between, extent.quiet_s)
    return {Metric.PER_CONNECTION: (after - before) / count, Metric.RESIDENT: after}


def _insert_batch(prepared: Prepared, extent: Extent, name: str) -> Sample:
    """The peak while a batch is inserted in messages as large as a driver makes them."""
    size = extent.batch_mb * 1_000_000
    with _fresh(prepared, SEALWIRE, tls=False) as route, connected(route) as connection:
        assert route.between is not None
        hello = decode(ask(connection, command({"hello": 1}))[BODY:])
        limit = min(size, hello["maxMessageSizeBytes"]) - _COMMAND_BYTES
        idle = _settled(route.between, extent.quiet_s)
        reset_peak(route.between)
        largest = 0
        for request in _insert_requests(BATCHES[name], size, limit):
            largest = max(largest, len(request))
            if decode(ask(connection, request)[BODY:]).get("ok") != 1:
                raise RuntimeError("the batch was refused")
        above = (peak_kib(route.between) - idle) * 1024
    return {
        Metric.ABOVE_IDLE: above / _MIB,
        Metric.SIZE_RATIO: above / size,
        Metric.MESSAGE_RATIO: above / largest,
    }


def _insert_requests(kind: str, size: int, limit: int) -> Iterator[bytes]:
    """Inserts of documents with four covered fields: `size` bytes, each message within `limit`."""
    contents = sized_documents(32) if kind == "sized" else documents(32)
    left = size
    while left > 0:
        some: list[Document] = []
        held = 0
        for document in contents:
            some.append(document)
            held += len(encode(document)) + 17
            if held + 2 * SIZED_BYTES > min(limit, left):
                break
        yield insert_request(some)
        left -= max(held, 2 * SIZED_BYTES)


def _slow_reader(prepared: Prepared, extent: Extent, name: str) -> Sample:
    """The peak while a client has asked for much and reads nothing; afterwards it reads all of it."""
    replies = -(-extent.result_mb * 1_000_000 // LARGE_REPLIES[name])
    find = encode({"find": name, "filter": {}, "$db": DATABASE})
    requests = b"".join(build_op_msg(REQUEST_ID + number, 0, find) for number in range(1, replies + 1))
    with _fresh(prepared, SEALWIRE, tls=False) as route, socket.socket() as connection:
        assert route.between is not None
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER_BYTES)
        connection.settimeout(60)
        connection.connect((LOOPBACK, route.port))
        ask(connection, command({"hello": 1}))
        idle = _settled(route.between, extent.quiet_s)
        reset_peak(route.between)
        connection.sendall(requests)
        stalled = _settled(route.between, extent.quiet_s) - idle
        above = peak_kib(route.between) - idle
        _read_all(connection, replies)
    return {Metric.ABOVE_IDLE: above * 1024 / _MIB, Metric.STALLED: stalled * 1024 / _MIB}


def _read_all(connection: socket.socket, replies: int) -> None:
    """Take what was left waiting, message by message. Raises EOFError when some of it is missing."""
    held = bytearray()
    while replies:
        data = connection.recv(1 << 20)
        if not data:
            raise EOFError(f"{replies} replies have not come")
        held += data
        while len(held) >= 4 and (length := int.from_bytes(held[:4], "little")) <= len(held):
            del held[:length]
            replies -= 1


def _settled(pid: int, quiet_s: float) -> int:
    """Resident KiB once they have not grown for `quiet_s`."""
    deadline = time.monotonic() + _SETTLED_WITHIN_S
    highest, since = resident_kib(pid), time.monotonic()
    while time.monotonic() - since < quiet_s and time.monotonic() < deadline:
        time.sleep(0.05)
        now = resident_kib(pid)
        if now > highest:
            highest, since = now, time.monotonic()
    return resident_kib(pid)
