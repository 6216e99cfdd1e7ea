"""From a sealed backup to the bytes of its tar. Nothing that was not authenticated is ever returned."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from sealwire.audit.signing import VerificationKey
from sealwire.sidecars.backup.sealed.chunk_io import ChunkReader, CountedStream, Gunzipped
from sealwire.sidecars.backup.sealed.key_slots import (
    BackupKeys,
    Identity,
    UncheckedHeader,
    read_header,
    unwrap_slots,
)
from sealwire.sidecars.backup.sealed.sidecar import (
    MAX_SIDECAR_BYTES,
    BackupOrigin,
    RawSidecar,
    Sidecar,
    origin_of,
    parse_sidecar,
)
from sealwire.sidecars.backup.stores.store import Store, payload_key, read_small, sidecar_key
from sealwire.sidecars.errors import BackupDamaged, BackupMissing, BackupReason

_HINT = "restore another backup, and find out what happened to this one"


@dataclass(frozen=True, slots=True)
class OpenBackup:
    """A sealed file whose header and sidecar are authentic; the stream stands at the first chunk."""

    name: str
    keys: BackupKeys
    header: UncheckedHeader
    sidecar: Sidecar | None
    stream: CountedStream
    chunks: ChunkReader
    origin: BackupOrigin
    """Who can have written it. That the payload is the signed one is known after `check_end`."""

    def check_end(self) -> None:
        """After the last chunk: the file is as long as its sidecar says. Raises BackupDamaged."""
        known, read = self.sidecar, (self.stream.size, self.stream.sha256)
        if known is not None and read != (known.payload_bytes, known.payload_sha256):
            text = f"{self.name}: the sidecar describes another file"
            raise BackupDamaged(BackupReason.SIDECAR_OTHER, text, _HINT)


class SealedReader:
    """Gives the tar back. Every byte returned has been authenticated and stands where it was written.

    Memory: a few blocks of compression and two chunks, 10 MB in all.
    """

    def __init__(self, backup: OpenBackup) -> None:
        self._backup = backup
        self._gzip = Gunzipped(backup.chunks)
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
        """At most `size` bytes, b"" at the end. Raises BackupDamaged, StoreUnavailable."""
        try:
            return self._gzip.read(size)
        except (EOFError, zlib.error, OSError):
            # Authentic bytes that are no gzip: written by something else that had the key.
            text = f"{self._backup.name} does not decompress"
            raise BackupDamaged(BackupReason.COMPRESSION, text, _HINT) from None

    def finish(self) -> None:
        """Read to the authenticated end, and compare length and checksum with the sidecar.

        A tar reader stops before that end, and does not notice a file that was cut behind its tar.
        Raises BackupDamaged, StoreUnavailable.
        """
        while self.read(1 << 20):
            pass
        # gzip ends before the last chunk does when something stands behind it.
        if self._backup.chunks.read(1):
            text = f"{self._backup.name}: bytes behind the end of the archive"
            raise BackupDamaged(BackupReason.COMPRESSION, text, _HINT)
        self._backup.check_end()


def open_backup(
    store: Store, name: str, identities: Sequence[Identity], signed_by: Sequence[VerificationKey] = ()
) -> SealedReader:
    """Open the backup `name` with one of `identities`; use it in a `with` block.

    The sidecar's slots count, so that a recipient who was taken out by rekey stays out; without a sidecar the
    header's own do. If `signed_by` names keys, one of them has to have signed the backup.
    Raises:  BackupMissing; BackupDamaged; BackupKeyDenied; BackupUnsigned; StoreUnavailable; what a provider
             raises
    """
    return SealedReader(begin_reading(store, name, identities, signed_by))


def begin_reading(
    store: Store, name: str, identities: Sequence[Identity], signed_by: Sequence[VerificationKey] = ()
) -> OpenBackup:
    """Header and sidecar, found genuine and to belong together. The caller closes `stream`.

    Raises:  as `open_backup` does
    """
    key = payload_key(name)
    raw = read_sidecar(store, name)
    stream = CountedStream(store.open(key))
    try:
        header = read_header(stream.read_exactly, key)
        if raw is not None and raw.sidecar.backup_id != header.backup_id:
            text = f"{name}: payload and sidecar belong to different backups"
            hint = "one of the two was replaced; move the sidecar away to open the payload by itself"
            raise BackupDamaged(BackupReason.SIDECAR_OTHER, text, hint)
        slots = header.slots if raw is None else raw.sidecar.slots
        keys, slot = unwrap_slots(slots, header.backup_id, identities, key)
        header.authenticate(keys, key)
        if raw is not None:
            raw.authenticate(keys, sidecar_key(name))
        sidecar = None if raw is None else raw.sidecar
        origin = origin_of(name, header, sidecar, slot, signed_by)
        chunks = ChunkReader(stream, keys.payload_key(header.tag), header.chunk_bytes, key)
        return OpenBackup(name, keys, header, sidecar, stream, chunks, origin)
    except BaseException:
        stream.close()
        raise


def read_sidecar(store: Store, name: str) -> RawSidecar | None:
    """The file beside it, not authenticated; None when there is none. Raises BackupDamaged SIDECAR."""
    key = sidecar_key(name)
    try:
        return parse_sidecar(read_small(store, key, MAX_SIDECAR_BYTES), key)
    except BackupMissing:
        return None
