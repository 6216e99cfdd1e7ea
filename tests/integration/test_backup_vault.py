"""Backups whose keys are in OpenBao: who may write them cannot read them, and the other way round."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from sealwire.keys.errors import KekDenied
from sealwire.keys.vault.connection import VaultConnection
from sealwire.keys.vault.settings import vault_settings
from sealwire.keys.vault.transit import TransitKek
from sealwire.sidecars.backup.keeping.verification import rewrap, verify_backup
from sealwire.sidecars.backup.sealed.payload import create_backup
from sealwire.sidecars.backup.stores.local_store import LocalStore
from sealwire.testbed.openbao import OpenBao, dev_server
from tests.keys.samples import NOW
from tests.sidecars.backup.samples import seal

pytestmark = pytest.mark.integration

NAME = "backups"


@pytest.fixture(scope="module")
def bao(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenBao]:
    with dev_server(tmp_path_factory.mktemp("bao")) as server:
        server.client.sys.enable_secrets_engine("transit")
        server.client.secrets.transit.create_key(NAME)
        yield server


def kek(bao: OpenBao, *rights: str) -> TransitKek:
    """The key, with a token that may do just this with it."""
    policy = "".join(f'path "transit/{right}/{NAME}" {{ capabilities = ["update"] }}\n' for right in rights)
    name = "-".join(rights)
    bao.client.sys.create_or_update_policy(name, policy)
    token = str(bao.client.auth.token.create(policies=[name])["auth"]["client_token"])
    connection = VaultConnection(vault_settings({"address": bao.address}, {}), {"VAULT_TOKEN": token})
    return TransitKek(connection, f"transit/{NAME}")


def test_who_writes_cannot_read_and_who_reads_cannot_write(bao: OpenBao, tmp_path: Path) -> None:
    writer, reader = kek(bao, "encrypt"), kek(bao, "decrypt")
    store = LocalStore(tmp_path)
    seal(store, recipients=[writer])
    with pytest.raises(KekDenied):
        verify_backup(store, "b", [writer], NOW)
    assert verify_backup(store, "b", [reader], NOW).manifest.documents == 20
    with pytest.raises(KekDenied), create_backup(store, "c", [reader]):
        pass
    assert not list(tmp_path.glob("*c.tar*"))


def test_after_a_rotation_the_old_version_can_be_retired(bao: OpenBao, tmp_path: Path) -> None:
    both = kek(bao, "encrypt", "decrypt")
    store = LocalStore(tmp_path)
    seal(store, recipients=[both])
    transit = bao.client.secrets.transit
    transit.rotate_key(NAME)
    rewrap(store, "b", [both], [both])
    newest = transit.read_key(NAME)["data"]["latest_version"]
    transit.update_key_configuration(NAME, min_decryption_version=newest)
    assert verify_backup(store, "b", [both], NOW).recorded
    # What the payload's own header holds is dead now: nobody opens it without the sidecar.
    (tmp_path / "b.tar.gz.enc.json").unlink()
    with pytest.raises(KekDenied):
        verify_backup(store, "b", [both], NOW)
