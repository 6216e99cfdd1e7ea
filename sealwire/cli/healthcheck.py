"""`sealwire healthcheck`: ask a running proxy whether it is ready; for containers, which have no curl."""

import http.client
import os
from pathlib import Path

import click

from sealwire.cli.options import config_option
from sealwire.proxy.server.config.reader import load_config
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
    address = load_config(config_path, os.environ).admin
    connection = http.client.HTTPConnection(address.host, address.port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", "/readyz")
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException):
        text = f"{address}: no answer"
        raise NotReady(StartReason.NOT_READY, text, "is the proxy running with this configuration?") from None
    finally:
        connection.close()
    if status != http.HTTPStatus.OK:
        raise NotReady(StartReason.NOT_READY, f"{address}: not ready", "it is starting, draining or stuck")
    click.echo("ready")
