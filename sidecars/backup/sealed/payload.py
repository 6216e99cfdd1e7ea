"""From a sealed backup to the bytes of its tar, and back.

Nothing that was not authenticated is ever returned.
"""

import zlib
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Self

from sealwire.audit.signing import SigningKey, VerificationKey
from sealwire.sidecars.backup.sealed import chunk_io, key_slots
from sealwire.sidecars.backup.sealed.manifest import Manifest
from sealwire.sidecars.backup.sealed.sidecar import (
    MAX_SIDECAR_BYTES,
    BackupOrigin,
    RawSidecar,
    Sidecar,
    origin_of,
    parse_sidecar,
    seal_sidecar,
    signed,
)
from sealwire.sidecars.backup.stores.store import Store, Upload, payload_key, read_small, sidecar_key
from sealwire.sidecars.errors import BackupReason, CannotCreate, Missing, Unsound

_HINT = "restore another backup, and find out what happened to this one"


@dataclass(frozen=True, slots=True)
class OpenBackup:
    """A sealed file whose header and sidecar are authentic; the stream stands at the first chunk."""

    name: str
    keys: key_slots.BackupKeys
    header: key_slots.UncheckedHeader
    sidecar: Sidecar | None
    stream: chunk_io.CountedStream
    chunks: chunk_io.ChunkReader
    origin: BackupOrigin
    """Who can have written it. That the payload is the signed one is known after `check_end`."""

    def check_end(self) -> None:
        """After the last chunk: the file is as long as its sidecar says. Raises Unsound."""
        known, read = self.sidecar, (self.stream.size, self.stream.sha256)
        if known is not None and read != (known.payload_bytes, known.payload_sha256):
            text = f"{self.name}: the sidecar describes another file"
            raise Unsound(BackupReason.SIDECAR_OTHER, text, _HINT)


