"""Restores a dump: collections with their options, documents, indexes, then the comparison, views, users.

Validators are in place from the first moment, since documents are inserted past them: there is no time in
which a restored collection takes plaintext. Indexes come when all documents are there. A run that was broken
off goes on from its journal. A drill restores into a server that is thrown away, and leaves nothing behind.
"""

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import Any

from bson.binary import Binary
from bson.raw_bson import RawBSONDocument
from bson.son import SON
from pymongo import WriteConcern
from pymongo.errors import BulkWriteError, OperationFailure, PyMongoError

from sealwire.sidecars.backup.archive.contents import ContentDigest, Contents, digest, split_documents
from sealwire.sidecars.backup.archive.dump_files import DumpFiles, Survey, owner_of, pieces
from sealwire.sidecars.backup.archive.metadata import BUCKETS, DECODED
from sealwire.sidecars.backup.dumping.readers import DriverReader
from sealwire.sidecars.backup.restoring.plan import (
    ROLES,
    USERS,
    Part,
    Planned,
    RestoreJournal,
    RestorePlan,
    opened,
    plan,
    purpose_of,
)
from sealwire.sidecars.direct import RAW, Client, failure
from sealwire.sidecars.errors import BackupReason, CannotCreate, SidecarError, Unavailable, Unsound

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
        Raises:  Unavailable TARGET_REFUSED, PyMongoError
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

    def take_over_logins(self, names: Sequence[str]) -> tuple[str, ...]:
        """Let the server take users and roles from their collections; the reason where it refuses."""
        if not names:
            return ()
        command: dict[str, Any] = {"_mergeAuthzCollections": 1, "db": "", "drop": False}
        if USERS in names:
            command["tempUsersCollection"] = f"admin.{USERS}"
        if ROLES in names:
            command["tempRolesCollection"] = f"admin.{ROLES}"
        try:
            self._client.admin.command(command)
        except OperationFailure as error:
            return (f"the server refused users and roles with code {error.code}",)
        finally:
            for name in names:
                self._client.admin.drop_collection(name)
        return ()


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
    raise Unavailable(BackupReason.TARGET_REFUSED, text, "see the server's log")


_NAMED = 5


class RestoreOutcome(StrEnum):
    """What became of one collection or view."""

    RESTORED = "restored"
    """In place, with the same documents byte for byte."""
    INCOMPLETE = "incomplete"
    """The documents are the same; something beside them, such as an index, is not."""
    DIFFERENT = "different"
    """The server does not hold the documents that the dump holds."""


@dataclass(frozen=True, slots=True)
class CollectionResult:
    """One row of a report."""

    source: str
    target: str
    documents: int
    outcome: RestoreOutcome
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RestoreReport:
    """Everything that a restore did."""

    collections: tuple[CollectionResult, ...]
    left_out: tuple[tuple[str, str], ...]
    remarks: tuple[str, ...] = ()

    @property
    def holds(self) -> bool:
        """Whether everything planned is in place and the same."""
        return not self.remarks and all(
            result.outcome is RestoreOutcome.RESTORED for result in self.collections
        )


Tell = Callable[[str, int], None]
"""Told after every block and every later step: what is done, and the bytes of documents so far."""


@dataclass(slots=True)
class _Filling:
    """One collection while its documents arrive."""

    planned: Planned
    before: int = 0
    """Documents that an earlier run put in place."""
    in_doubt: bool = False
    """Whether the next block may be there in part."""
    sent: ContentDigest = field(default_factory=ContentDigest)
    stored_as: str = ""
    """The collection that takes the documents: of a time series its buckets."""


