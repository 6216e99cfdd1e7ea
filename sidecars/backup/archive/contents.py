"""What a backup says of whole collections, whatever files they are cut into: a member before the manifest."""

from dataclasses import dataclass

from sealwire.keys import strict_json
from sealwire.keys.errors import DamagedFile
from sealwire.sidecars.backup.archive.digest import ContentDigest
from sealwire.sidecars.backup.archive.metadata import Kind
from sealwire.sidecars.backup.errors import BackupDamaged, BackupReason
from sealwire.sidecars.backup.sealed.manifest import MAX_MEMBERS, MAX_NUMBER

CONTENTS_MEMBER = "sealwire-contents.json"
MAX_CONTENTS_BYTES = 64 << 20

_FORMAT = "sealwire-backup-contents"
_VERSION = 1


@dataclass(frozen=True, slots=True)
class CollectionContent:
    """One collection or view, as it was read."""

    namespace: str
    kind: Kind
    in_snapshot: bool
    """Whether it shows the moment of the dump's snapshot; capped collections and time series cannot."""
    content: ContentDigest


@dataclass(frozen=True, slots=True)
class Contents:
    """Everything that was dumped, and what was not."""

    collections: tuple[CollectionContent, ...]
    notes: tuple[str, ...] = ()
    """What the dump does not hold or holds in another form; sentences, without values."""

    def digests(self) -> dict[str, ContentDigest]:
        """The digest of each collection by its namespace."""
        return {found.namespace: found.content for found in self.collections}


def serialize(contents: Contents) -> bytes:
    """The member's bytes: canonical JSON."""
    return strict_json.serialize(
        {
            "format": _FORMAT,
            "version": _VERSION,
            "collections": [
                {
                    "namespace": found.namespace,
                    "kind": found.kind.value,
                    "in_snapshot": int(found.in_snapshot),
                    "documents": found.content.documents,
                    "size": found.content.size,
                    "sha256_sum": found.content.sha256_sum,
                }
                for found in contents.collections
            ],
            "notes": list(contents.notes),
        }
    )


def parse(raw: bytes) -> Contents:
    """Read what `serialize` wrote. Raises BackupDamaged MANIFEST."""
    try:
        fields = strict_json.parse(raw, CONTENTS_MEMBER)
        fields.format(_FORMAT, _VERSION)
        contents = Contents(
            tuple(_collection(item) for item in fields.sequence("collections", MAX_MEMBERS)),
            tuple(str(note) for note in fields.sequence("notes", MAX_MEMBERS)),
        )
        fields.done()
        strict_json.require_exact(raw, serialize(contents), CONTENTS_MEMBER)
    except (DamagedFile, ValueError):
        text = f"{CONTENTS_MEMBER} is not what this release reads"
        raise BackupDamaged(BackupReason.MANIFEST, text, "restore another backup") from None
    return contents


def _collection(item: object) -> CollectionContent:
    fields = strict_json.Fields(item, "a collection")
    found = CollectionContent(
        fields.text("namespace"),
        Kind(fields.text("kind")),
        bool(fields.integer("in_snapshot", 0, 1)),
        ContentDigest(
            fields.integer("documents", 0, MAX_NUMBER),
            fields.integer("size", 0, MAX_NUMBER),
            int(fields.text("sha256_sum"), 16),
        ),
    )
    fields.done()
    return found
