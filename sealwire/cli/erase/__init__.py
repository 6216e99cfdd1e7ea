"""`sealwire erase`: a person's data, found by an encrypted identifier and erased, with a receipt."""

import click

from sealwire.cli.groups import DocumentedGroup

EXIT_CODES = {
    1: "documents remain, and run goes on; or check: somebody who was erased is there again",
    65: "a journal, receipt, file of holds or key is damaged, or they do not belong together",
    66: "no document has this identifier",
    69: "the server does not answer, or another erasure runs",
    73: "the receipt is there already",
    77: "a legal hold stands, or the server or a file denies access",
    78: "it would erase too much or too little, or a setting or the policy is wrong",
}
_MODULES = {
    "find": ("find",),
    "run": ("run",),
    "verify_receipt": ("verify-receipt",),
    "check": ("check",),
}


@click.group(name="erase", cls=DocumentedGroup, package=__name__, modules=_MODULES, exit_codes=EXIT_CODES)
def command() -> None:
    """Find and erase a person's data, and prove it."""