class SealedReader:
    """Gives the tar back. Every byte returned has been authenticated and stands where it was written.

    Memory: a few blocks of compression and two chunks, 10 MB in all.
    """

    def __init__(self, backup: OpenBackup) -> None:
        self._backup = backup
        self._gzip = chunk_io.Gunzipped(backup.chunks)
        self.sidecar = backup.sidecar
        """None when no sidecar lies beside the backup; the manifest is inside as well."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        try:
            self._gzip.close()
        finally:
            self._backup.stream.close()

    def read(self, size: int = -1, /) -> bytes:
        """At most `size` bytes, b"" at the end. Raises Unsound, Unavailable."""
        try:
            return self._gzip.read(size)
        except (EOFError, zlib.error, OSError):
            # Authentic bytes that are no gzip: written by something else that had the key.
            text = f"{self._backup.name} does not decompress"
            raise Unsound(BackupReason.COMPRESSION, text, _HINT) from None

    def finish(self) -> None:
        """Read to the authenticated end, and compare length and checksum with the sidecar.

        A tar reader stops before that end, and does not notice a file that was cut behind its tar.
        Raises Unsound, Unavailable.
        """
        while self.read(1 << 20):
            pass
        # gzip ends before the last chunk does when something stands behind it.
        if self._backup.chunks.read(1):
            text = f"{self._backup.name}: bytes behind the end of the archive"
            raise Unsound(BackupReason.COMPRESSION, text, _HINT)
        self._backup.check_end()


def open_backup(
    store: Store,
    name: str,
    identities: Sequence[key_slots.Identity],
    signed_by: Sequence[VerificationKey] = (),
) -> SealedReader:
    """Open the backup `name` with one of `identities`; use it in a `with` block.

    The sidecar's slots count, so that a recipient who was taken out by rekey stays out; without a sidecar the
    header's own do. If `signed_by` names keys, one of them has to have signed the backup.
    Raises:  Missing; Unsound; Denied; Unavailable; what a provider
             raises
    """
    return SealedReader(begin_reading(store, name, identities, signed_by))


def begin_reading(
    store: Store,
    name: str,
    identities: Sequence[key_slots.Identity],
    signed_by: Sequence[VerificationKey] = (),
) -> OpenBackup:
    """Header and sidecar, found genuine and to belong together. The caller closes `stream`.

    Raises:  as `open_backup` does
    """
    key = payload_key(name)
    raw = read_sidecar(store, name)
    stream = chunk_io.CountedStream(store.open(key))
    try:
        header = key_slots.read_header(stream.read_exactly, key)
        if raw is not None and raw.sidecar.backup_id != header.backup_id:
            text = f"{name}: payload and sidecar belong to different backups"
            hint = "one of the two was replaced; move the sidecar away to open the payload by itself"
            raise Unsound(BackupReason.SIDECAR_OTHER, text, hint)
        slots = header.slots if raw is None else raw.sidecar.slots
        keys, slot = key_slots.unwrap_slots(slots, header.backup_id, identities, key)
        header.authenticate(keys, key)
        if raw is not None:
            raw.authenticate(keys, sidecar_key(name))
        sidecar = None if raw is None else raw.sidecar
        origin = origin_of(name, header, sidecar, slot, signed_by)
        chunks = chunk_io.ChunkReader(stream, keys.payload_key(header.tag), header.chunk_bytes, key)
        return OpenBackup(name, keys, header, sidecar, stream, chunks, origin)
    except BaseException:
        stream.close()
        raise


def read_sidecar(store: Store, name: str) -> RawSidecar | None:
    """The file beside it, not authenticated; None when there is none. Raises Unsound SIDECAR."""
    key = sidecar_key(name)
    try:
        return parse_sidecar(read_small(store, key, MAX_SIDECAR_BYTES), key)
    except Missing:
        return None


# From tar bytes to a sealed backup: gzip, chunks, header, and a name only when all of it is durable.


@dataclass(frozen=True, slots=True)
class NewBackup:
    """A sealed file that is being written: everything but what goes through the chunks."""

    store: Store
    name: str
    keys: key_slots.BackupKeys
    slots: tuple[key_slots.KeySlot, ...]
    upload: Upload
    chunks: chunk_io.ChunkWriter
    header_sha256: str
    sign_with: SigningKey | None

    def commit(self, manifest: Manifest, verified: datetime | None = None) -> Sidecar:
        """Seal the last chunk, then the sidecar, then the name: a backup that is there has both.

        A process that dies in between leaves a sidecar without a backup, which the next one replaces.
        Raises CannotCreate before anything of another backup is touched; Unavailable.
        """
        self.chunks.finish()
        if self.store.exists(payload_key(self.name)):
            text = f"{payload_key(self.name)} exists already"
            raise CannotCreate(BackupReason.EXISTS, text, "choose another name")
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
    recipients: Sequence[key_slots.Recipient],
    chunk_bytes: int = key_slots.DEFAULT_CHUNK_BYTES,
    sign_with: SigningKey | None = None,
) -> Iterator[NewBackup]:
    """A fresh data key, wrapped for `recipients`, and the header in the store. Unsigned without a key.

    What is not committed when the block is left is removed, also where a signal comes as it begins.

    Raises:  Unusable NAME, RECIPIENT; CannotCreate; Unavailable; what a provider raises
    """
    key, keys = payload_key(name), key_slots.BackupKeys.generate()
    slots = keys.wrap_for(recipients)
    header, tag = key_slots.seal_header(keys, chunk_bytes, slots)
    upload = store.begin(key)
    try:
        chunks = chunk_io.ChunkWriter(upload, header, keys.payload_key(tag), chunk_bytes)
        yield NewBackup(store, name, keys, slots, upload, chunks, sha256(header).hexdigest(), sign_with)
    finally:
        upload.abort()  # of what is committed nothing is left to remove


class SealedWriter:
    """Takes an uncompressed tar; closed without `commit`, nothing of it stays.

    The last member of the tar is `manifest.MANIFEST_MEMBER` with `manifest.serialize(...)` as content; the
    same manifest is given to `commit`. Memory: a few blocks of compression and a chunk, 10 MB in all.
    """

    def __init__(self, backup: NewBackup) -> None:
        self._backup = backup
        self._gzip = chunk_io.gzipped(backup.chunks)
        self._written = 0
        self._open = True

    def write(self, data: bytes | bytearray | memoryview, /) -> int:
        """Take all of `data`; what the store says may come out one write later. Raises Unavailable."""
        self._require_open()
        self._written += self._gzip.write(data)
        return len(data)

    def tell(self) -> int:
        """How many bytes of the tar were taken."""
        return self._written

    def commit(self, manifest: Manifest) -> None:
        """Make it a backup, durably. Raises Unavailable, CannotCreate; nothing has a name then."""
        self._require_open()
        self._gzip.close()
        self._backup.commit(manifest)
        self._open = False

    def close(self) -> None:
        """Give it up, unless it was committed; `begin_backup` removes what was written."""
        if self._open:
            self._open = False
            # The store may fail again while the compressor ends; that it failed is known already.
            with suppress(Exception):
                self._gzip.close()

    def _require_open(self) -> None:
        if not self._open:
            raise ValueError("the backup was committed or given up already")


@contextmanager
def create_backup(
    store: Store,
    name: str,
    recipients: Sequence[key_slots.Recipient],
    chunk_bytes: int = key_slots.DEFAULT_CHUNK_BYTES,
    sign_with: SigningKey | None = None,
) -> Iterator[SealedWriter]:
    """Start the backup `name`. Raises as `begin_backup` does."""
    with (
        begin_backup(store, name, recipients, chunk_bytes, sign_with) as backup,
        closing(SealedWriter(backup)) as writer,
    ):
        yield writer
