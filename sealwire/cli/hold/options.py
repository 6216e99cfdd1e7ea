"""The option that says where holds are."""

import click

from sealwire.cli.options.common import PATH

holds_option = click.option(
    "--holds",
    type=PATH,
    envvar="SEALWIRE_HOLDS",
    show_envvar=True,
    required=True,
    help="The file of legal holds; `sealwire hold create` makes one.",
)
