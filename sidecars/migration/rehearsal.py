"""Rehearses a migration: the same jobs, on a sample of each collection in a scratch database.

The sample lies on the same server, in a database whose name says what it is, and goes with it at the end,
however that comes about. Its keys are made for it and kept nowhere: nothing of it opens with the real ones.
What was encrypted before stays as it is. No proxy follows and nothing gives way, so a real job takes longer.
"""

import secrets
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from bson.raw_bson import RawBSONDocument
from pymongo.errors import BulkWriteError

from sealwire.crypto.envelope import MAX_ID
from sealwire.keys.contexts.sqlite_store import SqliteContextStore
from sealwire.keys.frontier.frontier import ClassVersion, Frontier
from sealwire.keys.frontier.record import Lease
from sealwire.keys.keyring.data_key import DataKey, KeyState, generate_data_key
from sealwire.keys.keyring.keyring import Keyring
from sealwire.policies.file.schema import FieldClass, Mode, PathNode, PolicySet
from sealwire.sidecars.covered import CoveredCollection
from sealwire.sidecars.direct import RAW, Client, collection_of
from sealwire.sidecars.errors import MigrationReason, Unusable
from sealwire.sidecars.migration.contexts import JobContexts, fields_of
from sealwire.sidecars.migration.definitions.constants import ClassChange
from sealwire.sidecars.migration.definitions.conversions import Conversions, Judged, Judgement
from sealwire.sidecars.migration.definitions.server import Definition, MemoryRecords, MongoDefinitions
from sealwire.sidecars.migration.engine import Runner
from sealwire.sidecars.migration.forms import Left, WrongType
from sealwire.sidecars.migration.job import Job, LeftValue, new_job
from sealwire.sidecars.migration.ledger import Wish
from sealwire.sidecars.migration.moves import Direction, moves_of, trees_of
from sealwire.sidecars.migration.planning import make_job
from sealwire.sidecars.migration.server import MongoDocuments
from sealwire.sidecars.migration.windows.moving import Versions
from sealwire.sidecars.migration.windows.order import class_paths, moves_of_paths
from sealwire.sidecars.migration.windows.server import MongoValues, batches
from sealwire.sidecars.migration.windows.turn import Stores, Turn

SCRATCH_PREFIX: Final = "sealwire_rehearsal_"
_TWICE: Final = 11000
"""The code of an `_id` that is there already: a sample may have a document twice."""


@dataclass(frozen=True, slots=True)
class Sampled:
    """One collection, and how much of it was copied."""

    namespace: str
    documents: int
    """About how many it has."""
    sampled: int


@dataclass(frozen=True, slots=True)
class Rehearsed:
    """One job that was tried; its job's collections are named as the real ones are.

    The job's `refusal` is what would stop it before anything moves.
    """

    name: str
    """The class, or `random` for all paths of random classes."""
    job: Job
    busy_s: float
    whole_s: float
    """How long it would take for all documents, at the same rate."""

    @property
    def left(self) -> Mapping[tuple[str, str, Left], int]:
        """Values that would be left. What another key encrypted is none of them: it has moved already."""
        return {key: count for key, count in self.job.left.items() if key[2] is not Left.UNKNOWN_KEY}


