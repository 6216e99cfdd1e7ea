"""The bench's own processes do what the figures rest on: they answer, pass bytes on, are counted."""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from bson import decode, encode

from bench.parts.canned import Prepared, prepare, start_canned, verify
from bench.parts.scale import BALANCED, CONNECTIONS, PART, SUPERVISOR, measure_scale
from bench.recording import ENCRYPTED, PLAIN
from bench.report.extents import TINY
from bench.report.figures import Case, Metric, Results
from bench.routes.canned_server import load, shape
from bench.routes.load import Load
from bench.routes.processes import Talker, cpu_seconds, peak_kib, reset_peak, resident_kib, tree
from bench.routes.routes import (
    DIRECT,
    FORWARDER,
    ROUTES,
    SEALWIRE,
    Ground,
    Route,
    module_server,
    start_routes,
)
from bench.workloads import FIND_100, FIND_ONE, INSERT_ONE, UNPROTECTED, read_message, split_messages
from sealwire.crypto.envelope import MARKER
from sealwire.testbed.child import LOOPBACK, Started
from sealwire.wire.framing import response_to_of
from sealwire.wire.op_msg import build_op_msg
from tests.support.runs import ran
from tests.support.skips import skip_or_fail

pytestmark = pytest.mark.integration

SLICE_S = 0.5
"""Some answers come within it on a busy machine too: less is an error."""
ONE = build_op_msg(1, 0, encode({"n": 1}))
TWO = build_op_msg(1, 0, encode({"n": 2}))
BIG = build_op_msg(2, 0, encode({"n": "x" * 300_000}))


def command(request_id: int, body: dict[str, object]) -> bytes:
    return build_op_msg(request_id, 0, encode(body))


@pytest.fixture
def canned(tmp_path: Path) -> Iterator[Started]:
    for name, replies in (("small", ONE + TWO), ("big", BIG)):
        (tmp_path / f"{name}.requests").write_bytes(command(1, {"find": name, "$db": "x"}))
        (tmp_path / f"{name}.plain").write_bytes(replies)
    with module_server("bench.routes.canned_server", tmp_path, [tmp_path, PLAIN]) as server:
        yield server


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return prepare(tmp_path_factory.mktemp("bench"), TINY)


def ask(port: int, request_id: int, body: dict[str, object]) -> bytes:
    with socket.create_connection((LOOPBACK, port), timeout=10) as connection:
        connection.sendall(command(request_id, body))
        return read_message(connection)


def test_the_canned_server_plays_replies_in_turns_and_names_the_request(canned: Started) -> None:
    found = [ask(canned.port, number, {"find": "small", "limit": number}) for number in (77, 78, 79)]
    assert [response_to_of(each) for each in found] == [77, 78, 79]
    assert [each[16:] for each in found] == [ONE[16:], TWO[16:], ONE[16:]]
    assert ask(canned.port, 80, {"find": "big"})[16:] == BIG[16:]


def test_the_canned_server_hangs_up_on_what_was_not_recorded(canned: Started) -> None:
    with pytest.raises(EOFError):
        ask(canned.port, 1, {"aggregate": "small"})


def test_the_canned_server_takes_requests_in_pieces_and_several_at_once(canned: Started) -> None:
    requests = command(5, {"find": "small"}) + command(6, {"find": "big", "filter": {"x": "y" * 200_000}})
    with socket.create_connection((LOOPBACK, canned.port), timeout=10) as connection:
        for piece in (requests[:3], requests[3:70], requests[70:]):
            connection.sendall(piece)
            time.sleep(0.02)
        data = b""
        while len(data) < len(ONE) + len(BIG):
            data += connection.recv(1 << 20)
    assert [response_to_of(each) for each in split_messages(data)] == [5, 6]


