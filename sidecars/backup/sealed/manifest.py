"""What a backup holds, in numbers and names: beside it, and once more inside. Never a value.

The manifest is the last member of the tar and a part of the sidecar, in the same bytes. Canonical JSON: a
reader refuses what says the same in other bytes.
"""

import re
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import Any

from sealwire.keys import strict_json
from sealwire.keys.errors import DamagedFile
from sealwire.sidecars.errors import BackupReason, Unsound

MANIFEST_MEMBER = "sealwire-manifest.json"
MAX_MANIFEST_BYTES = 64 << 20
MAX_MEMBERS = 1_000_000

_FORMAT = "sealwire-backup-manifest"
_VERSION = 1
MAX_NUMBER = 2**63 - 1
_MAX_TEXT = 1024
SHA256 = re.compile(r"[0-9a-f]{64}")
_TIME = "%Y-%m-%dT%H:%M:%SZ"


class Consistency(Enum):
    """What moment the collections show."""

    SNAPSHOT = "snapshot"
    """All of them one moment, by snapshot read concern; `window` has it twice."""
    OPLOG_WINDOW = "oplog-window"
    """Each collection as it was at some moment of the window. The oplog is not inside."""
    NONE = "none"
    """Each collection as it was while it was read."""


@dataclass(frozen=True, slots=True, order=True)
class ClusterTime:
    """A BSON timestamp: seconds since 1970, and an ordinal within the second."""

    seconds: int
    increment: int


@dataclass(frozen=True, slots=True)
class TarMember:
    """One file of the tar."""

    path: str
    """As it stands in the tar, such as `clinic/patients.bson`."""
    size: int
    """Bytes."""
    sha256: str
    """Checksum of those bytes, in hexadecimal."""
    documents: int | None = None
    """How many BSON documents the file is made of; None for a file that is not BSON."""
    namespace: str | None = None
    """The collection or view that it belongs to; None for files of the whole dump."""

    def __post_init__(self) -> None:
        """Raises ValueError for what cannot be; `parse` says it as Unsound."""
        if not SHA256.fullmatch(self.sha256):
            raise ValueError("a checksum is 64 hexadecimal digits")
        if not 0 < len(self.path) <= _MAX_TEXT or self.path == MANIFEST_MEMBER:
            raise ValueError("a member's path is empty, too long or taken")


@dataclass(frozen=True, slots=True)
class Manifest:
    """Everything that is known of a backup without its key, and checked with it."""

    created: datetime
    """When the dump began; UTC, whole seconds."""
    finished: datetime
    tool_version: str
    """The release of Sealwire."""
    dumper: str
    """What read the server: `built-in`, or `mongodump` with its version."""
    server_version: str
    consistency: Consistency
    window: tuple[ClusterTime, ClusterTime] | None
    """First and last moment shown; None exactly for Consistency.NONE."""
    policy_sha256: str | None
    """Checksum of the policy file in force; None when none was named."""
    key_ids: tuple[str, ...]
    """The keys that the covered fields inside need, as the keyring names them; not those of the backup."""
    members: tuple[TarMember, ...]
    """In the order of the tar, without the manifest itself."""

    def __post_init__(self) -> None:
        """Raises ValueError for a manifest that cannot be."""
        for moment in (self.created, self.finished):
            if moment.utcoffset() != UTC.utcoffset(None) or moment.microsecond:
                raise ValueError("times are UTC and whole seconds")
        if (self.window is None) != (self.consistency is Consistency.NONE):
            raise ValueError("a window belongs to every consistency but none")
        if len({member.path for member in self.members}) != len(self.members):
            raise ValueError("a path stands twice")

    @property
    def namespaces(self) -> tuple[str, ...]:
        """Every collection and view, sorted."""
        return tuple(sorted({member.namespace for member in self.members if member.namespace is not None}))

    @property
    def documents(self) -> int:
        """Documents of all collections."""
        return sum(member.documents or 0 for member in self.members if member.namespace is not None)

    @property
    def size(self) -> int:
        """Bytes of all members, before compression."""
        return sum(member.size for member in self.members)

    def documents_size(self, namespaces: Collection[str]) -> int:
        """Bytes of the documents of these collections."""
        documents = (member for member in self.members if member.documents is not None)
        return sum(member.size for member in documents if member.namespace in namespaces)


