"""The commands that define collections and indexes, and those that administer or endanger them."""

from collections.abc import Callable

from sealwire.policies.arguments import (
    Parents,
    document_of,
    named_parts,
    operator_name,
    readable,
    string_of,
)
from sealwire.policies.command import GENERIC, Argument, Command, apply_arguments, collation, passed
from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.filters import plan_filter
from sealwire.policies.namespaces import Surroundings, foreign_namespaces
from sealwire.policies.paths import follow
from sealwire.policies.schema import NOTHING, PathNode
from sealwire.policies.trees import same_values
from sealwire.wire.raw_bson import BsonType, Element, elements

_INDEX_KINDS = frozenset({BsonType.INT, BsonType.LONG, BsonType.DOUBLE})


def create_indexes(command: Command, node: PathNode) -> None:
    """Ordinary and hashed indexes work on ciphertext; text, geo, TTL and wildcard ones cannot."""
    table: dict[bytes, Argument] = {command.name: passed, b"indexes": passed, b"commitQuorum": passed}
    apply_arguments(command, command.arguments, {**GENERIC, **table}, command.parents)
    for start, parents in command.documents(b"indexes"):
        _index(command, node, start, (*parents, start))


def _index(command: Command, node: PathNode, start: int, parents: Parents) -> None:
    parts = named_parts(command.plan, start)
    key = parts.get(b"key")
    if key is None:
        raise Refusal(Reason.SHAPE, rule="createIndexes")
    covered: PathNode | None = None
    for field in elements(command.plan.buf, document_of(key, key)):
        covered = _index_field(command, node, field) or covered
    _refuse_weights(command, node, parts.get(b"weights"))
    if covered is not None:
        lifetime = parts.get(b"expireAfterSeconds")
        if lifetime is not None and lifetime.kind != BsonType.NULL:
            raise Refusal(Reason.INDEX, path=covered.path, rule=operator_name(lifetime))
        command.plan.compares = True
    own_collation = parts.get(b"collation")
    if own_collation is not None and own_collation.kind != BsonType.NULL:
        command.note_collation(own_collation)
    partial = parts.get(b"partialFilterExpression")
    if partial is not None and partial.kind != BsonType.NULL:
        plan_filter(command.plan, document_of(partial, partial), node, parents)
    command.settle_collation(covered.path if covered is not None else "")


def _refuse_weights(command: Command, node: PathNode, weights: Element | None) -> None:
    """The fields of a text index, which may stand here alone: `{_fts: "text"}` is a key that names none."""
    if weights is None or weights.kind == BsonType.NULL:
        return
    for field in elements(command.plan.buf, document_of(weights, weights)):
        covered = node if field.name == b"$**" else follow(node, field.name)
        if covered is not None:
            raise Refusal(Reason.INDEX, path=covered.path, rule="weights")


def _index_field(command: Command, node: PathNode, field: Element) -> PathNode | None:
    """The covered node that an indexed path leads to. Raises Refusal(INDEX)."""
    if b"$**" in field.name:
        prefix = field.name.removesuffix(b"$**").removesuffix(b".")
        below = follow(node, prefix) if prefix else node
        if below is not None and below.covers:
            raise Refusal(Reason.INDEX, path=below.path, rule="a wildcard index")
        return None
    covered = follow(node, field.name)
    if covered is None:
        return None
    plain = field.kind in _INDEX_KINDS
    if not plain and not (field.kind == BsonType.STRING and string_of(command.plan, field) == "hashed"):
        raise Refusal(Reason.INDEX, path=covered.path, rule="this index type")
    if covered.holds_random:
        raise Refusal(Reason.INDEX, path=covered.path, rule="an index on a random class")
    return covered