def test_a_shape_is_command_and_collection() -> None:
    assert shape(command(1, {"find": "a", "filter": {}})) == shape(command(2, {"find": "a", "limit": 1}))
    assert shape(command(1, {"find": "a"})) != shape(command(1, {"find": "b"}))
    assert shape(command(1, {"find": "a"})) != shape(command(1, {"insert": "a"}))
    assert shape(command(1, {"ping": 1})) == shape(command(1, {"ping": 1.0}))


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "tls"])
def ground(prepared: Prepared, request: pytest.FixtureRequest) -> Iterator[Ground]:
    """The canned servers, for all routes."""
    with ExitStack() as stack:
        yield start_canned(stack, prepared, tls=request.param)


@pytest.fixture(scope="module")
def load_generator() -> Iterator[Load]:
    with Load() as generator:
        yield generator


@pytest.mark.parametrize("name", ROUTES)
def test_every_route_answers_as_the_server_does_and_carries_load(
    prepared: Prepared, ground: Ground, load_generator: Load, name: str
) -> None:
    with ExitStack() as stack:
        routes, missing = start_routes(stack, ground, (name,))
        if missing:
            skip_or_fail(missing[name])
        for workload in (UNPROTECTED, FIND_ONE, INSERT_ONE, FIND_100):
            verify(routes[name], prepared.recording, workload)
        load_generator.open(routes[name], 5)
        sample = load_generator.run(routes[name], prepared.recording.file(FIND_ONE), SLICE_S)
        load_generator.close(routes[name])
    assert sample[Metric.OPERATIONS] > 0
    assert sample[Metric.P50] <= sample[Metric.P99]
    assert (Metric.CPU in sample) is (name != DIRECT)


@pytest.mark.slow
def test_several_workers_and_several_proxies_are_measured_with_all_their_processes(
    prepared: Prepared,
) -> None:
    results, extent = Results(), replace(TINY, slice_s=SLICE_S)
    measure_scale(prepared, extent, results, lambda _: None, tls=True)
    if results.not_measured:
        skip_or_fail(str(results.not_measured))
    found = {
        each.route: each.samples[0] for each in results.of(Case(PART, "find-one", CONNECTIONS, tls=True))
    }
    assert list(found) == [SEALWIRE, "sealwire-x2", BALANCED]
    for name, sample in found.items():
        assert sample[Metric.OPERATIONS] > 0
        assert (Metric.APART_CPU in sample) is (name != SEALWIRE)
        assert sample.get(Metric.APART_CPU, 0) < sample[Metric.CPU] / 2
    # supervisor and two workers; two proxies and HAProxy
    assert found["sealwire-x2"][Metric.RESIDENT] > 2 * found[SEALWIRE][Metric.RESIDENT]
    assert found[BALANCED][Metric.RESIDENT] > 1.8 * found[SEALWIRE][Metric.RESIDENT]
    (idle,) = results.of(Case(PART, SUPERVISOR, tls=True))
    assert idle.route == "sealwire-x2"
    assert 0 < idle.samples[0][Metric.IDLE_CPU] < 1e6
    assert idle.samples[0][Metric.RESIDENT] < found[SEALWIRE][Metric.RESIDENT] * 1.5


