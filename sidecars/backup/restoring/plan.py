"""Which collection of a dump goes where, decided before the target is touched, and how far a restore is.

The journal is on the machine that restores: a second run goes on from it. It is written after every block
that the server acknowledged, so that at most the block after it is in doubt. It holds names and numbers, no
document.
"""

import hashlib
import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType

from sealwire.keys import strict_json
from sealwire.keys.errors import KeysError
from sealwire.keys.private_file import read_private, replace_private, writer_lock
from sealwire.sidecars.backup.archive.metadata import CollectionKind, CollectionMetadata
from sealwire.sidecars.backup.sealed.manifest import MAX_MEMBERS, MAX_NUMBER
from sealwire.sidecars.errors import BackupReason, Unusable

USERS, ROLES = "sealwire_restored_users", "sealwire_restored_roles"
"""Where users and roles stand in admin until the server takes them over."""

_LOGINS = {"system.users": USERS, "system.roles": ROLES}


class Part(StrEnum):
    """What a planned collection is to a restore."""

    DATA = "data"
    VIEW = "view"
    LOGINS = "logins"


@dataclass(frozen=True, slots=True)
class Planned:
    """One collection or view and where it goes."""

    metadata: CollectionMetadata
    database: str
    name: str
    part: Part
    view_on: str | None = None
    """The collection that a view shows, by its name on the target; None for what is no view."""

    @property
    def source(self) -> str:
        """Its namespace in the dump."""
        return self.metadata.namespace

    @property
    def target(self) -> str:
        """Its namespace on the server."""
        return f"{self.database}.{self.name}"


@dataclass(frozen=True, slots=True)
class RestorePlan:
    """What is restored, sorted by target, and what is not, each with the reason."""

    collections: tuple[Planned, ...]
    left_out: tuple[tuple[str, str], ...] = ()

    def databases(self) -> tuple[str, ...]:
        """Databases of the target that get something."""
        return tuple(sorted({planned.database for planned in self.collections}))

    def sources(self) -> frozenset[str]:
        """Namespaces of the dump that are restored."""
        return frozenset(planned.source for planned in self.collections)


def parse_rename(text: str) -> tuple[str, str]:
    """From `OLD=NEW` a name in the dump and the one on the server. Raises Unusable RENAME.

    Both are databases, or both `database.collection`.
    """
    source, sign, target = text.partition("=")
    same_kind = ("." in source) == ("." in target)
    if not (sign and same_kind and _is_name(source) and _is_name(target)):
        raise _bad_rename(f"{text!r} does not rename", "write clinic=copy or clinic.patients=copy.patients")
    if target.partition(".")[0] in ("admin", "config", "local"):
        raise _bad_rename(f"{text!r} renames into a database of the server's own", "take another name")
    return source, target


def plan(
    found: Collection[CollectionMetadata],
    renames: Mapping[str, str] = MappingProxyType({}),
    only: Sequence[str] = (),
    *,
    logins: bool = False,
) -> RestorePlan:
    """Where everything goes. The most particular rename of a collection counts.

    Shape:   `renames` from names of the dump to names on the server; `only` names databases or namespaces
             of the dump; empty for all
    Raises:  Unusable SELECTION for a name that is not in the dump, RENAME where two collections
             would meet
    """
    _check_names(found, (*only, *renames))
    planned: list[Planned] = []
    left_out: list[tuple[str, str]] = []
    astray: list[tuple[str, str]] = []
    for described in sorted(found, key=lambda described: described.namespace):
        if not described.named_by(only):
            continue
        if described.database in ("config", "local"):
            left_out.append((described.namespace, "belongs to the server it was read from"))
        elif described.database == "admin" and described.name.startswith("system."):
            place = _LOGINS.get(described.name)
            if place is not None and logins:
                planned.append(Planned(described, "admin", place, Part.LOGINS))
            else:
                why = "the server has its own" if place is None else "only with --users"
                left_out.append((described.namespace, why))
        else:
            database, name = _renamed(described, described.name, renames)
            if described.kind is not CollectionKind.VIEW:
                planned.append(Planned(described, database, name, Part.DATA))
                continue
            # a view keeps to the collection it shows, which must be in its database
            on_database, on = _renamed(described, str(described.options.get("viewOn", "")), renames)
            if on_database == database:
                planned.append(Planned(described, database, name, Part.VIEW, on))
            else:
                astray.append((described.namespace, "a view of a collection that goes to another database"))
    _check_apart(planned)
    return RestorePlan(tuple(sorted(planned, key=lambda item: item.target)), (*left_out, *astray))


def _renamed(described: CollectionMetadata, name: str, renames: Mapping[str, str]) -> tuple[str, str]:
    """Where the collection `name` of the same database goes."""
    exact = renames.get(f"{described.database}.{name}")
    if exact is None:
        return renames.get(described.database, described.database), name
    database, _, target = exact.partition(".")
    return database, target


