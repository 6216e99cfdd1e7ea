"""The commands that read and write documents: a table of arguments for each.

A handler runs only when the command's namespace is protected. Adding an argument or a command touches one
table; what stands in no table is refused.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from sealwire.policies.aggregation.pipelines import plan_pipeline
from sealwire.policies.aggregation.projections import plan_projection
from sealwire.policies.aggregation.sorting import is_sorted_by_values
from sealwire.policies.aggregation.stage_arguments import FLAG, each, plan_sort
from sealwire.policies.commands import sorted_commands
from sealwire.policies.commands.command import (
    GENERIC,
    NO_NAME,
    Argument,
    Command,
    apply_arguments,
    collation,
    constants,
    name_in,
    note_collation,
    plain_arguments,
    planned_apart,
    refuse_writing_views,
    unread,
)
from sealwire.policies.commands.opening import note_explained, note_openings
from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.expressions.constants import bind_constants, cover_constants
from sealwire.policies.file.schema import NOTHING, PathNode, follow
from sealwire.policies.filters import hints
from sealwire.policies.filters.filters import plan_stored_filter
from sealwire.policies.planning import values
from sealwire.policies.planning.arguments import check_nested, document_of, given, named_parts, readable
from sealwire.policies.planning.numbers import is_given, whole_number
from sealwire.policies.planning.plan import CLOSED, Use
from sealwire.policies.planning.rules import Rule, encrypted, family
from sealwire.policies.planning.trees import is_in_clear
from sealwire.policies.planning.walk import Walk
from sealwire.policies.questions.asked import Asking
from sealwire.policies.updates.updates import plan_update, plan_update_in_context
from sealwire.wire import kinds
from sealwire.wire.raw_bson import Element, elements

Handler = Callable[[Command, Walk], None]
"""Covers a command; the walk is among its arguments, over the documents that they speak of."""


# -------------------- `hint` as commands have it: whether one takes some documents only, and by which order
#
# What a hint may do then, `hints` decides.


def hint(walk: Walk, argument: Element) -> None:
    """A key pattern names its index, a string too: no value of a document has business in it.

    Raises Refusal(SHAPE, ROLE), BsonError.
    """
    unread(walk, argument)
    _demand_filter(walk, argument)
    if argument.kind != kinds.OBJECT:
        return
    for part in elements(walk.buf, argument.value):
        if follow(walk.node, part.name) is not None and not hints.is_index_kind(walk.buf, part):
            raise Refusal(Reason.SHAPE, path=walk.node.path, rule="hint")


def _note_hint(walk: Walk, arguments: dict[bytes, Element]) -> None:
    """Let a question about an order look at the documents of the hinted index alone. Raises as `hint`."""
    asking, argument = walk.draft.asking, given(arguments, b"hint")
    if asking is not None and argument is not None:
        hint(walk, argument)
        asking.hint = walk.buf[argument.start : argument.end]


def _demand_filter(walk: Walk, argument: Element, *, is_view: bool = False) -> None:
    """Who has documents in the order of ciphertext, or with `returnKey` its hashes, learns which values are
    equal: beside fields of the index that he may write, for certain. Raises Refusal(ROLE), BsonError.
    """
    if walk.draft.rights is None:
        return
    names = hints.index_fields(walk.buf, argument)
    if names is None or (is_view and names):
        values.demand_filter(walk.draft, walk.node)
        return
    for name in names:
        target = follow(walk.node, name)
        if target is not None:
            values.demand_filter(walk.draft, target)


def find_hint(command: Command, walk: Walk) -> None:
    """What `hint` chooses in a `find`. Raises Refusal(SORT, ROLE), BsonError."""
    arguments = command.arguments
    argument = given(arguments, b"hint")
    if argument is None:
        return
    _demand_filter(walk, argument, is_view=_is_view(command, walk))
    is_cut = any(is_given(walk.buf, arguments.get(name)) for name in (b"limit", b"skip", b"singleBatch"))
    if is_cut and not hints.sorts(walk.buf, arguments.get(b"sort")):
        conditions = [arguments[b"filter"]] if b"filter" in arguments else []
        bounded, is_view = hints.fixed_by_bounds(walk.buf, arguments), _is_view(command, walk)
        hints.refuse_hint(walk.buf, argument, walk.node, conditions, bounded, is_view=is_view)


def aggregate_hint(command: Command, walk: Walk) -> None:
    """The same in an `aggregate`: it is for the stages up to the first that has an order of its own."""
    argument, pipeline = given(command.arguments, b"hint"), command.arguments.get(b"pipeline")
    if argument is None or pipeline is None:
        return
    is_view = _is_view(command, walk)
    _demand_filter(walk, argument, is_view=is_view)
    if hints.takes_some(walk.buf, pipeline):
        hints.refuse_hint(
            walk.buf, argument, walk.node, hints.leading_conditions(walk.buf, pipeline), is_view=is_view
        )


def _is_view(command: Command, walk: Walk) -> bool:
    """Whether what is covered in the documents comes from another collection, by a view's definition."""
    if command.collection is None or walk.node is NOTHING:
        return False
    return command.policies.covered(command.namespace(command.collection)) is not walk.node


