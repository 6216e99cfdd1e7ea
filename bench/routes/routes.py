"""The ways to one server: direct, through bare forwarders of two makes, through one Sealwire or several."""

import re
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.request import urlopen

from bench.dataset import write_policy
from sealwire.testbed.certificates import Authority, Issued
from sealwire.testbed.child import LOOPBACK, START_WITHIN_S, Started, free_port, started
from sealwire.testbed.proxy_process import ProxyOptions, ProxyProcess
from tools.debian_programs import find_file, find_program, library_environment

DIRECT, FORWARDER, NGINX, CLIENT_SIDE = "direct", "forwarder", "nginx", "client-side"
SEALWIRE = "sealwire"
ROUTES = (DIRECT, FORWARDER, NGINX, SEALWIRE)
_SILENT_AFTER_S = 60.0
_HAPROXY_LIBRARIES = ("liblua5.4-0", "libopentracing-c-wrapper0t64", "libopentracing1", "libjemalloc2")
_NATIVE_LIBMONGOCRYPT = ("libmongocrypt0", "libbson-1.0-0t64")


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
    behind: tuple[int, ...] = ()
    """More processes whose time counts, which `between` did not start."""
    apart: bool = False
    """Whether `between` alone is counted once more: a supervisor, or what distributes connections."""

    @property
    def processes(self) -> tuple[int, ...]:
        """The processes that stand between, without their descendants."""
        return self.behind if self.between is None else (self.between, *self.behind)


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
    stack: ExitStack, ground: Ground, wanted: Sequence[str]
) -> tuple[dict[str, Route], dict[str, str]]:
    """Start what is wanted; gives the routes, and the reasons for those that cannot be had."""
    found: dict[str, Route] = {}
    missing: dict[str, str] = {}
    for name in wanted:
        ours = name == SEALWIRE
        backend = ground.encrypted if ours else ground.plain
        if name == DIRECT:
            found[name] = Route(name, backend.port, None, backend.pid, ground.trusted)
            continue
        server = start_sealwire(stack, ground) if ours else _forwarding(stack, ground, name)
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


def start_sealwire(
    stack: ExitStack,
    ground: Ground,
    start: Callable[[ProxyOptions], ProxyProcess] = ProxyProcess,
    *,
    name: str = SEALWIRE,
    workers: int = 1,
) -> Started:
    """Sealwire with the bench's policy and the ground's keys before the encrypted server."""
    folder = ground.folder / name
    folder.mkdir(parents=True)
    (folder / "keyring.json").symlink_to(ground.keyring)
    # a thousand connections may come while a thousand earlier ones are still being closed
    settings: dict[str, object] = {
        "log": {"level": "warning"},
        "limits": {"connections": 8_000},
        "workers": workers,
    }
    options = ProxyOptions(
        folder,
        write_policy(folder),
        f"{LOOPBACK}:{ground.encrypted.port}",
        None if ground.authority is None else ground.authority.issue(SEALWIRE),
        ground.trusted,
        access_control=False,
        settings=settings,
        kek=ground.kek,
    )
    proxy = stack.enter_context(start(options))
    if workers > 1:
        _wait_for_workers(proxy, workers)
    return Started(proxy.port, proxy.pid)


def _wait_for_workers(proxy: ProxyProcess, workers: int) -> None:
    """Until all of them accept: clients that come before would find fewer, and stay with those.

    Raises:  RuntimeError where they do not
    """
    deadline = time.monotonic() + START_WITHIN_S * workers
    while time.monotonic() < deadline:
        with urlopen(f"http://{LOOPBACK}:{proxy.admin_port}/metrics", timeout=_SILENT_AFTER_S) as page:
            ready = re.search(rb"^sealwire_workers_ready (\d+)", page.read(), re.M)
        if ready is not None and int(ready[1]) == workers:
            return
        time.sleep(0.1)
    raise RuntimeError(f"not all of {workers} workers accept clients; look at {proxy.log}")


