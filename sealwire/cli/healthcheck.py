"""`sealwire healthcheck`: ask a running proxy whether it is ready; for containers, which have no curl."""

import http.client
import json
import os
from pathlib import Path
from typing import Final

import click

from sealwire.cli.options import config_option
from sealwire.proxy.server.config.reader import load_config
from sealwire.proxy.server.config.settings import Config
from sealwire.proxy.server.errors import NotReady, StartReason

TIMEOUT_S = 3.0
_MAX_BYTES = 1 << 20
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

    \b
    Example, in a Dockerfile:
      HEALTHCHECK CMD ["sealwire", "healthcheck", "--config", "/etc/sealwire/sealwire.yaml"]
    """
    config = load_config(config_path, os.environ)
    status, said = ask_admin(config, "/readyz", _MAX_BYTES)
    if status != http.HTTPStatus.OK:
        raise _not_ready(str(config.admin), said)
    click.echo("ready")


def _not_ready(address: str, said: bytes) -> NotReady:
    """The words of the body are compared, and never printed: anything could listen there."""
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


def ask_admin(config: Config, path: str, most: int) -> tuple[int, bytes]:
    """The status and `most` bytes of the body that the running proxy answers. Raises NotReady without any."""
    connection = admin_connection(config)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read(most)
    except (OSError, http.client.HTTPException):
        text, hint = f"{config.admin}: no answer", "is the proxy running with this configuration?"
        raise NotReady(StartReason.NOT_READY, text, hint) from None
    finally:
        connection.close()


def admin_connection(config: Config) -> http.client.HTTPConnection:
    """To the admin address; with TLS only to who has the certificate that the configuration names."""
    address, tls = config.admin, config.admin_tls
    if tls.certificate is None:
        return http.client.HTTPConnection(address.host, address.port, timeout=TIMEOUT_S)
    from sealwire.proxy.server.tls import pinned_context  # noqa: PLC0415 - 15 ms, of use with TLS alone

    context = pinned_context(tls.certificate)
    return http.client.HTTPSConnection(address.host, address.port, timeout=TIMEOUT_S, context=context)
