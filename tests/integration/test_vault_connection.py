"""Every way to log in, and every way to be turned away, against a real OpenBao."""

import base64
import os
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex
from typing import Any

import pytest

from sealwire.keys.errors import (
    DamagedFile,
    KekDenied,
    KekUnavailable,
    KeysError,
    KeySettingError,
    KeysReason,
    UnwrapFailed,
)
from sealwire.keys.keyring.file import add_classes, create_keyring, load_keyring, read_record
from sealwire.keys.keyring.store import KeyringStore, VaultDocument
from sealwire.keys.providers import Providers, parse_provider
from sealwire.keys.vault.connection import VaultConnection
from sealwire.keys.vault.kv import KvStore
from sealwire.keys.vault.settings import vault_settings
from sealwire.keys.vault.transit import TransitKek
from sealwire.sidecars.errors import LuksReason, Unusable
from sealwire.sidecars.luks.machine import Machine
from sealwire.sidecars.luks.volume import parse_source, read_passphrase
from sealwire.testbed.child import free_port
from sealwire.testbed.openbao import OpenBao, dev_server
from tests.keys.kek_contract import AD, KEY, KekContract, Pair
from tests.keys.samples import NOW, local_kek
from tests.keys.store_contract import StoreContract
from tests.support.debian import require_programs
from tests.support.openbao import RaftServer, enable_kv, make_token, raft_server
from tests.support.private import private
from tests.support.reasons import raising, refused
from tests.support.rows import rows
from tests.support.runs import ran

pytestmark = pytest.mark.integration

POLICY = 'path "secret/data/allowed" { capabilities = ["read", "create", "update"] }'
WHAT = "read a test secret"


@pytest.fixture(scope="module")
def bao(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenBao]:
    with dev_server(tmp_path_factory.mktemp("bao")) as server:
        server.client.sys.enable_secrets_engine("transit")
        server.client.secrets.kv.v2.create_or_update_secret("allowed", {"x": "1"}, mount_point="secret")
        yield server


@pytest.fixture(scope="module")
def tls_bao(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RaftServer]:
    with raft_server(tmp_path_factory.mktemp("raft")) as server:
        enable_kv(server.client)
        server.client.secrets.kv.v2.create_or_update_secret("allowed", {"x": "1"}, mount_point="secret")
        yield server


def connection(
    server: OpenBao, options: Mapping[str, str] | None = None, environ: Mapping[str, str] | None = None
) -> VaultConnection:
    environ = environ or {}
    ca = {} if server.ca is None else {"ca": str(server.ca)}
    settings = vault_settings({"address": server.address, **ca, **(options or {})}, environ)
    return VaultConnection(settings, environ)


def read(client: Any, path: str = "allowed") -> str:
    answer = client.secrets.kv.v2.read_secret_version(
        path, mount_point="secret", raise_on_deleted_version=True
    )
    return str(answer["data"]["data"]["x"])


def denied(
    connected: VaultConnection, kind: type[KeysError], reason: KeysReason, operation: Any = read
) -> KeysError:
    return refused(lambda: connected.call(WHAT, operation), kind, reason)


def test_a_token_from_the_environment(bao: OpenBao) -> None:
    token = make_token(bao, POLICY)
    connected = connection(bao, environ={"VAULT_TOKEN": token})
    assert connected.call(WHAT, read) == "1"
    assert token not in repr(connected)


def test_what_the_policy_does_not_allow_is_denied_and_not_logged_in_for_again(bao: OpenBao) -> None:
    connected = connection(bao, environ={"BAO_TOKEN": make_token(bao, POLICY), "VAULT_TOKEN": "other"})
    denied(connected, KekDenied, KeysReason.VAULT_DENIED, lambda client: read(client, "other"))
    assert connected.call(WHAT, read) == "1"


