"""What the tests of backups share: a small dump as a tar, its manifest, and keys of every kind."""

import hashlib
import io
import tarfile
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

import bson
import pytest

from sealwire.audit.signing import SigningKey, make_key
from sealwire.keys.kek.kek import LocalKek
from sealwire.keys.kek.key_pair import PrivateKey
from sealwire.sidecars.backup.sealed.key_slots import Identity, Recipient
from sealwire.sidecars.backup.sealed.manifest import (
    MANIFEST_MEMBER,
    Consistency,
    Manifest,
    TarMember,
    serialize,
)
from sealwire.sidecars.backup.sealed.payload import create_backup, open_backup
from sealwire.sidecars.backup.stores.local_store import LocalStore
from sealwire.sidecars.backup.stores.store import Store
from sealwire.sidecars.errors import SidecarError
from tests.keys.samples import KEK_A, KEK_B, NOW

KEK = LocalKek(KEK_A)
OTHER_KEK = LocalKek(KEK_B)
PRIVATE = PrivateKey(bytes(range(32)))
SIGNING = make_key("clinic.example/backups", bytes(range(32)))

SMALL_CHUNK = 64


def documents(count: int, text: str = "x") -> bytes:
    return b"".join(bson.encode({"_id": number, "text": text}) for number in range(count))


def member(path: str, content: bytes, namespace: str | None = None, count: int | None = None) -> TarMember:
    return TarMember(path, len(content), hashlib.sha256(content).hexdigest(), count, namespace)


def make_manifest(members: Sequence[TarMember] = (), created: datetime = NOW) -> Manifest:
    return Manifest(
        created=created,
        finished=created,
        tool_version="0.1.0",
        dumper="built-in",
        server_version="8.0.4",
        consistency=Consistency.NONE,
        window=None,
        policy_sha256=None,
        key_ids=(),
        members=tuple(members),
    )


Content = tuple[str, bytes, str | None, int | None]

DUMP: tuple[Content, ...] = (
    ("clinic/patients.metadata.json", b'{"indexes":[]}', "clinic.patients", None),
    ("clinic/patients.bson", documents(20), "clinic.patients", 20),
    ("clinic/empty.bson", b"", "clinic.empty", 0),
)


def make_tar(files: Sequence[tuple[str, bytes]]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for path, content in files:
            info = tarfile.TarInfo(path)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


def make_dump(dump: Sequence[Content] = DUMP, created: datetime = NOW) -> tuple[bytes, Manifest]:
    """A tar as a dumper writes it, and its manifest."""
    manifest = make_manifest([member(*entry) for entry in dump], created)
    files = [(path, content) for path, content, _, _ in dump]
    return make_tar([*files, (MANIFEST_MEMBER, serialize(manifest))]), manifest


def seal(
    store: Store,
    name: str = "b",
    recipients: Sequence[Recipient] = (KEK,),
    created: datetime = NOW,
    chunk_bytes: int = SMALL_CHUNK,
    sign_with: SigningKey | None = None,
) -> Manifest:
    """A sound backup of DUMP in `store`."""
    tar, manifest = make_dump(created=created)
    with create_backup(store, name, recipients, chunk_bytes, sign_with) as writer:
        writer.write(tar)
        writer.commit(manifest)
    return manifest


def change(path: Path, edit: Callable[[bytes], bytes]) -> None:
    path.write_bytes(edit(path.read_bytes()))


def local(directory: Path) -> LocalStore:
    return LocalStore(directory)


# Where the files of a sealed backup called `b` lie, and how it is read.


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
