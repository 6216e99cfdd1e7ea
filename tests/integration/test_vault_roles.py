"""What each role of `sealwire vault setup` may do on a real OpenBao, and how one is got and lost."""

import base64
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hvac import exceptions as hvac_errors

from sealwire.testbed.certificates import create_authority
from sealwire.testbed.openbao import bao_program
from tests.build_context import ROOT
from tests.integration.test_vault_path import POLICY
from tests.integration.vault_command import Command, ReadyVault
from tests.support.doc_commands import blocks_of, run_document
from tests.support.openbao import RaftServer

pytestmark = pytest.mark.integration

CONTEXT = base64.b64encode(b"context").decode()
PLAINTEXT = base64.b64encode(b"a key").decode()

# Method, path, body. What a role may do is in its own set below; all the rest has to be refused.
OPERATIONS: dict[str, tuple[str, str, dict[str, object]]] = {
    **{
        f"{verb} {key}": (
            "post",
            f"transit/{verb}/sealwire-{key}",
            {"context": CONTEXT, "plaintext": PLAINTEXT},
        )
        for verb in ("encrypt", "decrypt", "rewrap", "datakey/plaintext", "datakey/wrapped", "hmac", "sign")
        for key in ("proxy", "backup")
    },
    "encrypt a new key": ("post", "transit/encrypt/new", {"plaintext": PLAINTEXT}),
    "make a key": ("post", "transit/keys/new", {}),
    "list keys": ("list", "transit/keys", {}),
    "read proxy key": ("get", "transit/keys/sealwire-proxy", {}),
    "rotate proxy key": ("post", "transit/keys/sealwire-proxy/rotate", {}),
    "set period": ("post", "transit/keys/sealwire-proxy/config", {"auto_rotate_period": 7776000}),
    "allow deletion": ("post", "transit/keys/sealwire-proxy/config", {"deletion_allowed": True}),
    "raise minimum": ("post", "transit/keys/sealwire-proxy/config", {"min_decryption_version": 1}),
    "allow deletion with period": (
        "post",
        "transit/keys/sealwire-proxy/config",
        {"auto_rotate_period": 7776000, "deletion_allowed": True},
    ),
    "delete key": ("delete", "transit/keys/sealwire-proxy", {}),
    "trim key": ("post", "transit/keys/sealwire-proxy/trim", {"min_available_version": 1}),
    "export key": ("get", "transit/export/encryption-key/sealwire-proxy", {}),
    "back up key": ("get", "transit/backup/sealwire-proxy", {}),
    "read keyring": ("get", "secret/data/sealwire/keyring", {}),
    "write keyring": ("post", "secret/data/sealwire/keyring", {"data": {"x": "y"}}),
    "delete keyring": ("delete", "secret/data/sealwire/keyring", {}),
    "destroy keyring": ("delete", "secret/metadata/sealwire/keyring", {}),
    "read keyring history": ("get", "secret/metadata/sealwire/keyring", {}),
    "list secrets": ("list", "secret/metadata/", {}),
    "read another secret": ("get", "secret/data/other", {}),
    "write another secret": ("post", "secret/data/other", {"data": {}}),
    "list mounts": ("get", "sys/mounts", {}),
    "mount": ("post", "sys/mounts/new", {"type": "kv"}),
    "unmount": ("delete", "sys/mounts/transit", {}),
    "list logins": ("get", "sys/auth", {}),
    "read own policy": ("get", "sys/policies/acl/sealwire-proxy", {}),
    "write own policy": ("post", "sys/policies/acl/sealwire-proxy", {"policy": 'path "*" {}'}),
    "read another policy": ("get", "sys/policies/acl/default", {}),
    "read role": ("get", "auth/approle/role/sealwire-proxy", {}),
    "write role": ("post", "auth/approle/role/sealwire-proxy", {"token_policies": "root"}),
    "read role id": ("get", "auth/approle/role/sealwire-proxy/role-id", {}),
    "make secret id": ("post", "auth/approle/role/sealwire-proxy/secret-id", {}),
    "list secret ids": ("list", "auth/approle/role/sealwire-proxy/secret-id", {}),
    "look up secret id": (
        "post",
        "auth/approle/role/sealwire-proxy/secret-id-accessor/lookup",
        {"secret_id_accessor": "x"},
    ),
    "destroy secret id": (
        "post",
        "auth/approle/role/sealwire-proxy/secret-id-accessor/destroy",
        {"secret_id_accessor": "x"},
    ),
    "make token": ("post", "auth/token/create", {}),
    "make orphan token": ("post", "auth/token/create-orphan", {}),
    "list tokens": ("list", "auth/token/accessors", {}),
    "look up token": ("get", "auth/token/lookup-self", {}),
    "renew token": ("post", "auth/token/renew-self", {}),
    "list audit devices": ("get", "sys/audit", {}),
    "enable audit device": ("post", "sys/audit/new", {"type": "file"}),
    "read leases": ("post", "sys/leases/lookup", {"lease_id": "x"}),
    "wrap": ("post", "sys/wrapping/wrap", {"x": "y"}),
    "cubbyhole": ("post", "cubbyhole/x", {"x": "y"}),
    "capabilities": ("post", "sys/capabilities-self", {"paths": ["sys/mounts"]}),
    "snapshot": ("get", "sys/storage/raft/snapshot", {}),
    "raft peers": ("get", "sys/storage/raft/configuration", {}),
    "seal": ("post", "sys/seal", {}),
    "step down": ("post", "sys/step-down", {}),
    "rekey": ("post", "sys/rotate", {}),
    "make entity": ("post", "identity/entity", {"name": "x"}),
}

