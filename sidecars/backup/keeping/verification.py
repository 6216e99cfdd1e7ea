"""Prove that a backup is whole without restoring it: every byte authentic, every checksum and count right."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from sealwire.audit.signing import VerificationKey
from sealwire.sidecars.backup.archive.tar import Observed, read_archive
from sealwire.sidecars.backup.sealed.key_slots import BackupKeys, Identity
from sealwire.sidecars.backup.sealed.manifest import Manifest
from sealwire.sidecars.backup.sealed.reader import OpenBackup, SealedReader, begin_reading, read_sidecar
from sealwire.sidecars.backup.sealed.sidecar import BackupOrigin, Sidecar, seal_sidecar
from sealwire.sidecars.backup.stores.store import Store, payload_key, sidecar_key
from sealwire.sidecars.errors import BackupDamaged, BackupIncomplete, BackupReason, StoreUnavailable

_HINT = "restore another backup; this one was written wrongly"


@dataclass(frozen=True, slots=True)
class Verification:
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
) -> Verification:
    """Decrypt and check the whole backup, and note the time in its sidecar.

    A missing sidecar is written again. After a failure the sidecar no longer says that the backup was found
    sound, so that prune does not take it for the last good one.
    Raises:  what `open_backup` raises; BackupDamaged; BackupIncomplete
    Cost:    reads everything once; 200 to 500 MB of dump a second. Memory: 20 MB
    """
    backup = begin_reading(store, name, identities, signed_by)
    try:
        with SealedReader(backup) as reader:
            manifest = _check(reader, name, progress)
    except (BackupDamaged, BackupIncomplete):
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
    return Verification(name, manifest, recorded, rebuilt and recorded, backup.origin)


def _check(reader: SealedReader, name: str, progress: Callable[[int], None]) -> Manifest:
    files, manifest = read_archive(reader, payload_key(name), progress)
    reader.finish()
    if reader.sidecar is not None and reader.sidecar.manifest != manifest:
        text = f"{name}: the manifests beside it and inside it differ"
        raise BackupDamaged(BackupReason.MANIFEST, text, _HINT)
    compare(files, manifest, name)
    return manifest


def compare(files: dict[str, Observed], manifest: Manifest, name: str) -> None:
    """Hold what was read against the manifest.

    Raises BackupIncomplete MEMBER_UNKNOWN, MEMBER_MISSING, COUNT, CHECKSUM.
    """

    def wrong(reason: BackupReason, text: str) -> BackupIncomplete:
        return BackupIncomplete(reason, f"{name}: {text}", _HINT)

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


def _record(store: Store, backup: OpenBackup, verified: datetime | None) -> bool:
    """Note `verified` in the sidecar as it is now: a rekey may have replaced it while we read."""
    current = read_sidecar(store, backup.name)
    if current is None:
        return False
    current.authenticate(backup.keys, sidecar_key(backup.name))
    if verified is None and current.sidecar.verified is None:
        return True
    return _replace(store, backup.name, backup.keys, replace(current.sidecar, verified=verified))


def _replace(store: Store, name: str, keys: BackupKeys, sidecar: Sidecar) -> bool:
    try:
        store.replace_small(sidecar_key(name), seal_sidecar(sidecar, keys))
    except StoreUnavailable:
        return False
    return True
