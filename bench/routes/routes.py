"""The ways to one server: direct, through bare forwarders of three makes, through Sealwire."""

import socket
import ssl
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench.dataset import write_policy
from bench.routes.peers import Material, haproxy, nginx
from sealwire.testbed.certificates import Authority
from sealwire.testbed.child import LOOPBACK, Started, free_port, started
from sealwire.testbed.proxy_process import ProxyOptions, ProxyProcess

DIRECT, FORWARDER, NGINX, HAPROXY = "direct", "forwarder", "nginx", "haproxy"
SEALWIRE, SEALWIRE_2, SEALWIRE_POLLING = "sealwire", "sealwire-2", "sealwire-polling"
CLIENT_SIDE = "client-side"
# What each is told beyond what all are told.
SEALWIRES: Mapping[str, Mapping[str, object]] = {
    SEALWIRE: {},
    SEALWIRE_2: {"workers": 2},
    SEALWIRE_POLLING: {"busy_poll_us": 2_000},
}
ROUTES = (DIRECT, FORWARDER, NGINX, HAPROXY, SEALWIRE, SEALWIRE_2)
_SILENT_AFTER_S = 60.0


@dataclass(frozen=True, slots=True)
class Route:
    """Where to connect, and whose processor time counts."""

    name: str
    port: int
    between: int | None
    """The process that stands between; None where there is none."""
    server: int
    authority: Path | None
    """Who vouches for the server; None: no TLS."""


@dataclass(frozen=True, slots=True)
class Ground:
    """What routes stand on: two servers, one that holds plaintext and one that holds what Sealwire writes."""

    folder: Path
    plain: Started
    encrypted: Started
    keyring: Path
    kek: str = field(repr=False)
    authority: Authority | None = None
    """Who signs for the routes, if there is TLS on both sides of them."""

    @property
    def trusted(self) -> Path | None:
        """The authority's certificate."""
        return None if self.authority is None else self.authority.certificate_file


@contextmanager
def connected(route: Route) -> Iterator[socket.socket]:
    """A blocking connection over a route, with TLS where it has that."""
    connection = socket.create_connection((LOOPBACK, route.port), timeout=_SILENT_AFTER_S)
    if route.authority is not None:
        context = ssl.create_default_context(cafile=route.authority)
        connection = context.wrap_socket(connection, server_hostname=LOOPBACK)
    with connection:
        yield connection


def start_routes(
    stack: ExitStack, ground: Ground, wanted: tuple[str, ...] = ROUTES
) -> tuple[dict[str, Route], dict[str, str]]:
    """Start what is wanted; gives the routes, and the reasons for those that cannot be had."""
    found: dict[str, Route] = {}
    missing: dict[str, str] = {}
    for name in wanted:
        ours = name in SEALWIRES
        backend = ground.encrypted if ours else ground.plain
        if name == DIRECT:
            found[name] = Route(name, backend.port, None, backend.pid, ground.trusted)
            continue
        server = start_sealwire(stack, ground, name) if ours else _forwarding(stack, ground, name)
        if isinstance(server, str):
            missing[name] = server
        else:
            found[name] = Route(name, server.port, server.pid, backend.pid, ground.trusted)
    return found, missing


@contextmanager
def module_server(module: str, folder: Path, arguments: Sequence[str | Path]) -> Iterator[Started]:
    """`python -m module PORT *arguments`, as `started`."""
    port = free_port()
    command = [sys.executable, "-m", module, str(port), *arguments]
    with started(command, port, folder / f"{module}-{port}.log") as server:
        yield server


def start_sealwire(stack: ExitStack, ground: Ground, name: str) -> Started:
    """Sealwire with the bench's policy and the ground's keys before the encrypted server."""
    folder = ground.folder / name
    folder.mkdir(parents=True)
    (folder / "keyring.json").symlink_to(ground.keyring)
    # a thousand connections may come while a thousand earlier ones are still being closed
    common: dict[str, object] = {"log": {"level": "warning"}, "limits": {"connections": 8_000}}
    options = ProxyOptions(
        folder,
        write_policy(folder),
        f"{LOOPBACK}:{ground.encrypted.port}",
        None if ground.authority is None else ground.authority.issue(name),
        ground.trusted,
        access_control=False,
        settings=common | dict(SEALWIRES[name]),
        kek=ground.kek,
    )
    proxy = stack.enter_context(ProxyProcess(options))
    return Started(proxy.port, proxy.pid)


def _forwarding(stack: ExitStack, ground: Ground, name: str) -> Started | str:
    material = None
    if ground.authority is not None:
        material = Material(ground.authority.issue(name), ground.authority.certificate_file)
    folder = ground.folder / name
    folder.mkdir(parents=True)
    upstream = ground.plain.port
    if name == NGINX:
        return stack.enter_context(nginx(folder, upstream, material))
    if name == HAPROXY:
        return stack.enter_context(haproxy(folder, upstream, material))
    files: list[str | Path] = []
    if material is not None:
        files = [material.issued.certificate, material.issued.key, material.authority]
    return stack.enter_context(module_server("bench.routes.forwarder", folder, [str(upstream), *files]))
