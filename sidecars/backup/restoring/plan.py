"""Which collection of a dump goes where: decided, and shown, before the target is touched."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from sealwire.sidecars.backup.archive.metadata import CollectionMetadata, Kind
from sealwire.sidecars.backup.errors import BackupReason, BackupSettingError

USERS, ROLES = "sealwire_restored_users", "sealwire_restored_roles"
"""Where users and roles stand in admin until the server takes them over."""

_LOGINS = {"system.users": USERS, "system.roles": ROLES}


class Part(StrEnum):
    """What a planned collection is to a restore."""

    DATA = "data"
    VIEW = "view"
    LOGINS = "logins"


@dataclass(frozen=True, slots=True)
class Rename:
    """`source` is a database or a namespace of the dump, `target` the same on the server."""

    source: str
    target: str


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


def parse_rename(text: str) -> Rename:
    """`OLD=NEW`, both databases or both `database.collection`. Raises BackupSettingError RENAME."""
    source, sign, target = text.partition("=")
    same_kind = ("." in source) == ("." in target)
    if not (sign and same_kind and _is_name(source) and _is_name(target)):
        raise _bad_rename(f"{text!r} does not rename", "write clinic=copy or clinic.patients=copy.patients")
    if target.partition(".")[0] in ("admin", "config", "local"):
        raise _bad_rename(f"{text!r} renames into a database of the server's own", "take another name")
    return Rename(source, target)


def plan(
    found: Sequence[CollectionMetadata],
    renames: Sequence[Rename] = (),
    only: Sequence[str] = (),
    *,
    logins: bool = False,
) -> RestorePlan:
    """Where everything goes. The most particular rename of a collection counts.

    Shape:   `only` names databases or namespaces of the dump; empty for all
    Raises:  BackupSettingError SELECTION for a name that is not in the dump, RENAME where two collections
             would meet
    """
    _check_names(found, renames, only)
    planned: list[Planned] = []
    left_out: list[tuple[str, str]] = []
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
            database, name = _renamed(described, renames)
            part = Part.VIEW if described.kind is Kind.VIEW else Part.DATA
            planned.append(Planned(described, database, name, part))
    resolved = tuple(_with_bases(planned, renames, left_out))
    _check_apart(resolved)
    return RestorePlan(tuple(sorted(resolved, key=lambda item: item.target)), tuple(left_out))


def _renamed(described: CollectionMetadata, renames: Sequence[Rename]) -> tuple[str, str]:
    exact = [rename.target for rename in renames if rename.source == described.namespace]
    if exact:
        database, _, name = exact[-1].partition(".")
        return database, name
    whole = [rename.target for rename in renames if rename.source == described.database]
    return (whole[-1] if whole else described.database), described.name


def _with_bases(
    planned: list[Planned], renames: Sequence[Rename], left_out: list[tuple[str, str]]
) -> Iterator[Planned]:
    """Views keep to the collection they show, which must be in their database."""
    for item in planned:
        if item.part is not Part.VIEW:
            yield item
            continue
        base = replace(item.metadata, name=str(item.metadata.options.get("viewOn", "")))
        database, name = _renamed(base, renames)
        if database != item.database:
            left_out.append((item.source, "a view of a collection that goes to another database"))
            continue
        yield replace(item, view_on=name)


def _check_names(found: Sequence[CollectionMetadata], renames: Sequence[Rename], only: Sequence[str]) -> None:
    known = {described.namespace for described in found} | {described.database for described in found}
    for name in (*only, *(rename.source for rename in renames)):
        if name not in known:
            hint = "names are DATABASE or DATABASE.COLLECTION; --dry-run shows all"
            raise BackupSettingError(BackupReason.SELECTION, f"there is no {name} in the backup", hint)


def _check_apart(planned: Sequence[Planned]) -> None:
    targets: dict[str, str] = {}
    for item in planned:
        other = targets.setdefault(item.target, item.source)
        if other != item.source:
            raise _bad_rename(f"{other} and {item.source} would both become {item.target}", "rename one more")


def _is_name(text: str) -> bool:
    database, _, collection = text.partition(".")
    return bool(database) and ("." not in text or bool(collection)) and not set(database) & set('/\\ "$\0')


def _bad_rename(message: str, hint: str) -> BackupSettingError:
    return BackupSettingError(BackupReason.RENAME, message, hint)
