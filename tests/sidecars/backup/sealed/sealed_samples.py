"""Where the files of a sealed backup called `b` lie, and how it is read."""

import pytest

from sealwire.sidecars.backup.sealed.key_slots import Identity
from sealwire.sidecars.backup.sealed.payload import open_backup
from sealwire.sidecars.backup.stores.local_store import LocalStore
from sealwire.sidecars.errors import SidecarError
from tests.sidecars.backup.samples import (
    KEK,
)

PAYLOAD = "b.tar.gz.enc"

SIDECAR = "b.tar.gz.enc.json"


def read_all(store: LocalStore, identity: Identity = KEK, name: str = "b") -> bytes:
    with open_backup(store, name, [identity]) as reader:
        data = reader.read()
        reader.finish()
    return data


def refusal(store: LocalStore, identity: Identity = KEK) -> SidecarError:
    with pytest.raises(SidecarError) as caught:
        read_all(store, identity)
    return caught.value
