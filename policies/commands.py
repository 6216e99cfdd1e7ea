"""The commands that read and write documents: a table of arguments for each.

A handler runs only when the command's namespace is protected. Adding an argument or a command touches one
table; what stands in no table is refused.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from sealwire.policies.arguments import Parents, document_of, named_parts, string_of
from sealwire.policies.command import (
    GENERIC,
    Argument,
    Command,
    apply_arguments,
    collation,
    constants,
    passed,
)
from sealwire.policies.documents import plan_document
from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.filters import plan_filter
from sealwire.policies.index_bounds import plan_index_bounds
from sealwire.policies.paths import follow
from sealwire.policies.pipelines import plan_pipeline
from sealwire.policies.plan import Use
from sealwire.policies.projections import plan_projection
from sealwire.policies.rules import Rule, encrypted, family
from sealwire.policies.schema import PathNode
from sealwire.policies.sorting import plan_sort
from sealwire.policies.updates import plan_update
from sealwire.policies.variables import bind_constants, settle_constants
from sealwire.wire.raw_bson import BsonType, Element

Handler = Callable[[Command, PathNode], None]


def passing(names: str) -> dict[bytes, Argument]:
    """A table of arguments that carry no value of a stored document."""
    return dict.fromkeys(names.encode().split(), passed)


def _filter(node: PathNode) -> Argument:
    def plan(command: Command, argument: Element, parents: Parents) -> None:
        plan_filter(command.plan, document_of(argument, argument), node, parents)

    return plan


def _projection(node: PathNode) -> Argument:
    def plan(command: Command, argument: Element, parents: Parents) -> None:
        plan_projection(command.plan, argument, node, parents)

    return plan


def _sort(node: PathNode) -> Argument:
    def plan(command: Command, argument: Element, parents: Parents) -> None:
        del parents
        plan_sort(command.plan, argument, node)

    return plan


def with_let(handler: Handler) -> Handler:
    """A handler whose expressions may name the variables of the command's `let`."""

    def handle(command: Command, node: PathNode) -> None:
        let = command.arguments.get(b"let")
        names = bind_constants(command.plan, let, command.parents)
        handler(command, node)
        settle_constants(command.plan, names)

    return handle


def _whole(command: Command, table: Mapping[bytes, Argument]) -> None:
    """Apply a table to the body; the command's own name is its first argument."""
    known = {command.name: passed, **GENERIC, **table}
    apply_arguments(command, command.arguments, known, command.parents)


def _find(command: Command, node: PathNode) -> None:
    table = {
        b"filter": _filter(node),
        b"projection": _projection(node),
        b"sort": _sort(node),
        b"collation": collation,
        b"let": constants,
    }
    _whole(command, table | _FIND_PASSED)
    low, high = command.arguments.get(b"min"), command.arguments.get(b"max")
    plan_index_bounds(command.plan, low, high, node, command.parents)


_FIND_PASSED = passing(
    "min max hint skip limit batchSize singleBatch returnKey showRecordId tailable awaitData oplogReplay "
    "noCursorTimeout allowPartialResults allowDiskUse"
)


def _count(command: Command, node: PathNode) -> None:
    _whole(command, {b"query": _filter(node), b"collation": collation} | passing("limit skip hint fields"))


def _distinct(command: Command, node: PathNode) -> None:
    _whole(command, {b"query": _filter(node), b"key": passed, b"collation": collation} | passing("hint"))
    key = command.arguments.get(b"key")
    if key is None or key.kind != BsonType.STRING:
        raise Refusal(Reason.SHAPE, rule="distinct")
    path = command.plan.buf[key.value + 4 : key.end - 1]
    covered = follow(node, path)
    if covered is not None:
        if covered.holds_random:
            raise Refusal(Reason.RANDOM_EQUALITY, path=covered.path, rule="distinct")
        command.plan.compares = True


def _insert(command: Command, node: PathNode) -> None:
    _whole(command, {b"documents": passed} | _WRITE_PASSED)
    for start, parents in command.documents(b"documents"):
        plan_document(command.plan, start, node, parents, Use.STORE)


_WRITE_PASSED = passing("ordered bypassDocumentValidation bypassEmptyTsReplacement")


def _update(command: Command, node: PathNode) -> None:
    _whole(command, {b"updates": passed, b"let": constants} | _WRITE_PASSED)
    for start, parents in command.documents(b"updates"):
        update_statement(command, node, named_parts(command.plan, start), (*parents, start), _UPDATE_NAMES)


