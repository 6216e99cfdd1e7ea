"""Prove that a backup is whole without restoring it: every byte authentic, every checksum and count right."""

import hashlib
import re
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import datetime

from sealwire.audit.signing import SigningKey, VerificationKey
from sealwire.sidecars.backup.archive.tar import Observed, read_archive
from sealwire.sidecars.backup.keeping.catalog import CatalogEntry
from sealwire.sidecars.backup.sealed import payload
from sealwire.sidecars.backup.sealed.chunk_io import ChunkReader, CountedStream
from sealwire.sidecars.backup.sealed.key_slots import BackupKeys, Identity, Recipient, read_header
from sealwire.sidecars.backup.sealed.manifest import Manifest
from sealwire.sidecars.backup.sealed.sidecar import BackupOrigin, Sidecar, seal_sidecar
from sealwire.sidecars.backup.stores.store import Store, payload_key, sidecar_key
from sealwire.sidecars.errors import BackupReason, CannotCreate, Missing, Unavailable, Unsound

_HINT = "restore another backup; this one was written wrongly"


@dataclass(frozen=True, slots=True)
class BackupVerification:
    """What was found sound; whatever is not sound raises."""

    name: str
    manifest: Manifest
    recorded: bool
    """Whether the sidecar says so now. False for a store that may not be written."""
    rebuilt: bool
    """Whether the sidecar was missing and has been written again."""
    origin: BackupOrigin


def verify_backup(
    store: Store,
    name: str,
    identities: Sequence[Identity],
    now: datetime,
    progress: Callable[[int], None] = lambda _: None,
    signed_by: Sequence[VerificationKey] = (),
) -> BackupVerification:
    """Decrypt and check the whole backup, and note the time in its sidecar.

    A missing sidecar is written again. After a failure the sidecar no longer says that the backup was found
    sound, so that prune does not take it for the last good one.
    Raises:  what `open_backup` raises; Unsound
    Cost:    reads everything once; 200 to 500 MB of dump a second. Memory: 20 MB
    """
    backup = payload.begin_reading(store, name, identities, signed_by)
    try:
        with payload.SealedReader(backup) as reader:
            manifest = _check(reader, name, progress)
    except Unsound:
        _record(store, backup, None)
        raise
    rebuilt = backup.sidecar is None
    if rebuilt:
        id_, slots, stream = backup.header.backup_id, backup.header.slots, backup.stream
        moment = now.replace(microsecond=0)
        sidecar = Sidecar(id_, slots, stream.size, stream.sha256, moment, manifest)
        recorded = _replace(store, name, backup.keys, sidecar)
    else:
        recorded = _record(store, backup, now)
    return BackupVerification(name, manifest, recorded, rebuilt and recorded, backup.origin)


def _check(reader: payload.SealedReader, name: str, progress: Callable[[int], None]) -> Manifest:
    files, manifest = read_archive(reader, payload_key(name), progress)
    reader.finish()
    if reader.sidecar is not None and reader.sidecar.manifest != manifest:
        text = f"{name}: the manifests beside it and inside it differ"
        raise Unsound(BackupReason.MANIFEST, text, _HINT)
    compare(files, manifest, name)
    return manifest


def compare(files: dict[str, Observed], manifest: Manifest, name: str) -> None:
    """Hold what was read against the manifest.

    Raises Unsound MEMBER_UNKNOWN, MEMBER_MISSING, COUNT, CHECKSUM.
    """

    def wrong(reason: BackupReason, text: str) -> Unsound:
        return Unsound(reason, f"{name}: {text}", _HINT)

    listed = {member.path for member in manifest.members}
    for path in files:
        if path not in listed:
            raise wrong(BackupReason.MEMBER_UNKNOWN, f"{path} is not in the manifest")
    for member in manifest.members:
        found = files.get(member.path)
        if found is None:
            raise wrong(BackupReason.MEMBER_MISSING, f"{member.path} is missing")
        if member.documents is not None and found.documents != member.documents:
            text = f"{member.path} has {found.documents} documents, not {member.documents}"
            raise wrong(BackupReason.COUNT, text)
        if (found.size, found.sha256) != (member.size, member.sha256):
            raise wrong(BackupReason.CHECKSUM, f"{member.path} has another checksum than its manifest")


def _record(store: Store, backup: payload.OpenBackup, verified: datetime | None) -> bool:
    """Note `verified` in the sidecar as it is now: a rekey may have replaced it while we read."""
    current = payload.read_sidecar(store, backup.name)
    if current is None:
        return False
    current.authenticate(backup.keys, sidecar_key(backup.name))
    if verified is None and current.sidecar.verified is None:
        return True
    return _replace(store, backup.name, backup.keys, replace(current.sidecar, verified=verified))


def _replace(store: Store, name: str, keys: BackupKeys, sidecar: Sidecar) -> bool:
    try:
        store.replace_small(sidecar_key(name), seal_sidecar(sidecar, keys))
    except Unavailable:
        return False
    return True


# Other keys for backups that exist: wrap the data key anew, or encrypt the payload anew.
#
# After a scheduled rotation the data key is wrapped for the new recipients, and only the sidecar changes.
# After a key was seen by others a new data key is needed: the payload is copied under it to a successor,
# read back, and only then the old one is removed.

_READ_BYTES = 1 << 20
_SUCCESSOR = re.compile(r"(.+)-r([1-9][0-9]{0,5})")


@dataclass(frozen=True, slots=True)
class Rekeyed:
    """What became of one backup."""

    name: str
    """Its name now."""
    replaced: str | None
    """The name of the backup that it took the place of; None when only keys were wrapped anew."""
    before: tuple[str, ...]
    """Ids of the keys that opened it."""
    after: tuple[str, ...]


