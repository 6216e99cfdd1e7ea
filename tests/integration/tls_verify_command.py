"""`sealwire tls verify` in this process, and the authority behind the certificates that it is shown."""

import json
from dataclasses import dataclass
from typing import Any

from click.testing import CliRunner

from sealwire.cli.groups import tls as command
from tests.sidecars.tls_check.certificates import make_authority

AUTHORITY = make_authority()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one run said."""

    code: int
    report: dict[str, Any]
    text: str

    @property
    def rules(self) -> set[str]:
        """The rules that were broken, of all targets."""
        return {finding["rule"] for target in self.report["targets"] for finding in target["findings"]}

    def endpoint(self, target: int = 0, number: int = 0) -> dict[str, Any]:
        found: dict[str, Any] = self.report["targets"][target]["endpoints"][number]
        return found

    def accepted(self) -> dict[str, set[str]]:
        """Names of the suites, by version, of the first endpoint."""
        versions = self.endpoint()["versions"]
        return {found["version"]: {suite["name"] for suite in found["suites"]} for found in versions}


def verify(*arguments: object) -> Outcome:
    result = CliRunner().invoke(command, ["verify", "--json", "--timeout", "15", *map(str, arguments)])
    if not isinstance(result.exception, SystemExit | None):
        raise result.exception
    return Outcome(result.exit_code, json.loads(result.output), result.output)