class Rehearsal:
    """One scratch database. Use it as `rehearsing` gives it."""

    def __init__(self, client: Client, policies: PolicySet, scratch: str) -> None:
        self._client = client
        self._policies = policies
        self._scratch = scratch
        self._keyring = Keyring(_scratch_keys(policies.classes.values()))
        self.sampled: list[Sampled] = []
        self._copied: dict[str, CoveredCollection] = {}

    def copy(self, found: CoveredCollection, most: int, judged: Iterable[Judged]) -> Sampled:
        """Copy up to `most` documents of a collection, with its validator and indexes.

        Indexes that would be in the way are left out, and those that let documents expire.
        Raises what the driver raises. Cost: reads the sample once and writes it; memory of a batch.
        """
        source = collection_of(self._client, found.namespace)
        there = source.estimated_document_count()
        pipeline: list[Mapping[str, Any]] = [] if there <= most else [{"$sample": {"size": most}}]
        target = self._client.get_database(self._scratch, RAW).create_collection(found.namespace)
        with source.aggregate(pipeline) as cursor:
            for batch in batches(bytes(each.raw) for each in cursor):
                try:
                    target.insert_many(map(RawBSONDocument, batch), ordered=False)
                except BulkWriteError as error:
                    if any(each.get("code") != _TWICE for each in error.details["writeErrors"]):
                        raise
        self._copy_definitions(found, judged)
        self._copied[self._name(found.namespace)] = found
        sampled = Sampled(found.namespace, there, target.estimated_document_count())
        self.sampled.append(sampled)
        return sampled

    def _copy_definitions(self, found: CoveredCollection, judged: Iterable[Judged]) -> None:
        namespace = found.namespace
        out = {
            each.name
            for each in judged
            if each.namespace == namespace and each.judgement is Judgement.IN_THE_WAY
        }
        server = MongoDefinitions(self._client)
        for each in server.read([namespace]):
            is_here = each.namespace == namespace and each.name not in out
            if is_here and "expireAfterSeconds" not in each.content:
                server.make(Definition(each.kind, self._name(namespace), each.name, each.content))
        if found.validation.validator:
            self._client.get_database(self._scratch).command(
                "collMod",
                namespace,
                validationLevel=found.validation.level or "strict",
                validationAction=found.validation.action or "error",
            )

    def run(self) -> Iterator[Rehearsed]:
        """Try one job after the other: all random paths, then each deterministic class. As `Runner.run`."""
        policies = PolicySet(
            self._policies.classes, {name: found.tree for name, found in self._copied.items()}
        )
        if moves_of(policies, self._copied)[0]:
            yield self._random(policies)
        for field_class in policies.classes.values():
            if field_class.mode is Mode.DETERMINISTIC and class_paths(
                policies, self._copied, field_class.name
            ):
                yield self._deterministic(policies, field_class)

    def _random(self, policies: PolicySet) -> Rehearsed:
        moves = tuple(moves_of(policies, self._copied)[0])
        trees = trees_of(moves)
        job = make_job(self._client, Direction.ENCRYPT, moves, WrongType.SKIP, 1)
        definitions = self._conversions(trees, ClassChange(True, False, self._keyring))
        began = time.perf_counter()
        definitions.widen()
        with self._contexts(policies) as contexts:
            runner = Runner(
                job,
                MongoDocuments(self._client),
                _Unwritten(),
                self._keyring,
                contexts=contexts,
                fields=fields_of(policies),
                narrow=definitions.narrow,
            )
            done = runner.run(1)
        return self._rehearsed("random", done, trees, time.perf_counter() - began)

    @contextmanager
    def _contexts(self, policies: PolicySet) -> Iterator[JobContexts | None]:
        """The keys of contexts, which lie in a file while this lasts; None where no class has them."""
        if not policies.has_contexts:
            yield None
            return
        with (
            TemporaryDirectory(prefix=SCRATCH_PREFIX) as folder,
            closing(SqliteContextStore(Path(folder) / "contexts.db")) as store,
        ):
            yield JobContexts(store, self._keyring, policies)

    def _deterministic(self, policies: PolicySet, field_class: FieldClass) -> Rehearsed:
        name = field_class.name
        places = class_paths(policies, self._copied, name)
        new = self._keyring.pending_cipher_for(name)
        if new is None:
            raise ValueError("the scratch keyring has a pending version of each deterministic class")
        old = ClassVersion(self._keyring.cipher_for(name), is_plaintext=True)
        versions = Versions.of_class(old, ClassVersion(new), field_class)
        trees = {each.namespace: each.tree for each in places}
        change = ClassChange.of_versions(self._keyring, versions.old, versions.new)
        definitions = self._conversions(trees, change)
        job = new_job(Direction.ENCRYPT, WrongType.SKIP, moves_of_paths(places, name))
        began = time.perf_counter()
        definitions.widen()
        with (
            self._contexts(policies) as contexts,
            self._client.start_session(causal_consistency=True) as session,
        ):
            values = MongoValues(self._client, session, new.class_id, lambda: places)
            stores = Stores(
                values,
                _UnwrittenFrontiers(versions),
                _Unwritten(),
                None if field_class.per is None else contexts,
            )
            done = Turn(job, versions, stores, definitions.narrow).run()
        return self._rehearsed(name, done, trees, time.perf_counter() - began)

    def _conversions(self, moved: Mapping[str, PathNode], change: ClassChange) -> Conversions:
        server = MongoDefinitions(self._client)
        lost = [each.name for each in Conversions(server, MemoryRecords(), moved, change).judged()]
        return Conversions(server, MemoryRecords(), moved, change, lost)

    def _rehearsed(self, name: str, job: Job, namespaces: Iterable[str], busy_s: float) -> Rehearsed:
        mine = {self._copied[each].namespace for each in namespaces}
        sampled = sum(each.sampled for each in self.sampled if each.namespace in mine)
        there = sum(each.documents for each in self.sampled if each.namespace in mine)
        return Rehearsed(name, self._renamed(job), busy_s, busy_s * there / sampled if sampled else 0.0)

    def _renamed(self, job: Job) -> Job:
        """The same with the names of the real collections."""
        cut = len(self._scratch) + 1

        def named(found: Sequence[LeftValue]) -> tuple[LeftValue, ...]:
            return tuple(replace(each, namespace=each.namespace[cut:]) for each in found)

        left = {(namespace[cut:], path, why): count for (namespace, path, why), count in job.left.items()}
        return replace(job, left=left, reported=named(job.reported), refusal=named(job.refusal))

    def _name(self, namespace: str) -> str:
        """What a collection is called in the scratch database."""
        return f"{self._scratch}.{namespace}"


