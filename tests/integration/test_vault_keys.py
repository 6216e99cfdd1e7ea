"""The contracts of KEKs and stores, kept by a real OpenBao; and what only a server can do."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from secrets import token_hex
from typing import Any

import pytest

from sealwire.keys.errors import DamagedFile, KekDenied, KeysError, KeySettingError, KeysReason, UnwrapFailed
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
from sealwire.testbed.openbao import OpenBao, dev_server
from tests.keys.kek_contract import AD, KEY, KekContract, Pair
from tests.keys.samples import NOW, local_kek
from tests.keys.store_contract import StoreContract
from tests.support.debian import require_programs
from tests.support.openbao import enable_kv, make_token, raft_server
from tests.support.reasons import raising

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def bao(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenBao]:
    with dev_server(tmp_path_factory.mktemp("bao")) as server:
        server.client.sys.enable_secrets_engine("transit")
        yield server


@pytest.fixture(scope="module")
def connection(bao: OpenBao) -> VaultConnection:
    return connect(bao, bao.root_token)


def connect(bao: OpenBao, token: str) -> VaultConnection:
    return VaultConnection(vault_settings({"address": bao.address}, {}), {"VAULT_TOKEN": token})


def create_key(bao: OpenBao, **more: Any) -> str:
    name = f"k-{token_hex(4)}"
    bao.client.secrets.transit.create_key(name, **more)
    return name


class TestTransit(KekContract):
    @pytest.fixture(
        params=[{}, {"derived": True}, {"key_type": "chacha20-poly1305"}], ids=["plain", "derived", "chacha"]
    )
    def pair(self, request: pytest.FixtureRequest, bao: OpenBao, connection: VaultConnection) -> Pair:
        first, second = (TransitKek(connection, f"transit/{create_key(bao, **request.param)}") for _ in "12")
        return first, second


class TestKv(StoreContract):
    @pytest.fixture
    def store(self, connection: VaultConnection) -> KeyringStore:
        return KvStore(connection, VaultDocument("secret", f"clinic/{token_hex(4)}"))


def refused(kek: TransitKek) -> KeysError:
    with pytest.raises(KeysError) as caught:
        kek.wrap(KEY, AD)
    assert caught.value.__cause__ is None
    return caught.value


def test_a_rotated_key_opens_what_older_versions_wrapped(bao: OpenBao, connection: VaultConnection) -> None:
    name = create_key(bao)
    kek = TransitKek(connection, f"transit/{name}")
    old = kek.wrap(KEY, AD)
    bao.client.secrets.transit.rotate_key(name)
    new = kek.wrap(KEY, AD)
    assert (old[:4], new[:4]) == (b"\0\0\0\1", b"\0\0\0\2")
    assert kek.unwrap(old, AD) == kek.unwrap(new, AD) == KEY


def test_a_keyring_is_wrapped_anew_by_every_write(
    bao: OpenBao, connection: VaultConnection, tmp_path: Path
) -> None:
    name = create_key(bao)
    kek = TransitKek(connection, f"transit/{name}")
    create_keyring(tmp_path / "k", kek, ["a"], NOW)
    bao.client.secrets.transit.rotate_key(name)
    add_classes(tmp_path / "k", kek, ["b"], NOW)
    bao.client.secrets.transit.update_key_configuration(name, min_decryption_version=2)
    assert load_keyring(tmp_path / "k", kek).class_names == ("a", "b")
    assert read_record(tmp_path / "k").kek_id == f"vault:{name}"


def test_a_retired_version_is_told_apart_from_damage(bao: OpenBao, connection: VaultConnection) -> None:
    name = create_key(bao)
    kek = TransitKek(connection, f"transit/{name}")
    wrapped = kek.wrap(KEY, AD)
    bao.client.secrets.transit.rotate_key(name)
    bao.client.secrets.transit.update_key_configuration(name, min_decryption_version=2)
    with raising(KekDenied, KeysReason.VAULT_KEY):
        kek.unwrap(wrapped, AD)


def test_the_server_itself_binds_the_associated_data(bao: OpenBao, connection: VaultConnection) -> None:
    """Not only the digest inside: what the server decrypts with other data is nothing."""
    import base64

    import hvac

    for more in ({}, {"derived": True}):
        name = create_key(bao, **more)
        wrapped = TransitKek(connection, f"transit/{name}").wrap(KEY, AD)
        text = f"vault:v1:{base64.b64encode(wrapped[4:]).decode()}"
        right, wrong = base64.b64encode(AD).decode(), base64.b64encode(b"other").decode()
        context = base64.b64encode(b"\x01" + AD).decode()
        transit = bao.client.secrets.transit
        assert transit.decrypt_data(name, text, context=context, associated_data=right)
        with pytest.raises(hvac.exceptions.InvalidRequest):
            transit.decrypt_data(name, text, context=context, associated_data=wrong)
    with pytest.raises(hvac.exceptions.InvalidRequest):
        transit.decrypt_data(name, text, context=wrong, associated_data=right)


def test_a_server_that_binds_nothing_is_found_out(bao: OpenBao, connection: VaultConnection) -> None:
    """What an older server does: it ignores the parameter. The digest inside notices."""
    import base64
    from hashlib import sha256

    name = create_key(bao)
    plaintext = base64.b64encode(sha256(b"other").digest() + KEY).decode()
    ciphertext = bao.client.secrets.transit.encrypt_data(
        name, plaintext=plaintext, associated_data=base64.b64encode(AD).decode()
    )["data"]["ciphertext"]
    with pytest.raises(UnwrapFailed):
        TransitKek(connection, f"transit/{name}").unwrap(
            b"\0\0\0\1" + base64.b64decode(ciphertext.removeprefix("vault:v1:")), AD
        )


@pytest.mark.parametrize("location", ["transit/nobody-made-it"])
def test_an_unknown_key_is_not_created_by_wrapping(
    bao: OpenBao, connection: VaultConnection, location: str
) -> None:
    error = refused(TransitKek(connection, location))
    assert (type(error), error.reason) == (KeySettingError, KeysReason.VAULT_KEY)
    assert "nobody-made-it" not in bao.client.secrets.transit.list_keys()["data"]["keys"]


def test_a_key_without_authentication_is_refused(bao: OpenBao, connection: VaultConnection) -> None:
    error = refused(TransitKek(connection, f"transit/{create_key(bao, key_type='rsa-2048')}"))
    assert (type(error), error.reason) == (KeySettingError, KeysReason.VAULT_KEY)


def test_a_wrong_mount_is_named_as_such(connection: VaultConnection) -> None:
    error = refused(TransitKek(connection, "elsewhere/k"))
    assert (type(error), error.reason) == (KeySettingError, KeysReason.VAULT_PATH)
    with raising(KeySettingError, KeysReason.VAULT_PATH):
        KvStore(connection, VaultDocument("elsewhere", "k")).exists()


def test_the_least_rights_suffice(bao: OpenBao, tmp_path: Path) -> None:
    name = create_key(bao)
    policy = (
        f'path "transit/encrypt/{name}" {{ capabilities = ["update"] }}\n'
        f'path "transit/decrypt/{name}" {{ capabilities = ["update"] }}'
    )
    kek = TransitKek(connect(bao, make_token(bao, policy)), f"transit/{name}")
    assert kek.unwrap(kek.wrap(KEY, AD), AD) == KEY
    other = TransitKek(connect(bao, make_token(bao, policy)), f"transit/{create_key(bao)}")
    error = refused(other)
    assert (type(error), error.reason) == (KekDenied, KeysReason.VAULT_DENIED)


def test_a_deleted_keyring_is_missing_and_not_written_over(bao: OpenBao, connection: VaultConnection) -> None:
    store = KvStore(connection, VaultDocument("secret", "deleted"))
    create_keyring(store, local_kek(), ["a"], NOW)
    bao.client.secrets.kv.v2.delete_latest_version_of_secret("deleted", mount_point="secret")
    assert not store.exists()
    with raising(KeysError, KeysReason.FILE_MISSING):
        store.read()
    with raising(KeysError, KeysReason.FILE_EXISTS):
        create_keyring(store, local_kek(), ["a"], NOW)


def test_a_document_of_another_shape_is_not_a_keyring(bao: OpenBao, connection: VaultConnection) -> None:
    bao.client.secrets.kv.v2.create_or_update_secret("foreign", {"password": "x"}, mount_point="secret")
    with raising(KeysError, KeysReason.SCHEMA):
        KvStore(connection, VaultDocument("secret", "foreign")).read()


def test_a_keyring_too_large_for_the_storage_is_told_apart_from_a_failure(tmp_path: Path) -> None:
    with raft_server(tmp_path) as bao:
        enable_kv(bao.client)
        options = {"address": bao.address, "ca": str(bao.ca)}
        connection = VaultConnection(vault_settings(options, {}), {"VAULT_TOKEN": bao.root_token})
        with raising(KeySettingError, KeysReason.FILE_TOO_LARGE):
            KvStore(connection, VaultDocument("secret", "large")).create(b"x" * 1_500_000)


def test_version_1_of_the_engine_is_refused(bao: OpenBao, connection: VaultConnection) -> None:
    bao.client.sys.enable_secrets_engine("kv", "kv1", options={"version": "1"})
    with raising(KeySettingError, KeysReason.VAULT_PATH):
        KvStore(connection, VaultDocument("kv1", "k")).create(b"{}")


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


def read(setting: str) -> bytes:
    return read_passphrase(parse_source(setting), Machine(), never, is_new=True)


@pytest.mark.usefixtures("logged_in")
def test_a_field_of_a_document_in_vault() -> None:
    assert read("vault:secret/luks/mongodb#passphrase") == STRONG.encode()


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
        read(f"vault:{place}")
    assert STRONG not in str(caught.value)


def test_a_credential_that_systemd_sealed_on_this_machine(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("the key of the machine is root's")
    require_programs({"systemd-creds": "systemd"})
    sealed = tmp_path / "mongodb-luks"
    seal = ["systemd-creds", "encrypt", "--with-key=host", "--name=mongodb-luks", "-", str(sealed)]
    done = subprocess.run(seal, input=STRONG + "\n", text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert read(f"systemd-creds:{sealed}") == STRONG.encode()
    sealed.rename(tmp_path / "another-name")
    with raising(Unusable, LuksReason.SECRET_SOURCE):
        read(f"systemd-creds:{tmp_path}/another-name")