def _forwarding(stack: ExitStack, ground: Ground, name: str) -> Started | str:
    issued = None if ground.authority is None else ground.authority.issue(name)
    folder = ground.folder / name
    folder.mkdir(parents=True)
    upstream = ground.plain.port
    if name == NGINX:
        return stack.enter_context(nginx(folder, upstream, issued, ground.trusted))
    files = () if issued is None else (issued.certificate, issued.key, str(ground.trusted))
    return stack.enter_context(module_server("bench.routes.forwarder", folder, [str(upstream), *files]))


@contextmanager
def nginx(
    folder: Path, upstream: int, issued: Issued | None, authority: Path | None
) -> Iterator[Started | str]:
    """nginx as a stream proxy with one worker, as in Debian; or the reason why there is none."""
    program = _find_nginx()
    module = None if program is None else find_file(program, "lib/nginx/modules/ngx_stream_module.so")
    if program is None or module is None:
        yield "neither on this machine nor available from apt: nginx, libnginx-mod-stream"
        return
    port = free_port()
    client = server = ""
    if issued is not None:
        client = f"ssl_certificate {issued.certificate}; ssl_certificate_key {issued.key};"
        server = (
            f"proxy_ssl on; proxy_ssl_verify on; proxy_ssl_trusted_certificate {authority};"
            " proxy_ssl_name localhost;"
        )
    config = folder / "nginx.conf"
    config.write_text(
        f"""load_module {module};
daemon off; worker_processes 1; worker_rlimit_nofile 8192;
pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 4096; }}
stream {{
  server {{
    listen {LOOPBACK}:{port} backlog=2048{" ssl" if issued else ""};
    {client}
    tcp_nodelay on; proxy_pass {LOOPBACK}:{upstream}; {server}
  }}
}}
"""
    )
    command: list[str | Path] = [program, "-p", folder, "-c", config, "-e", folder / "error.log"]
    with started(command, port, folder / "nginx.log", library_environment(program)) as running:
        yield running


@contextmanager
def haproxy(folder: Path, upstreams: Sequence[int]) -> Iterator[Started | str]:
    """HAProxy as in Debian, with several ports behind it; or the reason why there is none.

    It examines nothing: if there is TLS, it is that of the ports.
    """
    program = _find_haproxy()
    if program is None:
        yield "neither on this machine nor available from apt: haproxy"
        return
    port = free_port()
    servers = "\n".join(f"  server s{number} {LOOPBACK}:{each}" for number, each in enumerate(upstreams))
    config = folder / "haproxy.cfg"
    config.write_text(
        f"""global
  nbthread 1
  maxconn 4096
defaults
  mode tcp
  timeout connect 5s
  timeout client 1h
  timeout server 1h
listen bench
  bind {LOOPBACK}:{port} backlog 2048
  balance leastconn
{servers}
"""
    )
    command: list[str | Path] = [program, "-db", "-f", config]
    with started(command, port, folder / "haproxy.log", library_environment(program)) as running:
        yield running


def peer_versions() -> dict[str, str]:
    """The versions of nginx and HAProxy, as they print them; empty if one is not installed."""
    return {"nginx": _version(_find_nginx()), "haproxy": _version(_find_haproxy())}


def _version(program: Path | None) -> str:
    if program is None:
        return ""
    environment = dict(library_environment(program))
    done = subprocess.run([program, "-v"], env=environment, capture_output=True, text=True, check=False)
    return (done.stdout + done.stderr).partition("\n")[0].strip()


def _find_nginx() -> Path | None:
    return find_program("nginx", "nginx", "libnginx-mod-stream")


def _find_haproxy() -> Path | None:
    return find_program("haproxy", "haproxy", *_HAPROXY_LIBRARIES)


def native_libmongocrypt() -> Path | None:
    """libmongocrypt as Debian builds it, with OpenSSL inside; PyPI's build calls back into Python instead."""
    return find_program("libmongocrypt.so.0", *_NATIVE_LIBMONGOCRYPT)