def test_a_revoked_token_is_told_apart_from_a_denied_path(bao: OpenBao) -> None:
    token = make_token(bao, POLICY)
    connected = connection(bao, environ={"VAULT_TOKEN": token})
    connected.call(WHAT, read)
    bao.client.auth.token.revoke(token)
    error = denied(connected, KekDenied, KeysReason.VAULT_TOKEN)
    assert token not in str(error) + error.hint


def test_a_token_file_counts_from_the_moment_it_is_replaced(bao: OpenBao, tmp_path: Path) -> None:
    first, second = make_token(bao, POLICY), make_token(bao, POLICY)
    file = private(tmp_path / "token", first + "\n")
    connected = connection(bao, {"auth": "token-file", "token_file": str(file)})
    assert connected.call(WHAT, read) == "1"
    bao.client.auth.token.revoke(first)
    file.write_text(second)
    assert connected.call(WHAT, read) == "1"


def test_approle_logs_in_again_when_its_token_was_revoked(bao: OpenBao, tmp_path: Path) -> None:
    role_id, secret_id = make_approle(bao, "proxy")
    file = private(tmp_path / "secret-id", secret_id)
    connected = connection(bao, approle(role_id, file))
    tokens = set()

    def read_and_revoke(client: Any) -> str:
        tokens.add(client.token)
        found = read(client)
        bao.client.auth.token.revoke(client.token)
        return found

    assert [connected.call(WHAT, read_and_revoke) for _ in range(3)] == ["1", "1", "1"]
    assert len(tokens) == 3


def test_a_wrong_secret_id_is_a_refused_login(bao: OpenBao, tmp_path: Path) -> None:
    role_id, _ = make_approle(bao, "proxy")
    file = private(tmp_path / "secret-id", "11111111-2222-3333-4444-555555555555")
    denied(connection(bao, approle(role_id, file)), KekDenied, KeysReason.VAULT_LOGIN)


def test_a_wrapped_secret_id_opens_once_and_serves_every_later_login(bao: OpenBao, tmp_path: Path) -> None:
    role_id, wrapping_token = make_approle(bao, "wrapped", wrap_ttl="120s")
    file = private(tmp_path / "secret-id", wrapping_token)
    options = {**approle(role_id, file), "secret_id_wrapped": "true"}
    connected = connection(bao, options)

    def read_and_revoke(client: Any) -> str:
        found = read(client)
        bao.client.auth.token.revoke(client.token)
        return found

    assert [connected.call(WHAT, read_and_revoke) for _ in range(2)] == ["1", "1"]
    denied(connection(bao, options), KekDenied, KeysReason.VAULT_LOGIN)


def test_a_wrapped_secret_of_another_origin_is_not_opened(bao: OpenBao, tmp_path: Path) -> None:
    role_id, _ = make_approle(bao, "proxy")
    planted = bao.client.write_data("sys/wrapping/wrap", data={"secret_id": "planted"}, wrap_ttl="120s")
    file = private(tmp_path / "secret-id", planted["wrap_info"]["token"])
    denied(
        connection(bao, {**approle(role_id, file), "secret_id_wrapped": "true"}),
        KekDenied,
        KeysReason.VAULT_LOGIN,
    )
    assert bao.client.sys.unwrap(planted["wrap_info"]["token"])["data"] == {"secret_id": "planted"}


def test_kubernetes_shows_its_token_to_the_server(bao: OpenBao, tmp_path: Path) -> None:
    """The JWT method takes the place of the Kubernetes method, which would ask a cluster: same request."""
    jwt, public_key = make_jwt()
    client = bao.client
    client.sys.enable_auth_method("jwt", path="kubernetes")
    client.write_data("auth/kubernetes/config", data={"jwt_validation_pubkeys": public_key})
    client.sys.create_or_update_policy("test", POLICY)
    client.write_data(
        "auth/kubernetes/role/proxy",
        data={"role_type": "jwt", "bound_audiences": "vault", "user_claim": "sub", "policies": "test"},
    )
    file = tmp_path / "token"
    file.write_text(jwt)
    options = {"auth": "kubernetes", "jwt_file": str(file)}
    assert connection(bao, {**options, "role": "proxy"}).call(WHAT, read) == "1"
    denied(connection(bao, {**options, "role": "other"}), KekDenied, KeysReason.VAULT_LOGIN)


