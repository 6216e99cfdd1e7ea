"""One erasure from its plan to its last look.

Documents that were found are deleted or overwritten, those that others lead to first. A document that is also
another person's stays, and only this person's parts of it go. Each change names why the document was found:
one that was given to somebody else meanwhile stays as it is. What the server refuses stays too, and the next
look finds it.

Keys of contexts that only one person's values have are destroyed: these values are gone in old backups too.
"""

from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum
from functools import partial
from typing import Final

from bson.raw_bson import RawBSONDocument
from pymongo import DeleteOne, UpdateOne
from pymongo.errors import BulkWriteError, DocumentTooLarge
from pymongo.write_concern import WriteConcern

from sealwire.keys.contexts import shredding
from sealwire.keys.contexts.store import ContextStore
from sealwire.keys.keyring.keyring import Keyring
from sealwire.keys.keyring.record import format_time
from sealwire.policies.file.schema import (
    NOTHING,
    PER_DATABASE,
    context_field,
    covered_fields,
    whole_path,
)
from sealwire.policies.file.stored import StoredValues
from sealwire.sidecars.covered import CoveredCollection, stored_collections
from sealwire.sidecars.direct import DECODED, Value, collection_of, identity_of, one_of
from sealwire.sidecars.erasure.holds import LegalHold, refuse_held
from sealwire.sidecars.erasure.journal import ErasureJournal, ErasureNote, ErasureOrder
from sealwire.sidecars.erasure.ownership import Choose, Emptied, Replacements, SharedParts, emptied, null_of
from sealwire.sidecars.erasure.search import Findings, FoundDocument, PersonSearch
from sealwire.sidecars.erasure.stored_forms import key_id_of
from sealwire.sidecars.errors import ErasureReason, Missing, Unavailable, Unusable
from sealwire.wire.raw_bson import enclosed

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

    def __init__(self, search: PersonSearch, keyring: Keyring) -> None:
        self._search = search
        self.replacements = Replacements(keyring)

    def change(self, findings: Findings, way: ErasureWay, tell: Callable[[int], None]) -> None:
        """Erase what was found; `tell` is called with the number of documents that are done.

        Raises Unavailable where the changes are not durable; BsonError; what the driver raises.
        Cost: a command for 200 documents, and to overwrite, a query for them.
        """
        for namespace, batch in _in_order(findings):
            whole = [each for each in batch if each.shared is None]
            shared = [each for each in batch if each.shared is not None]
            if way is ErasureWay.DELETE:
                self._write(namespace, [DeleteOne(_filter(each)) for each in whole])
                self._write_parts(namespace, shared, lambda parts: parts.removed())
            else:
                for choose in (null_of, self.replacements.choose):
                    whole = self._emptied(namespace, whole, choose)
                    shared = self._write_parts(namespace, shared, partial(SharedParts.emptied, choose=choose))
            tell(len(batch))

    def _write_parts(
        self, namespace: str, batch: Sequence[FoundDocument], changed: Callable[[SharedParts], Emptied | None]
    ) -> list[FoundDocument]:
        """As `_update`, of documents that are also another person's."""
        changes = ((each, changed(each.shared)) for each in batch if each.shared is not None)
        return self._update(namespace, changes)

    def _emptied(self, namespace: str, batch: Sequence[FoundDocument], choose: Choose) -> list[FoundDocument]:
        """As `_update`, of whole documents as they are now."""
        if not batch:
            return []
        tree = self._search.policies.covered(namespace) or NOTHING
        by_identity = {each.identity: each for each in batch}
        wanted = one_of(b"_id", [(each.identity[0], each.identity[5:]) for each in batch])
        found = ((by_identity.get(identity_of(raw)), raw) for raw in self._search.matching(namespace, wanted))
        changes = ((each, emptied(raw, tree, choose)) for each, raw in found if each is not None)
        return self._update(namespace, changes)

    def _update(
        self, namespace: str, changes: Iterable[tuple[FoundDocument, Emptied | None]]
    ) -> list[FoundDocument]:
        """Those that may not have a null where it was put."""
        meant = [(each, change) for each, change in changes if change is not None]
        operations = [
            UpdateOne(_filter(each, change.conditions), RawBSONDocument(change.update))
            for each, change in meant
        ]
        errors = self._write(namespace, operations)
        return [meant[index][0] for index, code in errors if code in _BY_NULLS]

    def _write(self, namespace: str, operations: Sequence[DeleteOne | UpdateOne]) -> list[tuple[int, int]]:
        """Index and code of what the server refused."""
        if not operations:
            return []
        majority = WriteConcern("majority")
        collection = collection_of(self._search.client, namespace, DECODED, write_concern=majority)
        try:
            collection.bulk_write(list(operations), ordered=False)
        except DocumentTooLarge:
            return []  # the next look tells of it
        except BulkWriteError as error:
            if error.details.get("writeConcernErrors"):
                raise Unavailable(
                    ErasureReason.SERVER,
                    "the server did not say that a majority of its members has the changes",
                    "see to the replica set; then run it again",
                ) from None
            return [(int(each["index"]), int(each["code"])) for each in error.details["writeErrors"]]
        return []


