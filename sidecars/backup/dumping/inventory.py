"""What there is on a server to be dumped, by mongodump's rules."""

from collections.abc import Mapping
from typing import Any

from pymongo.errors import OperationFailure

from sealwire.sidecars.backup.archive.metadata import BUCKETS, DECODED, CollectionMetadata, from_server
from sealwire.sidecars.direct import Client

_NEVER_DUMPED = frozenset({"local", "config"})
# Unauthorized, and what Atlas says instead
_UNAUTHORIZED = (13, 8000)


def databases(client: Client) -> list[str]:
    """The databases to be dumped, admin first: a server may not list it. Raises PyMongoError."""
    listed = set(client.list_database_names())
    return ["admin", *sorted(listed - _NEVER_DUMPED - {"admin"})]


def collections(client: Client, database: str) -> list[CollectionMetadata]:
    """Collections and views of a database, sorted by name. Raises PyMongoError."""
    found = []
    for described in client.get_database(database, DECODED).list_collections():
        name = described["name"]
        if not is_skipped(database, name):
            is_view = described.get("type") == "view"
            indexes = () if is_view else client.get_database(database, DECODED)[name].list_indexes()
            found.append(from_server(database, described, tuple(indexes)))
    return sorted(found, key=lambda metadata: metadata.name)


def has_buckets(client: Client, database: str, name: str) -> bool:
    """Whether a time-series collection's documents are in a collection of buckets that can be read."""
    options: Mapping[str, Any] = {"name": BUCKETS + name}
    return any(True for _ in client.get_database(database, DECODED).list_collections(filter=options))


def logins(client: Client) -> tuple[CollectionMetadata, ...] | None:
    """Users and roles, as collections of admin; None where this user may not read them.

    mongodump finds them in the list of collections; a server may leave them out of it and still have them.
    """
    admin = client.get_database("admin", DECODED)
    found = []
    for name in ("system.users", "system.roles", "system.version"):
        try:
            admin.get_collection(name).find_one({}, {"_id": 1})
        except OperationFailure as error:
            if error.code in _UNAUTHORIZED:
                return None
            raise
        found.append(from_server("admin", {"name": name}, ()))
    return tuple(found)


def is_skipped(database: str, collection: str) -> bool:
    """Whether mongodump leaves this collection out.

    System collections are no data, but for those of admin and stored JavaScript. The users and roles of admin
    come by `logins`, and the keys that sign cluster times stay behind.
    """
    if database == "admin":
        return collection.startswith("system.")
    if collection.startswith("system."):
        return collection != "system.js"
    return "$" in collection and ".oplog.$" not in collection
