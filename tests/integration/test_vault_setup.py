"""`sealwire vault setup` against a real OpenBao: from an empty server to one that is set up, and back."""

import base64
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hvac import exceptions as hvac_errors

from sealwire.keys.errors import KekUnavailable, KeySettingError, KeysReason
from sealwire.keys.keyring.store import VaultDocument
from sealwire.keys.vault.admin import VaultAdmin
from sealwire.keys.vault.connection import VaultConnection
from sealwire.keys.vault.context_store import VaultContextStore
from sealwire.keys.vault.settings import settings_from_environment
from sealwire.sidecars.vault_setup.plan import carry_out, compare_all, outstanding
from sealwire.sidecars.vault_setup.settings import AppRole, Kubernetes, SetupSettings
from sealwire.testbed.certificates import create_authority
from sealwire.testbed.openbao import OpenBao, bao_program, dev_server
from tests.build_context import ROOT
from tests.integration.test_vault_proxy import PATH_POLICY
from tests.integration.vault_command import SHARES, Command, ReadyVault
from tests.keys.contexts.store_contract import row
from tests.keys.samples import NOW, PASSPHRASE
from tests.sidecars.vault_setup.fake_server import FakeServer
from tests.support import warm
from tests.support.debian import require_program
from tests.support.doc_commands import blocks_of, run_document
from tests.support.openbao import RaftServer
from tests.support.private import private
from tests.support.reasons import raising
from tests.support.runs import ran

pytestmark = pytest.mark.integration


def test_from_an_empty_server_through_a_restart(empty_vault: tuple[RaftServer, Command]) -> None:
    server, command = empty_vault
    assert command.run("status").code == 69
    command.init()
    planned = command.as_root("setup", "--dry-run", "--json")
    assert planned.code == 0
    assert set(planned.states().values()) == {"to do", "satisfied"}
    requests = [step["request"] for step in planned.json["steps"] if step["state"] == "to do"]
    assert all(request["path"] for request in requests)
    assert command.as_root("status", "--json").code == 1
    done = command.as_root("setup", "--yes", "--json")
    assert (done.code, set(done.states().values())) == (0, {"satisfied"})
    before = server.audit_log.read_text().count('"operation":"update"')
    assert command.as_root("setup", "--json").code == 0
    assert server.audit_log.read_text().count('"operation":"update"') == before

    auditor = command.login("auditor")
    assert command.run("status", environ=auditor).code == 0
    server.stop()
    server.start()
    sealed = command.run("status", environ=auditor)
    assert (sealed.code, "sealed" in sealed.err) == (69, True)
    missing = command.run("unseal", "--dry-run", "--json", stdin=command.share(1))
    assert (missing.code, missing.json["progress"]) == (1, 0)
    first = command.run("unseal", "--json", stdin=command.share(1))
    assert (first.code, first.json) == (1, {"sealed": True, "progress": 1, "threshold": 2})
    wrong = command.run("unseal", stdin="bm90IGEgc2hhcmU=\n")
    assert (wrong.code, "1 of 2" in wrong.err) == (69, True)
    assert command.run("unseal", stdin=command.share(3)).code == 0
    found = command.run("status", "--json", environ=auditor)
    assert (found.code, set(found.states().values())) == (0, {"satisfied"})
    (login,) = found.json["logins"]
    again = command.run("init", *SHARES, "--output", "again")
    assert (again.code, (command.folder / "again").exists()) == (69, False)
    assert (login["role"], login["secret_ids"]) == ("sealwire-auditor", 1)
    left = datetime.fromisoformat(login["ends"]) - datetime.now(UTC)
    assert timedelta(days=89) < left < timedelta(days=91)


def test_drift_is_shown_and_mended(vault: ReadyVault) -> None:
    vault.root.sys.create_or_update_policy("sealwire-proxy", 'path "secret/*" { capabilities = ["read"] }')
    found = vault.command.as_root("status", "--json")
    assert found.code == 1
    drift = {name for name, state in found.states().items() if state != "satisfied"}
    assert drift == {("policy", "sealwire-proxy")}
    assert vault.command.as_root("setup", "--yes").code == 0
    assert vault.command.as_root("status").code == 0


def test_the_roles_may_keep_and_destroy_keys_of_contexts_where_that_is_asked_for(vault: ReadyVault) -> None:
    assert vault.command.as_root("setup", "--contexts", "--yes").code == 0
    assert vault.command.as_root("status", "--contexts").code == 0
    assert vault.command.as_root("status").code == 1
    place = VaultDocument("secret", "sealwire/contexts")
    proxy, rotation = (
        VaultContextStore(VaultConnection(settings_from_environment(environ), environ), place)
        for environ in (
            {**vault.command.environ, **vault.command.login(role)} for role in ("proxy", "rotation")
        )
    )
    old = row(1)
    assert proxy.create([old]) == rotation.rows(1, b"", 9) == [old]
    gone = replace(old, wrapped=None, destroyed=NOW)
    with pytest.raises(KekUnavailable):
        proxy.replace(old, gone)
    assert rotation.replace(old, gone)
    assert proxy.destroyed_after(0) == (1, [old.key_id])
    assert vault.command.as_root("setup", "--yes").code == 0


