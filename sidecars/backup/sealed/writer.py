"""From tar bytes to a sealed backup: gzip, chunks, header, and a name only when all of it is durable."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Self

from sealwire.audit.signing import SigningKey
from sealwire.sidecars.backup.sealed.chunk_io import ChunkWriter, gzipped
from sealwire.sidecars.backup.sealed.key_slots import (
    DEFAULT_CHUNK_BYTES,
    BackupKeys,
    KeySlot,
    Recipient,
    seal_header,
)
from sealwire.sidecars.backup.sealed.manifest import Manifest
from sealwire.sidecars.backup.sealed.sidecar import Sidecar, seal_sidecar, signed
from sealwire.sidecars.backup.stores.store import Store, Upload, payload_key, sidecar_key
from sealwire.sidecars.errors import BackupExists, BackupReason


@dataclass(frozen=True, slots=True)
class NewBackup:
    """A sealed file that is being written: everything but what goes through the chunks."""

    store: Store
    name: str
    keys: BackupKeys
    slots: tuple[KeySlot, ...]
    upload: Upload
    chunks: ChunkWriter
    header_sha256: str
    sign_with: SigningKey | None

    def commit(self, manifest: Manifest, verified: datetime | None = None) -> Sidecar:
        """Seal the last chunk, then the sidecar, then the name: a backup that is there has both.

        A process that dies in between leaves a sidecar without a backup, which the next one replaces.
        Raises BackupExists before anything of another backup is touched; StoreUnavailable.
        """
        self.chunks.finish()
        if self.store.exists(payload_key(self.name)):
            text = f"{payload_key(self.name)} exists already"
            raise BackupExists(BackupReason.EXISTS, text, "choose another name")
        chunks = self.chunks
        sidecar = Sidecar(self.keys.backup_id, self.slots, chunks.size, chunks.sha256, verified, manifest)
        if self.sign_with is not None:
            sidecar = signed(sidecar, self.name, self.header_sha256, self.sign_with)
        self.store.replace_small(sidecar_key(self.name), seal_sidecar(sidecar, self.keys))
        self.upload.commit()
        return sidecar


@contextmanager
def begin_backup(
    store: Store,
    name: str,
    recipients: Sequence[Recipient],
    chunk_bytes: int = DEFAULT_CHUNK_BYTES,
    sign_with: SigningKey | None = None,
) -> Iterator[NewBackup]:
    """A fresh data key, wrapped for `recipients`, and the header in the store. Unsigned without a key.

    What is not committed when the block is left is removed, also where a signal comes as it begins.

    Raises:  BackupSettingError NAME, RECIPIENT; BackupExists; StoreUnavailable; what a provider raises
    """
    key, keys = payload_key(name), BackupKeys.generate()
    slots = keys.wrap_for(recipients)
    header, tag = seal_header(keys, chunk_bytes, slots)
    upload = store.begin(key)
    try:
        chunks = ChunkWriter(upload, header, keys.payload_key(tag), chunk_bytes)
        yield NewBackup(store, name, keys, slots, upload, chunks, sha256(header).hexdigest(), sign_with)
    finally:
        upload.abort()  # of what is committed nothing is left to remove


class SealedWriter:
    """Takes an uncompressed tar; leaving the `with` block without `commit` removes what was written.

    The last member of the tar is `manifest.MANIFEST_MEMBER` with `manifest.serialize(...)` as content; the
    same manifest is given to `commit`. Memory: a few blocks of compression and a chunk, 10 MB in all.
    """

    def __init__(self, backup: NewBackup) -> None:
        self._backup = backup
        self._gzip = gzipped(backup.chunks)
        self._written = 0
        self._open = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._abort()

    def write(self, data: bytes | bytearray | memoryview, /) -> int:
        """Take all of `data`; what the store says may come out one write later. Raises StoreUnavailable."""
        self._require_open()
        self._written += self._gzip.write(data)
        return len(data)

    def tell(self) -> int:
        """How many bytes of the tar were taken."""
        return self._written

    def commit(self, manifest: Manifest) -> None:
        """Make it a backup, durably. Raises StoreUnavailable, BackupExists; nothing has a name then."""
        self._require_open()
        try:
            self._gzip.close()
            self._backup.commit(manifest)
        except BaseException:
            self._abort()
            raise
        self._open = False

    def _require_open(self) -> None:
        if not self._open:
            raise ValueError("the backup was committed or given up already")

    def _abort(self) -> None:
        if not self._open:
            return
        self._open = False
        # The store may fail again while the compressor ends; that it failed is known already.
        with suppress(Exception):
            self._gzip.close()
        self._backup.upload.abort()


@contextmanager
def create_backup(
    store: Store,
    name: str,
    recipients: Sequence[Recipient],
    chunk_bytes: int = DEFAULT_CHUNK_BYTES,
    sign_with: SigningKey | None = None,
) -> Iterator[SealedWriter]:
    """Start the backup `name`. Raises as `begin_backup` does."""
    with (
        begin_backup(store, name, recipients, chunk_bytes, sign_with) as backup,
        SealedWriter(backup) as writer,
    ):
        yield writer
