"""What the planner does with one command, operator or stage: the rows of every table.

A table drives its module, and the support matrix (docs/commands.md) is printed from the same rows. So what
the documentation says of a name is what stands beside its handler; a test holds each row against a command.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING, Final, Generic, NoReturn, TypeVar

from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.file.schema import PathNode
from sealwire.policies.planning.arguments import Signature, operator_name, printable, signatures_in
from sealwire.policies.questions.conditions import Asks
from sealwire.wire.raw_bson import Element

if TYPE_CHECKING:
    from sealwire.policies.planning.walk import Walk

H = TypeVar("H", bound=Callable[..., object])
H_co = TypeVar("H_co", bound=Callable[..., object], covariant=True)


# ---------------------------------------------- tells names that MongoDB knows from names that nobody knows
#
# MongoDB knows the names that have a row in our tables, and the names below, which have none. A known
# name without a row is unsafe, and its refusal says why. An unknown name is most likely misspelt. Its
# refusal has the code and the text of a server. Neither is sent.

# Source: MongoDB manual 2.6 to 8.2, the reference pages "Database Commands", "Query and Projection
# Operators", "Aggregation Stages" and "Aggregation Operators".
_WITHOUT_ROW: Final[dict[Reason, frozenset[bytes]]] = {
    Reason.UNKNOWN_COMMAND: frozenset(
        b"""analyze appendOplogNote authSchemaUpgrade autoSplitVector captrunc checkShardingIndex
        cloneCollection closeAllDatabases clusterAbortTransaction clusterAggregate clusterBulkWrite
        clusterCommitTransaction clusterCount clusterDelete clusterExplain clusterFind clusterGetMore
        clusterInsert clusterUpdate configureFailPoint convertToTimeseries coordinateCommitTransaction
        copydbgetnonce copydbsaslstart cpuload createUnsplittableCollection cursorInfo dbCheck diagLogging
        driverOIDTest echo emptycapped exportCollection getChangeStreamState getDatabaseVersion
        getESERotateActiveKEKStatus getoptime getQueryableEncryptionCountInfo getTrafficRecordingStatus
        getTransitionToDedicatedConfigServerStatus commitTransitionToDedicatedConfigServer
        startTransitionToDedicatedConfigServer stopTransitionToDedicatedConfigServer geoNear geoSearch
        geoWalk godinsert group handshake httpClientRequest importCollection indexStats isSelf
        journalLatencyTest listDatabasesForAllTenants logApplicationMessage logMessage makeSnapshot
        multicast parallelCollectionScan planCacheListPlans planCacheListQueryShapes prepareTransaction
        reapLogicalSessionCacheNow refreshLogicalSessionCacheNow refreshSessionsInternal releaseMemory
        repairCursor repairDatabase replicateSearchIndexCommand replSetElect replSetFresh replSetHeartbeat
        replSetRequestVotes replSetTest replSetTestEgress replSetUpdatePosition repSetReconfig
        resetPlacementHistory resync rewriteCollection rotateFTDC setChangeStreamState setCommittedSnapshot
        shardDrainingStatus sleep splitChunk stageDebug startRecordingTraffic startTrafficRecording
        stopRecordingTraffic stopTrafficRecording sysprofile touch unsetSharding untrackUnshardedCollection
        upgradeDowngradeViewlessTimeseries voteAbortIndexBuild voteCommitImportCollection
        voteCommitIndexBuild waitForFailPoint testDeprecation testDeprecationInVersion2
        testInternalTransactions testRemoval testReshardCloneCollection testVersion2 testVersions1And2
        whatsmysni writebacklisten""".split()
    ),
    Reason.UNKNOWN_OPERATOR: frozenset(
        b"""$box $center $centerSphere $geometry $polygon $uniqueDocs $query $orderby $rand
        $encStrContains $encStrEndsWith $encStrNormalizedEq $encStrStartsWith""".split()
    ),
    Reason.UNKNOWN_STAGE: frozenset(
        b"""$backupCursor $backupCursorExtend $listCachedAndActiveUsers $listExtensions $mergeCursors $queue
        $score $setVariableFromSubPipeline $cachedLookup $emit $externalFunction $hoppingWindow $https
        $sessionWindow $source $tumblingWindow $validate""".split()
    ),
    Reason.UNKNOWN_EXPRESSION: frozenset(
        b"""$const $createObjectId $currentDate $deserializeEJSON $encStrContains $encStrEndsWith
        $encStrNormalizedEq $encStrStartsWith $hash $hexHash $serializeEJSON $similarityCosine
        $similarityDotProduct $similarityEuclidean $subtype $toArray $toObject""".split()
    ),
}

_INTERNAL: Final = (b"_", b"$_")
"""How the names begin that servers use among themselves."""


def without_row(
    name: bytes, unknown: Reason, *tables: Collection[bytes], reason: Reason, path: str = ""
) -> Refusal:
    """The refusal of a name without a row: for `reason` if MongoDB knows it, else for `unknown`.

    `tables` have the names of that kind which have rows. Cost: O(tables).
    """
    rule = printable(name)
    known = (*tables, _WITHOUT_ROW.get(unknown, frozenset()))
    if name.startswith(_INTERNAL) or any(name in table for table in known):
        return Refusal(reason, path=path, rule=rule)
    return Refusal(unknown, path=path, rule=rule, known=known)


class Verdict(Enum):
    """What becomes of an operation on a covered path."""

    ENCRYPTED = "encrypted"
    """It works; the values in it that are stored at, or compared with, the path are encrypted."""
    PASSED = "passed"
    """It works as it stands: it holds no value of the path."""
    REFUSED = "refused"
    """Ciphertext cannot give the right answer."""


class Act(Enum):
    """Why a command is on record whatever it names and whatever the settings say."""

    ADMINISTRATION = "administration"
    """It changes who may do what, or what the server does for everybody."""
    DESTRUCTION = "destruction"
    """It takes away whole collections, or may."""


class Conversion(Enum):
    """What becomes of an operator in a definition that the server stores, while values that it names move.

    A definition is a view, a validator or a partial index. `sidecars.migration.definitions` converts it.
    """

    KEPT = "kept"
    """It stays as it is: it asks neither for a value nor for its type, or leaves documents as they are."""
    LENGTH = "length"
    """It asks for the length of an array, which stays where elements are encrypted one by one."""
    EQUAL = "equal"
    """It names a value: of two forms, `$in` names both."""
    UNEQUAL = "unequal"
    """It names a value: of two forms, `$nin` names both."""
    LISTED = "listed"
    """It lists values, and both forms of each may be listed."""
    EVERY = "every"
    """It lists values that all have to be there, so it cannot hold for two forms at once."""
    TYPES = "types"
    """It names types."""
    NEGATED = "negated"
    """It negates the conditions in it."""
    ELEMENT = "element"
    """It holds conditions on an element, or a filter for it."""
    FILTERS = "filters"
    """It holds a filter, or several."""
    NO_FILTERS = "no-filters"
    """It negates the filters in it."""
    SCHEMA = "schema"
    EXPRESSION = "expression"


@dataclass(frozen=True, slots=True)
class Rule(Generic[H_co]):
    """One row: a handler, and what it does on covered paths. Elsewhere every operation passes."""

    verdict: Verdict
    handler: H_co
    reason: Reason | None = None
    """Why it is refused, where it is."""
    note: str = ""
    """For the reader of the matrix: the condition under which the verdict holds."""
    signature: Signature | None = None
    """The arguments that an expression operator, an accumulator or a stage takes."""
    act: Act | None = None
    """Why the command is always on record; None: it is where the settings say so."""
    named: bool = False
    """Whether it compares with the values that it names, or stores them, and uses no other of their class."""
    converted: Conversion | None = None
    """What becomes of it in a stored definition; None: it cannot be converted."""
    asks: Asks | None = None
    """What it asks of a value, so that the stored values answer it (docs/asking.md); None: they cannot."""


R = TypeVar("R", bound=Rule[Callable[..., object]])
Rows = Mapping[bytes, Rule[Callable[..., object]]]


def asks_of(rows: Rows, name: bytes) -> Asks | None:
    """What an operator asks of a value, by its row. Cost: O(1)."""
    row = rows.get(name)
    return None if row is None else row.asks


def encrypted(
    handler: H, note: str = "", *, named: bool = False, converted: Conversion | None = None
) -> Rule[H]:
    """It works, and its values are covered."""
    return Rule(Verdict.ENCRYPTED, handler, None, note, named=named, converted=converted)


def passed(
    handler: H, note: str = "", *, named: bool = False, converted: Conversion | None = None
) -> Rule[H]:
    """It works as it stands."""
    return Rule(Verdict.PASSED, handler, None, note, named=named, converted=converted)


def refused(
    handler: H, reason: Reason, note: str = "", *, named: bool = False, converted: Conversion | None = None
) -> Rule[H]:
    """The handler raises a Refusal for this reason where a covered path is concerned."""
    return Rule(Verdict.REFUSED, handler, reason, note, named=named, converted=converted)


def never(
    reason: Reason, note: str = "", *, named: bool = False
) -> Rule[Callable[["Walk", Element], NoReturn]]:
    """Refused for this reason wherever it stands with covered paths in reach."""

    def refuse(walk: "Walk", element: Element) -> NoReturn:
        raise Refusal(reason, path=walk.node.path, rule=operator_name(element))

    return refused(refuse, reason, note, named=named)


def family(names: str, rule: R) -> dict[bytes, R]:
    """The same row for several names, separated by white space."""
    return dict.fromkeys(names.encode().split(), rule)


def acts(act: Act, rules: Mapping[bytes, Rule[H]]) -> dict[bytes, Rule[H]]:
    """The same rows, of commands that are always on record."""
    return {name: replace(rule, act=act) for name, rule in rules.items()}


def asking(asks: Asks, rules: Mapping[bytes, R]) -> dict[bytes, R]:
    """The same rows, of operators that a class with `ask: true` answers by its stored values."""
    return {name: replace(rule, asks=asks) for name, rule in rules.items()}


def signed(notation: str, rule: R) -> dict[bytes, R]:
    """The same row for the names in a notation of signatures (`signatures_in`), each with its own."""
    return {name: replace(rule, signature=signature) for name, signature in signatures_in(notation).items()}


Infer = Callable[["Walk", Element], PathNode]
"""Covers the constants among an operator's arguments, and tells what it yields. Raises Refusal, BsonError."""

