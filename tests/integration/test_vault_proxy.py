"""A proxy whose key-encryption key and keyring lie in OpenBao: it encrypts, and Vault may go and come."""

import json
import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import bson
import pytest
from bson.binary import Binary
from pymongo import MongoClient
from pymongo.errors import PyMongoError

from sealwire.keys.kek.kek import generate_encoded_kek
from sealwire.testbed.certificates import create_authority
from sealwire.testbed.child import Child, free_port
from sealwire.testbed.database import DatabaseProcess
from sealwire.testbed.openbao import bao_program
from tests.build_context import ROOT
from tests.integration.conftest import POLICY, Document, found_in
from tests.integration.vault_command import Command
from tests.proxy.server.site import Running, Site, serving
from tests.support import warm
from tests.support.measuring import measuring
from tests.support.openbao import RaftServer, enable_kv, raft_server
from tests.support.private import private
from tests.support.reasons import failing
from tests.support.secantus import secantus
from tests.support.waiting import until

pytestmark = pytest.mark.integration

KEYRING = "vault:secret/sealwire/keyring"
PROXY_POLICY = """
path "transit/encrypt/sealwire" { capabilities = ["update"] }
path "transit/decrypt/sealwire" { capabilities = ["update"] }
path "secret/data/sealwire/keyring" { capabilities = ["read"] }
"""
WITHIN_S = 30.0


@pytest.fixture(scope="module")
def bao(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RaftServer]:
    with raft_server(tmp_path_factory.mktemp("raft")) as server:
        client = server.client
        client.sys.enable_secrets_engine("transit")
        client.secrets.transit.create_key("sealwire", derived=True)
        enable_kv(client)
        client.sys.enable_auth_method("approle")
        client.sys.create_or_update_policy("proxy", PROXY_POLICY)
        client.auth.approle.create_or_update_approle("proxy", token_policies=["proxy"], token_ttl="10m")
        done = sealwire(server, "keys", "create", "--policy", str(POLICY))
        assert done.returncode == 0, done.stderr
        yield server


def sealwire(bao: RaftServer, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """A command as an administrator gives it, with Vault's own variables."""
    return warm.sealwire(
        *arguments,
        env=measuring()
        | {
            "VAULT_ADDR": bao.address,
            "VAULT_CACERT": str(bao.ca),
            "VAULT_TOKEN": bao.root_token,
            "SEALWIRE_KEYRING": KEYRING,
            "SEALWIRE_KEK_PROVIDER": "vault:transit/sealwire",
        },
        timeout=60,
    )


@pytest.fixture
def site(bao: RaftServer, database: DatabaseProcess, tmp_path: Path) -> Site:
    """A proxy that logs in by AppRole, with rights to nothing but its own key and keyring."""
    role = bao.client.auth.approle
    secret_id = private(tmp_path / "secret-id", role.generate_secret_id("proxy")["data"]["secret_id"])
    config: dict[str, Any] = {
        "listen": {"address": "127.0.0.1:0", "advertise": "127.0.0.1:27018", "tls": {"mode": "plaintext"}},
        "upstream": {"address": database.address, "access_control": "none", "tls": {"mode": "plaintext"}},
        "policy": str(POLICY),
        "keyring": KEYRING,
        "kek": {"provider": "vault", "name": "sealwire"},
        "keys": {"refresh_s": 1},
        "vault": {
            "address": bao.address,
            "ca": str(bao.ca),
            "auth": "approle",
            "role_id": role.read_role_id("proxy")["data"]["role_id"],
            "secret_id_file": str(secret_id),
            "timeout_s": 2,
            "deadline_s": 4,
        },
        "admin": {"address": "127.0.0.1:0"},
        "log": {"format": "json"},
    }
    return Site(tmp_path, config, create_authority(tmp_path / "authority"), {"PATH": "/usr/bin:/bin"})


@pytest.fixture
def unsealed(bao: RaftServer) -> Iterator[RaftServer]:
    """A server that a test may seal or stop: the next one finds it well."""
    yield bao
    bao.stop()
    bao.start()
    bao.unseal()


@dataclass
class Talk:
    """A client of a running proxy, and what it says of itself."""

    proxy: Running
    patients: Any = field(repr=False)

    def ready(self) -> tuple[int, str]:
        """Status and the state of the keyring."""
        try:
            with urllib.request.urlopen(f"http://{self.proxy.admin}/readyz", timeout=10) as answer:
                return answer.status, json.load(answer)["keyring"]
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)["keyring"]

    def wait(self, state: tuple[int, str]) -> None:
        until(lambda: self.ready() == state, WITHIN_S)


@contextmanager
def talking(site: Site) -> Iterator[Talk]:
    with serving(site) as proxy:
        host, port = proxy.address
        with MongoClient[Document](host, port, directConnection=True, timeoutMS=20_000) as client:
            yield Talk(proxy, client["clinic"].patients)


