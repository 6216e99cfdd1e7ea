"""`sealwire healthcheck`: ask a running proxy whether it is ready; for containers, which have no curl."""

import os
import re
import socket
from pathlib import Path
from typing import Final

import click

from sealwire.cli.options import config_option
from sealwire.proxy.server.config.rows import AdminDoor, load_admin_door
from sealwire.proxy.server.errors import NotReady, StartReason

OK: Final = 200
_TIMEOUT_S: Final = 3.0
_MAX_BYTES = 1 << 20
_STATUS = re.compile(rb"HTTP/1\.[01] ([0-9]{3})[ \r]")
UNREADY: Final = (
    ("upstream", "down", "no server can be reached: `sealwire doctor` says why"),
    ("keyring", "expired", "the provider of the keys was away for too long: see its own state, and the log"),
    ("audit", "full", "the audit log cannot be written: make room, and see audit_trouble of GET /readyz"),
    ("frontier", "lost", "the server of frontier.uri_file does not answer this proxy: see the log"),
    ("status", "starting", "it is starting: wait, and see the log if this stays so"),
    ("status", "draining", "it is shutting down"),
    ("status", "stuck", "an event loop does not turn any more: keep the log, and restart it"),
)
"""What /readyz can say of a proxy that serves no clients, with the next step."""


@click.command()
@config_option("The configuration that the proxy runs with; its admin address is asked.")
def healthcheck(config_path: Path) -> None:
    """Exit 0 when /readyz of the running proxy says ready, 69 otherwise.

    It reads only the section `admin` of the configuration.

    \b
    Example, in a Dockerfile:
      HEALTHCHECK CMD ["sealwire", "healthcheck", "--config", "/etc/sealwire/sealwire.yaml"]
    """
    door = load_admin_door(config_path, os.environ)
    status, said = ask_admin(door, "/readyz", _MAX_BYTES)
    if status != OK:
        raise _not_ready(str(door.address), said)
    click.echo("ready")


def ask_admin(door: AdminDoor, path: str, most: int) -> tuple[int, bytes]:
    """Status and body of the running proxy's answer, with TLS only from who has the named certificate.

    `most` bytes are read. Raises NotReady for no answer; FileProblem, PermissionProblem. One request without
    headers, because http.client imports the package for e-mails: a tenth of the command's processor time.
    """
    try:
        context = None
        if door.certificate is not None:
            from sealwire.proxy.server.tls import pinned_context  # noqa: PLC0415 - 15 ms, for TLS alone

            context = pinned_context(door.certificate)
        with socket.create_connection(door.address, _TIMEOUT_S) as connection:
            if context is None:
                return _asked(connection, path, most)
            with context.wrap_socket(connection) as secured:
                return _asked(secured, path, most)
    except OSError:
        text = f"{door.address}: no answer"
        raise NotReady(StartReason.NOT_READY, text, "is the proxy running with this configuration?") from None


def _asked(connection: socket.socket, path: str, most: int) -> tuple[int, bytes]:
    connection.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
    with connection.makefile("rb") as answer:
        said = answer.read(most)
    found = _STATUS.match(said)
    if found is None:
        raise ConnectionError("no answer in HTTP")
    return int(found[1]), said.partition(b"\r\n\r\n")[2]


def _not_ready(address: str, said: bytes) -> NotReady:
    """The words of the body are compared, and never printed: anything could listen there."""
    import json  # noqa: PLC0415 - a proxy that is ready needs none

    try:
        found = json.loads(said)
    except ValueError:
        found = None
    if isinstance(found, dict):
        for name, value, hint in UNREADY:
            if found.get(name) == value:
                return NotReady(StartReason.NOT_READY, f"{address}: not ready: {name} is {value}", hint)
    hint = f"curl --fail-with-body http://{address}/readyz says why"
    return NotReady(StartReason.NOT_READY, f"{address}: not ready", hint)
