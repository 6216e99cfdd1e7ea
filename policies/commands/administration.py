"""Commands that administer collections, reach them by another way than their name, or endanger them.

A view's pipeline is covered like any over what the view reads.
"""

from collections.abc import Callable

from sealwire.policies.aggregation.pipelines import plan_pipeline
from sealwire.policies.aggregation.server_stages import refuse_buckets
from sealwire.policies.commands.command import (
    GENERIC,
    Command,
    apply_arguments,
    collation,
    name_in,
    plain_arguments,
    protected_in_pipeline,
    raw_data,
    refuse_writing_views,
)
from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.file.schema import NOTHING, PER_DATABASE, PathNode, belongs_to_server, covered_fields
from sealwire.policies.planning.arguments import given, named_parts, operator_name, readable
from sealwire.policies.planning.rules import Act, Rule, acts, encrypted, family, passed, refused
from sealwire.policies.planning.trees import OPAQUE, same_values
from sealwire.policies.planning.values import demand_delete
from sealwire.policies.planning.walk import Walk
from sealwire.wire import kinds
from sealwire.wire.raw_bson import Element

_DESCRIBING = frozenset(b"index key keyPattern cursor cursors collation".split()) | frozenset(GENERIC)


def _administer(command: Command, walk: Walk) -> None:
    """Documents in a command of administration describe keys and cursors, or they are refused.

    Some of these commands take a query (`planCacheClear`) or index bounds (`dataSize`) as well.
    """
    for name, argument in command.arguments.items():
        if name == b"rawData" and argument.kind != kinds.NULL:
            raw_data(walk, argument)
        if argument.kind in (kinds.OBJECT, kinds.ARRAY) and name not in _DESCRIBING:
            raise Refusal(Reason.SHAPE, path=walk.node.path, rule=operator_name(argument))
    command.refuse_sequences()


def _refuse_command(command: Command, walk: Walk) -> None:
    """Takes values of documents, or bounds of them, in ways that are not followed."""
    raise Refusal(Reason.COMMAND, path=walk.node.path, rule=operator_name(command.arguments[command.name]))


ADMINISTRATION: dict[bytes, Rule[Callable[[Command, Walk], None]]] = {
    **family(
        """listIndexes collStats collstats dataSize datasize validate compact
        reIndex killCursors planCacheClear planCacheClearFilters planCacheListFilters
        balancerCollectionStatus abortReshardCollection commitReshardCollection cleanupReshardCollection
        unshardCollection abortUnshardCollection moveCollection cleanupOrphaned checkMetadataConsistency
        setAllowMigrations configureQueryAnalyzer setIndexCommitQuorum dropSearchIndex abortMoveCollection
        configureCollectionBalancing flushRouterConfig flushrouterconfig getShardVersion""",
        passed(_administer, "without a query"),
    ),
    **acts(Act.DESTRUCTION, family("drop convertToCapped", passed(_administer, "without a query"))),
    **acts(Act.ADMINISTRATION, family("dropIndexes deleteIndexes", passed(_administer, "without a query"))),
    **family(
        """planCacheSetFilter filemd5 split splitVector moveChunk mergeChunks mergeAllChunksOnShard
        movechunk moveRange medianKey setShardVersion clearJumboFlag updateZoneKeyRange createSearchIndexes
        updateSearchIndex listSearchIndexes compactStructuredEncryptionData
        cleanupStructuredEncryptionData""",
        refused(_refuse_command, Reason.COMMAND),
    ),
}
"""Commands that name a protected collection and carry no value of its documents, or are refused."""


def _refuse_protected(command: Command, namespace: str) -> None:
    refuse_buckets(command.policies, namespace)
    if command.policies.covered(namespace) is not None:
        raise Refusal(
            Reason.NAMESPACE, path=readable(namespace), rule=operator_name(command.arguments[command.name])
        )


def rename_collection(command: Command) -> None:
    """Both collections are named in full. Fine when the same classes cover the same paths in both.

    Raises Refusal.
    """
    command.refuse_sequences()
    nodes: list[PathNode | None] = []
    named: list[str] = []
    for name in (command.name, b"to"):
        namespace = name_in(command, command.arguments.get(name)) or ""
        if namespace:
            _refuse_protected(command, command.namespace(namespace))  # as a server might that is lax
            refuse_writing_views(command, namespace)
            refuse_buckets(command.policies, namespace)
        nodes.append(command.policies.covered(namespace))
        named.append(namespace)
    source, target = nodes
    command.draft.namespace = readable(named[0])
    if source is None and target is None:
        return
    is_alike = source is not None and target is not None and same_values(source, target, command.draft.work)
    if source is None or target is None or not is_alike or _leaves(source, named):
        path = readable(named[0] if source is not None else named[1])
        raise Refusal(Reason.NAMESPACE, path=path, rule="renameCollection")
    command.draft.reach()
    demand_delete(command.draft, target)
    known = plain_arguments("renameCollection to dropTarget stayTemp")
    apply_arguments(command.over(NOTHING), command.arguments, {**GENERIC, **known})