def test_a_key_that_was_made_otherwise_stops_everything_before_a_question_is_asked(vault: ReadyVault) -> None:
    vault.root.secrets.transit.create_key("other-proxy", exportable=True)
    stopped = vault.command.as_root("setup", "--prefix", "other")
    assert (stopped.code, "called other-proxy" in stopped.err) == (73, True)
    assert "other-proxy" not in vault.root.sys.list_policies()["data"]["keys"]
    assert vault.command.as_root("setup", "--prefix", "other", "--dry-run").code == 1


def test_the_rollback_leaves_the_server_as_it_was(tmp_path: Path) -> None:
    with dev_server(tmp_path / "bao") as server:
        command = Command(server, tmp_path)
        private(command.root_token_file, server.root_token)
        before = sorted(server.client.sys.list_mounted_secrets_engines()["data"])
        command.as_root("setup", "--yes")
        kept = command.as_root("remove", "--yes", "--json").json["removals"]
        assert {row["name"] for row in kept if row["kind"] == "key"} == {"sealwire-proxy", "sealwire-backup"}
        assert "sealwire-proxy" in server.client.secrets.transit.list_keys()["data"]["keys"]
        refused = command.as_root("remove", "--destroy-keys", "--yes", stdin="sealwir\n")
        assert refused.code == 1
        assert command.as_root("remove", "--destroy-keys", stdin="sealwire\n").code == 0
        # The key-value storage was there before: a dev server has it.
        assert sorted(server.client.sys.list_mounted_secrets_engines()["data"]) == before
        assert not any(
            name.startswith("sealwire") for name in server.client.sys.list_policies()["data"]["keys"]
        )


def test_a_keyring_leaves_vault_for_a_key_file_and_opens_when_vault_is_gone(tmp_path: Path) -> None:
    mounts = ("--prefix", "clinic", "--transit-mount", "seals", "--kv-mount", "papers")
    kek, keyring = "vault:seals/clinic-proxy", ("--keyring", "k.json")

    def keys(*arguments: str, **environ: str) -> bytes:
        command = [sys.executable, "-m", "sealwire", "keys", *arguments]
        environ = os.environ | environ
        return bytes(warm.run(command, cwd=tmp_path, env=environ, capture_output=True, check=True).stdout)

    private(tmp_path / "passphrase", PASSPHRASE)
    with dev_server(tmp_path / "bao") as server:
        command = Command(server, tmp_path)
        private(command.root_token_file, server.root_token)
        command.as_root("setup", "--yes", *mounts)
        vault = {"VAULT_ADDR": server.address, "VAULT_TOKEN": server.root_token}
        keys("create", *keyring, "nhs", "--kek", kek, **vault)
        keys("create-kek", "--output", "kek.json", "--passphrase-file", "passphrase")
        away = ("--to", "file:kek.json", "--to-passphrase-file", "passphrase")
        keys("rewrap", *keyring, "--kek", kek, *away, **vault)
        removed = command.as_root("remove", "--destroy-keys", *mounts, stdin="clinic\n")
        assert removed.code == 0
        assert not {"seals/", "papers/"} & set(server.client.sys.list_mounted_secrets_engines()["data"])
    verified = keys("verify", *keyring, "--kek", "file:kek.json", "--passphrase-file", "passphrase", "--json")
    assert json.loads(verified)["authenticated"]


@pytest.mark.parametrize("auth", ["approle", "kubernetes"])
def test_the_fake_of_the_unit_tests_goes_through_the_same_steps(tmp_path: Path, auth: str) -> None:
    pem = create_authority(tmp_path / "authority").certificate_file.read_text()
    login = (
        AppRole(bound_cidrs=("127.0.0.1/32", "10.0.0.0/8", "::1/128"))
        if auth == "approle"
        else Kubernetes("https://10.0.0.1:6443", pem)
    )
    settings = SetupSettings(prefix="contract", kv_mount="contract-kv", auth=login)
    fake = FakeServer(takes_audit=False)
    with dev_server(tmp_path / "bao") as server:
        real = admin_with(server, server.root_token)
        for _ in range(2):
            steps = [compare_all(each, settings) for each in (real, fake)]
            assert steps[0] == steps[1]
            assert list(carry_out(real, steps[0])) == list(carry_out(fake, steps[1]))
        assert [step.kind.value for step in outstanding(compare_all(real, settings))] == ["audit device"]


