"""One command in, one plan out, or a refusal: the entry of this room.

First what holds for any command, then by the namespace it names: protected, its handler covers it or refuses;
not protected, it passes untouched if it is one of those that are known, or that the policy allows. A policy
that protects nothing refuses nothing.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from sealwire.policies.aggregation.grouping import ACCUMULATORS
from sealwire.policies.aggregation.server_stages import OTHERS_COMMANDS, SERVER_STAGES, refuse_buckets
from sealwire.policies.aggregation.stages import STAGES, TABLES
from sealwire.policies.commands.administration import (
    ADMINISTRATION,
    BEYOND_TARGET,
    rename_collection,
)
from sealwire.policies.commands.command import (
    GENERIC,
    SEQUENCES,
    Argument,
    Command,
    DocumentSequence,
    Refused,
    apply_arguments,
    first_stage,
    note_collation,
    plain_arguments,
    planned_apart,
    protected_in_pipeline,
    refuse_writing_views,
    unread,
    watched,
)
from sealwire.policies.commands.command import collation as plan_collation
from sealwire.policies.commands.data_commands import DATA_COMMANDS, aggregate, bulk_write
from sealwire.policies.commands.definitions import DEFINITION_COMMANDS, judge_fields
from sealwire.policies.commands.opening import note_explained, note_openings
from sealwire.policies.commands.passed_commands import PASSED_COMMANDS
from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.expressions.operators import OPERATORS as EXPRESSIONS
from sealwire.policies.file.schema import NOTHING, PathNode, PolicySet, belongs_to_server
from sealwire.policies.filters.filters import OPERATORS as FILTER_OPERATORS
from sealwire.policies.filters.filters import TOP_LEVEL
from sealwire.policies.planning import values
from sealwire.policies.planning.arguments import (
    document_of,
    given,
    named_parts,
    operator_name,
    printable,
    readable,
    string_of,
)
from sealwire.policies.planning.contexts import Contexts
from sealwire.policies.planning.namespaces import foreign_namespaces
from sealwire.policies.planning.plan import Plan, Settler
from sealwire.policies.planning.rules import Act, Rule, acts, encrypted, family, passed, without_row
from sealwire.policies.planning.trees import Work
from sealwire.policies.planning.walk import NO_SURROUNDINGS, Draft, Parents, Walk
from sealwire.policies.questions.asked import Answers, Asking
from sealwire.policies.roles.role import Rights
from sealwire.policies.updates.update_pipelines import STAGES as UPDATE_STAGES
from sealwire.policies.updates.updates import OPERATORS as UPDATE_OPERATORS
from sealwire.policies.updates.updates import PUSH_MODIFIERS
from sealwire.wire import kinds
from sealwire.wire.raw_bson import Element, find_element

_NUMBERS: Final = frozenset({kinds.INT, kinds.LONG, kinds.DOUBLE})


# ---------------------------------- commands that choose by which fields a collection is split among shards
#
# A shard key on a deterministic class sends a document where its ciphertext lies. Equal values have one
# ciphertext, so a query by equality finds the shard, under a hashed key and under a ranged one. The order
# of ciphertext says nothing of values: zones and split points are refused. A random class has no
# equality.


def _shard(command: Command, walk: Walk) -> None:
    """The fields of the key are told apart by equality, so each demands what an index on it does.

    Raises Refusal(INDEX, SHAPE, ROLE, CONTEXT, COLLATION).
    """
    command.refuse_sequences()
    apply_arguments(walk, command.arguments, {command.name: planned_apart, **_ARGUMENTS})
    key = given(command.arguments, b"key")
    if key is None:
        return
    covered = judge_fields(walk, command.arguments, key)
    walk.draft.check_collation("" if covered is None else covered.path)


def _value(walk: Walk, argument: Element) -> None:
    """Anything but a document or list, in which bounds in the order of values might stand."""
    if argument.kind in (kinds.OBJECT, kinds.ARRAY):
        raise Refusal(Reason.SHAPE, path=walk.node.path, rule=operator_name(argument))


_ARGUMENTS: dict[bytes, Argument] = {
    **GENERIC,
    **plain_arguments("key"),
    b"collation": plan_collation,
    **dict.fromkeys(
        b"""unique numInitialChunks presplitHashedZones enforceUniquenessCheck implicitlyCreateIndex dataShard
        isFromCreateUnsplittableCollection unsplittable registerExistingShardKeyIndex force
        reshardingUUID forceRedistribution performVerification provenance relaxed
        demoMode reshardingMinimumOperationDurationMillis
        sampleSize sampleRate keyCharacteristics readWriteDistribution""".split(),
        _value,
    ),
}

SHARDING_COMMANDS: dict[bytes, Rule[Callable[[Command, Walk], None]]] = family(
    "shardCollection shardcollection reshardCollection refineCollectionShardKey analyzeShardKey",
    passed(_shard, "hashed or ranged by ciphertext; no random class, no zones, no split points"),
)
"""Commands with a shard key."""

COMMANDS: Final = DATA_COMMANDS | DEFINITION_COMMANDS | SHARDING_COMMANDS | ADMINISTRATION
"""Those that may name a protected collection; any other that does is refused."""

WHOLE_NAMES: Final[dict[bytes, Rule[Callable[[Command], None]]]] = {
    b"bulkWrite": encrypted(bulk_write, "each operation for its collection"),
    **acts(
        Act.DESTRUCTION,
        {b"renameCollection": passed(rename_collection, "between the same classes at the same paths")},
    ),
}
"""Commands that name their collections in full; they run on the admin database."""

_READING: Final = frozenset(DATA_COMMANDS) - {b"insert"} | frozenset(
    b"createIndexes planCacheClear planCacheSetFilter".split()
)
"""Those that compare stored values, or show them. Given a view's name, they speak of what the view shows; the
server refuses some of them there, when it has read them."""

# `aggregate` with one of these shows what the server knows of the collection that it names, and of no other
_OF_ONE_COLLECTION: Final = frozenset(b"$collStats $indexStats $planCacheStats".split())

NAMING_COMMANDS: Final = frozenset(COMMANDS) | frozenset(WHOLE_NAMES)
"""Commands of which also what their first arguments name is safe in logs: they are names of collections."""

KNOWN_COMMANDS: Final = NAMING_COMMANDS | frozenset(PASSED_COMMANDS)
"""Commands whose names are safe in logs and metrics."""

ACTS: Final[dict[bytes, Act]] = {
    name: rule.act
    for table in (COMMANDS, WHOLE_NAMES, PASSED_COMMANDS)
    for name, rule in table.items()
    if rule.act is not None
}
"""Commands that are always on record, and why."""

_WITHOUT_PROTECTION: Final = frozenset(COMMANDS) | frozenset(BEYOND_TARGET)
"""Commands that may name a collection without protection; what else they reach is checked before."""

_WITHOUT_SEQUENCES: Final = frozenset(b"create collMod cloneCollectionAsCapped mapReduce mapreduce".split())

_WITHOUT_ROLE: Final = frozenset(PASSED_COMMANDS) | {b"killCursors"}
"""What needs no role, whatever it reaches."""

_DROPPING: Final = frozenset(b"drop convertToCapped".split())
_UNINDEXING: Final = frozenset(b"dropIndexes deleteIndexes".split())

_ASKING: Final = frozenset(b"find count distinct aggregate update delete findAndModify findandmodify".split())
"""Commands whose filters may rest on what the server was asked before."""
_NEVER_ASKING: Final = frozenset(b"tailable awaitData".split())
_SNAPSHOT: Final = "snapshot"
_ASKED_AT: Final = frozenset({"local", "available", "majority", _SNAPSHOT})
"""Read concerns whose reads are at no one time, or at one that both steps can have."""

_EXPLAINING: Final = frozenset({b"explain"})

_TEXTS: Final = {name: name.decode() for name in KNOWN_COMMANDS}


def plan_command(  # noqa: PLR0913, PLR0917 - where the command lies, and what there is to know
    policies: PolicySet,
    buf: bytes,
    body: int,
    parents: Parents = (),
    sequences: tuple[DocumentSequence, ...] = (),
    covered: Callable[[str], PathNode | None] | None = None,
    settler: Settler | None = None,
    refused: Refused | None = None,
    rights: Rights | None = None,
    work: Work | None = None,
    answers: Answers | None = None,
    written_as: str = "",
) -> Plan:
    """Decide what must happen to the command whose document lies at `body` in `buf`.

    `parents` are the offsets of the lengths above the body (0 for a message's own). The plan's edits are
    empty when the command may pass as it is. `covered` knows views as well (`ViewCatalog.covered`); without
    it, what is no protected collection is read as it is. `settler` is given the edits of documents whenever
    they are many. `refused` is told of statements of a write that are refused, and the plan is for nothing
    then. `rights` are those of the client, where the policy has roles. `work` has what earlier attempts and
    views of the same command have taken. `answers` are what the server's values have said; without it nothing
    is asked of them. `written_as` is the client's command, where this one stands for it (`sorted_commands`).
    Raises Refusal, BsonError, ValuesUnknown, FindSortsByValues, and what the three callables raise.
    Cost: O(elements walked).
    """
    draft = Draft(buf, TABLES, settler, work)
    draft.rights = rights
    arguments = draft.arguments = named_parts(buf, body)
    database = arguments.get(b"$db")
    if not arguments or database is None or database.kind != kinds.STRING:
        raise Refusal(Reason.SHAPE, rule="a command without $db")
    command = Command(
        draft,
        policies,
        covered or policies.covered,
        string_of(buf, database),
        body,
        (*parents, body),
        arguments,
        sequences,
    )
    command.refused = refused
    command.answers = answers
    draft.command = written_as or _TEXTS.get(command.name) or printable(command.name)
    if policies.has_contexts:
        draft.contexts = Contexts(command.database, draft.work)
        is_stream = command.name == b"aggregate" and first_stage(command) == b"$changeStream"
        draft.contexts.is_kept = is_stream or command.name in DEFINITION_COMMANDS or b"tailable" in arguments
    if not policies.protects_anything:
        collection = None if command.name in PASSED_COMMANDS else command.collection
        if collection is not None:
            is_whole = command.name in WHOLE_NAMES
            draft.namespace = readable(collection if is_whole else command.namespace(collection))
        return draft.plan()
    try:
        _dispatch(command)
    except Refusal as refusal:
        raise refusal.within(draft.command) from None
    finally:
        # these lead back to the command, and a draft is in no cycle (`acyclic`): it would never be freed
        draft.around = NO_SURROUNDINGS
    if rights is not None:
        _check_role(command)
    if draft.others and draft.reveals:
        # a reply of one kind is opened, and of the other not
        raise Refusal(Reason.NAMESPACE, path=draft.namespace, rule=draft.command)
    return draft.plan()


def _check_role(command: Command) -> None:
    """What reaches something protected needs a role, and what drops it a right to delete. Raises Refusal.

    So does what the server keeps of other people's commands and documents, with their ciphertext. What else
    shows what the server knows, and is not opened, needs none. Neither does ending a cursor: drivers do it
    without the comment that says the purpose.
    """
    _check_any_role(command)
    draft = command.draft
    if command.name == b"dropDatabase":
        for node in command.policies.in_reach(command.database):
            values.demand_delete(draft, node)


def _check_any_role(command: Command) -> None:
    draft = command.draft
    if (draft.reveals or draft.others_documents) and command.name not in _WITHOUT_ROLE:
        values.demand_role(draft)


def _check_any_namespace(command: Command) -> None:
    """Check a command whatever collection it names: it may reach a protected one by another way.

    Raises Refusal. Cost: O(1) for all commands but those that can name two collections.
    """
    rule = BEYOND_TARGET.get(command.name)
    if command.sequences and (command.name == b"aggregate" or command.name in _WITHOUT_SEQUENCES):
        command.refuse_sequences()
    if rule is not None:
        rule.handler(command)


def _dispatch(command: Command) -> None:
    draft = command.draft
    if command.name == b"explain":
        _explain(command)
        return
    _check_any_namespace(command)
    whole = WHOLE_NAMES.get(command.name)
    if whole is not None:
        whole.handler(command)
        return
    passing = PASSED_COMMANDS.get(command.name)
    if passing is not None:
        command.refuse_sequences()
        passing.handler(command)
        return
    collection = command.collection
    if collection is None:
        _without_collection(command)
        return
    namespace = command.namespace(collection)
    draft.namespace = readable(namespace)
    # a view's name may match a pattern of the policy as well
    known = command.covered if command.name in _READING else command.policies.covered
    node = known(namespace)
    if node is not None:
        draft.reveals = command.name != b"aggregate" or first_stage(command) not in OTHERS_COMMANDS
    else:
        node = _beside_policy(command, namespace)
    if node is None:
        _unprotected(command, collection)
        return
    draft.protected = True
    _check_any_role(command)  # before anything of a pipeline is followed
    rule = COMMANDS.get(command.name)
    if rule is None:
        raise _without_row(command, draft.namespace)
    _check_sequences(command)
    if command.name in _DROPPING:
        values.demand_delete(draft, node)
    if command.name in _UNINDEXING:
        values.demand_definition(draft, node)
    if draft.contexts is not None and command.policies.covered(namespace) is node:
        # of a view, nobody knows what its documents have in the field
        draft.contexts.over(namespace, node)
    _let_ask(command, node)
    rule.handler(command, command.over(node))
    draft.check_collation(node.path)
    if draft.makes_unknown or not node.pure:
        note_openings(command, node)


def _let_ask(command: Command, node: PathNode) -> None:
    """Let the filters of a command ask for stored values, if it may miss a document that changes meanwhile.

    Source: MongoDB's manual, "Read Isolation, Consistency, and Recency". In a transaction and in a snapshot
    none changes: the question has it too. In a stream it has not. Raises BsonError.
    """
    arguments, answers, namespace = command.arguments, command.answers, command.draft.namespace
    is_asked = node.asks and command.policies.covered(namespace) is node
    if answers is None or not (is_asked or _joins_asked(command)):
        return
    if command.name not in _ASKING or not _NEVER_ASKING.isdisjoint(arguments):
        return
    is_in_transaction = b"autocommit" in arguments
    concern, said = arguments.get(b"readConcern"), ""
    if concern is not None and not is_in_transaction:
        level = find_element(command.buf, document_of(concern, concern), b"level")
        if level is not None:
            said = string_of(command.buf, level) if level.kind == kinds.STRING else ""
            if said not in _ASKED_AT:
                return
    if command.collection is None or command.namespace(command.collection) != namespace:
        return  # its name is not UTF-8, and cannot be asked for
    command.draft.asking = Asking(
        answers,
        node if is_asked else PathNode(""),
        is_in_transaction=is_in_transaction,
        is_at_one_time=said == _SNAPSHOT,
    )
    note_collation(command.draft.asking, command.buf, arguments)


def _joins_asked(command: Command) -> bool:
    """Whether the command's pipeline names another collection whose values may be asked for."""
    pipeline = command.arguments.get(b"pipeline")
    if command.name != b"aggregate" or pipeline is None:
        return False
    named = foreign_namespaces(command.draft, pipeline, command.database)
    trees = (command.policies.covered(".".join(each)) for each in named)
    return any(tree is not None and tree.asks for tree in trees)


def _beside_policy(command: Command, namespace: str) -> PathNode | None:
    """The covered paths of what a command reads under a name that the policy does not protect.

    It may be a view, or the server's own; a pipeline may reach further, or begin with a stage that shows what
    the server knows.
    """
    node: PathNode | None = None
    if belongs_to_server(namespace):
        refuse_writing_views(command, namespace)
        refuse_buckets(command.policies, namespace)
        node = command.reached(namespace) if command.name in _READING else None
    if node is None and command.name == b"aggregate":
        shown = first_stage(command)
        is_followed = shown in SERVER_STAGES and shown not in _OF_ONE_COLLECTION
        if is_followed or protected_in_pipeline(command) is not None:
            node = NOTHING
    return node


def _unprotected(command: Command, collection: str) -> None:
    """A command on a collection without protection passes, if it is known that it reaches no other."""
    # sharding and a few other commands name the whole namespace
    refuse_buckets(command.policies, collection)
    node = command.policies.covered(collection)
    if node is not None:
        command.draft.reveals = True
        command.draft.namespace = readable(collection)
        sharding = SHARDING_COMMANDS.get(command.name)
        rule = sharding or ADMINISTRATION.get(command.name)
        if rule is None:
            raise _without_row(command, readable(collection))
        rule.handler(command, command.over(NOTHING if sharding is None else node))
    elif command.name not in _WITHOUT_PROTECTION:
        _refuse_unknown(command)


def _refuse_unknown(command: Command) -> None:
    """What a command does that nobody knows here, only the operator can say."""
    if command.name not in command.policies.allowed_commands:
        raise _without_row(command)


def _without_row(command: Command, path: str = "") -> Refusal:
    """The refusal of a command that has no row for what it names."""
    tables = (COMMANDS, WHOLE_NAMES, PASSED_COMMANDS, BEYOND_TARGET, _EXPLAINING)
    return without_row(command.name, Reason.UNKNOWN_COMMAND, *tables, reason=Reason.COMMAND, path=path)


_EXPLAIN: Final = {**GENERIC, b"explain": planned_apart, b"verbosity": unread}


def _explain(command: Command) -> None:
    """The command inside is planned like any other; its database is the outer one."""
    inner = command.arguments[b"explain"]
    start = document_of(inner, inner)
    arguments = named_parts(command.buf, start)
    if not arguments or b"explain" in arguments or command.sequences:
        raise Refusal(Reason.SHAPE, rule="explain")
    database = arguments.get(b"$db")
    if database is not None and (
        database.kind != kinds.STRING or string_of(command.buf, database) != command.database
    ):
        raise Refusal(Reason.SHAPE, rule="explain of another database")
    parents = (*command.parents, start)
    nested = Command(
        command.draft, command.policies, command.covered, command.database, start, parents, arguments
    )
    if _NEVER_ASKING.isdisjoint(command.arguments):
        nested.answers = command.answers
    _dispatch(nested)
    note_explained(nested)
    if command.draft.protected:
        apply_arguments(command.over(NOTHING), command.arguments, _EXPLAIN)
    command.draft.command = f"explain {printable(nested.name)}"


def _without_collection(command: Command) -> None:
    """A command on a database or the server. A change stream over them reads protected documents too."""
    target = command.arguments[command.name]
    if command.name not in NAMING_COMMANDS:
        _refuse_unknown(command)
        return
    if command.name != b"aggregate" or target.kind not in _NUMBERS:
        # a collection named by its UUID would slip past a policy that knows names
        raise Refusal(Reason.SHAPE, rule=f"{printable(command.name)} without a collection's name")
    draft = command.draft
    node = watched(command)
    if node is not None and node.covers:
        draft.reach()
    if node is None and (first_stage(command) in SERVER_STAGES or protected_in_pipeline(command) is not None):
        draft.protected = True
        node = NOTHING
    if node is not None:
        aggregate(command, command.over(node))


def _check_sequences(command: Command) -> None:
    for sequence in command.sequences:
        if SEQUENCES.get(command.name) != sequence.identifier:
            raise Refusal(Reason.SHAPE, rule="this document sequence")
        if sequence.identifier in command.arguments:
            raise Refusal(Reason.SHAPE, rule="an argument given twice")


# -------------------------- the support matrix: every table of the room, in the order in which a reader looks


@dataclass(frozen=True, slots=True)
class RuleTable:
    """One table: names of one kind, and the rule for each."""

    key: str
    """Names the family in tests."""
    title: str
    others: str
    """What becomes of a name that has no row."""
    rules: Mapping[bytes, Rule[Callable[..., object]]]


_REFUSED = "any other is refused [{}], also if nobody knows the name [{}]"
_WHOLE = "any other is refused on the whole collection [{}], also if nobody knows the name [{}]"

MATRIX: tuple[RuleTable, ...] = (
    RuleTable(
        "command",
        "Commands that name a protected collection",
        _REFUSED.format("command", "unknown-command"),
        {**COMMANDS, **WHOLE_NAMES},
    ),
    RuleTable(
        "beyond",
        "Commands that may reach a protected collection which they do not name",
        "see the next table; `explain` does what the command inside it does",
        BEYOND_TARGET,
    ),
    RuleTable(
        "passed",
        "Commands that carry no value of a document",
        "those of the two tables above pass where they reach no protected collection; any other is refused "
        "on any namespace [command, unknown-command] while the policy protects anything, unless its "
        "`allow_commands` names it",
        PASSED_COMMANDS,
    ),
    RuleTable(
        "condition",
        "Filters: conditions on a field",
        _REFUSED.format("operator", "unknown-operator"),
        FILTER_OPERATORS,
    ),
    RuleTable(
        "filter",
        "Filters: operators in place of a field",
        _WHOLE.format("operator", "unknown-operator"),
        TOP_LEVEL,
    ),
    RuleTable("update", "Updates", _WHOLE.format("operator", "unknown-modifier"), UPDATE_OPERATORS),
    RuleTable(
        "push",
        "Updates: modifiers of `$push`",
        _REFUSED.format("operator", "unknown-operator"),
        PUSH_MODIFIERS,
    ),
    RuleTable(
        "update stage",
        "Updates: stages of a pipeline update",
        _WHOLE.format("stage", "unknown-stage"),
        UPDATE_STAGES,
    ),
    RuleTable(
        "stage",
        "Aggregation stages",
        "any other passes where no covered field can reach it, and is refused elsewhere "
        "[stage, unknown-stage]",
        STAGES,
    ),
    RuleTable(
        "accumulator",
        "Accumulators and window functions",
        _WHOLE.format("operator", "unknown-accumulator"),
        ACCUMULATORS,
    ),
    RuleTable("expression", "Expressions", _WHOLE.format("operator", "unknown-expression"), EXPRESSIONS),
)


def naming_operators() -> frozenset[bytes]:
    """Operators of filters and updates that use the values that they name (`Rule.named`), and no other."""
    rules = (table.rules for table in MATRIX if table.key in _FILTERS_AND_UPDATES)
    return frozenset(name for each in rules for name, rule in each.items() if rule.named)


_FILTERS_AND_UPDATES: Final = frozenset({"condition", "filter", "update", "push"})
