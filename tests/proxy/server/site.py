"""A folder with all that `sealwire serve` needs, the process itself, and a server that only says hello."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import bson
import yaml

from sealwire.keys.kek.kek import EnvironmentKek, generate_encoded_kek
from sealwire.keys.keyring.file import create_keyring
from sealwire.testbed.certificates import LOCAL_NAMES, Authority, create_authority
from sealwire.wire.framing import request_id_of
from sealwire.wire.op_msg import build_op_msg
from sealwire.wire.raw_bson import int32_at
from tests.proxy.server.harness import DEADLINE_S, LOOPBACK, POLICY, UNAUTHORIZED, is_hello
from tests.support import warm
from tests.support.measuring import measuring


@dataclass(slots=True)
class Site:
    """A folder with everything that a proxy needs, in order until a test changes something."""

    folder: Path
    config: dict[str, Any]
    authority: Authority
    environ: dict[str, str] = field(repr=False, default_factory=dict)

    @property
    def keyring(self) -> Path:
        return self.folder / "keyring.json"

    def write(self) -> Path:
        file = self.folder / "sealwire.yaml"
        file.write_text(yaml.safe_dump(self.config))
        return file

    def serve(self, *more: str) -> subprocess.CompletedProcess[str]:
        """Run until it ends by itself."""
        return warm.run(
            [*self.command(), *more],
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def command(self) -> list[str]:
        return [sys.executable, "-m", "sealwire", "serve", "--config", str(self.write())]


def make_site(folder: Path, server_port: int, **upstream_tls: Any) -> Site:
    """A new key-encryption key, keyring, policy and certificate in `folder`; TLS towards clients."""
    environ = measuring() | {"PATH": os.environ["PATH"], "SEALWIRE_KEK": generate_encoded_kek()}
    (folder / "policy.yaml").write_bytes(POLICY)
    keyring = folder / "keyring.json"
    create_keyring(keyring, EnvironmentKek(environ=environ), ["nhs_number"], datetime.now(UTC))
    authority = create_authority(folder / "authority")
    issued = authority.issue("proxy", (*LOCAL_NAMES, "proxy.test"))
    config = {
        "listen": {
            "address": f"{LOOPBACK}:0",
            "advertise": "proxy.test:27018",
            "tls": {"certificate": str(issued.certificate), "key": str(issued.key)},
        },
        "upstream": {"address": f"{LOOPBACK}:{server_port}", "tls": upstream_tls or {"mode": "plaintext"}},
        "policy": "policy.yaml",
        "keyring": "keyring.json",
        "kek": {"provider": "environment"},
        "admin": {"address": f"{LOOPBACK}:0"},
        "log": {"format": "json"},
    }
    return Site(folder, config, authority, environ)


STRAGGLERS_S = 20.0
"""So long may what a proxy has started keep its pipe open after it."""


class Running:
    """A `sealwire serve` that said `ready`."""

    def __init__(self, process: subprocess.Popen[str], said: Iterator[dict[str, Any]]) -> None:
        self.process = process
        self.said = said
        """The log from here on, one object a line; blocks for the next."""
        self.events: dict[str, dict[str, Any]] = {}
        for line in said:
            self.events[line["event"]] = line
            if line["event"] == "ready":
                break

    @property
    def address(self) -> tuple[str, int]:
        """Where clients connect."""
        host, _, port = self.events["listening"]["address"].rpartition(":")
        return host, int(port)

    @property
    def admin(self) -> str:
        """`host:port` of the admin server."""
        return str(self.events["admin address"]["address"])


def followed(site: Site, uri: str, ports: range, **config: object) -> Site:
    """The same before the servers of this connection string, which it follows, with ports for them."""
    listen = {"address": LOOPBACK, "ports": f"{ports[0]}-{ports[-1]}", "ports_file": "ports.json"}
    upstream = {"uri": uri, "access_control": "none", "heartbeat_s": 0.3}
    for section, settings in (("listen", listen), ("upstream", upstream)):
        site.config[section] = {**settings, "tls": {"mode": "plaintext"}}
    site.config.update(config)
    return site


@contextmanager
def serving(site: Site, longest_s: float = 120.0) -> Iterator[Running]:
    """A proxy in a process of its own; ended with the block whatever happens, and after so long at most."""
    process = warm.WarmProcess(
        site.command(), env=site.environ, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    killer = threading.Timer(longest_s, process.kill)
    killer.start()
    if process.stderr is None:
        raise RuntimeError("no pipe")
    with process.stderr:
        try:
            yield Running(process, map(json.loads, process.stderr))
        finally:
            # before the pipe is closed: a thread that reads it would hold that up
            killer.cancel()
            process.kill()
            process.wait()
            stragglers = threading.Timer(STRAGGLERS_S, _kill_group, (process.pid,))
            stragglers.start()
    stragglers.cancel()


def _kill_group(leader: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)


def readiness(proxy: Running) -> dict[str, Any]:
    """What /readyz says of a proxy that is ready."""
    with urllib.request.urlopen(f"http://{proxy.admin}/readyz", timeout=DEADLINE_S) as answer:
        said: dict[str, Any] = json.load(answer)
    return said


@contextmanager
def hello_thread() -> Iterator[int]:
    """The port of a server in a thread: a standalone one with access control, in which nobody logs in."""
    listening = socket.create_server((LOOPBACK, 0))

    def talk(accepted: socket.socket) -> None:
        with accepted:
            while len(head := accepted.recv(16, socket.MSG_WAITALL)) == 16:
                message = head + accepted.recv(int32_at(head, 0) - 16, socket.MSG_WAITALL)
                reply = {"ok": 1.0} if is_hello(message) else UNAUTHORIZED
                accepted.sendall(build_op_msg(1, request_id_of(head), bson.encode(reply)))

    def accept() -> None:
        while True:
            try:
                accepted, _ = listening.accept()
            except OSError:
                return
            threading.Thread(target=talk, args=(accepted,), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield listening.getsockname()[1]
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        thread.join(DEADLINE_S)
        listening.close()