def create(command: Command, node: PathNode) -> None:
    """`create` and `collMod` of a protected collection: its validator is covered like a filter."""

    def validator(command: Command, argument: Element, parents: Parents) -> None:
        plan_filter(command.plan, document_of(argument, argument), node, parents)

    def default_collation(command: Command, argument: Element, parents: Parents) -> None:
        collation(command, argument, parents)
        command.plan.compares = True  # every later comparison would be under it

    table: dict[bytes, Argument] = {b"validator": validator, b"collation": default_collation}
    names = b"""capped size max validationLevel validationAction indexOptionDefaults storageEngine
        autoIndexId flags changeStreamPreAndPostImages recordPreImages cappedSize cappedMax prepareUnique
        dryRun idIndex clusteredIndex expireAfterSeconds"""
    table |= dict.fromkeys([command.name, *names.split()], passed)
    if command.name == b"collMod":
        table[b"index"] = _modified_index(node)
    apply_arguments(command, command.arguments, {**GENERIC, **table}, command.parents)


def _modified_index(node: PathNode) -> Argument:
    def plan(command: Command, argument: Element, parents: Parents) -> None:
        del parents
        parts = named_parts(command.plan, document_of(argument, argument))
        if b"expireAfterSeconds" not in parts:
            return
        pattern = parts.get(b"keyPattern")
        if pattern is None:
            # which fields an index has does not show in its name
            raise Refusal(Reason.INDEX, path=node.path, rule="expireAfterSeconds without keyPattern")
        for field in elements(command.plan.buf, document_of(pattern, pattern)):
            covered = follow(node, field.name)
            if covered is not None:
                raise Refusal(Reason.INDEX, path=covered.path, rule="expireAfterSeconds")

    return plan


DEFINITION_COMMANDS: dict[bytes, Callable[[Command, PathNode], None]] = {
    b"createIndexes": create_indexes,
    b"create": create,
    b"collMod": create,
}

ADMINISTRATION = frozenset(
    b"""listIndexes dropIndexes deleteIndexes drop collStats collstats dataSize datasize validate compact
    reIndex killCursors planCacheClear planCacheClearFilters planCacheListFilters convertToCapped
    shardCollection balancerCollectionStatus""".split()
)
"""Commands that name a protected collection and carry no value of its documents: passed on."""

_DESCRIBING = frozenset(b"index key keyPattern cursor cursors collation".split())


def check_administration(command: Command, namespace: str) -> None:
    """Documents in a command of administration describe keys and cursors, or they are refused.

    Some of these commands take a query (`planCacheClear`) or index bounds (`dataSize`) as well.
    """
    for name, argument in command.arguments.items():
        if argument.kind in (BsonType.OBJECT, BsonType.ARRAY) and name not in _DESCRIBING | GENERIC.keys():
            raise Refusal(Reason.SHAPE, path=namespace, rule=operator_name(argument))
    if command.sequences:
        raise Refusal(Reason.SHAPE, rule="this document sequence")


NAMES_NO_COLLECTION = frozenset(
    b"""createUser updateUser dropUser usersInfo grantRolesToUser revokeRolesFromUser createRole updateRole
    dropRole rolesInfo grantRolesToRole revokeRolesFromRole grantPrivilegesToRole
    revokePrivilegesFromRole""".split()
)
"""Commands whose first argument is the name of something else, which may be spelt like a collection."""

_REFUSED_WITH_POLICY = frozenset(
    {
        b"applyOps",
        b"doTxn",
        b"eval",
        b"$eval",
        b"copydb",
        b"clone",
        b"setQuerySettings",
        b"removeQuerySettings",
        b"internalRenameIfOptionsAndIndexesMatch",
    }
)


def check_any_namespace(command: Command) -> None:
    """What must hold whichever collection a command names: it may reach a protected one by another way.

    Raises Refusal. Cost: O(1) for all commands but those that can name two collections.
    """
    check = _BEYOND_TARGET.get(command.name)
    if command.sequences and (command.name == b"aggregate" or check is not None):
        # the server would take one for the argument that is checked here, or for a pipeline
        raise Refusal(Reason.SHAPE, rule="this document sequence")
    if check is not None:
        check(command)
    elif command.name in _REFUSED_WITH_POLICY and command.policies.protects_anything:
        raise Refusal(Reason.COMMAND, rule=command.name.decode())


def _refuse_protected(command: Command, namespace: str) -> None:
    if command.policies.covered(namespace) is not None:
        raise Refusal(
            Reason.NAMESPACE, path=readable(namespace), rule=operator_name(command.arguments[command.name])
        )


