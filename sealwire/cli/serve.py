"""`sealwire serve`: run the proxy in the foreground until SIGTERM."""

import os
from pathlib import Path

import click

from sealwire.proxy.server import app
from sealwire.proxy.server.config_reader import load_config
from sealwire.proxy.server.logs import configure
from sealwire.proxy.server.sessions import real_sessions
from sealwire.proxy.server.start import load


@click.command()
@click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path),
    default=Path("sealwire.yaml"),
    show_default=True,
    envvar="SEALWIRE_CONFIG",
    show_envvar=True,
    help="The configuration file; docs/configuration.md explains its keys.",
)
@click.option("--check", is_flag=True, help="Validate everything, ask the servers, bind nothing, and exit.")
def command(config_path: Path, check: bool) -> None:
    """Run the proxy.

    \b
    SIGTERM, SIGINT  stop accepting, let commands under way finish, exit 0; again: stop at once
    SIGHUP           read the certificates again; connections that are open stay open

    \b
    Exit codes:
      0   drained          65  keyring damaged or without a class of the policy
      69  server down, or its TLS is not what upstream.tls describes
      71  an address cannot be bound
      77  a file may not be read, a private key is open to others, or the wrong key-encryption key
      78  configuration or policy

    \b
    Examples:
      sealwire serve --config /etc/sealwire/sealwire.yaml
      sealwire serve --check
      SEALWIRE_LOG_LEVEL=debug sealwire serve
    """
    config = load_config(config_path, os.environ)
    configure(config.log_level, config.log_format)
    loaded = load(config)
    if check:
        app.check(loaded)
        click.echo("ok: configuration, policy, keyring, certificates and servers")
        return
    app.serve(loaded, real_sessions)