OWN_TOKEN = {"look up token", "renew token"}

ALLOWED = {
    "proxy": {"decrypt proxy", "read keyring"},
    "backup-writer": {"encrypt backup"},
    "backup-restorer": {"decrypt backup"},
    "rotation": {
        "encrypt proxy",
        "decrypt proxy",
        "rewrap proxy",
        "rewrap backup",
        "read proxy key",
        "rotate proxy key",
        "set period",
        "read keyring",
        "write keyring",
        "read keyring history",
    },
    "auditor": {
        "read proxy key",
        "list mounts",
        "list logins",
        "list audit devices",
        "read own policy",
        "read role",
        "list secret ids",
        "look up secret id",
    },
}


@pytest.mark.parametrize("role", ALLOWED)
def test_a_role_can_do_its_own_and_nothing_else(vault: ReadyVault, role: str) -> None:
    client, _ = logged_in(vault, role)
    done = {name for name, operation in OPERATIONS.items() if not is_denied(client, *operation)}
    assert done == ALLOWED[role] | OWN_TOKEN


def is_denied(client: Any, method: str, path: str, body: dict[str, object]) -> bool:
    """Whether the server says 403; an answer, or a complaint about the body, means that it was allowed."""
    answer = client.session.request(
        method,
        f"{client.url}/v1/{path}",
        json=body if method == "post" else None,
        headers={"X-Vault-Token": client.token},
        verify=client.adapter._kwargs["verify"],
    )
    return bool(answer.status_code == 403)


def test_the_root_token_is_not_denied_any_of_it(vault: ReadyVault) -> None:
    """Guards the table: a path with a mistake in it would be refused to everybody."""
    harmless = {name for name, (method, _, _) in OPERATIONS.items() if method in ("get", "list")}
    assert not {name for name in harmless if is_denied(vault.root, *OPERATIONS[name])}


def test_a_credential_opens_once_and_a_foreign_one_never(vault: ReadyVault, tmp_path: Path) -> None:
    secret_id = tmp_path / "secret-id"
    planned = vault.command.as_root(
        "credentials", "proxy", "--secret-id-file", secret_id, "--dry-run", "--json"
    )
    assert (planned.code, set(planned.json), secret_id.exists()) == (0, {"dry_run", "role_id"}, False)
    vault.command.as_root("credentials", "proxy", "--secret-id-file", secret_id)
    copy = tmp_path / "copy"
    shutil.copy(secret_id, copy)
    assert vault.command.run("unwrap", "auditor", "--secret-id-file", copy).code == 77
    foreign = vault.command.run("unwrap", "auditor", "--secret-id-file", copy, "--dry-run")
    assert foreign.code == 77
    dry = vault.command.run("unwrap", "proxy", "--secret-id-file", secret_id, "--dry-run", "--json")
    assert (dry.code, dry.json["ttl_s"]) == (0, 3600)
    assert vault.command.run("unwrap", "proxy", "--secret-id-file", secret_id).code == 0
    assert vault.command.run("unwrap", "proxy", "--secret-id-file", copy).code == 77
    assert vault.command.run("unwrap", "proxy", "--secret-id-file", copy, "--dry-run").code == 77
    assert secret_id.stat().st_mode & 0o777 == 0o600
    before = proxy_secret_ids(vault)
    assert vault.command.as_root("credentials", "proxy", "--secret-id-file", secret_id).code == 73
    assert proxy_secret_ids(vault) == before


def proxy_secret_ids(vault: ReadyVault) -> list[str]:
    found = vault.root.list("auth/approle/role/sealwire-proxy/secret-id")
    return sorted(found["data"]["keys"])