def test_a_certificate_logs_in_over_tls(tls_bao: RaftServer) -> None:
    client = tls_bao.client
    client.sys.create_or_update_policy("test", POLICY)
    client.sys.enable_auth_method("cert")
    trusted = tls_bao.authority.certificate_file.read_text()
    client.write_data("auth/cert/certs/proxy", data={"certificate": trusted, "token_policies": "test"})
    issued = tls_bao.authority.issue("proxy", client=True)
    options = {"auth": "certificate", "certificate": str(issued.certificate), "key": str(issued.key)}
    assert connection(tls_bao, {**options, "role": "proxy"}).call(WHAT, read) == "1"
    assert connection(tls_bao, options).call(WHAT, read) == "1"
    denied(connection(tls_bao, {**options, "role": "other"}), KekDenied, KeysReason.VAULT_LOGIN)


def test_a_server_that_nobody_vouches_for_is_not_spoken_to(tls_bao: RaftServer) -> None:
    settings = vault_settings({"address": tls_bao.address}, {})
    denied(VaultConnection(settings, {"VAULT_TOKEN": "x"}), KekUnavailable, KeysReason.VAULT_TLS)


def test_a_sealed_server_and_one_that_is_back(tls_bao: RaftServer) -> None:
    connected = connection(tls_bao, environ={"VAULT_TOKEN": make_token(tls_bao, POLICY)})
    assert connected.call(WHAT, read) == "1"
    tls_bao.seal()
    denied(connected, KekUnavailable, KeysReason.VAULT_SEALED)
    tls_bao.unseal()
    assert connected.call(WHAT, read) == "1"
    tls_bao.stop()
    denied(connected, KekUnavailable, KeysReason.KEK_UNREACHABLE)
    tls_bao.start()
    tls_bao.unseal()
    assert connected.call(WHAT, read) == "1"


def test_a_namespace_is_a_world_of_its_own(bao: OpenBao) -> None:
    client = bao.client
    client.write_data("sys/namespaces/clinic", data={})
    client.adapter.namespace = "clinic"
    enable_kv(client)
    client.secrets.kv.v2.create_or_update_secret("allowed", {"x": "inside"}, mount_point="secret")
    token = {"VAULT_TOKEN": bao.root_token}
    assert connection(bao, {"namespace": "clinic"}, token).call(WHAT, read) == "inside"
    assert connection(bao, environ={**token, "VAULT_NAMESPACE": "clinic"}).call(WHAT, read) == "inside"
    with pytest.raises(KeysError) as caught:
        connection(bao, {"namespace": "other"}, token).call(WHAT, read)
    assert caught.value.__cause__ is None
    assert caught.value.reason in (KeysReason.VAULT_PATH, KeysReason.VAULT_DENIED)


def test_a_path_that_no_engine_serves(bao: OpenBao) -> None:
    connected = connection(bao, environ={"VAULT_TOKEN": bao.root_token})
    denied(
        *(connected, KeySettingError, KeysReason.VAULT_PATH),
        lambda client: client.secrets.transit.read_key("k", mount_point="nowhere"),
    )


def test_nobody_listens(tmp_path: Path) -> None:
    settings = vault_settings({"address": f"http://127.0.0.1:{free_port()}"}, {})
    denied(VaultConnection(settings, {"VAULT_TOKEN": "x"}), KekUnavailable, KeysReason.KEK_UNREACHABLE)


@contextmanager
def misbehaving(
    answer: Callable[[socket.socket, threading.Event], None],
) -> Iterator[tuple[str, list[bytes]]]:
    """A server that reads a request and then does as `answer` does; its address, and what it was sent."""
    listening = socket.create_server(("127.0.0.1", 0))
    ended = threading.Event()
    heard: list[bytes] = []

    def serve() -> None:
        while True:
            try:
                accepted, _ = listening.accept()
            except OSError:
                return
            with accepted, suppress(OSError):
                heard.append(accepted.recv(65536))
                answer(accepted, ended)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}", heard
    finally:
        ended.set()
        listening.shutdown(socket.SHUT_RDWR)
        thread.join(10)
        listening.close()