def test_what_is_inserted_lies_encrypted(bao: RaftServer, site: Site, database: DatabaseProcess) -> None:
    with talking(site) as talk, database.connect() as direct:
        talk.patients.insert_one({"_id": "one", "nhs_number": "9434765919"})
        assert talk.patients.find_one({"nhs_number": "9434765919"}) == {
            "_id": "one",
            "nhs_number": "9434765919",
        }
        stored = found_in(direct["clinic"].patients, {"_id": "one"})
        assert b"9434765919" not in bson.encode(stored)
        assert talk.ready() == (200, "ok")
    done = sealwire(bao, "keys", "verify", "--json")
    assert json.loads(done.stdout)["kek_id"] == "vault:sealwire"
    # What the server writes down of it is hashed, and neither it nor the proxy shows a token.
    assert "9434765919" not in bao.audit_log.read_text()


def test_a_sealed_vault_is_done_without_until_it_is_back(unsealed: RaftServer, site: Site) -> None:
    with talking(site) as talk:
        talk.patients.insert_one({"_id": "sealed", "nhs_number": "1"})
        unsealed.seal()
        talk.wait((200, "stale"))
        assert talk.patients.count_documents({"nhs_number": "1"}) == 1
        unsealed.stop()
        talk.patients.update_one({"nhs_number": "1"}, {"$set": {"nhs_number": "2"}})
        assert talk.patients.count_documents({"nhs_number": "2"}) == 1
        refused = site.serve()
        assert refused.returncode == 69
        assert "kek-unreachable" not in refused.stderr.splitlines()[0]
        assert "Vault cannot be reached" in refused.stderr
        unsealed.start()
        refused = site.serve()
        assert (refused.returncode, "sealed" in refused.stderr) == (69, True)
        unsealed.unseal()
        talk.wait((200, "ok"))


def test_keys_are_given_up_when_vault_stays_away_and_come_back_with_it(
    unsealed: RaftServer, site: Site
) -> None:
    site.config["keys"] = {"refresh_s": 1, "max_age_s": 10}
    with talking(site) as talk:
        talk.patients.insert_one({"_id": "aged", "nhs_number": "3"})
        unsealed.seal()
        talk.wait((503, "expired"))
        for name, document in (("find_one", {"_id": "aged"}), ("insert_one", {"nhs_number": "4"})):
            with failing(211):  # KeyNotFound
                getattr(talk.patients, name)(document)
        talk.patients.database["unprotected"].insert_one({"_id": 1})
        unsealed.unseal()
        talk.wait((200, "ok"))
        assert talk.patients.find_one({"_id": "aged"}) == {"_id": "aged", "nhs_number": "3"}


def test_a_class_that_was_added_is_known_without_a_restart(bao: RaftServer, site: Site) -> None:
    with talking(site) as talk:
        done = sealwire(bao, "keys", "create", "added_later")
        assert done.returncode == 0, done.stderr
        assert any(line["event"] == "new keyring" for line in talk.proxy.said)


def test_a_cache_starts_without_vault_and_only_where_vault_does_not_answer(
    unsealed: RaftServer, site: Site
) -> None:
    site.environ["CACHE_KEK"] = generate_encoded_kek()
    cache = site.folder / "cache.json"
    site.config["keys"]["cache"] = {"path": str(cache), "kek": "env:CACHE_KEK"}
    with talking(site) as talk:
        talk.patients.insert_one({"_id": "cached", "nhs_number": "5"})
    assert cache.stat().st_mode & 0o777 == 0o600
    unsealed.seal()
    with talking(site) as talk:
        assert talk.proxy.events["keys come from the cache"]["reason"] == "vault-sealed"
        assert talk.ready() == (200, "stale")
        assert talk.patients.find_one({"nhs_number": "5"}) == {"_id": "cached", "nhs_number": "5"}
        unsealed.unseal()
        talk.wait((200, "ok"))
    Path(site.config["vault"]["secret_id_file"]).write_text("11111111-2222-3333-4444-555555555555")
    denied = site.serve()
    assert denied.returncode == 77
    unsealed.seal()
    site.environ["CACHE_KEK"] = generate_encoded_kek()
    assert site.serve().returncode == 69


# The whole way: from `bao server` to an encrypted insert, and on through restarts of server and proxy.


NHS_NUMBER = "943 476 5919"
PATIENT: Document = {"_id": 1, "nhs_number": NHS_NUMBER}
PATH_POLICY = """version: 1
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
                found = found_in(stored.clinic.patients, {"_id": 1})
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
    (command.folder / "policy.yaml").write_text(PATH_POLICY)
    place = ["--keyring", "vault:secret/sealwire/keyring", "--kek", "vault:transit/sealwire-proxy"]
    warm.sealwire(
        *("keys", "create", *place, "--policy", "policy.yaml"),
        cwd=command.folder,
        env={**os.environ, **command.environ, **rotation},
        check=True,
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
