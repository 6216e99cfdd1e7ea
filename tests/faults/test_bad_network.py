"""Packets of both sides are late, out of order, doubled and lost: clients see slowness, and nothing else."""

import ctypes
import fcntl
import heapq
import os
import random
import selectors
import shutil
import struct
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from pymongo import MongoClient

from sealwire.testbed.proxy_process import ProxyProcess
from tests.faults.scene import POLICY_TEXT, Document, faulty
from tests.integration.conftest import Record
from tests.support.proxied import options_of
from tests.support.relay import Relay
from tests.support.rows import rows
from tests.support.secantus import secantus

# Three hosts in a row and a bad network between them: packets are late, in another order, doubled or lost.


PROXY, SERVER = "10.77.0.2", "10.77.1.2"
"""Where the host before it reaches each."""

_TUNSETIFF = 0x400454CA
_IFF_TUN, _IFF_NO_PI = 0x0001, 0x1000
_CLONE_NEWNET = 0x40000000
_MTU = 1500
_LARGEST = 65536

_setns = ctypes.CDLL(None, use_errno=True).setns


@dataclass(frozen=True, slots=True)
class Weather:
    """What becomes of a packet, by chance."""

    delay_s: float
    jitter_s: float
    """More than the pause between two packets puts them in another order."""
    loss: float
    doubled: float


class Host:
    """A namespace, kept by a process that sleeps in it, and its ends of lines."""

    def __init__(self) -> None:
        self._keeper = subprocess.Popen(["unshare", "--net", "sleep", "3600"])
        self._ends: list[int] = []
        try:
            self._when_apart()
            with self.inside():
                _run("ip", "link", "set", "lo", "up")
        except BaseException:
            self.close()
            raise

    def end(self, name: str, address: str, peer: str) -> int:
        """A new device that has this address: where its packets are read and written."""
        packets = _tun(name)
        self._ends.append(packets)
        _run("ip", "link", "set", name, "netns", str(self._keeper.pid))
        with self.inside():
            _run("ip", "address", "add", address, "peer", peer, "dev", name)
            _run("ip", "link", "set", name, "mtu", str(_MTU), "up")
        return packets

    def _when_apart(self) -> None:
        own = Path("/proc/self/ns/net").readlink()
        for _ in range(500):
            with suppress(OSError):
                if Path(f"/proc/{self._keeper.pid}/ns/net").readlink() != own:
                    return
            time.sleep(0.01)
        raise TimeoutError("no namespace was made")

    @contextmanager
    def inside(self) -> Iterator[None]:
        """This thread, and whatever it starts, is in the namespace until the block ends."""
        with Path("/proc/thread-self/ns/net").open() as own:
            with Path(f"/proc/{self._keeper.pid}/ns/net").open() as other:
                _enter(other.fileno())
            try:
                yield
            finally:
                _enter(own.fileno())

    def close(self) -> None:
        for packets in self._ends:
            os.close(packets)
        self._keeper.kill()
        self._keeper.wait()


class Line:
    """Carries packets between two hosts, in a thread of its own."""

    def __init__(self, one: int, other: int, weather: Weather, seed: int) -> None:
        self.carried = self.lost = 0
        self._across = {one: other, other: one}
        self._weather = weather
        self._chance = random.Random(seed)
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def close(self) -> None:
        self._ending.set()
        self._thread.join()

    def _run(self) -> None:
        under_way: list[tuple[float, int, int, bytes]] = []
        with selectors.DefaultSelector() as ready:
            for end in self._across:
                ready.register(end, selectors.EVENT_READ)
            while not self._ending.is_set():
                wait_s = under_way[0][0] - time.monotonic() if under_way else 0.05
                for key, _ in ready.select(max(0.0, min(wait_s, 0.05))):
                    self._send_off(key.fd, under_way)
                while under_way and under_way[0][0] <= time.monotonic():
                    _, _, end, packet = heapq.heappop(under_way)
                    with suppress(OSError):
                        os.write(end, packet)

    def _send_off(self, end: int, under_way: list[tuple[float, int, int, bytes]]) -> None:
        packet, weather = os.read(end, _LARGEST), self._weather
        if self._chance.random() < weather.loss:
            self.lost += 1
            return
        for _ in range(2 if self._chance.random() < weather.doubled else 1):
            self.carried += 1
            due_s = time.monotonic() + weather.delay_s + self._chance.random() * weather.jitter_s
            heapq.heappush(under_way, (due_s, self.carried, self._across[end], packet))