def refuse_hint_on_one(walk: Walk, statement: dict[bytes, Element], filter_name: bytes) -> None:
    """The same for a statement that writes to the first document found. Raises Refusal(SORT), BsonError."""
    argument = given(statement, b"hint")
    if argument is not None and not hints.sorts(walk.buf, statement.get(b"sort")):
        conditions = [statement[filter_name]] if filter_name in statement else []
        hints.refuse_hint(walk.buf, argument, walk.node, conditions)


def deletes_all(buf: bytes, statement: dict[bytes, Element], table: dict[bytes, Argument]) -> bool:
    """Whether a statement deletes every match: `multi` in `bulkWrite`; elsewhere a limit that is zero."""
    if b"multi" in table:
        return is_given(buf, statement.get(b"multi"))
    limit = statement.get(b"limit")
    return limit is not None and whole_number(buf, limit) == 0


def with_let(handler: Handler) -> Handler:
    """A handler whose expressions may name the variables of the command's `let`."""

    def handle(command: Command, walk: Walk) -> None:
        let = command.arguments.get(b"let")
        bound = walk if let is None else bind_constants(walk, let)
        handler(command, bound)
        if bound is not walk:
            cover_constants(bound)

    return handle


_FIND: Final = {
    **GENERIC,
    **plain_arguments(
        "find min max skip limit batchSize singleBatch returnKey showRecordId tailable awaitData "
        "oplogReplay noCursorTimeout allowPartialResults allowDiskUse"
    ),
    b"filter": plan_stored_filter,
    b"projection": plan_projection,
    b"sort": plan_sort,
    b"hint": hint,
    b"collation": collation,
    b"let": constants,
}


def _find(command: Command, walk: Walk) -> None:
    sort = given(command.arguments, b"sort")
    if walk.draft.asking is not None and sort is not None and is_sorted_by_values(walk, sort):
        raise sorted_commands.FindSortsByValues
    apply_arguments(walk, command.arguments, _FIND)
    if b"hint" in command.arguments:
        find_hint(command, walk)
    low, high = command.arguments.get(b"min"), command.arguments.get(b"max")
    if low is not None or high is not None:
        hints.plan_index_bounds(walk, low, high)


def _count_fields(walk: Walk, argument: Element) -> None:
    """A projection that old drivers send and servers ignore: flags, and no values."""
    each(kinds.OBJECT, FLAG)(walk.buf, argument, argument)


_COUNT: Final = {
    **GENERIC,
    **plain_arguments("count limit skip"),
    b"fields": _count_fields,
    b"query": plan_stored_filter,
    b"hint": hint,
    b"collation": collation,
}


def _count(command: Command, walk: Walk) -> None:
    apply_arguments(walk, command.arguments, _COUNT)


_DISTINCT: Final = {
    **GENERIC,
    **plain_arguments("distinct key"),
    b"query": plan_stored_filter,
    b"hint": hint,
    b"collation": collation,
}


def _distinct(command: Command, walk: Walk) -> None:
    apply_arguments(walk, command.arguments, _DISTINCT)
    key = command.arguments.get(b"key")
    if key is None:
        raise Refusal(Reason.SHAPE, rule="distinct")
    query = command.arguments.get(b"query")
    if walk.draft.contexts is not None and query is not None and query.kind == kinds.OBJECT:
        walk.draft.contexts.source.narrow(walk.buf, query.value)
    values.tell_apart_by(walk, [key], "distinct")


_WRITE_OPTIONS: Final = plain_arguments("ordered bypassDocumentValidation bypassEmptyTsReplacement")
_INSERT: Final = {**GENERIC, **plain_arguments("insert documents"), **_WRITE_OPTIONS}
_UPDATE: Final = {**GENERIC, **plain_arguments("update updates"), **_WRITE_OPTIONS, b"let": constants}
_DELETE: Final = {**GENERIC, **plain_arguments("delete deletes ordered"), b"let": constants}