@dataclass(frozen=True, slots=True)
class UpdateNames:
    """What a command calls the parts of an update statement."""

    filter: bytes
    update: bytes
    constants: bytes
    passed: Mapping[bytes, Argument]


_UPDATE_NAMES = UpdateNames(b"q", b"u", b"c", passing("multi upsert hint"))
BULK_UPDATE_NAMES = UpdateNames(b"filter", b"updateMods", b"constants", passing("update multi upsert hint"))
"""In an operation of `bulkWrite`; its `update` is the number of the collection."""
_FIND_AND_MODIFY_NAMES = UpdateNames(
    b"query", b"update", b"let", passing("upsert hint new remove bypassDocumentValidation")
)


def update_statement(
    command: Command,
    node: PathNode,
    statement: Mapping[bytes, Element],
    parents: Parents,
    names: UpdateNames,
) -> None:
    """Cover one statement of an update, with a collation of its own. Raises Refusal, BsonError."""
    bound = bind_constants(command.plan, statement.get(names.constants), parents)
    apply_arguments(command, statement, _update_table(command, node, statement, names), parents)
    command.plan.seeding = False
    settle_constants(command.plan, bound)
    command.settle_collation(node.path)


def _update_table(
    command: Command, node: PathNode, statement: Mapping[bytes, Element], names: UpdateNames
) -> dict[bytes, Argument]:
    """The arguments of an update statement. What its filter seeds depends on its `upsert`."""
    plan = command.plan
    array_filters = statement.get(b"arrayFilters")
    if array_filters is not None and names.update not in statement:
        raise Refusal(Reason.SHAPE, rule="array filters without an update")

    def update(command: Command, argument: Element, parents: Parents) -> None:
        plan_update(command.plan, argument, node, parents, array_filters)

    upsert = statement.get(b"upsert")
    plan.seeding = upsert is not None and any(plan.buf[upsert.value : upsert.end])
    return {
        **names.passed,
        names.filter: _filter(node),
        names.update: update,
        names.constants: constants,
        b"sort": _sort(node),
        b"collation": collation,
        b"arrayFilters": passed,
    }


def _delete(command: Command, node: PathNode) -> None:
    _whole(command, {b"deletes": passed, b"let": constants} | passing("ordered"))
    for start, parents in command.documents(b"deletes"):
        statement = named_parts(command.plan, start)
        delete_statement(command, node, statement, (*parents, start), b"q", passing("limit hint"))


def delete_statement(
    command: Command,
    node: PathNode,
    statement: Mapping[bytes, Element],
    parents: Parents,
    filter_name: bytes,
    others: Mapping[bytes, Argument],
) -> None:
    """Cover one statement of a delete, with a collation of its own. Raises Refusal, BsonError."""
    table = {**others, filter_name: _filter(node), b"collation": collation}
    apply_arguments(command, statement, table, parents)
    command.settle_collation(node.path)


def _find_and_modify(command: Command, node: PathNode) -> None:
    table = _update_table(command, node, command.arguments, _FIND_AND_MODIFY_NAMES)
    _whole(command, table | {b"fields": _projection(node)})
    command.plan.seeding = False


@with_let
def aggregate(command: Command, node: PathNode) -> None:
    """A pipeline over documents with the covered paths `node`. Raises Refusal, BsonError."""

    def pipeline(command: Command, argument: Element, parents: Parents) -> None:
        plan_pipeline(command.plan, argument, node, parents, command.surroundings)

    table = {b"pipeline": pipeline, b"collation": collation, b"let": constants}
    names = "cursor explain allowDiskUse bypassDocumentValidation hint"
    _whole(command, table | passing(names))


DATA_COMMANDS: dict[bytes, Rule[Handler]] = {
    b"find": encrypted(with_let(_find), "`min` and `max` with the same covered values"),
    b"count": encrypted(_count),
    b"distinct": encrypted(_distinct, "deterministic classes"),
    b"insert": encrypted(_insert),
    b"update": encrypted(with_let(_update)),
    b"delete": encrypted(with_let(_delete)),
    **family("findAndModify findandmodify", encrypted(with_let(_find_and_modify))),
    b"aggregate": encrypted(aggregate),
}

SEQUENCES: dict[bytes, bytes] = {b"insert": b"documents", b"update": b"updates", b"delete": b"deletes"}
"""The one document sequence that a command may carry."""


def collection_of(command: Command) -> str | None:
    """The collection that the command's first argument names, or None when it names none."""
    target = command.arguments[command.name]
    return string_of(command.plan, target) if target.kind == BsonType.STRING else None