@dataclass(frozen=True, slots=True)
class Row:
    """A client's host, the proxy's and the server's, and the lines between them."""

    client: Host
    proxy: Host
    server: Host
    lines: tuple[Line, Line]
    """From the client to the proxy, and from there to the server."""


@contextmanager
def bad_network(weather: Weather, seed: int = 1) -> Iterator[Row]:
    """The row, with this weather on both lines. Skips where namespaces or TUN devices cannot be had."""
    if os.geteuid() != 0 or not Path("/dev/net/tun").exists() or shutil.which("ip") is None:
        pytest.skip("a network of our own needs root, /dev/net/tun and ip")
    number = os.getpid() % 10_000
    with ExitStack() as opened:
        client, proxy, server = (opened.enter_context(closing(Host())) for _ in range(3))
        lines = list[Line]()
        for near, far, address in ((client, proxy, PROXY), (proxy, server, SERVER)):
            name, own = f"sw{len(lines)}{{}}{number}", address.removesuffix("2") + "1"
            ends = near.end(name.format("a"), own, address), far.end(name.format("b"), address, own)
            lines.append(opened.enter_context(closing(Line(*ends, weather, seed + len(lines)))))
        yield Row(client, proxy, server, (lines[0], lines[1]))


def _tun(name: str) -> int:
    """The packets of a new device, which lives as long as this descriptor. Skips where there are none."""
    try:
        descriptor = os.open("/dev/net/tun", os.O_RDWR)
        fcntl.ioctl(descriptor, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _IFF_TUN | _IFF_NO_PI))
    except OSError as error:
        pytest.skip(f"no TUN device: {os.strerror(error.errno or 0)}")
    return descriptor


def _enter(namespace: int) -> None:
    if _setns(namespace, _CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


pytestmark = [*faulty, pytest.mark.slow]

DOCUMENTS = 24
TEXT = "x" * 20_000
"""So that a command has several packets."""


@rows(
    "weather",
    pytest.param(Weather(0.02, 0.0, 0.0, 0.0), id="late"),
    pytest.param(Weather(0.001, 0.02, 0.0, 0.0), id="out of order"),
    pytest.param(Weather(0.001, 0.005, 0.03, 0.02), id="lossy"),
)
def test_a_bad_network_makes_nothing_but_slow(
    tmp_path: Path, weather: Weather, record_property: Record
) -> None:
    wanted = [_patient(number) for number in range(DOCUMENTS)]
    with bad_network(weather) as row:
        with row.server.inside(), secantus(tmp_path) as database:
            host, _, port = database.address.rpartition(":")
            entry = Relay((host, int(port)), SERVER)
            options = options_of(tmp_path, POLICY_TEXT, entry.address)
            with row.proxy.inside(), OpenProxy(options) as proxy, row.client.inside():
                uri = f"mongodb://{PROXY}:{proxy.port}/?directConnection=true"
                with MongoClient[Document](uri) as client:
                    patients = client["clinic"].patients
                    for each in wanted[: DOCUMENTS // 2]:
                        patients.insert_one(each)
                    patients.insert_many(wanted[DOCUMENTS // 2 :])
                    for each in wanted:
                        assert patients.find_one({"nhs_number": each["nhs_number"]}) == each
                    assert list(patients.find().sort("_id").batch_size(7)) == wanted
            entry.close()
            assert b"nhs-1" not in entry.to_server
            assert b"\2_id\0\7\0\0\0id-001\0" in entry.to_server
        for line in row.lines:
            assert line.carried > DOCUMENTS
            assert (line.lost > 0) is (weather.loss > 0)
        text = ", ".join(f"{line.carried} packets carried and {line.lost} lost" for line in row.lines)
        record_property("summary", f"a bad network, before and behind Sealwire: {text}")


class OpenProxy(ProxyProcess):
    """A proxy that clients of other hosts reach."""

    def config(self) -> dict[str, object]:
        listen = {
            "address": f"0.0.0.0:{self.port}",
            "advertise": f"{PROXY}:{self.port}",
            "tls": {"mode": "plaintext"},
        }
        return super().config() | {"listen": listen}


def _patient(number: int) -> Document:
    return {"_id": f"id-{number:03}", "nhs_number": f"nhs-{number}", "notes": TEXT, "clear": TEXT}
