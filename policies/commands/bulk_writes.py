"""The `bulkWrite` command: writes to several collections in one message, each planned for its own.

It runs on the admin database and names its collections in full, in a list that the operations point into.
So that list is read first, wherever it lies; the operations follow, each with its own covered paths.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from sealwire.policies.commands.command import (
    GENERIC,
    Argument,
    Command,
    apply_arguments,
    constants,
    plain_arguments,
    unread,
)
from sealwire.policies.commands.data_commands import (
    BULK_DELETE_PARTS,
    BULK_UPDATE_PARTS,
    delete_statement,
    update_statement,
)
from sealwire.policies.commands.reach import NO_NAME, name_in, refuse_writing_views
from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.expressions.constants import bind_constants, cover_constants
from sealwire.policies.file.schema import NOTHING, PathNode
from sealwire.policies.planning.arguments import check_nested, document_of, named_parts, readable
from sealwire.policies.planning.documents import plan_stored_document
from sealwire.policies.planning.openings import CLOSED
from sealwire.policies.planning.plan import Use
from sealwire.policies.planning.values import is_given, whole_number
from sealwire.policies.planning.walk import Walk
from sealwire.wire import kinds
from sealwire.wire.raw_bson import Element, elements

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

    def operation(among: Walk, start: int) -> None:
        _operation(among.inside(start), named_parts(among.buf, start), targets)

    command.each(bound, _OPERATIONS, operation)
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


def _operation(walk: Walk, parts: dict[bytes, Element], targets: Sequence[_Target | None]) -> None:
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
        _HANDLERS[kinds[0]](walk.at(target.node), parts)
        return
    for part in parts.values():
        check_nested(walk.buf, part)


def _document(walk: Walk, argument: Element) -> None:
    plan_stored_document(walk.to(Use.STORE), document_of(argument, argument))


_INSERT_PARTS: dict[bytes, Argument] = {b"insert": unread, b"document": _document}

_HANDLERS: dict[bytes, Callable[[Walk, dict[bytes, Element]], None]] = {
    b"insert": lambda walk, parts: apply_arguments(walk, parts, _INSERT_PARTS),
    b"update": lambda walk, parts: update_statement(walk, parts, BULK_UPDATE_PARTS),
    b"delete": lambda walk, parts: delete_statement(walk, parts, BULK_DELETE_PARTS),
}
