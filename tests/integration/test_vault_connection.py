"""Every way to log in, and every way to be turned away, against a real OpenBao."""

import base64
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from sealwire.keys.errors import KekDenied, KekUnavailable, KeysError, KeySettingError, KeysReason
from sealwire.keys.vault.connection import VaultConnection
from sealwire.keys.vault.settings import vault_settings
from sealwire.testbed.child import free_port
from sealwire.testbed.openbao import OpenBao, dev_server
from tests.support.openbao import RaftServer, enable_kv, make_token, raft_server

pytestmark = pytest.mark.integration

POLICY = 'path "secret/data/allowed" { capabilities = ["read", "create", "update"] }'
WHAT = "read a test secret"


@pytest.fixture(scope="module")
def bao(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenBao]:
    with dev_server(tmp_path_factory.mktemp("bao")) as server:
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


def private(path: Path, text: str) -> Path:
    path.touch(0o600)
    path.write_text(text)
    return path


def refused(connected: VaultConnection, operation: Any = read) -> KeysError:
    with pytest.raises(KeysError) as caught:
        connected.call(WHAT, operation)
    assert caught.value.__cause__ is None
    return caught.value


def test_a_token_from_the_environment(bao: OpenBao) -> None:
    token = make_token(bao, POLICY)
    connected = connection(bao, environ={"VAULT_TOKEN": token})
    assert connected.call(WHAT, read) == "1"
    assert token not in repr(connected)


def test_what_the_policy_does_not_allow_is_denied_and_not_logged_in_for_again(bao: OpenBao) -> None:
    connected = connection(bao, environ={"BAO_TOKEN": make_token(bao, POLICY), "VAULT_TOKEN": "other"})
    error = refused(connected, lambda client: read(client, "other"))
    assert (type(error), error.reason) == (KekDenied, KeysReason.VAULT_DENIED)
    assert connected.call(WHAT, read) == "1"


def test_a_revoked_token_is_told_apart_from_a_denied_path(bao: OpenBao) -> None:
    token = make_token(bao, POLICY)
    connected = connection(bao, environ={"VAULT_TOKEN": token})
    connected.call(WHAT, read)
    bao.client.auth.token.revoke(token)
    error = refused(connected)
    assert (type(error), error.reason) == (KekDenied, KeysReason.VAULT_TOKEN)
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
    error = refused(connection(bao, approle(role_id, file)))
    assert (type(error), error.reason) == (KekDenied, KeysReason.VAULT_LOGIN)


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
    error = refused(connection(bao, options))
    assert (type(error), error.reason) == (KekDenied, KeysReason.VAULT_LOGIN)


def test_a_wrapped_secret_of_another_origin_is_not_opened(bao: OpenBao, tmp_path: Path) -> None:
    role_id, _ = make_approle(bao, "proxy")
    planted = bao.client.write_data("sys/wrapping/wrap", data={"secret_id": "planted"}, wrap_ttl="120s")
    file = private(tmp_path / "secret-id", planted["wrap_info"]["token"])
    error = refused(connection(bao, {**approle(role_id, file), "secret_id_wrapped": "true"}))
    assert error.reason is KeysReason.VAULT_LOGIN
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
    error = refused(connection(bao, {**options, "role": "other"}))
    assert error.reason is KeysReason.VAULT_LOGIN


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
    error = refused(connection(tls_bao, {**options, "role": "other"}))
    assert error.reason is KeysReason.VAULT_LOGIN


def test_a_server_that_nobody_vouches_for_is_not_spoken_to(tls_bao: RaftServer) -> None:
    settings = vault_settings({"address": tls_bao.address}, {})
    error = refused(VaultConnection(settings, {"VAULT_TOKEN": "x"}))
    assert (type(error), error.reason) == (KekUnavailable, KeysReason.VAULT_TLS)


def test_a_sealed_server_and_one_that_is_back(tls_bao: RaftServer) -> None:
    connected = connection(tls_bao, environ={"VAULT_TOKEN": make_token(tls_bao, POLICY)})
    assert connected.call(WHAT, read) == "1"
    tls_bao.seal()
    error = refused(connected)
    assert (type(error), error.reason) == (KekUnavailable, KeysReason.VAULT_SEALED)
    tls_bao.unseal()
    assert connected.call(WHAT, read) == "1"
    tls_bao.stop()
    error = refused(connected)
    assert (type(error), error.reason) == (KekUnavailable, KeysReason.KEK_UNREACHABLE)
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
    error = refused(connection(bao, {"namespace": "other"}, token))
    assert error.reason in (KeysReason.VAULT_PATH, KeysReason.VAULT_DENIED)


def test_a_path_that_no_engine_serves(bao: OpenBao) -> None:
    connected = connection(bao, environ={"VAULT_TOKEN": bao.root_token})
    error = refused(connected, lambda client: client.secrets.transit.read_key("k", mount_point="nowhere"))
    assert (type(error), error.reason) == (KeySettingError, KeysReason.VAULT_PATH)


def test_nobody_listens(tmp_path: Path) -> None:
    settings = vault_settings({"address": f"http://127.0.0.1:{free_port()}"}, {})
    error = refused(VaultConnection(settings, {"VAULT_TOKEN": "x"}))
    assert (type(error), error.reason) == (KekUnavailable, KeysReason.KEK_UNREACHABLE)


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


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (silent, KeysReason.VAULT_SLOW),
        (dripping, KeysReason.VAULT_SLOW),
        (endless, KeysReason.VAULT_FAILED),
        (elsewhere, KeysReason.VAULT_FAILED),
        (not_vault, KeysReason.VAULT_FAILED),
    ],
)
def test_a_server_that_misbehaves_is_unavailable(
    answer: Callable[[socket.socket, threading.Event], None], reason: KeysReason
) -> None:
    with misbehaving(answer) as (address, heard):
        settings = vault_settings({"address": address, "timeout_s": "0.5", "deadline_s": "3"}, {})
        error = refused(VaultConnection(settings, {"VAULT_TOKEN": "x"}))
        assert (type(error), error.reason) == (KekUnavailable, reason)
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