def silent(accepted: socket.socket, ended: threading.Event) -> None:
    ended.wait(30)


def dripping(accepted: socket.socket, ended: threading.Event) -> None:
    """Never silent for as long as a socket's own time-out."""
    accepted.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n")
    while not ended.wait(0.05):
        accepted.sendall(b" ")


def endless(accepted: socket.socket, ended: threading.Event) -> None:
    accepted.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n")
    while not ended.is_set():
        accepted.sendall(b" " * 65536)


def elsewhere(accepted: socket.socket, ended: threading.Event) -> None:
    accepted.sendall(b"HTTP/1.1 307 x\r\nLocation: /v1/other\r\nContent-Length: 0\r\n\r\n")


def not_vault(accepted: socket.socket, ended: threading.Event) -> None:
    accepted.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>")


@rows(
    "answer, reason",
    (silent, KeysReason.VAULT_SLOW),
    (dripping, KeysReason.VAULT_SLOW),
    (endless, KeysReason.VAULT_FAILED),
    (elsewhere, KeysReason.VAULT_FAILED),
    (not_vault, KeysReason.VAULT_FAILED),
)
def test_a_server_that_misbehaves_is_unavailable(
    answer: Callable[[socket.socket, threading.Event], None], reason: KeysReason
) -> None:
    with misbehaving(answer) as (address, heard):
        settings = vault_settings({"address": address, "timeout_s": "0.5", "deadline_s": "3"}, {})
        denied(VaultConnection(settings, {"VAULT_TOKEN": "x"}), KekUnavailable, reason)
        # A redirect was not followed: the token went to where the settings say, and nowhere else.
        assert len(heard) == 1


def approle(role_id: str, file: Path) -> dict[str, str]:
    return {"auth": "approle", "role_id": role_id, "secret_id_file": str(file)}


def make_approle(bao: OpenBao, role: str, wrap_ttl: str | None = None) -> tuple[str, str]:
    client = bao.client
    if "approle/" not in client.sys.list_auth_methods()["data"]:
        client.sys.enable_auth_method("approle")
    client.sys.create_or_update_policy("test", POLICY)
    client.auth.approle.create_or_update_approle(role, token_policies=["test"], token_ttl="60s")
    role_id = client.auth.approle.read_role_id(role)["data"]["role_id"]
    made = client.auth.approle.generate_secret_id(role, wrap_ttl=wrap_ttl)
    return role_id, made["wrap_info"]["token"] if wrap_ttl else made["data"]["secret_id"]


def make_jwt() -> tuple[str, str]:
    """A signed token as Kubernetes gives its pods, and the key that verifies it."""
    import json
    import time

    from cryptography.hazmat.primitives.asymmetric import ec, utils
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    key = ec.generate_private_key(ec.SECP256R1())
    now = int(time.time())
    claims = {"sub": "system:serviceaccount:clinic:sealwire", "aud": "vault", "iat": now, "exp": now + 600}
    parts = [{"alg": "ES256", "typ": "JWT"}, claims]
    signed = b".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in parts)
    r, s = utils.decode_dss_signature(key.sign(signed, ec.ECDSA(SHA256())))
    signature = base64.urlsafe_b64encode(r.to_bytes(32, "big") + s.to_bytes(32, "big")).rstrip(b"=")
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return (signed + b"." + signature).decode(), public.decode()


# The contracts of KEKs and stores, kept by a real OpenBao; and what only a server can do.


@pytest.fixture(scope="module")
def by_root(bao: OpenBao) -> VaultConnection:
    return connection(bao, environ={"VAULT_TOKEN": bao.root_token})


def create_key(bao: OpenBao, **more: Any) -> str:
    name = f"k-{token_hex(4)}"
    bao.client.secrets.transit.create_key(name, **more)
    return name