def _name_in(command: Command, argument: Element | None) -> str | None:
    """The name that an argument gives, None for no argument. Raises Refusal for what is no string."""
    if argument is None or argument.kind == BsonType.NULL:
        return None
    if argument.kind != BsonType.STRING:
        raise Refusal(Reason.SHAPE, rule=operator_name(argument))
    return string_of(command.plan, argument)


def rename_collection(command: Command) -> None:
    """Both collections are named in full. Fine when the same classes cover the same paths in both.

    Raises Refusal.
    """
    if command.sequences:
        # the server would take one for an argument that is read here
        raise Refusal(Reason.SHAPE, rule="this document sequence")
    nodes: list[PathNode | None] = []
    named: list[str] = []
    for name in (command.name, b"to"):
        namespace = _name_in(command, command.arguments.get(name)) or ""
        if namespace:
            _refuse_protected(command, command.namespace(namespace))  # as a server might that is lax
        nodes.append(command.policies.covered(namespace))
        named.append(namespace)
    source, target = nodes
    if source is None and target is None:
        return
    if source is None or target is None or not same_values(source, target):
        path = readable(named[0] if source is not None else named[1])
        raise Refusal(Reason.NAMESPACE, path=path, rule="renameCollection")
    command.plan.protected = True
    command.plan.namespace = readable(named[0])
    known: dict[bytes, Argument] = dict.fromkeys((command.name, b"to", b"dropTarget", b"stayTemp"), passed)
    apply_arguments(command, command.arguments, {**GENERIC, **known}, command.parents)


def _clone_as_capped(command: Command) -> None:
    for name in (command.name, b"toCollection"):
        collection = _name_in(command, command.arguments.get(name))
        if collection is not None:
            _refuse_protected(command, command.namespace(collection))


def _view(command: Command) -> None:
    """A view on a protected collection would be read without the policy's knowledge."""
    on = _name_in(command, command.arguments.get(b"viewOn"))
    if on is not None:
        _refuse_protected(command, command.namespace(on))
    protected = protected_in_pipeline(command)
    if protected is not None:
        _refuse_protected(command, protected)


def protected_in_pipeline(command: Command) -> str | None:
    """The first protected collection that the command's pipeline reads or writes beside its own input."""
    pipeline = command.arguments.get(b"pipeline")
    if pipeline is None:
        return None
    around = Surroundings(command.policies, command.database)
    return around.protected_in(foreign_namespaces(command.plan, pipeline, command.database))


_READS = frozenset(b"find aggregate count distinct listIndexes collStats collstats getMore explain".split())


def refuse_view_catalog(command: Command, collection: str) -> None:
    """A view is a document in `system.views`: written there, it could be one on a protected collection."""
    if command.name not in _READS:
        refuse_writing_views(command, command.namespace(collection))


def refuse_writing_views(command: Command, namespace: str) -> None:
    """The same for a namespace that is written to. Raises Refusal."""
    database, _, collection = namespace.partition(".")
    if collection == "system.views" and command.policies.protects_database(database):
        raise Refusal(Reason.NAMESPACE, path=readable(namespace), rule=command.plan.command)


def _map_reduce(command: Command) -> None:
    """Its output may be any collection of any database; with JavaScript in it there is nothing to follow."""
    if command.policies.protects_database(command.database) or b"out" not in command.arguments:
        raise Refusal(Reason.JAVASCRIPT, rule="mapReduce")
    out = command.arguments[b"out"]
    if out.kind == BsonType.OBJECT and b"db" in named_parts(command.plan, out.value):
        raise Refusal(Reason.JAVASCRIPT, rule="mapReduce")


_BEYOND_TARGET: dict[bytes, Callable[[Command], None]] = {
    b"cloneCollectionAsCapped": _clone_as_capped,
    b"create": _view,
    b"collMod": _view,
    b"mapReduce": _map_reduce,
    b"mapreduce": _map_reduce,
}


def change_stream_root(command: Command, *, whole_cluster: bool) -> PathNode:
    """What documents a database-wide pipeline reads: events of any collection, protected ones included."""
    policies = command.policies
    reaches = bool(policies.classes) if whole_cluster else policies.protects_database(command.database)
    return PathNode("", opaque=True) if reaches else NOTHING