def _insert(command: Command, walk: Walk) -> None:
    apply_arguments(walk, command.arguments, _INSERT)
    command.each(walk.to(Use.STORE), b"documents", values.plan_stored_document)


def _update(command: Command, walk: Walk) -> None:
    apply_arguments(walk, command.arguments, _UPDATE)
    command.each(walk, b"updates", _one_update)


def _one_update(among: Walk, start: int) -> None:
    statement, asking = named_parts(among.buf, start), among.draft.asking
    if asking is not None and asking.sorts_write:
        raise Refusal(
            Reason.QUESTION, path=among.node.path, rule="a sort by stored values beside other statements"
        )
    update_statement(among.inside(start), statement, _UPDATE_PARTS)
    if asking is not None:
        inserts = is_given(among.buf, statement.get(b"upsert"))
        asking.written.note(among.buf, statement.get(b"u"), inserts=inserts)


@dataclass(frozen=True, slots=True)
class UpdateParts:
    """What a command calls the parts of an update statement, and what becomes of each."""

    filter: bytes
    update: bytes
    constants: bytes
    table: dict[bytes, Argument]


def _update_parts(
    filter_name: bytes, update: bytes, bound: bytes, others: dict[bytes, Argument]
) -> UpdateParts:
    table = {
        **others,
        filter_name: plan_stored_filter,
        update: planned_apart,
        bound: constants,
        b"sort": plan_sort,
        b"hint": hint,
        b"collation": collation,
        b"arrayFilters": planned_apart,
    }
    return UpdateParts(filter_name, update, bound, table)


_UPDATE_PARTS = _update_parts(b"q", b"u", b"c", plain_arguments("multi upsert"))
BULK_UPDATE_PARTS = _update_parts(
    b"filter", b"updateMods", b"constants", plain_arguments("update multi upsert")
)
"""In an operation of `bulkWrite`; its `update` is the number of the collection."""
_MODIFIED = plain_arguments("upsert new remove bypassDocumentValidation findAndModify findandmodify")
_FIND_AND_MODIFY: Final = _update_parts(
    b"query", b"update", b"let", {**GENERIC, **_MODIFIED, b"fields": plan_projection}
)


def update_statement(walk: Walk, statement: dict[bytes, Element], parts: UpdateParts) -> None:
    """Cover one statement of an update, with a collation of its own. Raises Refusal, BsonError."""
    if walk.draft.asking is not None:
        note_collation(walk.draft.asking, walk.buf, statement)
    bound = bind_constants(walk, statement.get(parts.constants), literal=True)
    _plan_statement(bound, statement, parts)
    if bound is not walk:
        cover_constants(bound)
    walk.draft.check_collation(walk.node.path)


def _plan_statement(walk: Walk, statement: dict[bytes, Element], parts: UpdateParts) -> None:
    """The arguments of an update statement. What its filter seeds depends on its `upsert`."""
    update, array_filters = given(statement, parts.update), statement.get(b"arrayFilters")
    if array_filters is not None and update is None:
        raise Refusal(Reason.SHAPE, rule="array filters without an update")
    seeds = is_given(walk.buf, statement.get(b"upsert"))
    use = Use.SEED if seeds else Use.MATCH if b"hint" in statement else walk.use
    asking = walk.draft.asking
    if asking is not None and seeds:
        asking.begin_change("an upsert")
    sort, table = given(statement, b"sort"), parts.table
    is_sorted = asking is not None and sort is not None and is_sorted_by_values(walk, sort)
    if is_sorted:
        sorted_commands.check_sorted_write(walk, statement, parts.constants, seeds=seeds)
        _note_hint(walk, statement)
        table = {**table, b"sort": planned_apart}
    apply_arguments(walk if use is walk.use else walk.to(use), statement, table)
    if is_sorted and sort is not None:
        sorted_commands.plan_sorted_write(walk, sort, statement, parts.filter)
    if b"hint" in statement and not is_given(walk.buf, statement.get(b"multi")):
        refuse_hint_on_one(walk, statement, parts.filter)
    if asking is not None:
        asking.begin_change("a condition on values of arrays", walk.node)
    if update is not None:
        if walk.draft.contexts is None:
            plan_update(walk, update, array_filters)
        else:
            plan_update_in_context(walk, update, array_filters, statement.get(parts.filter), seeds=seeds)
    if asking is not None:
        asking.end_change()


def _delete(command: Command, walk: Walk) -> None:
    apply_arguments(walk, command.arguments, _DELETE)
    command.each(walk, b"deletes", _one_delete)