class Restore:
    """One restore into one server. `occupied` and `drop` before `run`, if at all."""

    def __init__(self, client: Client, files: DumpFiles, found: Survey, plan: RestorePlan) -> None:
        self._files = files
        self._found = found
        self._plan = plan
        self._server = RestoreServer(client)
        self._reader = DriverReader(client)
        self._filling: dict[str, _Filling] = {}

    def purpose(self) -> str:
        """Tells this restore from every other, for the journal. Raises PyMongoError."""
        pairs = [(planned.source, planned.target) for planned in self._plan.collections]
        return purpose_of(self._files.identity, self._server.identity(), pairs)

    def occupied(self) -> list[Planned]:
        """Planned collections and views that the server has already. Raises PyMongoError."""
        there = self._server.existing(self._plan.databases())
        return [planned for planned in self._plan.collections if planned.target in there]

    def drop(self) -> None:
        """Remove what is where the restore goes; nothing else. Raises PyMongoError."""
        for planned in self.occupied():
            self._server.drop(planned)

    def run(self, journal: RestoreJournal, tell: Tell = lambda *_: None) -> RestoreReport:
        """Put everything in place and compare.

        Raises:  CannotCreate; Unavailable, Unsound: with what
                 is in place in the message, and the journal kept
        """
        if not journal.resumed:
            self._refuse_occupied()
        with self._saying_what_is_in_place(journal):
            self._create_all(journal)
            size = self._fill(journal, tell)
            journal.complete(self._filling)
            results = [self._finish(filling, size, tell) for filling in self._filling.values()]
            logins = [planned.name for planned in self._plan.collections if planned.part is Part.LOGINS]
            remarks = self._server.take_over_logins(logins)
            results += self._create_views()
        results.sort(key=lambda result: result.target)
        return RestoreReport(tuple(results), self._plan.left_out, remarks)

    def _refuse_occupied(self) -> None:
        there = [planned.target for planned in self.occupied()]
        if there:
            more = f" and {len(there) - _NAMED} more" if len(there) > _NAMED else ""
            text = f"the server already has {', '.join(there[:_NAMED])}{more}"
            hint = "restore under another name with --rename, or replace them with --drop"
            raise CannotCreate(BackupReason.TARGET_OCCUPIED, text, hint)

    def _create_all(self, journal: RestoreJournal) -> None:
        there = self._server.existing(self._plan.databases())
        for planned in self._plan.collections:
            if planned.part is Part.VIEW:
                continue
            filling = self._filling[planned.target] = _Filling(planned, stored_as=planned.name)
            entry, uuid = journal.entries.get(planned.target), there.get(planned.target)
            if entry is not None:
                if entry.uuid and uuid != entry.uuid:
                    text = f"{planned.target} is not the collection that this restore began"
                    hint = f"begin anew: remove {journal.path}, and give --drop if it may be replaced"
                    raise Unavailable(BackupReason.JOURNAL_OTHER, text, hint)
                filling.before, filling.in_doubt = entry.documents, not entry.whole
                if entry.uuid or uuid is not None:
                    continue
            journal.begin(planned.target)
            self._server.create(planned)
            journal.begin(planned.target, self._server.uuid(planned))

    def _fill(self, journal: RestoreJournal, tell: Tell) -> int:
        """Put all documents in place; how many bytes these are."""
        by_source = {filling.planned.source: filling for filling in self._filling.values()}
        expected: dict[str, ContentDigest] | None = None
        size = 0
        for piece in pieces(self._files, self._found):
            if isinstance(piece, Contents):
                expected = piece.digests()
                continue
            owner, buckets = owner_of(self._found, piece.key)
            filling = by_source.get(owner.namespace) if owner is not None else None
            if filling is None:
                continue
            filling.stored_as = (BUCKETS if buckets else "") + filling.planned.name
            self._put(filling, piece.data, journal)
            size += len(piece.data)
            tell(f"documents: {filling.planned.target}", size)
        for filling in self._filling.values():
            source = filling.planned.source
            if expected is not None and expected.get(source) != filling.sent:
                text = f"{source} is not in the backup as its contents say"
                hint = "do not trust this backup; restore another one"
                raise Unsound(BackupReason.CHECKSUM, text, hint)
        return size

    def _put(self, filling: _Filling, data: bytes, journal: RestoreJournal) -> None:
        """Insert what an earlier run has not; the digest is of everything."""
        arrived = digest(data)
        skipped = min(max(filling.before - filling.sent.documents, 0), arrived.documents)
        filling.sent += arrived
        if skipped == arrived.documents:
            return
        if skipped:
            data = data[sum(map(len, islice(split_documents(data), skipped))) :]
        self._server.insert(filling.planned, filling.stored_as, data, in_doubt=filling.in_doubt)
        filling.in_doubt = False
        journal.add(filling.planned.target, arrived.documents - skipped)

    def _finish(self, filling: _Filling, size: int, tell: Tell) -> CollectionResult:
        planned = filling.planned
        tell(f"indexes: {planned.target}", size)
        remarks = self._server.create_indexes(planned) if planned.part is Part.DATA else ()
        tell(f"comparing: {planned.target}", size)
        found = ContentDigest()
        for batch in self._reader.batches(planned.database, filling.stored_as, None):
            found += digest(batch)
        # counts first, since they say more
        if filling.sent.documents != found.documents:
            remarks = (*remarks, f"{found.documents} documents instead of {filling.sent.documents}")
        elif filling.sent != found:
            remarks = (*remarks, "as many documents, but not the same bytes")
        alike = RestoreOutcome.INCOMPLETE if remarks else RestoreOutcome.RESTORED
        outcome = alike if filling.sent == found else RestoreOutcome.DIFFERENT
        return CollectionResult(planned.source, planned.target, found.documents, outcome, remarks)

    def _create_views(self) -> list[CollectionResult]:
        """A server makes views in any order, also those on views that come later."""
        there = self._server.existing(self._plan.databases())
        results = []
        for planned in self._plan.collections:
            if planned.part is not Part.VIEW:
                continue
            remarks: tuple[str, ...] = ()
            try:
                if planned.target not in there:
                    self._server.create(planned)
            except OperationFailure as error:
                remarks = (f"the view was refused with code {error.code}",)
            outcome = RestoreOutcome.INCOMPLETE if remarks else RestoreOutcome.RESTORED
            results.append(CollectionResult(planned.source, planned.target, 0, outcome, remarks))
        return results

    @contextmanager
    def _saying_what_is_in_place(self, journal: RestoreJournal) -> Iterator[None]:
        try:
            yield
        except SidecarError as error:
            text = f"{error}; {_in_place(journal, self._plan)}"
            raise type(error)(error.reason, text, error.hint) from None
        except PyMongoError as error:
            text = f"the server stopped answering: {failure(error)}; {_in_place(journal, self._plan)}"
            hint = "run the same command again; it continues from the journal"
            raise Unavailable(BackupReason.TARGET_REFUSED, text, hint) from None