def test_the_auditor_of_a_kubernetes_set_up_sees_all_of_it(vault: ReadyVault) -> None:
    ca = vault.server.ca
    assert ca is not None
    options = ("--prefix", "cluster", "--auth", "kubernetes", "--kubernetes-host", "https://10.0.0.1:6443")
    assert vault.command.as_root("setup", "--yes", *options, "--kubernetes-ca", ca).code == 0
    made = vault.root.auth.token.create(policies=["cluster-auditor"], no_default_policy=True)
    token = {"VAULT_TOKEN": made["auth"]["client_token"]}
    found = vault.command.run("status", "--json", *options, "--kubernetes-ca", ca, environ=token)
    assert (found.code, set(found.states().values())) == (0, {"satisfied"})


def test_the_shipped_configuration_starts_a_server(tmp_path: Path) -> None:
    server = RaftServer(tmp_path / "bao")
    config = tmp_path / "bao" / "bao.hcl"
    ours = parse_paths(config.read_text())
    text = (ROOT / "deploy" / "vault" / "openbao.hcl").read_text()
    for path, stand_in in {
        "/var/lib/openbao": ours["path"],
        "/etc/openbao/tls/server.crt": ours["tls_cert_file"],
        "/etc/openbao/tls/server.key": ours["tls_key_file"],
        "/var/log/openbao/audit.log": ours["file_path"],
        "0.0.0.0:8200": ours["address"],
        "https://vault.example:8200": ours["api_addr"],
        "https://vault.example:8201": ours["cluster_addr"],
    }.items():
        assert text.count(f'"{path}"') == 1
        text = text.replace(path, stand_in)
    config.write_text(text)
    command = Command(server, tmp_path)
    try:
        server.start()
        command.init()
        assert command.as_root("setup", "--yes").code == 0
    finally:
        server.kill()


def parse_paths(config: str) -> dict[str, str]:
    """The settings of a configuration that are text."""
    return dict(re.findall(r'(\w+) = "([^"]*)"', config))


def test_what_the_server_does_not_take_is_told_in_its_own_words(vault: ReadyVault) -> None:
    real = admin_with(vault.server, vault.command.root_token_file.read_text().strip())
    with raising(KeySettingError, KeysReason.VAULT_REQUEST) as caught:
        real.write("transit/keys/sealwire-proxy/config", {"auto_rotate_period": 60})
    assert "at least an hour" in caught.value.hint
    assert real.read("transit/keys/none") is None
    assert real.list("none/at/all") == ()
    real.delete("sys/policies/acl/none")


def admin_with(server: OpenBao, token: str) -> VaultAdmin:
    environ = {"VAULT_ADDR": server.address, "VAULT_TOKEN": token}
    if server.ca is not None:
        environ["VAULT_CACERT"] = str(server.ca)
    return VaultAdmin(VaultConnection(settings_from_environment(environ), environ))


def test_an_audit_device_is_by_hand_where_the_api_takes_none(tmp_path: Path) -> None:
    with dev_server(tmp_path / "bao") as server:
        command = Command(server, tmp_path)
        token = {"VAULT_TOKEN": server.root_token}
        log = tmp_path / "audit.log"
        done = command.run("setup", "--yes", "--audit-file", log, "--json", environ=token)
        assert (done.code, done.states()["audit device", "sealwire"]) == (1, "by hand")
        (advice,) = (step["advice"] for step in done.json["steps"] if step["advice"])
        assert "cannot enable audit device via API" in advice
    _, _, block = advice.partition("reload it:\n")
    config = tmp_path / "advised.hcl"
    config.write_text(block)
    with dev_server(tmp_path / "advised", config) as server:
        token = {"VAULT_TOKEN": server.root_token}
        assert Command(server, tmp_path).run("setup", "--yes", environ=token).code == 0
        assert log.stat().st_size > 0


def test_an_audit_device_is_enabled_where_the_api_takes_it(tmp_path: Path) -> None:
    config = tmp_path / "bao.hcl"
    config.write_text("unsafe_allow_api_audit_creation = true\n")
    log = tmp_path / "audit.log"
    with dev_server(tmp_path / "bao", config) as server:
        command = Command(server, tmp_path)
        token = {"VAULT_TOKEN": server.root_token}
        assert command.run("setup", "--yes", "--audit-file", log, environ=token).code == 0
        assert command.run("status", environ=token).code == 0
        assert log.stat().st_size > 0


# `sealwire vault init` and `unseal` against a real OpenBao: the first keys, and who holds them.