def to_json(manifest: Manifest) -> dict[str, Any]:
    """The manifest as it is nested in the sidecar."""
    return {
        "format": _FORMAT,
        "version": _VERSION,
        "created": format_time(manifest.created),
        "finished": format_time(manifest.finished),
        "tool_version": manifest.tool_version,
        "dumper": manifest.dumper,
        "server_version": manifest.server_version,
        "consistency": manifest.consistency.value,
        "window": [{"seconds": at.seconds, "increment": at.increment} for at in manifest.window or ()],
        "policy_sha256": manifest.policy_sha256,
        "key_ids": list(manifest.key_ids),
        "members": [
            asdict(member) | {"documents": -1 if member.documents is None else member.documents}
            for member in manifest.members
        ],
    }


def serialize(manifest: Manifest) -> bytes:
    """The bytes of the tar's last member."""
    return strict_json.serialize(to_json(manifest))


def parse(raw: bytes, where: str) -> Manifest:
    """Read what `serialize` wrote; `where` names it in messages. Raises Unsound MANIFEST."""
    try:
        if len(raw) > MAX_MANIFEST_BYTES:
            raise ValueError("too large")
        manifest = from_fields(strict_json.parse(raw, where))
        strict_json.require_exact(raw, serialize(manifest), where)
    except (DamagedFile, ValueError):
        text = f"{where} is not a manifest that this release reads"
        raise Unsound(BackupReason.MANIFEST, text, "restore another backup") from None
    return manifest


def from_fields(fields: strict_json.Fields) -> Manifest:
    """The manifest that a JSON object holds. Raises DamagedFile, ValueError."""
    fields.format(_FORMAT, _VERSION)
    manifest = Manifest(
        created=parse_time(fields.text("created")),
        finished=parse_time(fields.text("finished")),
        tool_version=fields.text("tool_version"),
        dumper=fields.text("dumper"),
        server_version=fields.text("server_version"),
        consistency=Consistency(fields.text("consistency")),
        window=_window(fields.sequence("window", 2)),
        policy_sha256=fields.optional_text("policy_sha256"),
        key_ids=tuple(_text(item) for item in fields.sequence("key_ids", MAX_MEMBERS)),
        members=tuple(_member(item) for item in fields.sequence("members", MAX_MEMBERS)),
    )
    fields.done()
    return manifest


def _member(item: object) -> TarMember:
    fields = strict_json.Fields(item, "a member")
    path, size, sha256 = fields.text("path"), fields.integer("size", 0, MAX_NUMBER), fields.text("sha256")
    documents = fields.integer("documents", -1, MAX_NUMBER)
    namespace = fields.optional_text("namespace")
    fields.done()
    return TarMember(path, size, sha256, None if documents < 0 else documents, namespace)


def _window(items: Sequence[object]) -> tuple[ClusterTime, ClusterTime] | None:
    if not items:
        return None
    first, last = (_cluster_time(item) for item in items)
    return first, last


def _cluster_time(item: object) -> ClusterTime:
    fields = strict_json.Fields(item, "a cluster time")
    moment = ClusterTime(fields.integer("seconds", 0, 2**32 - 1), fields.integer("increment", 0, 2**32 - 1))
    fields.done()
    return moment


def format_time(moment: datetime) -> str:
    """A time as the manifest writes it."""
    return moment.strftime(_TIME)


def parse_time(text: str) -> datetime:
    """What `format_time` wrote. Raises ValueError."""
    return datetime.strptime(text, _TIME).replace(tzinfo=UTC)


def _text(item: object) -> str:
    if not isinstance(item, str) or not 0 < len(item) <= _MAX_TEXT:
        raise ValueError("not a text of 1 to 1024 characters")
    return item
