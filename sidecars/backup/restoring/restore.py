"""Restores a dump: collections with their options, documents, indexes, then the comparison, views, users.

Validators are in place from the first moment, since documents are inserted past them: there is no time in
which a restored collection takes plaintext. Indexes come when all documents are there. A run that was broken
off goes on from its journal.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import islice

from pymongo.errors import OperationFailure, PyMongoError

from sealwire.sidecars.backup.archive.contents import ContentDigest, Contents, digest, split_documents
from sealwire.sidecars.backup.archive.dump_files import DumpFiles
from sealwire.sidecars.backup.archive.metadata import BUCKETS
from sealwire.sidecars.backup.archive.survey import Survey, owner_of, pieces
from sealwire.sidecars.backup.dumping.readers import DriverReader
from sealwire.sidecars.backup.errors import (
    BackupError,
    BackupIncomplete,
    BackupReason,
    RestoreStopped,
    TargetOccupied,
)
from sealwire.sidecars.backup.restoring.journal import Journal, purpose_of
from sealwire.sidecars.backup.restoring.plan import Part, Planned, RestorePlan
from sealwire.sidecars.backup.restoring.server import RestoreServer
from sealwire.sidecars.direct import Client, failure

_NAMED = 5


class Outcome(StrEnum):
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
    outcome: Outcome
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
        return not self.remarks and all(result.outcome is Outcome.RESTORED for result in self.collections)


@dataclass(frozen=True, slots=True)
class RestoreProgress:
    """Told after every block and every later step."""

    namespace: str
    step: str
    size: int
    """Bytes of documents so far."""


Tell = Callable[[RestoreProgress], None]


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

    def run(self, journal: Journal, tell: Tell = lambda _: None) -> RestoreReport:
        """Put everything in place and compare.

        Raises:  TargetOccupied; RestoreStopped, BackupDamaged, BackupIncomplete, StoreUnavailable: with what
                 is in place in the message, and the journal kept
        """
        if not journal.resumed:
            self._refuse_occupied()
        with self._saying_what_is_in_place(journal):
            self._create_all(journal)
            self._fill(journal, tell)
            journal.complete(self._filling)
            results = [self._finish(filling, tell) for filling in self._filling.values()]
            remarks = self._take_over_logins()
            results += self._create_views()
        results.sort(key=lambda result: result.target)
        return RestoreReport(tuple(results), self._plan.left_out, remarks)

    def _refuse_occupied(self) -> None:
        there = [planned.target for planned in self.occupied()]
        if there:
            more = f" and {len(there) - _NAMED} more" if len(there) > _NAMED else ""
            text = f"the server already has {', '.join(there[:_NAMED])}{more}"
            hint = "restore under another name with --rename, or replace them with --drop"
            raise TargetOccupied(BackupReason.TARGET_OCCUPIED, text, hint)

    def _create_all(self, journal: Journal) -> None:
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
                    raise RestoreStopped(BackupReason.JOURNAL_OTHER, text, hint)
                filling.before, filling.in_doubt = entry.documents, not entry.whole
                if entry.uuid or uuid is not None:
                    continue
            journal.begin(planned.target)
            self._server.create(planned)
            journal.begin(planned.target, self._server.uuid(planned))

    def _fill(self, journal: Journal, tell: Tell) -> None:
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
            tell(RestoreProgress(filling.planned.target, "documents", size))
        for filling in self._filling.values():
            source = filling.planned.source
            if expected is not None and expected.get(source) != filling.sent:
                text = f"{source} is not in the backup as its contents say"
                hint = "do not trust this backup; restore another one"
                raise BackupIncomplete(BackupReason.CHECKSUM, text, hint)

    def _put(self, filling: _Filling, data: bytes, journal: Journal) -> None:
        """Insert what an earlier run has not; the digest is of everything."""
        arrived = digest(data)
        skipped = min(max(filling.before - filling.sent.documents, 0), arrived.documents)
        filling.sent += arrived
        if skipped == arrived.documents:
            return
        if skipped:
            data = data[_offset(data, skipped) :]
        self._server.insert(filling.planned, filling.stored_as, data, in_doubt=filling.in_doubt)
        filling.in_doubt = False
        journal.add(filling.planned.target, arrived.documents - skipped)

    def _finish(self, filling: _Filling, tell: Tell) -> CollectionResult:
        planned = filling.planned
        tell(RestoreProgress(planned.target, "indexes", 0))
        remarks = self._server.create_indexes(planned) if planned.part is Part.DATA else ()
        tell(RestoreProgress(planned.target, "comparing", 0))
        found = ContentDigest()
        for batch in self._reader.batches(planned.database, filling.stored_as, None):
            found += digest(batch)
        # counts first, since they say more
        if filling.sent.documents != found.documents:
            remarks = (*remarks, f"{found.documents} documents instead of {filling.sent.documents}")
        elif filling.sent != found:
            remarks = (*remarks, "as many documents, but not the same bytes")
        alike = Outcome.INCOMPLETE if remarks else Outcome.RESTORED
        outcome = alike if filling.sent == found else Outcome.DIFFERENT
        return CollectionResult(planned.source, planned.target, found.documents, outcome, remarks)

    def _take_over_logins(self) -> tuple[str, ...]:
        names = [planned.name for planned in self._plan.collections if planned.part is Part.LOGINS]
        refused = self._server.take_over_logins(names) if names else ""
        return (refused,) if refused else ()

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
            outcome = Outcome.INCOMPLETE if remarks else Outcome.RESTORED
            results.append(CollectionResult(planned.source, planned.target, 0, outcome, remarks))
        return results

    @contextmanager
    def _saying_what_is_in_place(self, journal: Journal) -> Iterator[None]:
        try:
            yield
        except BackupError as error:
            text = f"{error}; {_in_place(journal, self._plan)}"
            raise type(error)(error.reason, text, error.hint) from None
        except PyMongoError as error:
            text = f"the server stopped answering: {failure(error)}; {_in_place(journal, self._plan)}"
            hint = "run the same command again; it continues from the journal"
            raise RestoreStopped(BackupReason.TARGET_REFUSED, text, hint) from None


def _in_place(journal: Journal, plan: RestorePlan) -> str:
    """What a broken-off restore leaves, in one sentence."""
    planned = [item.target for item in plan.collections if item.part is not Part.VIEW]
    begun = [(name, entry) for name, entry in journal.entries.items() if entry.documents]
    if not begun:
        return f"no document of {len(planned)} collections is in place"
    shown = ", ".join(f"{name} ({entry.documents} documents)" for name, entry in begun[-_NAMED:])
    return f"{len(begun)} of {len(planned)} collections hold documents, none is compared; last: {shown}"


def _offset(data: bytes, documents: int) -> int:
    """The offset at which the next document begins after so many."""
    return sum(len(document) for document in islice(split_documents(data), documents))
