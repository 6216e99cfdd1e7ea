"""`sealwire tls`: look at the TLS of MongoDB servers and web servers from outside, and judge it by rules."""

import click

from sealwire.cli.exit_codes import EX_NO
from sealwire.cli.groups import DocumentedGroup

EXIT_CODES = {
    EX_NO: "a rule fails (with --strict: or warns)",
    73: "a report or the metrics cannot be written",
    78: "a target, a file of rules, authorities or a client certificate cannot be read",
}


@click.group(
    name="tls",
    cls=DocumentedGroup,
    package=__name__,
    modules={"verify": ("verify",), "rules": ("rules",)},
    exit_codes=EXIT_CODES,
)
def command() -> None:
    """Verify the TLS of databases and web servers."""
