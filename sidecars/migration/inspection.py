"""Counts what the covered paths of a collection hold, by form and key version. Opens nothing."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any, Final, NamedTuple

from bson.codec_options import CodecOptions
from bson.timestamp import Timestamp
from pymongo.errors import OperationFailure

from sealwire.crypto.envelope import BINARY_HEAD, EnvelopeHeader, EnvelopeMode, is_of_context
from sealwire.keys.keyring.data_key import KeyIds, KeyState
from sealwire.keys.keyring.record import ClassRecord, KeyRecord, KeyringRecord
from sealwire.policies.file.schema import FieldClass, Mode, PathNode, covered_fields
from sealwire.policies.file.stored import StoredValues
from sealwire.sidecars.direct import Client, documents_of, failure
from sealwire.sidecars.migration.contexts import context_at, spot_of
from sealwire.sidecars.migration.forms import Left, class_value, has_wrong_type, header_of
from sealwire.wire.errors import BsonError

_MODES = {Mode.DETERMINISTIC: EnvelopeMode.DETERMINISTIC, Mode.RANDOM: EnvelopeMode.RANDOM}


class PathState(Enum):
    """How a path stands between plaintext and encryption."""

    IN_CLEAR = "in clear"
    MOVING = "moving"
    ENCRYPTED = "encrypted"


@dataclass(slots=True)
class PathCounts:
    """What one path holds."""

    path: str
    class_name: str
    mode: Mode
    newest: int = 0
    """The version that its class moves to, else its active one; 0 without one."""
    is_plaintext: bool = False
    """Whether that version is plaintext."""
    is_moving: bool = False
    """Whether its class has a pending version."""
    was_plaintext: bool = False
    """Whether an older version of it is plaintext."""
    documents: int = 0
    """Those that have a value there."""
    plaintext: int = 0
    wrong_type: int = 0
    """The part of the plaintext that Sealwire would not store there."""
    no_context: int = 0
    """The rest of it whose context the document does not say, where its class has a key for each."""
    class_key: int = 0
    """Envelopes of the class's own key, where it has one for each context by now."""
    other: int = 0
    """Envelopes of another class or mode, and damaged ones."""
    versions: Counter[int] = field(default_factory=Counter)
    """Envelopes of the class, by its own key version; one of a borrowed key counts as what it is here."""

    @property
    def older(self) -> int:
        """Envelopes of any version but the newest, and those of the class's own key."""
        older = sum(count for version, count in self.versions.items() if version != self.newest)
        return older + self.class_key

    @property
    def left_behind(self) -> int:
        """Values of a deterministic class that does not move which `repair` would move, or name."""
        if self.mode is not Mode.DETERMINISTIC or self.is_moving:
            return 0
        if self.is_plaintext:
            return self.versions.total() + self.class_key
        return self.older + (self.to_encrypt if self.was_plaintext else 0)

    @property
    def encrypted(self) -> int:
        """Envelopes of any class and version."""
        return self.versions.total() + self.class_key + self.other

    @property
    def is_newest(self) -> bool:
        """Whether every value is an envelope of the newest key, or none where the newest is plaintext."""
        if self.is_plaintext:
            return not self.encrypted
        return not (self.plaintext or self.older or self.other)

    @property
    def to_encrypt(self) -> int:
        """The values that `encrypt` would move."""
        return self.plaintext - self.wrong_type - self.no_context

    @property
    def state(self) -> PathState:
        """The keyring says it of a deterministic class, and what is stored of a random one."""
        if self.mode is Mode.DETERMINISTIC:
            is_clear, is_moving = self.is_plaintext, self.is_moving
        else:
            is_clear = bool(self.plaintext and not self.encrypted)
            is_moving = bool(self.plaintext and self.encrypted)
        if is_moving:
            return PathState.MOVING
        return PathState.IN_CLEAR if is_clear else PathState.ENCRYPTED


@dataclass(frozen=True, slots=True)
class Inspection:
    """What one collection holds."""

    namespace: str
    documents: int
    damaged: int
    paths: tuple[PathCounts, ...]


def inspect(
    client: Client,
    namespace: str,
    tree: PathNode,
    keyring: KeyringRecord,
    sample: int | None,
    progress: Callable[[int], None],
) -> Inspection:
    """Read all documents, or a random `sample`. Raises what the driver raises. Cost: O(bytes).

    `keyring` need not be authenticated: nothing is opened.
    """
    classes = {entry.name: entry for entry in keyring.classes}
    newest = keyring.newest
    counts = {
        path: _counts(path, each, classes.get(each.name), newest.get(each.name))
        for path, each in covered_fields(tree)
    }
    documents = damaged = 0
    for raw in documents_of(client, namespace, sample):
        documents += 1
        try:
            _count(namespace, raw, tree, classes, counts)
        except BsonError:
            damaged += 1
        progress(1)
    return Inspection(namespace, documents, damaged, tuple(counts.values()))


def _counts(
    path: str, field_class: FieldClass, entry: ClassRecord | None, newest: KeyRecord | None
) -> PathCounts:
    counts = PathCounts(path, field_class.name, field_class.mode)
    if newest is not None:
        counts.newest, counts.is_plaintext = newest.version, newest.is_plaintext
        counts.is_moving = newest.state is KeyState.PENDING
    older = () if entry is None else (key for key in entry.keys if key.version != counts.newest)
    counts.was_plaintext = any(key.is_plaintext and key.state.decrypts for key in older)
    return counts


