"""Reads the covered collections of a server, each as it is stored."""

from collections.abc import Callable
from dataclasses import dataclass

from pymongo.errors import PyMongoError

from sealwire.sidecars.covered import CoveredCollection
from sealwire.sidecars.direct import Client, documents_of, failure
from sealwire.sidecars.drift.condition import Keys
from sealwire.sidecars.drift.contexts import ContextJudge
from sealwire.sidecars.drift.scan import Census, PathReport
from sealwire.wire.errors import BsonError

RIGHTS = "log in as a user that may list collections and read them (read)"
"""The hint where the server denies something."""


@dataclass(frozen=True, slots=True)
class CollectionReport:
    """What one collection holds."""

    namespace: str
    documents: int
    """Documents that were read."""
    paths: tuple[PathReport, ...]
    skipped: str = ""
    """Why it was not read, or not to its end."""

    @property
    def is_sound(self) -> bool:
        """Whether it was read, and every value in it is ciphertext that its class opens."""
        return not self.skipped and all(path.is_sound for path in self.paths)


def read_collection(
    client: Client,
    found: CoveredCollection,
    keys: Keys,
    sample: int | None,
    progress: Callable[[int], None],
    contexts: ContextJudge | None = None,
) -> CollectionReport:
    """Read all documents, or a random `sample` of them; `progress` is told of each. `contexts` as `Census`.

    A view holds nothing of its own, and is skipped. What the server refuses becomes a report, so that the
    other collections are read; so does a document that is none.
    """
    if not found.exists or found.kind == "view":
        why = "a view holds nothing of its own" if found.exists else "does not exist"
        return CollectionReport(found.namespace, 0, (), why)
    census = Census(found.tree, keys, found.namespace, contexts)
    skipped = ""
    try:
        for raw in documents_of(client, found.namespace, sample):
            census.read(raw)
            progress(1)
    except PyMongoError as error:
        skipped = f"not read to its end: {failure(error)}"
    except BsonError as error:
        skipped = f"not read to its end: a document is damaged ({error.reason.value})"
    return CollectionReport(found.namespace, census.documents, tuple(census.report()), skipped)