def _leaves(node: PathNode, named: list[str]) -> bool:
    """Whether values of a class with a key for each database would come into another one."""
    databases = {name.partition(".")[0] for name in named}
    return len(databases) > 1 and any(each.per == PER_DATABASE for _, each in covered_fields(node))


def _clone_as_capped(command: Command) -> None:
    for name in (command.name, b"toCollection"):
        collection = name_in(command, command.arguments.get(name))
        if collection is not None:
            _refuse_protected(command, command.namespace(collection))


def _map_reduce(command: Command) -> None:
    """JavaScript reads and writes documents in ways that nobody follows: neither may be protected."""
    source = name_in(command, command.arguments[command.name])
    refusal = Refusal(Reason.JAVASCRIPT, rule="mapReduce")
    if source is None or b"out" not in command.arguments:
        raise refusal
    read = command.namespace(source)
    for namespace in (read, *_outputs(command, command.arguments[b"out"])):
        refuse_buckets(command.policies, namespace)
        is_servers = namespace != read and belongs_to_server(namespace)
        if command.reached(namespace) is not None or is_servers:
            raise refusal


def _outputs(command: Command, out: Element) -> list[str]:
    """The collection that `out` names: bare, or as `{merge: name, db}` and its like; none for inline."""
    if out.kind != kinds.OBJECT:
        name = name_in(command, out)
        return [] if name is None else [command.namespace(name)]
    parts = named_parts(command.buf, out.value)
    database = name_in(command, parts.get(b"db")) or command.database
    names = [name_in(command, parts.get(kind)) for kind in (b"replace", b"merge", b"reduce")]
    return [f"{database}.{name}" for name in names if name is not None]


def _refuse_anywhere(command: Command) -> None:
    raise Refusal(Reason.COMMAND, rule=operator_name(command.arguments[command.name]))


def _define_view(command: Command) -> None:
    """`create` and `collMod` of a view. What touches nothing protected passes. Raises Refusal, BsonError."""
    viewed, pipeline = given(command.arguments, b"viewOn"), given(command.arguments, b"pipeline")
    if viewed is None and pipeline is None:
        return
    target = name_in(command, command.arguments[command.name])
    if target is None:
        return
    _refuse_known_name(command, command.namespace(target))
    if not command.policies.protects_database(command.database):
        node = NOTHING
    elif viewed is None:
        node = OPAQUE  # the view goes on reading what it reads now, and that may be protected
    else:
        on = name_in(command, viewed)
        node = NOTHING if on is None else command.reached(command.namespace(on)) or NOTHING
        if command.draft.contexts is not None and on is not None:
            is_stored = command.policies.covered(command.namespace(on)) is node
            command.draft.contexts.read(node, is_stored=is_stored)
    if pipeline is None:
        _keep_pipeline(command, node)
    elif node.covers or protected_in_pipeline(command) is not None:
        command.draft.reach()
        command.draft.around = command.surroundings
        plan_pipeline(command.over(node), pipeline)
        _check_collation(command, node)


def _refuse_known_name(command: Command, namespace: str) -> None:
    """What the policy says of a name is said of a collection, and nobody asks the server. Raises Refusal."""
    policies = command.policies
    if policies.covered(namespace) is None:
        database = namespace.partition(".")[0]
        if not policies.is_plain(namespace) or not policies.protects_database(database):
            return
    raise Refusal(Reason.NAMESPACE, path=readable(namespace), rule="a view")


def _keep_pipeline(command: Command, node: PathNode) -> None:
    """`create` without a pipeline shows all that is read. `collMod` keeps the pipeline that is there.

    Its constants may be in clear, as they were for what the view read before. Raises Refusal(SHAPE).
    """
    if not node.covers:
        return
    if command.name == b"collMod":
        raise Refusal(Reason.SHAPE, path=node.path, rule="viewOn without a pipeline")
    command.draft.reach()
    _check_collation(command, node)


def _check_collation(command: Command, node: PathNode) -> None:
    own_collation = given(command.arguments, b"collation")
    if own_collation is not None:
        collation(command.over(node), own_collation)
        command.draft.compares = True  # every later comparison would be under it
    command.draft.check_collation(node.path)


BEYOND_TARGET: dict[bytes, Rule[Callable[[Command], None]]] = {
    **family("create collMod", encrypted(_define_view, "a view on a protected collection: its pipeline")),
    b"cloneCollectionAsCapped": refused(_clone_as_capped, Reason.NAMESPACE, "from or to a protected one"),
    **family(
        "mapReduce mapreduce",
        refused(_map_reduce, Reason.JAVASCRIPT, "passes from and to what is not protected"),
    ),
    **family(
        """applyOps doTxn eval $eval copydb clone setQuerySettings removeQuerySettings
        internalRenameIfOptionsAndIndexesMatch""",
        refused(_refuse_anywhere, Reason.COMMAND, "wherever they point"),
    ),
}
"""Commands that may reach a protected collection which they do not name, or name second."""