Check = Callable[["Walk", Element, PathNode], None]
"""Covers them so that what it yields can be stored at a covered path. Raises Refusal, BsonError."""

Results = Callable[["Walk", Element], list[tuple["Walk", Element]]]
"""Covers the arguments that only decide, and gives those of which one, or a part, is what it yields."""


@dataclass(frozen=True, slots=True)
class Operator(Rule[Infer]):
    """The row of an expression operator: its handler infers what it yields."""

    check: Check | None = None
    """Where its result is stored; None: the class that is inferred must be that of the path."""
    results: Results | None = None


def operators(
    notation: str, rule: Rule[Infer], *, check: Check | None = None, results: Results | None = None
) -> dict[bytes, Operator]:
    """The same row for the operators in a notation of signatures."""
    row = Operator(rule.verdict, rule.handler, rule.reason, rule.note, check=check, results=results)
    return signed(notation, row)


class Yields(Enum):
    """What the documents behind a stage are, by those before it."""

    STORED = "stored"
    """Some of them, as they are."""
    OF_ONE = "of-one"
    """Each has values of one of them; what a join brings in, the join says itself."""
    MIXED = "mixed"
    """Each may have values of many."""


@dataclass(frozen=True, slots=True)
class StageRow(Rule[Infer]):
    """The row of an aggregation stage: its handler gives the covered paths of what it yields."""

    yields: Yields = Yields.MIXED
    writes: bool = False
    """Whether it writes its documents to a collection, so that it has to be the last of all."""
    source: bytes | None = None
    """The argument that names another collection, if one does."""