def test_without_haproxy_the_reason_is_told_and_the_rest_is_measured(
    prepared: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.routes.routes.find_program", lambda *_: None)
    results = Results()
    measure_scale(prepared, replace(TINY, workers=(1,)), results, lambda _: None, tls=False)
    assert list(results.not_measured) == [f"{PART} {BALANCED}"]
    (one,) = results.of(Case(PART, "find-one", CONNECTIONS))
    assert one.samples[0][Metric.OPERATIONS] > 0


def test_a_route_that_answers_ciphertext_is_found_out(prepared: Prepared) -> None:
    with ExitStack() as stack:
        ground = start_canned(stack, prepared, tls=False)
        route = Route("direct", ground.encrypted.port, None, ground.encrypted.pid, None)
        verify(route, prepared.recording, UNPROTECTED)
        with pytest.raises(ValueError, match="find-one"):
            verify(route, prepared.recording, FIND_ONE)


def test_the_forwarder_passes_bytes_both_ways_and_closes_without_a_server(
    canned: Started, tmp_path: Path
) -> None:
    for upstream, works in ((canned, True), (Started(1, canned.pid), False)):
        folder = tmp_path / str(upstream.port)
        folder.mkdir()
        with ExitStack() as stack:
            ground = Ground(folder, upstream, upstream, tmp_path / "none", "")
            route = start_routes(stack, ground, (FORWARDER,))[0][FORWARDER]
            request: dict[str, object] = {"find": "big", "filter": {"x": "y" * 200_000}}
            if works:
                assert ask(route.port, 5, request)[16:] == BIG[16:]
            else:
                with pytest.raises((EOFError, ConnectionError)):
                    ask(route.port, 5, request)


def test_the_second_recording_is_ciphertext_where_the_first_is_not(prepared: Prepared) -> None:
    plain, encrypted = (prepared.recording.file(FIND_100, kind).read_bytes() for kind in (PLAIN, ENCRYPTED))
    assert MARKER not in plain
    assert encrypted.count(MARKER) == 400 * TINY.pool.groups
    assert plain.count(b"nhs_number") == encrypted.count(b"nhs_number")


def test_every_recorded_answer_is_an_answer(prepared: Prepared) -> None:
    for kind in (PLAIN, ENCRYPTED):
        for name in prepared.recording.workloads:
            for reply in split_messages(prepared.recording.file(name, kind).read_bytes()):
                assert decode(reply[21:])["ok"] == 1
        assert load(prepared.recording.folder, kind)


def test_processor_time_and_memory_are_those_of_the_process_and_its_children() -> None:
    child = "x = bytearray(60 << 20); del x; print(sum(range(3_000_000)), flush=True); input()"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    with subprocess.Popen(
        [sys.executable, "-c", parent], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        found = tree(process.pid)
        assert len(found) == 2
        assert cpu_seconds(process.pid) > cpu_seconds(found[1]) > 0
        resident = resident_kib(process.pid)
        assert peak_kib(process.pid) > resident + (50 << 10)
        reset_peak(process.pid)
        assert peak_kib(process.pid) < resident + (10 << 10)
        process.communicate(b"\n", timeout=10)


def test_the_clock_of_another_process_is_that_process_own() -> None:
    # the kernel counts the first in ticks: over a long life the two drift apart;
    # in a process of its own, for this one may have children that other tests started
    program = (
        "import os, time; from bench.routes.processes import cpu_seconds; sum(range(3_000_000));"
        "print(cpu_seconds(os.getpid()), time.process_time())"
    )
    done = ran([sys.executable, "-c", program], check=True)
    outside, inside = map(float, done.stdout.split())
    assert outside == pytest.approx(inside, rel=0.2, abs=0.5)


def test_a_child_that_ends_is_an_error_and_not_an_answer() -> None:
    with Talker([sys.executable, "-c", "input()"]) as talker, pytest.raises(RuntimeError):
        talker.ask({"do": "anything"})


def test_a_server_that_hangs_up_ends_the_run(canned: Started, tmp_path: Path) -> None:
    requests = tmp_path / "unknown"
    requests.write_bytes(command(1, {"aggregate": "small"}))
    route = Route(DIRECT, canned.port, None, canned.pid, None)
    with Load() as generator:
        generator.open(route, 2)
        with pytest.raises(RuntimeError):
            generator.run(route, requests, 0.05)


def test_a_failed_operation_is_not_counted(tmp_path: Path) -> None:
    (tmp_path / "bad.requests").write_bytes(command(1, {"find": "bad"}))
    (tmp_path / "bad.plain").write_bytes(command(1, {"ok": 0.0, "errmsg": "no"}))
    with (
        module_server("bench.routes.canned_server", tmp_path, [tmp_path, PLAIN]) as server,
        Load() as generator,
    ):
        route = Route(DIRECT, server.port, None, server.pid, None)
        generator.open(route, 1)
        with pytest.raises(RuntimeError):
            generator.run(route, tmp_path / "bad.requests", 0.05)