def _one_delete(among: Walk, start: int) -> None:
    delete_statement(among.inside(start), named_parts(among.buf, start), _DELETE_PARTS)


def _delete_parts(filter_name: bytes, others: str) -> dict[bytes, Argument]:
    return {
        **plain_arguments(others),
        filter_name: plan_stored_filter,
        b"hint": hint,
        b"collation": collation,
    }


_DELETE_PARTS: Final = _delete_parts(b"q", "limit")
BULK_DELETE_PARTS: Final = _delete_parts(b"filter", "delete multi")
"""In an operation of `bulkWrite`; its `delete` is the number of the collection."""


def delete_statement(walk: Walk, statement: dict[bytes, Element], table: dict[bytes, Argument]) -> None:
    """Cover one statement of a delete, with a collation of its own. Raises Refusal, BsonError."""
    values.demand_delete(walk.draft, walk.node)
    if walk.draft.asking is not None:
        note_collation(walk.draft.asking, walk.buf, statement)
    apply_arguments(walk.to(Use.MATCH) if b"hint" in statement else walk, statement, table)
    if b"hint" in statement and not deletes_all(walk.buf, statement, table):
        refuse_hint_on_one(walk, statement, b"q" if b"q" in table else b"filter")
    walk.draft.check_collation(walk.node.path)


def _find_and_modify(command: Command, walk: Walk) -> None:
    if is_given(walk.buf, command.arguments.get(b"remove")):
        values.demand_delete(walk.draft, walk.node)
    _plan_statement(walk, command.arguments, _FIND_AND_MODIFY)


def _pipeline(walk: Walk, argument: Element) -> None:
    draft = walk.draft
    draft.yields = plan_pipeline(walk, argument)
    draft.others_shown = not is_in_clear(draft.yields)


_AGGREGATE: Final = {
    **GENERIC,
    **plain_arguments("aggregate cursor explain allowDiskUse bypassDocumentValidation"),
    b"hint": hint,
    b"pipeline": _pipeline,
    b"collation": collation,
    b"let": constants,
}


@with_let
def aggregate(command: Command, walk: Walk) -> None:
    """A pipeline over documents with the walk's covered paths. Raises Refusal, BsonError."""
    command.draft.around = command.surroundings
    _note_hint(walk, command.arguments)
    apply_arguments(walk, command.arguments, _AGGREGATE)
    aggregate_hint(command, walk)
    note_openings(command, walk.node)
    if b"explain" in command.arguments:
        note_explained(command)


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

# -------------------------- bulkWrite: writes to several collections in one message, each planned for its own
#
# It runs on the admin database and names its collections in full, in a list that the operations point into.
# So that list is read first, wherever it lies; the operations follow, each with its own covered paths.

_OPERATIONS = b"ops"
_NAMESPACES = b"nsInfo"
# what no server takes for a list of documents
_NO_LIST = (NO_NAME | {kinds.NULL}) - {kinds.OBJECT}


class _Target(NamedTuple):
    """One entry of `nsInfo`."""

    namespace: str
    node: PathNode | None
    """Its covered paths, or None when it is not protected."""


def bulk_write(command: Command) -> None:
    """Cover every operation with the covered paths of the collection that it names.

    Operations on collections without protection are bounded and stay as they are; when there are only such,
    the command is not looked at, and what is wrong with it the server says.
    Raises Refusal, BsonError. Cost: O(elements).
    """
    # that none is given twice, the message's parser has seen to
    if any(sequence.identifier not in (_OPERATIONS, _NAMESPACES) for sequence in command.sequences):
        raise Refusal(Reason.SHAPE, rule="this document sequence")
    targets = _targets(command)
    protected = [target for target in targets if target is not None and target.node is not None]
    if not protected:
        return
    if None in targets:
        raise Refusal(Reason.SHAPE, rule="nsInfo")
    command.draft.protected = True
    if len(protected) < len(targets):
        command.draft.opens = CLOSED  # an error may print a document of a collection without a policy
    command.draft.namespace = readable(protected[0].namespace)
    walk = command.over(NOTHING)
    apply_arguments(walk, command.arguments, {command.name: unread, **_ARGUMENTS})
    bound = bind_constants(walk, command.arguments.get(b"let"))

    asked = _asked_targets(command, targets)

    def operation(among: Walk, start: int) -> None:
        _operation(among.inside(start), named_parts(among.buf, start), targets, asked)

    command.each(bound, _OPERATIONS, operation)
    command.draft.asking = None
    if command.draft.contexts is not None:
        command.draft.contexts.over_several()
    if bound is not walk:
        cover_constants(bound)


