"""The three ways to one server: direct, through the bare forwarder, through Sealwire."""

import socket
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.dataset import POLICY_FILE
from sealwire.demo.certificates import Issued
from sealwire.demo.child import Child
from sealwire.demo.ports import LOOPBACK, free_port
from sealwire.demo.proxy_process import ProxyOptions, ProxyProcess

DIRECT, FORWARDER, SEALWIRE = "direct", "forwarder", "sealwire"
ROUTES = (DIRECT, FORWARDER, SEALWIRE)
_START_WITHIN_S = 10.0


@dataclass(frozen=True, slots=True)
class Certificates:
    """For the parts that end TLS themselves."""

    forwarder: Issued
    sealwire: Issued
    authority: Path


@contextmanager
def start_forwarder(
    folder: Path, upstream_port: int, certificates: Certificates | None = None
) -> Iterator[int]:
    """A running forwarder; gives its port."""
    files: list[str | Path] = []
    if certificates is not None:
        files = [certificates.forwarder.certificate, certificates.forwarder.key, certificates.authority]
    with start_server("bench.forwarder", folder, [str(upstream_port), *files]) as port:
        yield port


@contextmanager
def start_server(module: str, folder: Path, arguments: list[str | Path]) -> Iterator[int]:
    """`python -m module PORT *arguments` until the block ends; gives its port when it accepts connections."""
    port = free_port()
    child = Child([sys.executable, "-m", module, str(port), *arguments], folder / f"{module}-{port}.log")
    with ExitStack() as stack:
        stack.callback(child.stop)
        _wait_for(port, child)
        yield port


@contextmanager
def start_sealwire(
    folder: Path, upstream_port: int, kek: str, certificates: Certificates | None = None
) -> Iterator[ProxyProcess]:
    """Sealwire with the bench's policy in front of a server on this machine."""
    options = ProxyOptions(
        folder,
        POLICY_FILE,
        f"{LOOPBACK}:{upstream_port}",
        None if certificates is None else certificates.sealwire,
        None if certificates is None else certificates.authority,
        {"log": {"level": "warning"}},
        kek,
    )
    with ProxyProcess(options) as proxy:
        yield proxy


def _wait_for(port: int, child: Child) -> None:
    deadline = time.monotonic() + _START_WITHIN_S
    while time.monotonic() < deadline:
        if child.exit_code is not None:
            raise RuntimeError(f"it ended while it started: {child.last_lines()}")
        try:
            socket.create_connection((LOOPBACK, port), timeout=1).close()
        except OSError:
            time.sleep(0.02)
        else:
            return
    raise TimeoutError(f"nothing listens on port {port}")
