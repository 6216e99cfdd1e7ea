"""The policy file as an argument, and what it says."""

from pathlib import Path

import click

from sealwire.cli.options.common import PRESENT_FILE
from sealwire.policies.file.loader import load_policy
from sealwire.policies.file.schema import PolicySet
from sealwire.proxy.server.config.reader import read_named_file

policy_argument = click.argument("policy", type=PRESENT_FILE)


def read_policy(path: Path) -> PolicySet:
    """Raises SourceError, FileProblem, PermissionProblem."""
    return load_policy(read_named_file(path, "the policy"), str(path))