def _in_place(journal: RestoreJournal, plan: RestorePlan) -> str:
    """What a broken-off restore leaves, in one sentence."""
    planned = [item.target for item in plan.collections if item.part is not Part.VIEW]
    begun = [(name, entry) for name, entry in journal.entries.items() if entry.documents]
    if not begun:
        return f"no document of {len(planned)} collections is in place"
    shown = ", ".join(f"{name} ({entry.documents} documents)" for name, entry in begun[-_NAMED:])
    return f"{len(begun)} of {len(planned)} collections hold documents, none is compared; last: {shown}"


_OWN = frozenset({"admin", "config", "local"})


@dataclass(frozen=True, slots=True)
class DrillReport:
    """What was restored, by which server, and how long it took."""

    server_version: str
    seconds: float
    restored: RestoreReport


def drill(
    client: Client, files: DumpFiles, found: Survey, only: Sequence[str] = (), tell: Tell = lambda *_: None
) -> DrillReport:
    """Restore into the empty server of `client` and compare; drop what was restored, whatever happened.

    Users and roles are left out: they would be those of the drill's server.
    Raises:  CannotCreate for a server that is not empty; what a restore raises
    """
    try:
        foreign = sorted(set(client.list_database_names()) - _OWN)
        version = str(client.admin.command("buildInfo")["version"])
    except PyMongoError as error:
        text = f"the drill's server does not answer: {failure(error)}"
        raise Unavailable(BackupReason.TARGET_REFUSED, text, "check its address") from None
    if foreign:
        text = f"the drill's server is not empty: it has the database {foreign[0]}"
        hint = "a drill takes an empty server, since it removes everything that it restored"
        raise CannotCreate(BackupReason.TARGET_OCCUPIED, text, hint)
    restore = Restore(client, files, found, plan(found.collections.values(), only=only))
    began = time.monotonic()
    try:
        with (
            tempfile.TemporaryDirectory(prefix="sealwire-drill-") as folder,
            opened(Path(folder) / "journal.json", "drill") as journal,
        ):
            report = restore.run(journal, tell)
    finally:
        # A server that is gone keeps what it has; the error that ended the drill says so already.
        with suppress(PyMongoError):
            restore.drop()
    return DrillReport(version, time.monotonic() - began, report)