def _count(
    namespace: str,
    raw: bytes,
    tree: PathNode,
    classes: Mapping[str, ClassRecord],
    counts: Mapping[str, PathCounts],
) -> None:
    # a damaged document must not be counted in part: the walk ends before the first value counts
    found = []
    walk = StoredValues(raw, tree)
    while walk.next_value():
        found.append((spot_of(walk, raw), walk.leaf, walk.kind, raw[walk.value : walk.end]))
    for spot, field_class, kind, value in found:
        here = counts[spot.path]
        header = header_of(kind, value)
        if header is None:
            here.plaintext += 1
            if _is_wrong(kind, value, field_class):
                here.wrong_type += 1
            elif field_class.per is not None:
                here.no_context += context_at(field_class.per, namespace, spot) is None
            continue
        version = None if isinstance(header, Left) else _version_of(header, field_class, classes)
        if version is None:
            here.other += 1
        elif is_of_context(value, BINARY_HEAD):
            here.versions[here.newest] += 1  # data keeps the key of its context
        elif field_class.per is not None:
            here.class_key += 1
        else:
            here.versions[version] += 1
    for path in {spot.path for spot, *_ in found}:
        counts[path].documents += 1


def _version_of(
    header: EnvelopeHeader, field_class: FieldClass, classes: Mapping[str, ClassRecord]
) -> int | None:
    """The version of the class that an envelope has; None for one of another class or mode."""
    entry = classes.get(field_class.name)
    if entry is None or header.mode is not _MODES[field_class.mode]:
        return None
    return entry.version_named(KeyIds(header.class_id, header.key_version))


def _is_wrong(kind: int, value: bytes, field_class: FieldClass) -> bool:
    if field_class.value_type is not None:
        return class_value(kind, value, field_class.value_type, field_class.domain) is None
    return has_wrong_type(kind, value)


# What a server may have in an older form after a move: entries of its oplog, and free pages of its files.
#
# Neither can be searched for a value without reading everything. What can be known is whether there is room
# for one: the oplog goes back to a time, and a file has so many bytes of free pages.

_DECODED = CodecOptions[dict[str, Any]](tz_aware=True, tzinfo=UTC)
_CLOCKS: Final = timedelta(minutes=10)
"""By how much the clocks of the server and of the job's machine may differ."""
_FREE: Final = "file bytes available for reuse"


class Remaining(Enum):
    """Whether values of the older form may be there."""

    GONE = "gone"
    PERHAPS = "perhaps"
    UNKNOWN = "not known"


class Remains(NamedTuple):
    """What is known of one place."""

    where: str
    verdict: Remaining
    why: str


def of_oplog(client: Client, ended: datetime) -> Remains:
    """The oplog of the member that answers, after a move that ended then. Raises what the driver raises.

    Cost: two commands; the oldest entry is the first in the oplog's own order.
    """
    where = "oplog"
    hello = client.get_database("admin").command("hello", codec_options=_DECODED)
    if hello.get("msg") == "isdbgrid":
        return Remains(where, Remaining.UNKNOWN, "this is a mongos: ask a member of each shard")
    oplog = client.get_database("local").get_collection("oplog.rs", codec_options=_DECODED)
    try:
        oldest = oplog.find_one({}, {"ts": 1}, sort=[("$natural", 1)])
    except OperationFailure as error:
        return Remains(
            where, Remaining.UNKNOWN, f"the server answered {failure(error)}: read on local is needed"
        )
    if oldest is None:
        return Remains(where, Remaining.GONE, "this server has none")
    moment = oldest.get("ts")
    if not isinstance(moment, Timestamp):
        return Remains(where, Remaining.UNKNOWN, "its oldest entry has no time")
    begins = moment.as_datetime()
    verdict = Remaining.GONE if begins > ended + _CLOCKS else Remaining.PERHAPS
    return Remains(where, verdict, f"goes back to {begins:%Y-%m-%d %H:%M:%SZ}")


def of_files(client: Client, namespace: str) -> Remains:
    """The files of a collection and its indexes. Raises what the driver raises. Cost: one command."""
    where = f"free pages of {namespace}"
    database, _, name = namespace.partition(".")
    try:
        command = {"collStats": name, "indexDetails": True}
        stats = client.get_database(database).command(command, codec_options=_DECODED)
    except OperationFailure as error:
        return Remains(where, Remaining.UNKNOWN, f"the server answered {failure(error)}: collStats is needed")
    details = stats.get("indexDetails")
    files = [stats.get("wiredTiger"), *(details.values() if isinstance(details, Mapping) else ())]
    free = [_free_bytes(each) for each in files]
    known = [each for each in free if each is not None]
    if not known or len(known) < len(free):
        return Remains(where, Remaining.UNKNOWN, "the server does not say")
    return Remains(where, Remaining.PERHAPS if any(known) else Remaining.GONE, f"{sum(known)} bytes")


def _free_bytes(stats: object) -> int | None:
    manager = stats.get("block-manager") if isinstance(stats, Mapping) else None
    free = manager.get(_FREE) if isinstance(manager, Mapping) else None
    return int(free) if isinstance(free, int | float) and not isinstance(free, bool) else None
