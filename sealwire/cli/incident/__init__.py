"""`sealwire incident`: alerts and incidents, their 72 hours, and what is told to the authority."""

import click

from sealwire.cli.groups import DocumentedGroup

EXIT_CODES = {
    1: "an incident has less than 24 of its 72 hours left, or a report is not proved",
    65: "the audit log is not whole, or a file is damaged",
    66: "there is no such alert or incident",
    69: "the state file is busy",
    77: "a file may not be read or written",
    78: "the file of the rules cannot be used, or the step does not fit the incident",
}
_MODULES = {
    "listing": ("list", "alerts", "show"),
    "opening": ("open", "acknowledge", "note"),
    "advancing": ("assess", "notify", "dismiss", "close"),
    "report": ("report",),
}


@click.group(name="incident", cls=DocumentedGroup, package=__name__, modules=_MODULES, exit_codes=EXIT_CODES)
def command() -> None:
    """Keep incidents that alerts of `sealwire watch` have shown, and report them."""
