"""The server that is restored into: what is there, and the commands that put something there."""

from collections.abc import Mapping, Sequence
from typing import Any

from bson.binary import Binary
from bson.raw_bson import RawBSONDocument
from bson.son import SON
from pymongo import WriteConcern
from pymongo.errors import BulkWriteError, OperationFailure

from sealwire.sidecars.backup.archive.contents import split_documents
from sealwire.sidecars.backup.archive.metadata import DECODED
from sealwire.sidecars.backup.errors import BackupReason, RestoreStopped
from sealwire.sidecars.backup.restoring.plan import ROLES, USERS, Planned
from sealwire.sidecars.direct import RAW, Client

_MAJORITY = WriteConcern("majority")
_DUPLICATE = 11000
_INSERT_DOCUMENTS = 2_000
_INSERT_BYTES = 4 << 20
_GONE_OPTIONS = frozenset({"autoIndexId", "idIndex", "uuid"})
"""What older servers list and newer ones do not take back."""


class RestoreServer:
    """Commands by namespace. All of them raise PyMongoError where nothing else is said."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def identity(self) -> str:
        """Tells this server or replica set from others, also after another member became primary."""
        hello: Mapping[str, Any] = self._client.get_database("admin", DECODED).command("hello")
        if hello.get("setName"):
            return f"{hello['setName']} {sorted(hello.get('hosts', ()))}"
        return str(self._client.address)

    def version(self) -> str:
        """The release, as the server names it."""
        return str(self._client.admin.command("buildInfo")["version"])

    def existing(self, databases: Sequence[str]) -> dict[str, str]:
        """Namespace and uuid ("" without one) of every collection and view of these databases."""
        found = {}
        for database in databases:
            for described in self._client.get_database(database, DECODED).list_collections():
                uuid = (described.get("info") or {}).get("uuid")
                name = f"{database}.{described['name']}"
                found[name] = bytes(uuid).hex() if isinstance(uuid, Binary) else ""
        return found

    def uuid(self, planned: Planned) -> str:
        """The uuid of an existing collection; "" where the server gives none."""
        return self.existing([planned.database]).get(planned.target, "")

    def drop(self, planned: Planned) -> None:
        """Remove the collection or view."""
        self._client.get_database(planned.database).drop_collection(planned.name)

    def create(self, planned: Planned) -> None:
        """Make the collection with its options, validators among them, or the view."""
        options = {key: value for key, value in planned.metadata.options.items() if key not in _GONE_OPTIONS}
        if planned.view_on is not None:
            options["viewOn"] = planned.view_on
        command = SON([("create", planned.name), *options.items()])
        self._client.get_database(planned.database).command(command)

    def insert(self, planned: Planned, name: str, data: bytes, *, in_doubt: bool) -> None:
        """Insert the documents into `name`, byte for byte as they are, acknowledged by a majority.

        Validators do not apply: what the source held is what is restored. Of a block in doubt some may be
        there from the run before; those are left, and the comparison at the end looks at their content.
        Raises:  RestoreStopped TARGET_REFUSED, PyMongoError
        """
        database = self._client.get_database(planned.database, RAW)
        collection = database.get_collection(name, write_concern=_MAJORITY)
        for batch in _batches(data):
            try:
                collection.insert_many(batch, ordered=not in_doubt, bypass_document_validation=True)
            except BulkWriteError as error:
                _refuse_unless_there(error, planned, in_doubt=in_doubt)

    def create_indexes(self, planned: Planned) -> tuple[str, ...]:
        """All indexes but that on _id; what could not be made, as `name: code and name of the error`."""
        refused = []
        database = self._client.get_database(planned.database)
        for index in planned.metadata.indexes:
            if dict(index.get("key", {})) == {"_id": 1}:  # made with the collection
                continue
            wanted = {key: value for key, value in index.items() if key not in ("ns", "v", "clustered")}
            try:
                database.command("createIndexes", planned.name, indexes=[wanted])
            except OperationFailure as error:
                refused.append(f"index {index.get('name', '?')} was refused with code {error.code}")
        return tuple(refused)

    def take_over_logins(self, names: Sequence[str]) -> str:
        """Let the server take users and roles from the collections they stand in; why not, or ""."""
        command: dict[str, Any] = {"_mergeAuthzCollections": 1, "db": "", "drop": False}
        if USERS in names:
            command["tempUsersCollection"] = f"admin.{USERS}"
        if ROLES in names:
            command["tempRolesCollection"] = f"admin.{ROLES}"
        try:
            self._client.admin.command(command)
        except OperationFailure as error:
            return f"the server refused users and roles with code {error.code}"
        finally:
            for name in names:
                self._client.admin.drop_collection(name)
        return ""


def _batches(data: bytes) -> list[list[RawBSONDocument]]:
    """Documents in numbers that a server takes in one go, without straining its cache."""
    batches: list[list[RawBSONDocument]] = []
    size = _INSERT_BYTES
    for document in split_documents(data):
        if size >= _INSERT_BYTES or len(batches[-1]) >= _INSERT_DOCUMENTS:
            batches.append([])
            size = 0
        batches[-1].append(RawBSONDocument(bytes(document)))
        size += len(document)
    return batches


def _refuse_unless_there(error: BulkWriteError, planned: Planned, *, in_doubt: bool) -> None:
    details: Mapping[str, Any] = error.details or {}
    codes = {failed.get("code") for failed in details.get("writeErrors", ())}
    if details.get("writeConcernErrors"):
        codes.add("write concern")
    if in_doubt and codes == {_DUPLICATE}:
        return
    text = f"the server refused documents of {planned.target} with code {', '.join(map(str, codes))}"
    raise RestoreStopped(BackupReason.TARGET_REFUSED, text, "see the server's log")