def test_secrets_are_private_files_and_nowhere_else(empty_vault: tuple[RaftServer, Command]) -> None:
    server, command = empty_vault
    refused = command.run("init", *SHARES)
    assert (refused.code, server.client.sys.is_initialized()) == (73, False)
    assert command.run("init", *SHARES, "--json").code == 2
    planned = command.run("init", *SHARES, "--output", "shares", "--dry-run", "--json")
    assert (planned.code, planned.json["dry_run"], planned.json["sealed"]) == (0, True, None)
    assert not (command.folder / "shares").exists()
    assert server.client.sys.is_initialized() is False
    made = command.run("init", *SHARES, "--output", "shares")
    assert made.code == 0
    files = {path.name: path.stat().st_mode & 0o777 for path in (command.folder / "shares").iterdir()}
    assert files == dict.fromkeys(["share-1", "share-2", "share-3", "root-token"], 0o600)
    for path in (command.folder / "shares").iterdir():
        assert path.read_text().strip() not in made.out + made.err


def test_an_output_that_cannot_be_made_stops_before_there_are_keys(
    empty_vault: tuple[RaftServer, Command],
) -> None:
    server, command = empty_vault
    (command.folder / "shares").mkdir()
    assert command.run("init", *SHARES, "--output", "shares").code == 73
    command.root_token_file.touch()
    options = (*SHARES, "--output", "new", "--root-token-file", command.root_token_file)
    assert command.run("init", *options, "--dry-run").code == 73
    assert command.run("init", *options).code == 73
    assert server.client.sys.is_initialized() is False


def test_shares_for_age_holders_open_with_their_keys_only(
    empty_vault: tuple[RaftServer, Command], age_on_the_path: None
) -> None:
    server, command = empty_vault
    recipients = []
    for number in (1, 2):
        key = command.folder / f"holder-{number}"
        subprocess.run(["age-keygen", "-o", key], check=True, capture_output=True)
        made = ran(["age-keygen", "-y", key], check=True)
        recipients += ["--holder", made.stdout.strip()]
    numbers = ("--shares", "2", "--threshold", "2")
    assert command.run("init", *numbers, *recipients, "--output", "shares").code == 0
    server.stop()
    server.start()

    def opened(name: str, holder: int) -> str:
        decrypt = ["age", "-d", "-i", f"holder-{holder}", f"shares/{name}.age"]
        done = ran(decrypt, cwd=command.folder, check=True)
        return done.stdout

    with pytest.raises(subprocess.CalledProcessError):
        opened("share-1", 2)
    assert command.run("unseal", stdin=opened("share-1", 1)).code == 1
    assert command.run("unseal", stdin=opened("share-2", 2)).code == 0
    server.wait_for_health({200})
    assert server.client_with(opened("root-token", 1)).is_authenticated()


def test_shares_for_pgp_holders_never_leave_the_server_in_clear(
    empty_vault: tuple[RaftServer, Command],
) -> None:
    server, command = empty_vault
    gpg = [
        str(require_program("gpg", "gpg", "--version")),
        "--batch",
        "--quiet",
        "--homedir",
        str(command.folder / "gpg"),
    ]
    (command.folder / "gpg").mkdir(mode=0o700)
    try:
        holders = []
        for number in (1, 2):
            name = f"holder-{number}"
            make = ["--passphrase", "", "--quick-gen-key", name, "default", "default", "never"]
            subprocess.run([*gpg, *make], check=True, capture_output=True)
            key = command.folder / f"{name}.pgp"
            armour = ["--armor"] if number == 2 else []
            subprocess.run([*gpg, *armour, "--output", key, "--export", name], check=True)
            holders += ["--holder", key]
        numbers = ("--shares", "2", "--threshold", "2")
        assert command.run("init", *numbers, *holders, "--output", "shares").code == 0
        assert command.run("status").code == 69

        def opened(name: str) -> str:
            decrypt = [*gpg, "--decrypt", str(command.folder / "shares" / f"{name}.pgp")]
            return ran(decrypt, check=True).stdout

        assert command.run("unseal", stdin=f"{opened('share-1')}\n{opened('share-2')}\n").code == 0
        assert server.client_with(opened("root-token")).is_authenticated()
    finally:
        end = ["gpgconf", "--homedir", str(command.folder / "gpg"), "--kill", "all"]
        subprocess.run(end, check=False, capture_output=True)


# What each role of `sealwire vault setup` may do on a real OpenBao, and how one is got and lost.


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
    (tmp_path / "policy.yaml").write_text(PATH_POLICY)
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
        shown = ran(["age-keygen", "-y", tmp_path / name], check=True)
        environ[name] = shown.stdout.strip()
    try:
        server.start()
        assert run_document(PAGE, tmp_path, "holders", environ).splitlines()[-1] == "unsealed"
        assert {path.name for path in (tmp_path / "shares").iterdir()} == {
            f"share-{number}.age" for number in (1, 2, 3)
        }
    finally:
        server.kill()
