"""Indexes by which a window is found: those that are there, and temporary ones where none is."""

from collections.abc import Iterable, Mapping
from typing import Any

from bson.codec_options import CodecOptions
from pymongo.errors import OperationFailure

from sealwire.sidecars.direct import Client
from sealwire.sidecars.migration.windows.paths import ClassPaths

_DECODED = CodecOptions[dict[str, Any]]()
_WITHOUT_NAMESPACE = 26
_HIDES = ("partialFilterExpression", "hidden", "collation", "weights")
"""With these an index does not have every value, or is not used for a search."""


def make_indexes(client: Client, places: Iterable[ClassPaths], class_id: int) -> list[tuple[str, str]]:
    """Make an index on each path that none begins with; namespace and path of those made.

    Raises what the driver raises. Cost: one listing a collection; each index reads a collection.
    """
    made = []
    for where in places:
        listed = _listed(client, where.namespace)
        names = {str(index["name"]) for index in listed}
        for number, path in enumerate(where.paths, 1):
            name = f"{_prefix(class_id)}{number}"
            if name in names or any(_is_usable(index, path) for index in listed):
                continue
            database, _, collection = where.namespace.partition(".")
            command = {"createIndexes": collection, "indexes": [{"key": {path: 1}, "name": name}]}
            client.get_database(database).command(command, codec_options=_DECODED)
            made.append((where.namespace, path))
    return made


def drop_indexes(client: Client, places: Iterable[ClassPaths], class_id: int) -> None:
    """Take away what `make_indexes` made, now or in an earlier process. Raises what the driver raises."""
    for where in places:
        database, _, collection = where.namespace.partition(".")
        for index in _listed(client, where.namespace):
            if str(index["name"]).startswith(_prefix(class_id)):
                command = {"dropIndexes": collection, "index": index["name"]}
                client.get_database(database).command(command, codec_options=_DECODED)


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


def _is_usable(index: Mapping[str, Any], path: str) -> bool:
    field, direction = next(iter(index["key"].items()))
    is_plain = not any(index.get(name) for name in _HIDES)
    return field == path and direction in (1, -1) and is_plain