def plan_rekey(entry: CatalogEntry, recipients: Sequence[Recipient], *, anew: bool) -> Rekeyed:
    """What `rewrap`, or `reencrypt` where `anew`, would make of a backup; nothing is opened."""
    before = () if entry.sidecar is None else _ids(entry.sidecar)
    after = tuple(recipient.id for recipient in recipients)
    return Rekeyed(successor(entry.name) if anew else entry.name, entry.name if anew else None, before, after)


def rewrap(
    store: Store,
    name: str,
    identities: Sequence[Identity],
    recipients: Sequence[Recipient],
    signed_by: Sequence[VerificationKey] = (),
) -> Rekeyed:
    """Wrap the data key of `name` for `recipients`, who take the place of all that the sidecar names.

    The payload is not touched; the slots in its header stay, and count only when the sidecar is lost. Whoever
    had a key before may have kept the data key: this is for rotation, `reencrypt` is for compromise. A
    signature stays valid, because it covers the payload.
    Raises:  what `open_backup` raises; Missing SIDECAR_MISSING; Unusable RECIPIENT
    Cost:    reads and writes some kilobytes
    """
    backup = payload.begin_reading(store, name, identities, signed_by)
    with closing(backup.stream):
        sidecar = _require_sidecar(backup)
    slots = backup.keys.wrap_for(recipients)
    store.replace_small(sidecar_key(name), seal_sidecar(replace(sidecar, slots=slots), backup.keys))
    return Rekeyed(name, None, _ids(sidecar), tuple(slot.key_id for slot in slots))


def reencrypt(  # noqa: PLR0913 - what opens and what is written
    store: Store,
    name: str,
    identities: Sequence[Identity],
    recipients: Sequence[Recipient],
    progress: Callable[[int], None] = lambda _: None,
    signed_by: Sequence[VerificationKey] = (),
    *,
    sign_with: SigningKey | None = None,
) -> Rekeyed:
    """Copy `name` under a fresh data key to its successor (`NAME-r1`, then `-r2`), then remove `name`.

    Stopped at any point, `name` is whole, or its successor is; run again, it says what is in the way. Only a
    backup that one of `signed_by` has signed, or `sign_with` itself, is signed again.
    Raises:  what `open_backup` and `begin_backup` raise; Missing SIDECAR_MISSING; Unsound;
             CannotCreate for a successor that an earlier run left, which has to be verified by hand
    Cost:    reads the payload once, writes and reads the new one
    """
    target = successor(name)
    if store.exists(payload_key(target)):
        hint = f"sealwire backup verify {target}; if it is sound, delete {payload_key(name)} and its sidecar"
        raise CannotCreate(BackupReason.EXISTS, f"{payload_key(target)} exists already", hint)
    if sign_with is not None and not signed_by:
        signed_by = (sign_with.verification,)
    backup = payload.begin_reading(store, name, identities, signed_by)
    with closing(backup.stream):
        sidecar = _require_sidecar(backup)
        if sidecar.signature is not None and sign_with is None:
            text = f"{name} is signed, and a copy under a new data key needs a new signature"
            raise Unsound(BackupReason.UNSIGNED, text, "give --sign-with")
        with payload.begin_backup(store, target, recipients, sign_with=sign_with) as new:
            digest = _copy(backup, new, progress)
            written = new.commit(sidecar.manifest, sidecar.verified)
    _read_back(store, new, written, digest)
    store.delete(payload_key(name))
    store.delete(sidecar_key(name))
    return Rekeyed(target, name, _ids(sidecar), _ids(written))


def successor(name: str) -> str:
    """The name of the next encryption of the same dump."""
    match = _SUCCESSOR.fullmatch(name)
    return f"{name}-r1" if match is None else f"{match[1]}-r{int(match[2]) + 1}"


def _require_sidecar(backup: payload.OpenBackup) -> Sidecar:
    if backup.sidecar is None:
        text = f"{sidecar_key(backup.name)} does not exist"
        hint = f"sealwire backup verify {backup.name} writes it again"
        raise Missing(BackupReason.SIDECAR_MISSING, text, hint)
    return backup.sidecar


def _drain(chunks: ChunkReader, take: Callable[[bytes], object]) -> bytes:
    """Give `take` chunk by chunk, without decompressing; the SHA-256 of all."""
    digest = hashlib.sha256()
    while data := chunks.read(_READ_BYTES):
        digest.update(data)
        take(data)
    return digest.digest()


def _copy(backup: payload.OpenBackup, new: payload.NewBackup, progress: Callable[[int], None]) -> bytes:
    digest = _drain(backup.chunks, lambda data: progress(new.chunks.write(data)))
    backup.check_end()
    return digest


def _read_back(store: Store, new: payload.NewBackup, written: Sidecar, digest: bytes) -> None:
    """The old one is removed only when the new one says the same. Raises Unsound ALTERED."""
    key = payload_key(new.name)
    with closing(CountedStream(store.open(key))) as stream:
        header = read_header(stream.read_exactly, key)
        header.authenticate(new.keys, key)
        chunks = ChunkReader(stream, new.keys.payload_key(header.tag), header.chunk_bytes, key)
        found = _drain(chunks, lambda _: None)
    if found != digest or stream.sha256 != written.payload_sha256:
        hint = "the old backup was kept; check the disk, then delete the new one and try again"
        raise Unsound(BackupReason.ALTERED, f"{key} does not read as it was written", hint)


def _ids(sidecar: Sidecar) -> tuple[str, ...]:
    return tuple(slot.key_id for slot in sidecar.slots)