@contextmanager
def rehearsing(client: Client, policies: PolicySet, into: str | None) -> Iterator[Rehearsal]:
    """A rehearsal in a database that is made for it, and dropped when the block ends, also by a signal.

    Raises:  Unusable TAKEN where the database `into` holds anything, and what the driver raises
    """
    scratch = into or f"{SCRATCH_PREFIX}{secrets.token_hex(4)}"
    database = client.get_database(scratch)
    if database.list_collection_names():
        text = f"the database {scratch} is not empty, and a rehearsal drops its database at the end"
        raise Unusable(MigrationReason.TAKEN, text, "name one that does not exist")
    try:
        yield Rehearsal(client, policies, scratch)
    finally:
        client.drop_database(scratch)


def _scratch_keys(classes: Iterable[FieldClass]) -> Iterator[DataKey]:
    """New keys, under ids that no keyring counts up to: a real envelope is never taken for one of theirs."""
    now = datetime.now(UTC)
    for number, each in enumerate(classes):
        ids = each.name, MAX_ID - number
        is_plaintext = each.mode is Mode.DETERMINISTIC
        yield generate_data_key(*ids, 1, now, is_plaintext=is_plaintext)
        if is_plaintext:
            yield generate_data_key(*ids, 2, now, KeyState.PENDING)


class _Unwritten:
    """Notes that nobody reads."""

    def save(self, _job: Job) -> Wish:
        """Goes on."""
        return Wish.RUN


@dataclass(slots=True)
class _UnwrittenFrontiers:
    """A frontier in memory, which no proxy follows."""

    versions: Versions
    last: Frontier | None = field(default=None)

    def load(self) -> Frontier | None:
        return self.last

    def expect_pending(self) -> None:
        """As `Frontiers.expect_pending`: this version is of no keyring."""

    def begin(self) -> Frontier:
        old, new = self.versions.old.cipher, self.versions.new.cipher
        self.last = Frontier(new.class_id, old.key_version, new.key_version, 1)
        return self.last

    def save(self, frontier: Frontier) -> None:
        self.last = frontier

    def confirm(self, _frontier: Frontier) -> None:
        """Each write waits for a majority, and nobody else writes there."""

    def place(self) -> str:
        """Nowhere."""
        return ""

    def leases(self) -> list[Lease]:
        """None."""
        return []

    def missing_s(self, _counted: Sequence[str] | None = None, /) -> float:
        """None is missing."""
        return 0.0