def _filter(found: FoundDocument, conditions: bytes = b"") -> RawBSONDocument:
    return RawBSONDocument(enclosed(found.identity, found.reason, conditions))


def _in_order(findings: Findings) -> Iterator[tuple[str, list[FoundDocument]]]:
    levels = sorted({each.level for found in findings.documents.values() for each in found.values()})
    for level in reversed(levels):
        for namespace, found in findings.documents.items():
            of_level = [each for each in found.values() if each.level == level]
            for start in range(0, len(of_level), _BATCH):
                yield namespace, of_level[start : start + _BATCH]


@dataclass(frozen=True, slots=True)
class ShreddedKey:
    """What became of a key. Its id is in the envelopes and says nothing of the person."""

    class_name: str
    key_id: str
    destroyed: str
    key_in_files: str
    """Whether the files of the store still had its bytes: `no`, `yes`, or `unknown`."""


class KeyShredder:
    """The keys of one store, and who has values under them on one server."""

    def __init__(self, search: PersonSearch, store: ContextStore) -> None:
        self._search = search
        self._store = store

    def refuse_shared(self, findings: Findings) -> None:
        """Raises Unusable SHARED where another document has values under one of the person's keys.

        Cost: a query for each path of a class with keys for contexts; an index on its field makes it cheap.
        """
        policies = self._search.policies
        collections = stored_collections(self._search.client, policies)
        for key_id, class_name in findings.keys.items():
            if policies.classes[class_name].per == PER_DATABASE:
                raise _shared(f"a key of class {class_name} is that of a whole database")
            said = findings.contexts.get(key_id, set())
            contexts = [each for each in said if each is not None]
            if any(key_id in parts.others_keys for _, _, parts in findings.shared()):
                raise _shared(f"another person has values under the same key of class {class_name}")
            if len(contexts) != len(said):
                raise _shared(f"documents do not say whose keys of class {class_name} they have")
            for each in collections:
                if any(self._has_others(findings, each, class_name, key_id, contexts)):
                    raise _shared(f"other documents of {each.namespace} have values under the same key")

    def _has_others(
        self,
        findings: Findings,
        place: CoveredCollection,
        class_name: str,
        key_id: bytes,
        contexts: list[Value],
    ) -> Iterator[bool]:
        for covered, each in covered_fields(place.tree):
            if each.name != class_name or each.per is None:
                continue
            path = whole_path(context_field(each.per, covered))
            for raw in self._search.matching(place.namespace, one_of(path, contexts)):
                if findings.has(place.namespace, identity_of(raw)):
                    continue
                walk = StoredValues(raw, place.tree)
                while walk.next_value():
                    yield key_id_of(walk.kind, raw[walk.value : walk.end]) == key_id

    def shred(self, key_id: bytes, class_name: str, now: datetime) -> ShreddedKey:
        """Destroy a key, without a waiting period; one that is destroyed already stays so.

        Raises Unavailable where it is still there; KeySettingError, KeyringBusy as `shredding.shred`.
        """
        row = next(iter(self._store.find_ids([key_id])), None)
        if row is None:
            raise _still_there("is not in the store of context keys")
        still: bool | None = None
        if not row.is_destroyed:
            wrapped = row.wrapped or b""
            if row.shred_after is not None:
                row = shredding.cancel(self._store, row)
            row = shredding.announce(self._store, row, now, timedelta(0))
            row = shredding.shred(self._store, row, now)
            still = self._store.has_bytes(wrapped)
        standing = self._store.find_ids([key_id])
        if not standing or not all(each.is_destroyed for each in standing):
            raise _still_there("still stands in the store of context keys")
        destroyed = "" if row.destroyed is None else format_time(row.destroyed)
        in_files = {True: "yes", False: "no", None: "unknown"}[still]
        return ShreddedKey(class_name, key_id.hex(), destroyed, in_files)