_ARGUMENTS: dict[bytes, Argument] = {
    **GENERIC,
    **plain_arguments(
        "ops nsInfo ordered bypassDocumentValidation bypassEmptyTsReplacement errorsOnly cursor"
    ),
    b"let": constants,
}


def _targets(command: Command) -> list[_Target | None]:
    """The entries of `nsInfo`; None for one that cannot name a collection to any server."""
    argument = command.arguments.get(_NAMESPACES)
    targets: list[_Target | None] = []
    if argument is not None and argument.kind == kinds.ARRAY:
        for item in elements(command.buf, argument.value):
            if item.kind not in NO_NAME and item.kind != kinds.NULL:
                raise Refusal(Reason.SHAPE, rule="nsInfo")
            targets.append(_target(command, item.value) if item.kind == kinds.OBJECT else None)
    elif argument is not None and argument.kind not in _NO_LIST:
        raise Refusal(Reason.SHAPE, rule="nsInfo")
    for sequence in command.sequences:
        if sequence.identifier == _NAMESPACES:
            targets += [_target(command, start) for start in sequence.documents]
    return targets


def _target(command: Command, start: int) -> _Target | None:
    parts = named_parts(command.buf, start)
    namespace = name_in(command, parts.get(b"ns"))
    if namespace is None:
        return None
    refuse_writing_views(command, namespace)
    node = command.reached(namespace)
    if node is not None:
        if not parts.keys() <= {b"ns", b"collectionUUID", b"isTimeseriesNamespace"}:
            # encryptionInformation among others: the server would write more than the operations say
            raise Refusal(Reason.SHAPE, rule="nsInfo")
        if is_given(command.buf, parts.get(b"isTimeseriesNamespace")):
            raise Refusal(Reason.SHAPE, rule="isTimeseriesNamespace")
    return _Target(namespace, node)


def _asked_targets(command: Command, targets: Sequence[_Target | None]) -> dict[str, Asking]:
    """By their namespaces, the collections whose values may be asked for, with what was written to them."""
    answers, is_in_transaction = command.answers, b"autocommit" in command.arguments
    if answers is None or (b"readConcern" in command.arguments and not is_in_transaction):
        return {}
    return {
        target.namespace: Asking(
            answers, target.node, is_in_transaction=is_in_transaction, namespace=target.namespace
        )
        for target in targets
        if target is not None
        and target.node is not None
        and target.node.asks
        and readable(target.namespace) == target.namespace
        and command.policies.covered(target.namespace) is target.node
    }


def _operation(
    walk: Walk,
    parts: dict[bytes, Element],
    targets: Sequence[_Target | None],
    asked: dict[str, Asking],
) -> None:
    """One operation. The server goes by its first field, whose value is an index into the targets."""
    kinds = [name for name in parts if name in _HANDLERS]
    if len(kinds) != 1 or next(iter(parts)) != kinds[0]:
        raise Refusal(Reason.SHAPE, rule="an operation of bulkWrite")
    index = whole_number(walk.buf, parts[kinds[0]])
    target = targets[index] if 0 <= index < len(targets) else None
    if target is None:
        raise Refusal(Reason.SHAPE, rule="a namespace index of bulkWrite")
    if target.node is not None:
        if walk.draft.contexts is not None:
            walk.draft.contexts.over(target.namespace, target.node)
        walk.draft.asking = asking = asked.get(target.namespace)
        _HANDLERS[kinds[0]](walk.at(target.node), parts)
        if asking is not None and kinds[0] != b"delete":
            inserts = kinds[0] == b"insert" or is_given(walk.buf, parts.get(b"upsert"))
            asking.written.note(walk.buf, parts.get(b"updateMods"), inserts=inserts)
        return
    for part in parts.values():
        check_nested(walk.buf, part)


def _inserted(walk: Walk, argument: Element) -> None:
    values.plan_stored_document(walk.to(Use.STORE), document_of(argument, argument))


_INSERT_PARTS: dict[bytes, Argument] = {b"insert": unread, b"document": _inserted}

_HANDLERS: dict[bytes, Callable[[Walk, dict[bytes, Element]], None]] = {
    b"insert": lambda walk, parts: apply_arguments(walk, parts, _INSERT_PARTS),
    b"update": lambda walk, parts: update_statement(walk, parts, BULK_UPDATE_PARTS),
    b"delete": lambda walk, parts: delete_statement(walk, parts, BULK_DELETE_PARTS),
}
