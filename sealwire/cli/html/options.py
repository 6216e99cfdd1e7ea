"""The option of every command that writes its report as a page too."""

import click

from sealwire.cli.options.common import PATH

html_option = click.option(
    "--html", "html", type=PATH, help="Write the report to this file as well, as a page."
)
