"""`sealwire vault`: set up Vault or OpenBao for Sealwire, and check that it still is."""

import click

from sealwire.cli.exit_codes import EX_NO
from sealwire.cli.groups import DocumentedGroup

EXIT_CODES = {
    EX_NO: "something differs, a share is missing, or an operator has to do a step",
    69: "the server is down, sealed, not initialised or not set up",
    73: "an output file exists, a share could not be handed over, or a needed name is another thing's",
    77: "the login is refused, or the role may not do this",
    78: "an option, a name or a period cannot be used",
}
_MODULES = {
    "start": ("init", "unseal"),
    "setup": ("setup", "status"),
    "upkeep": ("rotate-policy", "remove"),
    "roles": ("credentials", "unwrap", "revoke"),
}


@click.group(name="vault", cls=DocumentedGroup, package=__name__, modules=_MODULES, exit_codes=EXIT_CODES)
def command() -> None:
    """Set up Vault or OpenBao, check it, rotate its keys, hand out and revoke logins."""
