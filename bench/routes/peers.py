"""The peers that forward bytes: nginx (stream) and HAProxy (TCP), one worker each, as in Debian."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sealwire.testbed.certificates import Issued
from sealwire.testbed.child import LOOPBACK, Started, free_port, started
from tools.debian_programs import find_file, find_program, library_environment

_HAPROXY_LIBRARIES = ("liblua5.4-0", "libopentracing-c-wrapper0t64", "libopentracing1", "libjemalloc2")
_NATIVE_LIBMONGOCRYPT = ("libmongocrypt0", "libbson-1.0-0t64")


@dataclass(frozen=True, slots=True)
class Material:
    """For a route that ends TLS on both sides."""

    issued: Issued
    authority: Path


@contextmanager
def nginx(folder: Path, upstream: int, tls: Material | None) -> Iterator[Started | str]:
    """nginx as a stream proxy; or the reason why it cannot be had."""
    program = find_program("nginx", "nginx", "libnginx-mod-stream")
    module = None if program is None else find_file(program, "lib/nginx/modules/ngx_stream_module.so")
    if program is None or module is None:
        yield "neither on this machine nor to be had with apt: nginx, libnginx-mod-stream"
        return
    port = free_port()
    client = server = ""
    if tls is not None:
        client = f"ssl_certificate {tls.issued.certificate}; ssl_certificate_key {tls.issued.key};"
        server = (
            f"proxy_ssl on; proxy_ssl_verify on; proxy_ssl_trusted_certificate {tls.authority};"
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
    listen {LOOPBACK}:{port} backlog=2048{" ssl" if tls else ""};
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
def haproxy(folder: Path, upstream: int, tls: Material | None) -> Iterator[Started | str]:
    """HAProxy in TCP mode; or the reason why it cannot be had."""
    program = find_program("haproxy", "haproxy", *_HAPROXY_LIBRARIES)
    if program is None:
        yield "neither on this machine nor to be had with apt: haproxy"
        return
    port = free_port()
    client = server = ""
    if tls is not None:
        client = f" ssl crt {tls.issued.combined}"
        server = f" ssl verify required ca-file {tls.authority} verifyhost localhost"
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
  bind {LOOPBACK}:{port} backlog 2048{client}
  server upstream {LOOPBACK}:{upstream}{server}
"""
    )
    command: list[str | Path] = [program, "-db", "-f", config]
    with started(command, port, folder / "haproxy.log", library_environment(program)) as running:
        yield running


def versions() -> dict[str, str]:
    """What the peers call themselves; those that are not there are left out."""
    found = {}
    for program, package, more, flag in (
        ("nginx", "nginx", ("libnginx-mod-stream",), "-v"),
        ("haproxy", "haproxy", _HAPROXY_LIBRARIES, "-v"),
    ):
        path = find_program(program, package, *more)
        if path is not None:
            done = subprocess.run(
                [path, flag], env=dict(library_environment(path)), capture_output=True, text=True, check=False
            )
            found[program] = (done.stdout + done.stderr).partition("\n")[0].strip()
    return found


def native_libmongocrypt() -> Path | None:
    """libmongocrypt as Debian builds it, with OpenSSL inside; PyPI's build calls back into Python instead."""
    return find_program("libmongocrypt.so.0", *_NATIVE_LIBMONGOCRYPT)
