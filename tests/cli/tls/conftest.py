"""`sealwire tls verify` in this process."""

import pytest
from click.testing import CliRunner

from sealwire.cli.tls import command
from tests.cli.tls.runs import Run


@pytest.fixture
def run() -> Run:
    return lambda *arguments: CliRunner().invoke(command, ["verify", *map(str, arguments)])