class TestTransit(KekContract):
    @pytest.fixture(
        params=[{}, {"derived": True}, {"key_type": "chacha20-poly1305"}], ids=["plain", "derived", "chacha"]
    )
    def pair(self, request: pytest.FixtureRequest, bao: OpenBao, by_root: VaultConnection) -> Pair:
        first, second = (TransitKek(by_root, f"transit/{create_key(bao, **request.param)}") for _ in "12")
        return first, second


class TestKv(StoreContract):
    @pytest.fixture
    def store(self, by_root: VaultConnection) -> KeyringStore:
        return KvStore(by_root, VaultDocument("secret", f"clinic/{token_hex(4)}"))


def wrap_denied(kek: TransitKek, kind: type[KeysError], reason: KeysReason) -> KeysError:
    return refused(lambda: kek.wrap(KEY, AD), kind, reason)


def test_a_rotated_key_opens_what_older_versions_wrapped(bao: OpenBao, by_root: VaultConnection) -> None:
    name = create_key(bao)
    kek = TransitKek(by_root, f"transit/{name}")
    old = kek.wrap(KEY, AD)
    bao.client.secrets.transit.rotate_key(name)
    new = kek.wrap(KEY, AD)
    assert (old[:4], new[:4]) == (b"\0\0\0\1", b"\0\0\0\2")
    assert kek.unwrap(old, AD) == kek.unwrap(new, AD) == KEY


def test_a_keyring_is_wrapped_anew_by_every_write(
    bao: OpenBao, by_root: VaultConnection, tmp_path: Path
) -> None:
    name = create_key(bao)
    kek = TransitKek(by_root, f"transit/{name}")
    create_keyring(tmp_path / "k", kek, ["a"], NOW)
    bao.client.secrets.transit.rotate_key(name)
    add_classes(tmp_path / "k", kek, ["b"], NOW)
    bao.client.secrets.transit.update_key_configuration(name, min_decryption_version=2)
    assert load_keyring(tmp_path / "k", kek).class_names == ("a", "b")
    assert read_record(tmp_path / "k").kek_id == f"vault:{name}"


def test_a_retired_version_is_told_apart_from_damage(bao: OpenBao, by_root: VaultConnection) -> None:
    name = create_key(bao)
    kek = TransitKek(by_root, f"transit/{name}")
    wrapped = kek.wrap(KEY, AD)
    bao.client.secrets.transit.rotate_key(name)
    bao.client.secrets.transit.update_key_configuration(name, min_decryption_version=2)
    with raising(KekDenied, KeysReason.VAULT_KEY):
        kek.unwrap(wrapped, AD)


def test_the_server_itself_binds_the_associated_data(bao: OpenBao, by_root: VaultConnection) -> None:
    """Not only the digest inside: what the server decrypts with other data is nothing."""
    import base64

    import hvac

    for more in ({}, {"derived": True}):
        name = create_key(bao, **more)
        wrapped = TransitKek(by_root, f"transit/{name}").wrap(KEY, AD)
        text = f"vault:v1:{base64.b64encode(wrapped[4:]).decode()}"
        right, wrong = base64.b64encode(AD).decode(), base64.b64encode(b"other").decode()
        context = base64.b64encode(b"\x01" + AD).decode()
        transit = bao.client.secrets.transit
        assert transit.decrypt_data(name, text, context=context, associated_data=right)
        with pytest.raises(hvac.exceptions.InvalidRequest):
            transit.decrypt_data(name, text, context=context, associated_data=wrong)
    with pytest.raises(hvac.exceptions.InvalidRequest):
        transit.decrypt_data(name, text, context=wrong, associated_data=right)