def test_revoking_ends_tokens_and_secret_ids_of_that_role_at_once(vault: ReadyVault) -> None:
    writer, writer_login = logged_in(vault, "backup-writer")
    restorer, _ = logged_in(vault, "backup-restorer")
    planned = vault.command.as_root("revoke", "backup-writer", "--dry-run", "--json").json
    assert planned["secret_ids"] >= 1
    assert writer.is_authenticated()
    ended = vault.command.as_root("revoke", "backup-writer", "--yes", "--json").json
    assert ended["role"] == "sealwire-backup-writer"
    # One of this test, and one of the test of policies where that ran before.
    assert ended["tokens"] >= 1
    assert ended["secret_ids"] >= 1
    assert not writer.is_authenticated()
    with pytest.raises(hvac_errors.InvalidRequest):
        vault.server.client_with("").auth.approle.login(*writer_login)
    assert restorer.is_authenticated()


def logged_in(vault: ReadyVault, role: str) -> tuple[Any, tuple[str, str]]:
    """A client with a token of `role`, and the role id and secret id that it was come by with."""
    login = vault.command.login(role)
    secret_id = Path(login["SEALWIRE_VAULT_SECRET_ID_FILE"]).read_text().strip()
    client = vault.server.client_with("")
    client.auth.approle.login(login["SEALWIRE_VAULT_ROLE_ID"], secret_id)
    return client, (login["SEALWIRE_VAULT_ROLE_ID"], secret_id)


def test_the_rotation_role_rotates_and_what_was_wrapped_still_opens(vault: ReadyVault) -> None:
    rotation = vault.command.login("rotation")
    transit = vault.root.secrets.transit
    wrapped = transit.encrypt_data("sealwire-proxy", plaintext=PLAINTEXT, context=CONTEXT)["data"][
        "ciphertext"
    ]
    planned = vault.command.run("rotate-policy", "--now", "--dry-run", "--json", environ=rotation).json
    done = vault.command.run("rotate-policy", "--now", "--period", "30d", "--json", environ=rotation).json
    assert [key["version"] for key in done["keys"]] == [key["version"] for key in planned["keys"]]
    key = transit.read_key("sealwire-proxy")["data"]
    assert (key["latest_version"], key["auto_rotate_period"]) == (done["keys"][0]["version"], 30 * 86400)
    opened = transit.decrypt_data("sealwire-proxy", ciphertext=wrapped, context=CONTEXT)
    assert opened["data"]["plaintext"] == PLAINTEXT
    assert vault.command.as_root("status").code == 0


# docs/operations/vault.md: its command blocks, in the order in which an operator meets them.


PAGE = ROOT / "docs" / "operations" / "vault.md"
# Blocks in the order of one server's life; `holders` has a test of its own.
LIFE = ("set-up", "status", "unseal", "rotate", "revoke", "kubernetes", "remove", "end-root")


def test_every_block_of_the_page_is_run() -> None:
    assert {block.name for block in blocks_of(PAGE.read_text())} == {*LIFE, "holders"}


def test_the_page_is_one_servers_life(tmp_path: Path) -> None:
    server = RaftServer(tmp_path / "bao")
    command = Command(server, tmp_path)
    (tmp_path / "policy.yaml").write_text(POLICY)
    shutil.copy(create_authority(tmp_path / "kubernetes").certificate_file, tmp_path / "kubernetes-ca.crt")
    environ = {**command.environ, "BAO": str(bao_program())}
    said = {}
    try:
        server.start()
        for name in LIFE:
            if name == "unseal":
                server.stop()
                server.start()
            said[name] = run_document(PAGE, tmp_path, name, environ)
        assert said["status"].count("satisfied") == 16
        assert said["unseal"].splitlines()[-1] == "unsealed"
        assert "30d" in said["rotate"]
        assert "ended 1 secret ids" in said["revoke"]
        assert command.run("status", environ={"VAULT_TOKEN": "s.gone"}).code == 77
    finally:
        server.kill()


def test_shares_are_encrypted_for_their_holders(tmp_path: Path, age_on_the_path: None) -> None:
    server = RaftServer(tmp_path / "bao")
    environ = dict(Command(server, tmp_path).environ)
    for name in ("ALICE", "BOB", "CAROL"):
        subprocess.run(["age-keygen", "-o", tmp_path / name], check=True, capture_output=True)
        shown = subprocess.run(
            ["age-keygen", "-y", tmp_path / name], check=True, capture_output=True, text=True
        )
        environ[name] = shown.stdout.strip()
    try:
        server.start()
        assert run_document(PAGE, tmp_path, "holders", environ).splitlines()[-1] == "unsealed"
        assert {path.name for path in (tmp_path / "shares").iterdir()} == {
            f"share-{number}.age" for number in (1, 2, 3)
        }
    finally:
        server.kill()