def stages(
    notation: str,
    rule: Rule[Infer],
    yields: Yields = Yields.MIXED,
    *,
    writes: bool = False,
    source: bytes | None = None,
) -> dict[bytes, StageRow]:
    """The same row for the stages in a notation of signatures, or of names alone (`family`)."""
    row = StageRow(
        rule.verdict, rule.handler, rule.reason, rule.note, converted=rule.converted,
        yields=yields, writes=writes, source=source,
    )  # fmt: skip
    return signed(notation, row) if ":" in notation else family(notation, row)


class Tables:
    """The rows that rules go back to for what lies inside: the planner hands them down."""

    def __init__(self, operators: Mapping[bytes, Operator], stages: Mapping[bytes, StageRow]) -> None:
        self.operators: Final = operators
        self.stages: Final = stages
        rows = stages.items()
        self.as_stored: Final = frozenset(name for name, row in rows if row.yields is Yields.STORED)
        """Stages that choose documents and leave them as they are stored."""
        self.of_one: Final = frozenset(name for name, row in rows if row.yields is not Yields.MIXED)
        """Stages whose documents have values of one document each."""
        self.writing: Final = frozenset(name for name, row in rows if row.writes)
        self.sources: Final = {name: row.source for name, row in rows if row.source is not None}
        """Where stages name another collection."""
