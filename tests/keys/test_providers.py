import base64
import sys
from pathlib import Path

import pytest

from sealwire.keys.contexts.sqlite_store import SqliteContextStore
from sealwire.keys.errors import KekUnavailable, KeysError, KeySettingError, KeysReason
from sealwire.keys.kek.kek import LocalKek
from sealwire.keys.kek.passphrase import create_key_file
from sealwire.keys.keyring.store import FileStore, VaultDocument
from sealwire.keys.providers import (
    DEFAULT_PROVIDER,
    ProviderKind,
    Providers,
    ProviderSettings,
    find_passphrase,
    parse_provider,
)
from sealwire.keys.vault.connection import VaultConnection
from sealwire.keys.vault.kv import KvStore
from sealwire.keys.vault.transit import TransitKek
from tests.keys.samples import CHEAP_SCRYPT, KEK_A, PASSPHRASE
from tests.support.reasons import raising

ENCODED = base64.b64encode(KEK_A).decode()


def test_settings_name_a_variable_or_a_path() -> None:
    assert parse_provider("env:K") == ProviderSettings(ProviderKind.ENVIRONMENT, "K")
    assert parse_provider("file:/a:b", Path("p")) == ProviderSettings(
        ProviderKind.KEY_FILE, "/a:b", Path("p")
    )
    assert parse_provider("pkcs11:token=a;object=b?module-path=/c").kind is ProviderKind.PKCS11
    assert parse_provider("aws:arn:aws:kms:r:1:key/2").location == "arn:aws:kms:r:1:key/2"
    assert (
        parse_provider("azure:https://a.vault.azure.net/keys/b").location
        == "https://a.vault.azure.net/keys/b"
    )
    assert parse_provider("gcp:projects/p").kind is ProviderKind.GCP_KMS
    assert parse_provider(DEFAULT_PROVIDER).location == "SEALWIRE_KEK"


@pytest.mark.parametrize("setting", ["", "env", "env:", "file:", "vault:x", ENCODED, f"{ENCODED}:x"])
def test_everything_else_is_refused_and_not_shown(setting: str) -> None:
    with raising(KeySettingError, KeysReason.PROVIDER) as caught:
        parse_provider(setting)
    assert ENCODED not in str(caught.value) + caught.value.hint


@pytest.mark.parametrize("kind", ProviderKind)
def test_a_remote_key_is_one_that_may_be_away(kind: ProviderKind) -> None:
    assert kind.is_remote == (kind not in (ProviderKind.ENVIRONMENT, ProviderKind.KEY_FILE))


@pytest.mark.parametrize(
    ("setting", "library", "module", "extra"),
    [
        ("aws:alias/a", "boto3", "aws", "image-full"),
        ("pkcs11:token=a;object=b?module-path=/c", "pkcs11", "pkcs11", "image-full"),
        ("azure:https://abc.vault.azure.net/keys/b", "azure.identity", "azure", "image-full"),
        ("gcp:projects/p/locations/l/keyRings/r/cryptoKeys/k", "google.auth", "gcp", "image-full"),
    ],
)
def test_without_its_library_a_provider_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, setting: str, library: str, module: str, extra: str
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    for name in {module, setting.partition(":")[0]}:
        monkeypatch.delitem(sys.modules, f"sealwire.keys.kek.{name}", raising=False)
    with raising(KeySettingError, KeysReason.KMS_SETTING) as caught:
        Providers({}).kek(parse_provider(setting))
    assert extra in caught.value.hint


def test_the_environment_provider_opens() -> None:
    assert Providers({"K": ENCODED}).kek(parse_provider("env:K")).id == LocalKek(KEK_A).id


def test_a_key_file_opens_with_a_passphrase_from_each_source(tmp_path: Path) -> None:
    kek_id = create_key_file(tmp_path / "kek.json", PASSPHRASE, CHEAP_SCRYPT)
    file = tmp_path / "passphrase"
    file.touch(0o600)
    file.write_text(PASSPHRASE + "\n")
    setting = f"file:{tmp_path / 'kek.json'}"
    assert Providers({}).kek(parse_provider(setting, file)).id == kek_id
    assert Providers({"SEALWIRE_PASSPHRASE": PASSPHRASE}).kek(parse_provider(setting)).id == kek_id
    assert Providers({}).kek(parse_provider(setting), lambda: PASSPHRASE).id == kek_id


def test_the_sources_have_an_order(tmp_path: Path) -> None:
    file = tmp_path / "passphrase"
    file.touch(0o600)
    file.write_text("from the file")
    environ = {"SEALWIRE_PASSPHRASE": "from the environment"}
    assert find_passphrase(file, environ, lambda: "from a human") == "from the file"
    assert find_passphrase(None, environ, lambda: "from a human") == "from the environment"
    assert find_passphrase(None, {}, lambda: "from a human") == "from a human"


def test_no_source_at_all_is_an_error_and_not_an_empty_passphrase() -> None:
    with raising(KeysError, KeysReason.PASSPHRASE_MISSING):
        find_passphrase(None, {})


def test_a_place_leads_to_its_store(tmp_path: Path) -> None:
    providers = Providers({"VAULT_ADDR": "http://127.0.0.1:1", "VAULT_TOKEN": "t"})
    file, document = providers.store(tmp_path / "k"), providers.store(VaultDocument("secret", "a"))
    assert (type(file), type(document)) == (FileStore, KvStore)
    assert str(document) == "vault:secret/a"
    assert isinstance(providers.kek(parse_provider("vault:transit/sealwire")), TransitKek)


def test_all_that_lies_in_vault_shares_one_connection() -> None:
    providers = Providers({"VAULT_ADDR": "https://v:8200", "VAULT_TOKEN": "t"})
    one, other = (providers.kek(parse_provider(f"vault:transit/{name}")) for name in "ab")
    assert isinstance(one, TransitKek)
    assert isinstance(other, TransitKek)
    assert one._connection is other._connection
    assert isinstance(one._connection, VaultConnection)


def test_a_store_of_context_keys_is_a_file_or_lies_in_vault(tmp_path: Path) -> None:
    providers = Providers({"VAULT_ADDR": "http://127.0.0.1:1", "VAULT_TOKEN": "none"})
    with raising(KeySettingError, KeysReason.FILE_MISSING):
        providers.context_store(tmp_path / "contexts.db", create=False)
    store = providers.context_store(tmp_path / "contexts.db", create=True)
    store.close()
    assert str(store) == str(tmp_path / "contexts.db")
    assert isinstance(store, SqliteContextStore)
    assert not store._for_move
    with pytest.raises(KekUnavailable):
        providers.context_store(VaultDocument("secret", "contexts"), create=False)
    with pytest.raises(KeysError) as caught:
        providers.context_store(VaultDocument("secret", "contexts"), create=True)
    assert (type(caught.value), caught.value.reason) == (KekUnavailable, KeysReason.CONTEXTS)
