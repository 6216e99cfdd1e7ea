"""Indexes by which a window is found: those that are there, and temporary ones where none is."""

from collections.abc import Iterable, Mapping
from typing import Any

from bson.codec_options import CodecOptions
from pymongo.errors import OperationFailure

from sealwire.sidecars.direct import Client
from sealwire.sidecars.migration.windows.order import ClassPaths

_DECODED = CodecOptions[dict[str, Any]]()
_WITHOUT_NAMESPACE = 26
_HIDES = ("partialFilterExpression", "hidden", "collation", "weights")
"""With these an index does not have every value, or is not used for a search."""


def make_indexes(
    client: Client, places: Iterable[ClassPaths], class_id: int, *, alone: bool = False
) -> dict[tuple[str, str], str]:
    """See that an index begins with each path, or has it `alone`; by namespace and path, its name.

    Raises what the driver raises. Cost: one listing a collection; each index reads a collection.
    """
    found: dict[tuple[str, str], str] = {}
    for where in places:
        listed = _listed(client, where.namespace)
        for number, path in enumerate(where.paths, 1):
            usable = [str(index["name"]) for index in listed if _is_usable(index, path, alone=alone)]
            name = usable[0] if usable else f"{_prefix(class_id)}{number}"
            found[where.namespace, path] = name
            if usable:
                continue
            database, _, collection = where.namespace.partition(".")
            command = {"createIndexes": collection, "indexes": [{"key": {path: 1}, "name": name}]}
            client.get_database(database).command(command, codec_options=_DECODED)
    return found


def drop_indexes(client: Client, places: Iterable[ClassPaths], class_id: int) -> None:
    """Take away what `make_indexes` made, now or in an earlier process. Raises what the driver raises."""
    for where in places:
        database, _, collection = where.namespace.partition(".")
        for index in _listed(client, where.namespace):
            if str(index["name"]).startswith(_prefix(class_id)):
                command = {"dropIndexes": collection, "index": index["name"]}
                client.get_database(database).command(command, codec_options=_DECODED)


def walked_fields(client: Client, places: Iterable[ClassPaths]) -> frozenset[bytes] | None:
    """The first fields of the indexes in which one of the paths stands behind another field.

    None if the first field of one may be any, as in a wildcard index. Raises what the driver raises.
    """
    found = set()
    for where in places:
        for index in _listed(client, where.namespace):
            first, *others = index["key"]
            if not any(_leads_to(field, path) for field in others for path in where.paths):
                continue
            if "$**" in first:
                return None
            found.add(str(first).encode())
    return frozenset(found)


def _leads_to(field: str, path: str) -> bool:
    """Whether an index on `field` may hold what is stored at `path`."""
    return "$**" in field or field == path or path.startswith(field + ".") or field.startswith(path + ".")


def _prefix(class_id: int) -> str:
    return f"sealwire_move_{class_id}_"


def _listed(client: Client, namespace: str) -> list[Mapping[str, Any]]:
    database, _, name = namespace.partition(".")
    try:
        return list(client.get_database(database, _DECODED).get_collection(name).list_indexes())
    except OperationFailure as error:
        if error.code == _WITHOUT_NAMESPACE:
            return []
        raise


def _is_usable(index: Mapping[str, Any], path: str, *, alone: bool) -> bool:
    field, direction = next(iter(index["key"].items()))
    if alone and (len(index["key"]) > 1 or direction != 1):
        return False
    is_plain = not any(index.get(name) for name in _HIDES)
    return field == path and direction in (1, -1) and is_plain
