"""Two hosts and a bad network between them: packets come late, in another order, twice, or not at all.

Each host is a network namespace with a TUN device, and this process carries the packets between them. So the
kernel's own TCP meets the losses, as with `tc netem`, for which many kernels have no module. Namespaces
belong to threads: what a thread starts inside `Host.inside` stays there.
"""

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
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

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
    """A namespace, kept by a process that sleeps in it, and its end of the line."""

    def __init__(self, name: str, address: str, peer: str) -> None:
        self.address = address
        self._keeper = subprocess.Popen(["unshare", "--net", "sleep", "3600"])
        self.packets = _tun(name)
        try:
            self._when_apart()
            _run("ip", "link", "set", name, "netns", str(self._keeper.pid))
            with self.inside():
                _run("ip", "link", "set", "lo", "up")
                _run("ip", "address", "add", address, "peer", peer, "dev", name)
                _run("ip", "link", "set", name, "mtu", str(_MTU), "up")
        except BaseException:
            self.close()
            raise

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
        os.close(self.packets)
        self._keeper.kill()
        self._keeper.wait()


class Line:
    """Carries packets between two hosts, in a thread of its own."""

    def __init__(self, one: Host, other: Host, weather: Weather, seed: int) -> None:
        self.carried = self.lost = 0
        self._across = {one.packets: other.packets, other.packets: one.packets}
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


@contextmanager
def bad_network(weather: Weather, seed: int = 1) -> Iterator[tuple[Host, Host, Line]]:
    """Two hosts and the line between them. Skips where namespaces or TUN devices cannot be had."""
    if os.geteuid() != 0 or not Path("/dev/net/tun").exists() or shutil.which("ip") is None:
        pytest.skip("a network of our own needs root, /dev/net/tun and ip")
    number = os.getpid() % 10_000
    one = Host(f"swa{number}", "10.77.0.1", "10.77.0.2")
    try:
        other = Host(f"swb{number}", "10.77.0.2", "10.77.0.1")
        try:
            line = Line(one, other, weather, seed)
            try:
                yield one, other, line
            finally:
                line.close()
        finally:
            other.close()
    finally:
        one.close()


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
