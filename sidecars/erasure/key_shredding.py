"""Destroys the keys of contexts that only one person's values have: these are gone in old backups too."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from sealwire.keys.contexts import shredding
from sealwire.keys.contexts.store import ContextStore
from sealwire.keys.keyring.record import format_time
from sealwire.policies.file.schema import PER_DATABASE, PolicySet, context_field, leaves, whole_path
from sealwire.policies.file.stored import StoredValues
from sealwire.sidecars.covered import CoveredCollection, covered_collections
from sealwire.sidecars.direct import Client
from sealwire.sidecars.erasure.errors import ErasureFailed, ErasureReason, ErasureRefused
from sealwire.sidecars.erasure.search import Findings, PersonSearch
from sealwire.sidecars.erasure.stored_forms import key_id_of
from sealwire.sidecars.raw_documents import Value, identity_of, one_of


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

    def __init__(
        self, client: Client, policies: PolicySet, search: PersonSearch, store: ContextStore
    ) -> None:
        self._client = client
        self._policies = policies
        self._search = search
        self._store = store

    def refuse_shared(self, findings: Findings) -> None:
        """Raises ErasureRefused SHARED where another document has values under one of the person's keys.

        Cost: a query for each path of a class with keys for contexts; an index on its field makes it cheap.
        """
        collections = [
            each
            for each in covered_collections(self._client, self._policies)
            if each.exists and each.kind != "view"
        ]
        for key_id, class_name in findings.keys.items():
            if self._policies.classes[class_name].per == PER_DATABASE:
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
        for node in leaves(place.tree):
            if node.leaf is None or node.leaf.name != class_name or node.leaf.per is None:
                continue
            path = whole_path(context_field(node.leaf.per, node.path))
            for raw in self._search.matching(place.namespace, one_of(path, contexts)):
                if findings.has(place.namespace, identity_of(raw)):
                    continue
                walk = StoredValues(raw, place.tree)
                while walk.next_value():
                    yield key_id_of(walk.kind, raw[walk.value : walk.end]) == key_id

    def shred(self, key_id: bytes, class_name: str, now: datetime) -> ShreddedKey:
        """Destroy a key, without a waiting period; one that is destroyed already stays so.

        Raises ErasureFailed where it is still there; KeySettingError, KeyringBusy as `shredding.shred`.
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


def _shared(what: str) -> ErasureRefused:
    return ErasureRefused(
        ErasureReason.SHARED, what, "leave --shred out, or let the policy's links lead to those documents"
    )


def _still_there(what: str) -> ErasureFailed:
    return ErasureFailed(
        ErasureReason.SERVER,
        f"a key of this person {what}",
        "see that --contexts names the right store, then run it again",
    )