def _check_names(found: Collection[CollectionMetadata], names: Iterable[str]) -> None:
    known = {described.namespace for described in found} | {described.database for described in found}
    for name in names:
        if name not in known:
            hint = "names are DATABASE or DATABASE.COLLECTION; --dry-run shows all"
            raise Unusable(BackupReason.SELECTION, f"there is no {name} in the backup", hint)


def _check_apart(planned: Sequence[Planned]) -> None:
    targets: dict[str, str] = {}
    for item in planned:
        other = targets.setdefault(item.target, item.source)
        if other != item.source:
            raise _bad_rename(f"{other} and {item.source} would both become {item.target}", "rename one more")


def _is_name(text: str) -> bool:
    database, _, collection = text.partition(".")
    return bool(database) and ("." not in text or bool(collection)) and not set(database) & set('/\\ "$\0')


def _bad_rename(message: str, hint: str) -> Unusable:
    return Unusable(BackupReason.RENAME, message, hint)


MAX_JOURNAL_BYTES = 64 << 20

_FORMAT = "sealwire-restore-journal"
_VERSION = 1


@dataclass(frozen=True, slots=True)
class RestoreEntry:
    """How far one collection is."""

    uuid: str
    """Which collection of the target it is; "" before it is created, or where the server gives none."""
    documents: int = 0
    """How many documents the server has acknowledged, from the beginning of the collection."""
    whole: bool = False
    """Whether no more documents follow."""


class RestoreJournal:
    """The entries by target namespace; every change is on disk when the call returns."""

    def __init__(self, path: Path, purpose: str, entries: dict[str, RestoreEntry]) -> None:
        self.path = path
        self._purpose = purpose
        self.entries = entries
        """In the order in which they were begun."""
        self.resumed = bool(entries)

    def begin(self, namespace: str, uuid: str = "") -> None:
        """Note an empty collection: before it is made, so that a crash leaves no unknown one; and after."""
        self.entries[namespace] = RestoreEntry(uuid)
        self._write()

    def add(self, namespace: str, documents: int) -> None:
        """Note that the server has acknowledged this many more documents."""
        entry = self.entries[namespace]
        self.entries[namespace] = replace(entry, documents=entry.documents + documents)
        self._write()

    def complete(self, namespaces: Iterable[str]) -> None:
        """Note that all documents of these collections are in place."""
        for namespace in namespaces:
            self.entries[namespace] = replace(self.entries[namespace], whole=True)
        self._write()

    def remove(self) -> None:
        """The restore is done; there is nothing to go on with."""
        self.path.unlink(missing_ok=True)

    def _write(self) -> None:
        rows = [
            {"namespace": namespace} | asdict(entry) | {"whole": int(entry.whole)}
            for namespace, entry in self.entries.items()
        ]
        content = {"format": _FORMAT, "version": _VERSION, "purpose": self._purpose, "collections": rows}
        replace_private(self.path, strict_json.serialize(content))


def purpose_of(dump_identity: str, target_identity: str, pairs: list[tuple[str, str]]) -> str:
    """Tells one restore from every other: which dump goes where under which names."""
    whole = strict_json.serialize({"dump": dump_identity, "target": target_identity, "pairs": pairs})
    return hashlib.sha256(whole).hexdigest()


def default_path(purpose: str) -> Path:
    """Where the journal is kept unless another place is named: the state folder of this user."""
    base = os.environ.get("XDG_STATE_HOME")
    folder = Path(base) if base else Path.home() / ".local" / "state"
    return folder / "sealwire" / f"restore-{purpose[:16]}.json"


@contextmanager
def opened(path: Path, purpose: str) -> Iterator[RestoreJournal]:
    """The journal at `path`, held by this process alone; a new one where there is none.

    Raises:  Unusable JOURNAL where it cannot be read, written or had; JOURNAL_OTHER where it is of
             another restore
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with writer_lock(path):
            found = _read(path) if path.exists() else (purpose, {})
            if found[0] != purpose:
                text = f"{path} is the journal of another restore"
                raise Unusable(BackupReason.JOURNAL_OTHER, text, "name another file with --journal")
            yield RestoreJournal(path, purpose, found[1])
    except KeysError as error:
        raise Unusable(BackupReason.JOURNAL, f"the journal: {error}", error.hint) from None
    except OSError as error:
        text = f"the journal at {path} cannot be kept: {error.strerror}"
        raise Unusable(BackupReason.JOURNAL, text, "name another file with --journal") from None


def _read(path: Path) -> tuple[str, dict[str, RestoreEntry]]:
    fields = strict_json.parse(read_private(path, MAX_JOURNAL_BYTES), str(path))
    fields.format(_FORMAT, _VERSION)
    purpose = fields.text("purpose")
    entries: dict[str, RestoreEntry] = {}
    for row in fields.sequence("collections", MAX_MEMBERS):
        item = strict_json.Fields(row, str(path))
        namespace = item.text("namespace")
        uuid, documents = item.text("uuid"), item.integer("documents", 0, MAX_NUMBER)
        entries[namespace] = RestoreEntry(uuid, documents, bool(item.integer("whole", 0, 1)))
        item.done()
    fields.done()
    return purpose, entries
