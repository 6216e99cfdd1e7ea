"""The whole way: from `bao server` to an encrypted insert, and on through restarts of server and proxy."""

import os
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from bson.binary import Binary
from pymongo import MongoClient
from pymongo.errors import PyMongoError

from sealwire.testbed.child import Child, free_port
from sealwire.testbed.openbao import bao_program
from tests.build_context import ROOT
from tests.integration.conftest import Document
from tests.integration.vault_command import Command
from tests.support import warm
from tests.support.openbao import RaftServer
from tests.support.secantus import secantus

pytestmark = pytest.mark.integration

NHS_NUMBER = "943 476 5919"
PATIENT: Document = {"_id": 1, "nhs_number": NHS_NUMBER}
POLICY = """version: 1
classes:
  nhs_number: {mode: deterministic, type: string}
collections:
  clinic.patients:
    nhs_number: nhs_number
"""
START_WITHIN_S = 30.0


def test_the_quickstart_goes_from_bao_server_to_an_encrypted_insert(tmp_path: Path) -> None:
    names = ("VAULT_PORT", "CLUSTER_PORT", "DATABASE_PORT", "PROXY_PORT", "ADMIN_PORT")
    environ = {name: str(free_port()) for name in names}
    folder = tmp_path / "quickstart"
    done = warm.run(
        [ROOT / "deploy" / "vault" / "quickstart.sh", folder],
        env={
            **environ,
            "BAO": str(bao_program()),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOME": str(tmp_path),
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=180,
    )
    logs = "\n".join(path.read_text(errors="replace")[-2000:] for path in folder.glob("*.log"))
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\n{logs}"
    through, stored = done.stdout.splitlines()[-2:]
    assert NHS_NUMBER in through
    # the quote is the other one where the ciphertext holds one of these
    assert re.search(r"Binary\(b['\"]SW", stored)
    assert NHS_NUMBER not in stored
    assert not (folder / "root-token").exists()


@contextmanager
def proxy(config: Path, port: int) -> Iterator[Child]:
    """`sealwire serve` as a process of its own; it may have ended before the block begins."""
    log = config.with_name("sealwire.log")
    child = Child([sys.executable, "-m", "sealwire", "serve", "--config", config], log, dict(os.environ))
    try:
        deadline = time.monotonic() + START_WITHIN_S
        while child.exit_code is None and not answers(port):
            assert time.monotonic() < deadline, child.last_lines()
        yield child
    finally:
        child.stop()


def answers(port: int) -> bool:
    with MongoClient[Document](
        "127.0.0.1", port, serverSelectionTimeoutMS=500, directConnection=True
    ) as client:
        try:
            client.admin.command("ping")
        except PyMongoError:
            return False
        return True


def test_a_proxy_encrypts_with_it_before_and_after_a_restart_and_not_while_it_is_sealed(
    tmp_path: Path,
) -> None:
    server, port = RaftServer(tmp_path / "bao"), free_port()
    command = Command(server, tmp_path)
    try:
        server.start()
        command.init()
        assert command.as_root("setup", "--yes").code == 0
        create_keyring(command, command.login("rotation"))
        login = command.login("proxy")
        with secantus(tmp_path) as database:
            config = write_config(tmp_path, server, login, port, database.address)
            with proxy(config, port), clients(port, database.port) as (through, stored):
                through.clinic.patients.insert_one(PATIENT)
                found = stored.clinic.patients.find_one({"_id": 1})
                assert found is not None
                assert isinstance(found["nhs_number"], Binary)
            server.stop()
            server.start()
            with proxy(config, port) as sealed:
                assert sealed.exit_code == 69
            shares = command.share(1) + command.share(2)
            assert command.run("unseal", stdin=shares).code == 0
            with proxy(config, port), clients(port, database.port) as (through, _):
                assert through.clinic.patients.find_one({"nhs_number": NHS_NUMBER}) == PATIENT
            assert command.as_root("revoke", "proxy", "--yes").code == 0
            with proxy(config, port) as refused:
                assert refused.exit_code == 77
    finally:
        server.kill()


@contextmanager
def clients(port: int, database: int) -> Iterator[tuple[MongoClient[Document], MongoClient[Document]]]:
    with (
        MongoClient[Document]("127.0.0.1", port, directConnection=True) as through,
        MongoClient[Document]("127.0.0.1", database, directConnection=True) as stored,
    ):
        yield through, stored


def create_keyring(command: Command, rotation: dict[str, str]) -> None:
    """Data keys for the policy, made by who may wrap them."""
    (command.folder / "policy.yaml").write_text(POLICY)
    place = ["--keyring", "vault:secret/sealwire/keyring", "--kek", "vault:transit/sealwire-proxy"]
    warm.run(
        [sys.executable, "-m", "sealwire", "keys", "create", *place, "--policy", "policy.yaml"],
        cwd=command.folder,
        env={**os.environ, **command.environ, **rotation},
        check=True,
        capture_output=True,
    )


def write_config(folder: Path, server: RaftServer, login: dict[str, str], port: int, upstream: str) -> Path:
    path = folder / "sealwire.yaml"
    path.write_text(
        f"listen: {{address: '127.0.0.1:{port}', tls: {{mode: plaintext}}}}\n"
        f"upstream: {{address: '{upstream}', access_control: none, tls: {{mode: plaintext}}}}\n"
        "policy: policy.yaml\n"
        "keyring: vault:secret/sealwire/keyring\n"
        "kek: {provider: vault, name: sealwire-proxy}\n"
        "vault:\n"
        f"  address: {server.address}\n"
        f"  ca: {server.ca}\n"
        "  auth: approle\n"
        f"  role_id: {login['SEALWIRE_VAULT_ROLE_ID']}\n"
        f"  secret_id_file: {login['SEALWIRE_VAULT_SECRET_ID_FILE']}\n"
        f"admin: {{address: '127.0.0.1:{free_port()}'}}\n"
    )
    return path
