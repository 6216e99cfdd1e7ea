"""Deletes or overwrites documents that were found, those that others lead to first.

A document that is also another person's stays, and only this person's parts of it go.

Each change names why the document was found: one that was given to somebody else meanwhile stays as it is.
What the server refuses stays too, and the next look finds it.
"""

from collections.abc import Callable, Iterator, Sequence
from enum import Enum
from typing import Any, Final

from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument
from pymongo import DeleteOne, UpdateOne
from pymongo.collection import Collection
from pymongo.errors import BulkWriteError, DocumentTooLarge
from pymongo.write_concern import WriteConcern

from sealwire.keys.keyring.keyring import Keyring
from sealwire.policies.file.schema import NOTHING, PolicySet
from sealwire.sidecars.direct import Client
from sealwire.sidecars.erasure.errors import ErasureFailed, ErasureReason
from sealwire.sidecars.erasure.overwriting import Choose, Emptied, Replacements, emptied, null_of
from sealwire.sidecars.erasure.ownership import SharedParts
from sealwire.sidecars.erasure.search import Findings, FoundDocument, PersonSearch
from sealwire.sidecars.raw_documents import document, identity_of, one_of

_BATCH: Final = 200
_DUPLICATE_KEY, _INVALID_DOCUMENT = 11000, 121
_BY_NULLS: Final = frozenset({_DUPLICATE_KEY, _INVALID_DOCUMENT})
"""Codes of the server that refuse a null: a unique index, a validator."""


class ErasureWay(Enum):
    """What becomes of the documents."""

    DELETE = "delete"
    OVERWRITE = "overwrite"
    """They stay, without their covered values."""


class Changer:
    """Changes documents of one server."""

    def __init__(self, client: Client, policies: PolicySet, keyring: Keyring, search: PersonSearch) -> None:
        self._client = client
        self._policies = policies
        self._search = search
        self.replacements = Replacements(keyring)

    def change(self, findings: Findings, way: ErasureWay, tell: Callable[[int], None]) -> None:
        """Erase what was found; `tell` is called with the number of documents that are done.

        Raises ErasureFailed where the changes are not durable; BsonError; what the driver raises.
        Cost: a command for 200 documents, and to overwrite, a query for them.
        """
        for namespace, batch in _in_order(findings):
            whole = [each for each in batch if each.shared is None]
            shared = [each for each in batch if each.shared is not None]
            if way is ErasureWay.DELETE:
                self._write(namespace, [DeleteOne(_filter(each)) for each in whole])
                self._write_parts(namespace, shared, lambda parts: parts.removed())
            else:
                self._overwrite(namespace, whole)
                refused = self._write_parts(namespace, shared, lambda parts: parts.emptied(null_of))
                self._write_parts(namespace, refused, lambda parts: parts.emptied(self.replacements.choose))
            tell(len(batch))

    def _write_parts(
        self, namespace: str, batch: Sequence[FoundDocument], changed: Callable[[SharedParts], Emptied | None]
    ) -> list[FoundDocument]:
        """Those that may not have a null where it was put."""
        changes = [(each, changed(each.shared)) for each in batch if each.shared is not None]
        meant = [(each, change) for each, change in changes if change is not None]
        if not meant:
            return []
        operations = [
            UpdateOne(_filter(each, change.conditions), RawBSONDocument(change.update))
            for each, change in meant
        ]
        errors = self._write(namespace, operations)
        return [meant[index][0] for index, code in errors if code in _BY_NULLS]

    def _overwrite(self, namespace: str, batch: Sequence[FoundDocument]) -> None:
        refused = self._emptied(namespace, batch, null_of)
        if refused:
            self._emptied(namespace, refused, self.replacements.choose)

    def _emptied(self, namespace: str, batch: Sequence[FoundDocument], choose: Choose) -> list[FoundDocument]:
        """Those that may not have a null where it was put."""
        tree = self._policies.covered(namespace) or NOTHING
        by_identity = {each.identity: each for each in batch}
        operations: list[UpdateOne] = []
        meant: list[FoundDocument] = []
        wanted = one_of(b"_id", [(each.identity[0], each.identity[5:]) for each in batch])
        for raw in self._search.matching(namespace, wanted):
            change, found = emptied(raw, tree, choose), by_identity.get(identity_of(raw))
            if change is not None and found is not None:
                operations.append(
                    UpdateOne(_filter(found, change.conditions), RawBSONDocument(change.update))
                )
                meant.append(found)
        errors = self._write(namespace, operations)
        return [meant[index] for index, code in errors if code in _BY_NULLS]

    def _write(self, namespace: str, operations: Sequence[DeleteOne | UpdateOne]) -> list[tuple[int, int]]:
        """Index and code of what the server refused."""
        if not operations:
            return []
        database, _, name = namespace.partition(".")
        collection: Collection[Any] = self._client.get_database(
            database, CodecOptions[dict[str, Any]](), write_concern=WriteConcern("majority")
        ).get_collection(name)
        try:
            collection.bulk_write(list(operations), ordered=False)
        except DocumentTooLarge:
            return []  # the next look tells of it
        except BulkWriteError as error:
            if error.details.get("writeConcernErrors"):
                raise ErasureFailed(
                    ErasureReason.SERVER,
                    "the server did not say that a majority of its members has the changes",
                    "see to the replica set; then run it again",
                ) from None
            return [(int(each["index"]), int(each["code"])) for each in error.details["writeErrors"]]
        return []


def _filter(found: FoundDocument, conditions: bytes = b"") -> RawBSONDocument:
    return RawBSONDocument(document(found.identity, found.reason, conditions))


def _in_order(findings: Findings) -> Iterator[tuple[str, list[FoundDocument]]]:
    levels = sorted({each.level for found in findings.documents.values() for each in found.values()})
    for level in reversed(levels):
        for namespace, found in findings.documents.items():
            of_level = [each for each in found.values() if each.level == level]
            for start in range(0, len(of_level), _BATCH):
                yield namespace, of_level[start : start + _BATCH]