def _shared(what: str) -> Unusable:
    return Unusable(
        ErasureReason.SHARED, what, "leave --shred out, or let the policy's links lead to those documents"
    )


def _still_there(what: str) -> Unavailable:
    return Unavailable(
        ErasureReason.SERVER,
        f"a key of this person {what}",
        "see that --contexts names the right store, then run it again",
    )


DocumentName = tuple[str, bytes]
"""Namespace and identity."""

_ROUNDS = 3
"""Looks at what came meanwhile, before the application has the last word."""


@dataclass(frozen=True, slots=True)
class ErasureResult:
    """What came of it."""

    note: ErasureNote
    remaining: dict[str, int]
    """Documents that the last look found, by collection: not erased."""
    keys: tuple[ShreddedKey, ...]
    looked_again: str
    """What the last look was for: `keys` where documents were to stay, `identifier` where a run that was
    killed had erased all of them, else `identifier and links`."""

    @property
    def is_done(self) -> bool:
        """Whether nothing remains."""
        return not self.remaining


@dataclass(frozen=True, slots=True, repr=False)
class ErasureRun:
    """Carries one order out. The caller holds the lock of the holds."""

    _order: ErasureOrder
    _search: PersonSearch
    _changer: Changer
    _shredder: KeyShredder | None
    _journal: ErasureJournal
    _holds: Sequence[LegalHold]
    _allowed: Container[DocumentName] | None
    """The shared documents of which the operator has said yes; None: all."""

    @property
    def _way(self) -> ErasureWay | None:
        return ErasureWay(self._order.way) if self._order.way else None

    def plan(self, now: datetime) -> tuple[ErasureNote, Findings]:
        """What is to be done; changes nothing. `not_allowed` says which shared documents `run` will refuse.

        Raises Missing; Denied; Unusable as `PersonSearch.find`, READABLE; as
        `KeyShredder.refuse_shared`, `ErasureJournal.load`.
        """
        self._refuse_held(())
        noted = self._journal.load(self._order)
        findings = self._search.find()
        if noted is None and not findings.size:
            raise Missing(
                ErasureReason.NOBODY,
                "no document has this identifier",
                "check how it is written; policy coverage shows which paths the class has",
            )
        self._refuse_held(findings.others)
        if self._shredder is not None:
            self._refuse_readable(findings, noted)
            self._shredder.refuse_shared(findings)
        if noted is None:
            noted = ErasureNote(self._order, format_time(now), keys=self._keys(findings))
        else:
            noted = replace(noted, keys={**noted.keys, **self._keys(findings)})
        undecided = sum(parts.undecided for _, _, parts in findings.shared())
        partly = self._partly(findings)
        return noted.with_more(findings.counts(), self._meant(findings), partly, undecided), findings

    def not_allowed(self, findings: Findings) -> list[tuple[str, FoundDocument, SharedParts]]:
        """The shared documents that would be changed, and of which the operator has not said yes."""
        return [
            (namespace, found, parts)
            for namespace, found, parts in findings.shared()
            if self._is_meant(found)
            and self._allowed is not None
            and (namespace, found.identity) not in self._allowed
        ]

    def run(
        self, note: ErasureNote, findings: Findings, now: datetime, tell: Callable[[int], None]
    ) -> ErasureResult:
        """Carry it out, and look again. May be killed at any point, and run again.

        Raises Unusable SHARED for shared documents that are not allowed; as `plan`, for what came
        meanwhile; as `Changer.change` and `KeyShredder.shred`.
        """
        self._refuse(findings)
        self._journal.save(note)
        looked_again = "identifier and links" if findings.size else "identifier"
        found, meant = self._seen(findings)
        partly = self._partly(findings)
        remaining = self._meant(findings)
        for _ in range(_ROUNDS):
            if self._way is None or not remaining:
                break
            self._changer.change(findings, self._way, tell)
            findings = self._search.find(findings.followed, self._changer.replacements.made)
            self._refuse(findings)
            remaining = self._meant(findings)
            more_found, more_meant = self._seen(findings)
            found |= more_found
            meant |= more_meant
        note = note.with_more(Counter(name for name, _ in found), Counter(name for name, _ in meant), partly)
        keys = []
        if not remaining and self._shredder is not None:
            keys = [self._shredder.shred(key_id, name, now) for key_id, name in note.keys.items()]
        if self._way is None:
            looked_again = "keys"
        return ErasureResult(note, remaining, tuple(keys), looked_again)

    def _seen(self, findings: Findings) -> tuple[set[tuple[str, bytes]], set[tuple[str, bytes]]]:
        """Namespace and identity of all documents, and of those that are to be changed."""
        every = [(name, each) for name, found in findings.documents.items() for each in found.values()]
        meant = {(name, each.identity) for name, each in every if self._is_meant(each)}
        return {(name, each.identity) for name, each in every}, meant

    def _is_meant(self, found: FoundDocument) -> bool:
        if self._way is ErasureWay.DELETE:
            return found.shared is None or found.shared.mine > 0
        return self._way is ErasureWay.OVERWRITE and found.values > 0

    def _partly(self, findings: Findings) -> dict[str, int]:
        """How many of the documents that are to be changed stay for somebody else, by collection."""
        return dict(Counter(name for name, found, _ in findings.shared() if self._is_meant(found)))

    def _meant(self, findings: Findings) -> dict[str, int]:
        """How many documents are to be changed, by collection."""
        return dict(sorted(Counter(name for name, _ in self._seen(findings)[1]).items()))

    def _keys(self, findings: Findings) -> dict[bytes, str]:
        return dict(findings.keys) if self._shredder is not None else {}

    def _refuse(self, findings: Findings) -> None:
        refused = len(self.not_allowed(findings))
        if refused:
            raise Unusable(
                ErasureReason.SHARED,
                f"{refused} of the documents are also another person's",
                "--dry-run names them: say yes to each with --shared-document, or to all with --with-shared",
            )
        self._refuse_held(findings.others)

    def _refuse_held(self, others: Iterable[str]) -> None:
        refuse_held(self._holds, {self._order.subject, *self._search.aliases, *others})

    def _refuse_readable(self, findings: Findings, noted: ErasureNote | None) -> None:
        has_keys = bool(findings.keys) or (noted is not None and bool(noted.keys))
        if not has_keys:
            raise Unusable(
                ErasureReason.READABLE,
                "no value of this person has a key of its own that could be destroyed",
                "use --delete or --overwrite without --shred; docs/policies.md, keys for contexts",
            )
        if self._way is None and findings.readable:
            raise Unusable(
                ErasureReason.READABLE,
                f"{findings.readable} covered values of this person would stay readable without these keys",
                "add --delete or --overwrite",
            )
