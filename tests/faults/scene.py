"""A server, Sealwire before it, and a line on each side of it that tests can cut, hold up and read."""

import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from prometheus_client.parser import text_string_to_metric_families
from pymongo import MongoClient
from pymongo.errors import AutoReconnect

from sealwire.testbed.child import LOOPBACK
from sealwire.testbed.database import DatabaseProcess
from sealwire.testbed.proxy_process import ProxyProcess
from tests.integration.outside.chosen import own_server
from tests.support import warm
from tests.support.proxied import proxied
from tests.support.relay import Relay, relay
from tests.support.runs import ran
from tests.support.secantus import secantus
from tests.support.waiting import until

POLICY_TEXT = """
version: 1
classes: {nhs: {mode: deterministic, type: string}, notes: {mode: random}}
collections: {clinic.patients: {nhs_number: nhs, notes: notes}}
"""
WITHIN_S = 30.0

Document = dict[str, Any]

faulty = [pytest.mark.integration, own_server("it stops and cuts what it runs")]
"""The marks of every test that breaks something."""


@dataclass(frozen=True, slots=True)
class Scene:
    """The parts, and both lines."""

    database: DatabaseProcess
    line: Relay
    """Between Sealwire and the server."""
    proxy: ProxyProcess
    front: Relay
    """Between clients and Sealwire."""
    direct: MongoClient[Document] = field(repr=False)
    """Past Sealwire and both lines."""

    def client(self, **options: Any) -> MongoClient[Document]:
        """A client through both lines that retries nothing, unless it is told to."""
        return self.client_at(self.front, **options)

    def client_at(self, entry: Relay, **options: Any) -> MongoClient[Document]:
        """The same through another line."""
        settings: dict[str, Any] = {
            "directConnection": True,
            "retryWrites": False,
            "retryReads": False,
            "appname": "faults",
        }
        return MongoClient(f"mongodb://{entry.address}/", **(settings | options))

    def workers(self) -> list[int]:
        """The processes of the workers, or none where the proxy is a single process."""
        return children(self.proxy.pid)

    def figure(self, name: str, **labels: str) -> float:
        """A sum over the samples of a metric that have these labels."""
        return figure(self.proxy, name, **labels)


@contextmanager
def scene(folder: Path, settings: Mapping[str, object] | None = None) -> Iterator[Scene]:
    """Everything in clear, so that lines can be searched. Cost: 4 s to start and stop."""
    with (
        secantus(folder) as database,
        relay(database.address) as line,
        warm.children(),
        proxied(folder, POLICY_TEXT, line.address, settings=settings or {}) as proxy,
        relay(proxy.address) as front,
        database.connect() as direct,
    ):
        yield Scene(database, line, proxy, front, direct)


def children(pid: int) -> list[int]:
    """The processes that a process has started and not yet seen the end of."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def figure(proxy: ProxyProcess, name: str, **labels: str) -> float:
    """A sum over the samples of a metric of this proxy that have these labels."""
    with urlopen(f"http://{LOOPBACK}:{proxy.admin_port}/metrics", timeout=WITHIN_S) as answer:
        families = text_string_to_metric_families(answer.read().decode())
    samples = [each for family in families for each in family.samples if each.name == name]
    assert samples, f"no metric {name}"
    return sum(each.value for each in samples if labels.items() <= each.labels.items())


def resident_bytes(pid: int) -> int:
    """What a process has in memory."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def open_files(pid: int) -> int:
    """How many descriptors a process has open."""
    return len(os.listdir(f"/proc/{pid}/fd"))  # noqa: PTH208 - names are enough, and there are thousands


def answers(client: MongoClient[Document]) -> bool:
    """Whether a client gets through to its server; it keeps the connection."""
    try:
        client.admin.command("ping")
    except AutoReconnect:
        return False
    return True


def freeze(pid: int) -> None:
    """Stop a process, and return when none of its threads runs any more: that takes a moment."""
    os.kill(pid, signal.SIGSTOP)
    threads = Path(f"/proc/{pid}/task")

    def stands() -> bool:
        states = [(each / "stat").read_text().rpartition(")")[2].split()[0] for each in threads.iterdir()]
        return set(states) == {"T"}

    until(stands)


class Threads:
    """Runs a function in several threads until the block ends; what one of them raises, the block raises."""

    def __init__(self, count: int, run: Callable[[int, threading.Event], None]) -> None:
        self.ending = threading.Event()
        self._errors: list[BaseException] = []
        self._run = run
        self._threads = [threading.Thread(target=self._guarded, args=(n,)) for n in range(count)]

    def __enter__(self) -> "Threads":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ending.set()
        for thread in self._threads:
            thread.join(2 * WITHIN_S)
            assert not thread.is_alive()
        if self._errors:
            raise self._errors[0]

    def _guarded(self, number: int) -> None:
        try:
            self._run(number, self.ending)
        except BaseException as error:  # noqa: BLE001 - raised again by the thread that waits
            self._errors.append(error)
            self.ending.set()


# A disk of some hundred kilobytes, and what fills it.


class SmallDisk:
    """A folder with a file system of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ballast = folder / "ballast"

    def fill(self) -> None:
        """Leave not one byte."""
        size = 64 << 10
        with self._ballast.open("ab", buffering=0) as ballast:
            while size:
                try:
                    ballast.write(bytes(size))
                except OSError:
                    size //= 2

    def make_room(self) -> None:
        self._ballast.unlink()


@contextmanager
def small_disk(folder: Path, kib: int) -> Iterator[SmallDisk]:
    """A tmpfs of `kib`, gone with the block. Skips where it cannot be mounted."""
    folder.mkdir()
    if os.geteuid() != 0:
        pytest.skip("a small disk is mounted by root")
    mount = ["mount", "-t", "tmpfs", "-o", f"size={kib}k", "tmpfs", str(folder)]
    done = ran(mount)
    if done.returncode != 0:
        pytest.skip(f"no tmpfs can be mounted here: {done.stderr.strip()}")
    try:
        yield SmallDisk(folder)
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
