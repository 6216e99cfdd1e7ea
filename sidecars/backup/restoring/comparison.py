"""After a restore: does the server hold what the dump held?"""

from dataclasses import dataclass
from enum import Enum

from sealwire.sidecars.backup.archive.digest import ContentDigest, digest
from sealwire.sidecars.backup.archive.names import BUCKETS
from sealwire.sidecars.backup.dumping.readers import Reader
from sealwire.sidecars.backup.restoring.plan import Planned


class Outcome(Enum):
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


def held(reader: Reader, planned: Planned, *, buckets: bool) -> ContentDigest:
    """What the server holds now: one scan. Raises SourceFailed."""
    name = BUCKETS + planned.name if buckets else planned.name
    total = ContentDigest()
    for batch in reader.batches(planned.database, name, None):
        total += digest(batch)
    return total


def compare(
    planned: Planned, sent: ContentDigest, found: ContentDigest, remarks: tuple[str, ...]
) -> CollectionResult:
    """The row of one collection: counts first, since they say more."""
    if sent.documents != found.documents:
        remarks = (*remarks, f"{found.documents} documents instead of {sent.documents}")
    elif sent != found:
        remarks = (*remarks, "as many documents, but not the same bytes")
    alike = Outcome.INCOMPLETE if remarks else Outcome.RESTORED
    outcome = alike if sent == found else Outcome.DIFFERENT
    return CollectionResult(planned.source, planned.target, found.documents, outcome, remarks)
