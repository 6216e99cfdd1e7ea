"""`sealwire compliance`: whether a deployment is what law and principles ask, with evidence."""

import click

from sealwire.cli.exit_codes import EX_NO
from sealwire.cli.groups import DocumentedGroup

EXIT_CODES = {
    EX_NO: "a requirement is not met",
    65: "a key or an earlier report is not what it should be",
    73: "a report cannot be written",
    78: "the settings are wrong, or a file cannot be read",
}


@click.group(
    name="compliance",
    cls=DocumentedGroup,
    package=__name__,
    modules={"report": ("report",), "verify": ("verify",)},
    exit_codes=EXIT_CODES,
)
def command() -> None:
    """ComplianceCheck a deployment, and write what was found for UK GDPR, Caldicott and DSPT."""
