"""For the tests of this folder: a server, and a store that nobody has used."""

from collections.abc import Iterator
from secrets import token_hex

import pytest

from sealwire.keys.keyring.store import VaultDocument
from sealwire.keys.vault.connection import VaultConnection
from sealwire.keys.vault.context_store import VaultContextStore
from sealwire.testbed.openbao import OpenBao, dev_server
from tests.integration.contexts_in_vault.asking import connect


@pytest.fixture(scope="module")
def bao(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenBao]:
    with dev_server(tmp_path_factory.mktemp("bao")) as server:
        yield server


@pytest.fixture(scope="module")
def connection(bao: OpenBao) -> VaultConnection:
    return connect(bao.address, bao.root_token)


@pytest.fixture
def place() -> VaultDocument:
    return VaultDocument("secret", f"clinic/{token_hex(4)}")


@pytest.fixture
def store(connection: VaultConnection, place: VaultDocument) -> VaultContextStore:
    return VaultContextStore(connection, place)
