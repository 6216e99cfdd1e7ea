"""The commands that read and write documents: a table of arguments for each.

A handler runs only when the command's namespace is protected. Adding an argument or a command touches one
table; what stands in no table is refused.
"""

from collections.abc import Callable, Mapping

from sealwire.policies.arguments import Parents, document_of, named_parts, string_of
from sealwire.policies.command import GENERIC, Argument, Command, apply_arguments, collation, passed
from sealwire.policies.documents import plan_document
from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.filters import plan_filter
from sealwire.policies.namespaces import Surroundings
from sealwire.policies.paths import follow
from sealwire.policies.pipelines import plan_pipeline, plan_sort
from sealwire.policies.plan import Use
from sealwire.policies.projections import plan_projection
from sealwire.policies.schema import PathNode
from sealwire.policies.updates import plan_update
from sealwire.wire.raw_bson import BsonType, Element, elements

Handler = Callable[[Command, PathNode], None]


def _passed(names: str) -> dict[bytes, Argument]:
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


def _index_bound(node: PathNode) -> Argument:
    """`min` and `max` are bounds in the order of an index, and ciphertext has no order."""

    def plan(command: Command, argument: Element, parents: Parents) -> None:
        del parents
        for bound in elements(command.plan.buf, document_of(argument, argument)):
            covered = follow(node, bound.name)
            if covered is not None:
                raise Refusal(Reason.RANGE, path=covered.path, rule="min or max")

    return plan


def _whole(command: Command, table: Mapping[bytes, Argument]) -> None:
    """Apply a table to the body; the command's own name is its first argument."""
    known = {command.name: passed, **GENERIC, **table}
    apply_arguments(command, command.arguments, known, command.parents)


def _find(command: Command, node: PathNode) -> None:
    table = {
        b"filter": _filter(node),
        b"projection": _projection(node),
        b"sort": _sort(node),
        b"min": _index_bound(node),
        b"max": _index_bound(node),
        b"collation": collation,
    }
    _whole(command, table | _FIND_PASSED)


_FIND_PASSED = _passed(
    "hint skip limit batchSize singleBatch returnKey showRecordId tailable awaitData oplogReplay "
    "noCursorTimeout allowPartialResults allowDiskUse let"
)


def _count(command: Command, node: PathNode) -> None:
    _whole(command, {b"query": _filter(node), b"collation": collation} | _passed("limit skip hint fields"))


def _distinct(command: Command, node: PathNode) -> None:
    _whole(command, {b"query": _filter(node), b"key": passed, b"collation": collation} | _passed("hint"))
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
    _whole(command, {b"documents": passed} | _passed("ordered bypassDocumentValidation"))
    for start, parents in command.documents(b"documents"):
        plan_document(command.plan, start, node, parents, Use.STORE)


def _update(command: Command, node: PathNode) -> None:
    _whole(command, {b"updates": passed} | _passed("ordered bypassDocumentValidation let"))
    for start, parents in command.documents(b"updates"):
        statement = named_parts(command.plan, start)
        _one_update(command, node, statement, (*parents, start), _UPDATE_NAMES)
        command.settle_collation(node.path)


_UPDATE_NAMES = {b"filter": b"q", b"update": b"u"}
_FIND_AND_MODIFY_NAMES = {b"filter": b"query", b"update": b"update"}


def _one_update(
    command: Command,
    node: PathNode,
    statement: Mapping[bytes, Element],
    parents: Parents,
    names: Mapping[bytes, bytes],
) -> None:
    """An update statement, of `update` or of `findAndModify`, which name its parts differently."""
    plan = command.plan
    array_filters = statement.get(b"arrayFilters")
    if array_filters is not None and names[b"update"] not in statement:
        raise Refusal(Reason.SHAPE, rule="array filters without an update")

    def update(command: Command, argument: Element, parents: Parents) -> None:
        plan_update(command.plan, argument, node, parents, array_filters)

    table = {
        names[b"filter"]: _filter(node),
        names[b"update"]: update,
        b"sort": _sort(node),
        b"collation": collation,
        b"arrayFilters": passed,
        b"fields": _projection(node),
    } | _passed("multi upsert hint new remove bypassDocumentValidation let")
    upsert = statement.get(b"upsert")
    plan.seeding = upsert is not None and any(plan.buf[upsert.value : upsert.end])
    if names is _FIND_AND_MODIFY_NAMES:
        _whole(command, table)
    else:
        apply_arguments(command, statement, table, parents)
    plan.seeding = False


def _delete(command: Command, node: PathNode) -> None:
    _whole(command, {b"deletes": passed} | _passed("ordered let"))
    table = {b"q": _filter(node), b"collation": collation} | _passed("limit hint")
    for start, parents in command.documents(b"deletes"):
        apply_arguments(command, named_parts(command.plan, start), table, (*parents, start))
        command.settle_collation(node.path)


def _find_and_modify(command: Command, node: PathNode) -> None:
    _one_update(command, node, command.arguments, command.parents, _FIND_AND_MODIFY_NAMES)


def _aggregate(command: Command, node: PathNode) -> None:
    around = Surroundings(command.policies, command.database)

    def pipeline(command: Command, argument: Element, parents: Parents) -> None:
        plan_pipeline(command.plan, argument, node, parents, around)

    table = {b"pipeline": pipeline, b"collation": collation}
    names = "cursor explain allowDiskUse bypassDocumentValidation hint let"
    _whole(command, table | _passed(names))


DATA_COMMANDS: dict[bytes, Handler] = {
    b"find": _find,
    b"count": _count,
    b"distinct": _distinct,
    b"insert": _insert,
    b"update": _update,
    b"delete": _delete,
    b"findAndModify": _find_and_modify,
    b"findandmodify": _find_and_modify,
    b"aggregate": _aggregate,
}

SEQUENCES: dict[bytes, bytes] = {b"insert": b"documents", b"update": b"updates", b"delete": b"deletes"}
"""The one document sequence that a command may carry."""


def collection_of(command: Command) -> str | None:
    """The collection that the command's first argument names, or None when it names none."""
    target = command.arguments[command.name]
    return string_of(command.plan, target) if target.kind == BsonType.STRING else None