def test_a_server_that_binds_nothing_is_found_out(bao: OpenBao, by_root: VaultConnection) -> None:
    """What an older server does: it ignores the parameter. The digest inside notices."""
    import base64
    from hashlib import sha256

    name = create_key(bao)
    plaintext = base64.b64encode(sha256(b"other").digest() + KEY).decode()
    ciphertext = bao.client.secrets.transit.encrypt_data(
        name, plaintext=plaintext, associated_data=base64.b64encode(AD).decode()
    )["data"]["ciphertext"]
    with pytest.raises(UnwrapFailed):
        TransitKek(by_root, f"transit/{name}").unwrap(
            b"\0\0\0\1" + base64.b64decode(ciphertext.removeprefix("vault:v1:")), AD
        )


@pytest.mark.parametrize("location", ["transit/nobody-made-it"])
def test_an_unknown_key_is_not_created_by_wrapping(
    bao: OpenBao, by_root: VaultConnection, location: str
) -> None:
    wrap_denied(TransitKek(by_root, location), KeySettingError, KeysReason.VAULT_KEY)
    assert "nobody-made-it" not in bao.client.secrets.transit.list_keys()["data"]["keys"]


def test_a_key_without_authentication_is_refused(bao: OpenBao, by_root: VaultConnection) -> None:
    wrap_denied(
        TransitKek(by_root, f"transit/{create_key(bao, key_type='rsa-2048')}"),
        KeySettingError,
        KeysReason.VAULT_KEY,
    )


def test_a_wrong_mount_is_named_as_such(by_root: VaultConnection) -> None:
    wrap_denied(TransitKek(by_root, "elsewhere/k"), KeySettingError, KeysReason.VAULT_PATH)
    with raising(KeySettingError, KeysReason.VAULT_PATH):
        KvStore(by_root, VaultDocument("elsewhere", "k")).exists()


def test_the_least_rights_suffice(bao: OpenBao, tmp_path: Path) -> None:
    name = create_key(bao)
    policy = (
        f'path "transit/encrypt/{name}" {{ capabilities = ["update"] }}\n'
        f'path "transit/decrypt/{name}" {{ capabilities = ["update"] }}'
    )
    kek = TransitKek(connection(bao, environ={"VAULT_TOKEN": make_token(bao, policy)}), f"transit/{name}")
    assert kek.unwrap(kek.wrap(KEY, AD), AD) == KEY
    other = TransitKek(
        connection(bao, environ={"VAULT_TOKEN": make_token(bao, policy)}), f"transit/{create_key(bao)}"
    )
    wrap_denied(other, KekDenied, KeysReason.VAULT_DENIED)


def test_a_deleted_keyring_is_missing_and_not_written_over(bao: OpenBao, by_root: VaultConnection) -> None:
    store = KvStore(by_root, VaultDocument("secret", "deleted"))
    create_keyring(store, local_kek(), ["a"], NOW)
    bao.client.secrets.kv.v2.delete_latest_version_of_secret("deleted", mount_point="secret")
    assert not store.exists()
    with raising(KeysError, KeysReason.FILE_MISSING):
        store.read()
    with raising(KeysError, KeysReason.FILE_EXISTS):
        create_keyring(store, local_kek(), ["a"], NOW)


def test_a_document_of_another_shape_is_not_a_keyring(bao: OpenBao, by_root: VaultConnection) -> None:
    bao.client.secrets.kv.v2.create_or_update_secret("foreign", {"password": "x"}, mount_point="secret")
    with raising(KeysError, KeysReason.SCHEMA):
        KvStore(by_root, VaultDocument("secret", "foreign")).read()


def test_a_keyring_too_large_for_the_storage_is_told_apart_from_a_failure(tmp_path: Path) -> None:
    with raft_server(tmp_path) as bao:
        enable_kv(bao.client)
        options = {"address": bao.address, "ca": str(bao.ca)}
        by_root = VaultConnection(vault_settings(options, {}), {"VAULT_TOKEN": bao.root_token})
        with raising(KeySettingError, KeysReason.FILE_TOO_LARGE):
            KvStore(by_root, VaultDocument("secret", "large")).create(b"x" * 1_500_000)


