"""`sealwire healthcheck`: ask a running proxy whether it is ready; for containers, which have no curl."""

import http.client
import os
from pathlib import Path

import click

from sealwire.cli.options import config_option
from sealwire.proxy.server.config.reader import load_config
from sealwire.proxy.server.config.settings import Config
from sealwire.proxy.server.errors import NotReady, StartReason

TIMEOUT_S = 3.0


@click.command()
@config_option("The configuration that the proxy runs with; its admin address is asked.")
def healthcheck(config_path: Path) -> None:
    """Exit 0 when /readyz of the running proxy says ready, 69 otherwise.

    \b
    Example, in a Dockerfile:
      HEALTHCHECK CMD ["sealwire", "healthcheck", "--config", "/etc/sealwire/sealwire.yaml"]
    """
    config = load_config(config_path, os.environ)
    address = config.admin
    connection = admin_connection(config)
    try:
        connection.request("GET", "/readyz")
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException):
        text = f"{address}: no answer"
        raise NotReady(StartReason.NOT_READY, text, "is the proxy running with this configuration?") from None
    finally:
        connection.close()
    if status != http.HTTPStatus.OK:
        hint = "it is starting, draining or stuck, or lacks what it needs: GET /readyz says which"
        raise NotReady(StartReason.NOT_READY, f"{address}: not ready", hint)
    click.echo("ready")


def admin_connection(config: Config) -> http.client.HTTPConnection:
    """To the admin address; with TLS only to who has the certificate that the configuration names."""
    address, tls = config.admin, config.admin_tls
    if tls.certificate is None:
        return http.client.HTTPConnection(address.host, address.port, timeout=TIMEOUT_S)
    from sealwire.proxy.server.tls import pinned_context  # noqa: PLC0415 - 15 ms, of use with TLS alone

    context = pinned_context(tls.certificate)
    return http.client.HTTPSConnection(address.host, address.port, timeout=TIMEOUT_S, context=context)
