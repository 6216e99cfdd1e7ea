"""`sealwire vault` in this process, against one server, as an operator would run it."""

import io
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from sealwire.cli import main
from sealwire.cli.groups import tls as command
from sealwire.testbed.openbao import OpenBao
from tests.sidecars.tls_check.certificates import make_authority
from tests.support.openbao import RaftServer

SHARES = ("--shares", "3", "--threshold", "2")


@dataclass(frozen=True, slots=True)
class Outcome:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    def states(self) -> dict[tuple[str, str], str]:
        """State of each step of a `--json` report, by kind and name."""
        return {(step["kind"], step["name"]): step["state"] for step in self.json["steps"]}


class Command:
    """Runs subcommands in `folder`, with the server's address and CA in the environment and no login."""

    def __init__(self, server: OpenBao, folder: Path) -> None:
        self.folder = folder
        self.environ = {"VAULT_ADDR": server.address, "COLUMNS": "120"}
        if server.ca is not None:
            self.environ["VAULT_CACERT"] = str(server.ca)

    @property
    def root_token_file(self) -> Path:
        return self.folder / "root-token"

    def share(self, number: int) -> str:
        """One share, as `init` wrote it."""
        return (self.folder / "shares" / f"share-{number}").read_text()

    def run(self, *arguments: object, stdin: str = "", environ: dict[str, str] | None = None) -> Outcome:
        """One run; what it printed and its exit code."""
        streams = io.StringIO(), io.StringIO()
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(self.folder)
            patch.setattr(sys, "argv", ["sealwire", "vault", *map(str, arguments)])
            patch.setattr(sys, "stdin", io.StringIO(stdin))
            patch.setattr(sys, "stdout", streams[0])
            patch.setattr(sys, "stderr", streams[1])
            for variable in ("VAULT_TOKEN", "BAO_TOKEN", "BAO_ADDR"):
                patch.delenv(variable, raising=False)
            for variable, value in {**self.environ, **(environ or {})}.items():
                patch.setenv(variable, value)
            with pytest.raises(SystemExit) as caught:
                main()
        code = caught.value.code
        assert code is None or isinstance(code, int)
        return Outcome(code or 0, streams[0].getvalue(), streams[1].getvalue())

    def as_root(self, *arguments: object, stdin: str = "") -> Outcome:
        """A run with the root token that `init` wrote."""
        return self.run(*arguments, "--token-file", self.root_token_file, stdin=stdin)

    def init(self) -> None:
        """First keys in `shares/` and the root token in a file of its own."""
        options = (*SHARES, "--output", "shares", "--root-token-file", self.root_token_file)
        assert self.run("init", *options).code == 0

    def login(self, role: str) -> dict[str, str]:
        """The environment that logs in as `role`, with a credential made for this."""
        secret_id = self.folder / f"{role}-secret-id"
        secret_id.unlink(missing_ok=True)
        made = self.as_root("credentials", role, "--secret-id-file", secret_id, "--json")
        assert made.code == 0, made.err
        assert self.run("unwrap", role, "--secret-id-file", secret_id).code == 0
        return {
            "SEALWIRE_VAULT_AUTH": "approle",
            "SEALWIRE_VAULT_ROLE_ID": made.json["role_id"],
            "SEALWIRE_VAULT_SECRET_ID_FILE": str(secret_id),
        }


@dataclass(frozen=True, slots=True)
class ReadyVault:
    """A server with storage and TLS on which `init` and `setup` have run."""

    server: RaftServer
    command: Command

    @property
    def root(self) -> Any:
        """A fresh hvac client with the root token."""
        return self.server.client_with(self.command.root_token_file.read_text().strip())


# `sealwire tls verify` in this process, and the authority behind the certificates that it is shown.


AUTHORITY = make_authority()


@dataclass(frozen=True, slots=True)
class TlsOutcome:
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


def verify(*arguments: object) -> TlsOutcome:
    result = CliRunner().invoke(command, ["verify", "--json", "--timeout", "15", *map(str, arguments)])
    if not isinstance(result.exception, SystemExit | None):
        raise result.exception
    return TlsOutcome(result.exit_code, json.loads(result.output), result.output)