def test_version_1_of_the_engine_is_refused(bao: OpenBao, by_root: VaultConnection) -> None:
    bao.client.sys.enable_secrets_engine("kv", "kv1", options={"version": "1"})
    with raising(KeySettingError, KeysReason.VAULT_PATH):
        KvStore(by_root, VaultDocument("kv1", "k")).create(b"{}")


def test_one_process_logs_in_once_for_both(bao: OpenBao) -> None:
    name = create_key(bao)
    environ = {"VAULT_ADDR": bao.address, "VAULT_TOKEN": bao.root_token}
    providers = Providers(environ)
    kek = providers.kek(parse_provider(f"vault:transit/{name}"))
    store = providers.store(VaultDocument("secret", "both"))
    create_keyring(store, kek, ["a"], NOW)
    assert load_keyring(store, kek).class_names == ("a",)


# A volume's passphrase from a real OpenBao, and from a real systemd-creds where the machine has it.


STRONG = "six wooden barrels under the moor"
READER = 'path "secret/data/luks/*" { capabilities = ["read"] }'


@pytest.fixture(scope="module")
def bao_of_volumes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenBao]:
    with dev_server(tmp_path_factory.mktemp("bao")) as server:
        fields = {"passphrase": STRONG, "number": 7, "long": "x" * 5000}
        for path in ("luks/mongodb", "luks/gone"):
            server.client.secrets.kv.v2.create_or_update_secret(path, fields)
        server.client.secrets.kv.v2.delete_latest_version_of_secret("luks/gone")
        yield server


@pytest.fixture
def logged_in(bao_of_volumes: OpenBao, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VAULT_ADDR", bao_of_volumes.address)
    monkeypatch.setenv("VAULT_TOKEN", make_token(bao_of_volumes, READER))


def never() -> str:
    raise AssertionError("nobody was to be asked")


def passphrase_of(setting: str) -> bytes:
    return read_passphrase(parse_source(setting), Machine(), never, is_new=True)


@pytest.mark.usefixtures("logged_in")
def test_a_field_of_a_document_in_vault() -> None:
    assert passphrase_of("vault:secret/luks/mongodb#passphrase") == STRONG.encode()


@pytest.mark.usefixtures("logged_in")
@pytest.mark.parametrize(
    ("place", "kind", "reason"),
    [
        ("secret/luks/none#passphrase", KeySettingError, KeysReason.FILE_MISSING),
        ("secret/luks/gone#passphrase", KeySettingError, KeysReason.FILE_MISSING),
        ("secret/luks/mongodb#other", DamagedFile, KeysReason.SCHEMA),
        ("secret/luks/mongodb#number", DamagedFile, KeysReason.SCHEMA),
        ("secret/luks/mongodb#long", DamagedFile, KeysReason.FILE_TOO_LARGE),
        ("secret/luks/mongodb", KeySettingError, KeysReason.VAULT_SETTING),
        ("secret/../luks#x", KeySettingError, KeysReason.VAULT_SETTING),
        ("secret/other#x", KekDenied, KeysReason.VAULT_DENIED),
    ],
)
def test_what_is_not_there_or_not_ours_has_its_reason(
    place: str, kind: type[KeysError], reason: KeysReason
) -> None:
    with raising(kind, reason) as caught:
        passphrase_of(f"vault:{place}")
    assert STRONG not in str(caught.value)


def test_a_credential_that_systemd_sealed_on_this_machine(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("the key of the machine is root's")
    require_programs({"systemd-creds": "systemd"})
    sealed = tmp_path / "mongodb-luks"
    seal = ["systemd-creds", "encrypt", "--with-key=host", "--name=mongodb-luks", "-", str(sealed)]
    done = ran(seal, input=STRONG + "\n")
    assert done.returncode == 0, done.stderr
    assert passphrase_of(f"systemd-creds:{sealed}") == STRONG.encode()
    sealed.rename(tmp_path / "another-name")
    with raising(Unusable, LuksReason.SECRET_SOURCE):
        passphrase_of(f"systemd-creds:{tmp_path}/another-name")
