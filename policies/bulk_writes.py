"""The `bulkWrite` command: writes to several collections in one message, each planned for its own.

It runs on the admin database and names its collections in full, in a list that the operations point into.
So that list is read first, wherever it lies; the operations follow, each with its own covered paths.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from sealwire.policies.administration import refuse_writing_views
from sealwire.policies.arguments import Parents, check_nested, document_of, named_parts, readable, string_of
from sealwire.policies.command import GENERIC, Argument, Command, apply_arguments, constants, passed
from sealwire.policies.commands import (
    BULK_DELETE_PARTS,
    BULK_UPDATE_PARTS,
    delete_statement,
    passing,
    update_statement,
)
from sealwire.policies.documents import plan_document
from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.plan import Use
from sealwire.policies.schema import PathNode
from sealwire.policies.variables import bind_constants, settle_constants
from sealwire.wire import kinds
from sealwire.wire.raw_bson import Element

_OPERATIONS = b"ops"
_NAMESPACES = b"nsInfo"
_INTEGERS = frozenset({kinds.INT, kinds.LONG})


class _Target(NamedTuple):
    """One entry of `nsInfo`."""

    namespace: str
    node: PathNode | None
    """Its covered paths, or None when it is not protected."""


def bulk_write(command: Command) -> None:
    """Cover every operation with the covered paths of the collection that it names.

    Operations on collections without protection are bounded and stay as they are; when there are only such,
    the command is not looked at. Raises Refusal, BsonError. Cost: O(elements).
    """
    if not command.policies.protects_anything:
        return
    _refuse_other_sequences(command)
    targets = [_target(command, start) for start, _ in command.documents(_NAMESPACES)]
    protected = [target for target in targets if target.node is not None]
    if not targets:
        raise Refusal(Reason.SHAPE, rule="bulkWrite without nsInfo")
    if not protected:
        return
    command.plan.reach()
    command.plan.namespace = readable(protected[0].namespace)
    apply_arguments(command, command.arguments, {command.name: passed, **_ARGUMENTS}, command.parents)
    bound = bind_constants(command.plan, command.arguments.get(b"let"), command.parents)
    for start, parents in command.documents(_OPERATIONS):
        _operation(command, named_parts(command.plan, start), (*parents, start), targets)
    settle_constants(command.plan, bound)


_ARGUMENTS: dict[bytes, Argument] = {
    **GENERIC,
    **passing("ops nsInfo ordered bypassDocumentValidation bypassEmptyTsReplacement errorsOnly cursor"),
    b"let": constants,
}


def _refuse_other_sequences(command: Command) -> None:
    """Only these two may be sequences; that none is given twice, the message's parser has seen to."""
    for sequence in command.sequences:
        if sequence.identifier not in (_OPERATIONS, _NAMESPACES):
            raise Refusal(Reason.SHAPE, rule="this document sequence")


def _target(command: Command, start: int) -> _Target:
    parts = named_parts(command.plan, start)
    name = parts.get(b"ns")
    if name is None or name.kind != kinds.STRING:
        raise Refusal(Reason.SHAPE, rule="nsInfo")
    namespace = string_of(command.plan, name)
    refuse_writing_views(command, namespace)
    node = command.covered(namespace)
    if node is not None:
        # encryptionInformation among others: the server would write more than the operations say
        _refuse_unknown(parts, {b"ns", b"collectionUUID", b"isTimeseriesNamespace"})
    return _Target(namespace, node)


def _refuse_unknown(parts: dict[bytes, Element], known: Iterable[bytes]) -> None:
    if not parts.keys() <= set(known):
        raise Refusal(Reason.SHAPE, rule="nsInfo")


def _operation(
    command: Command, parts: dict[bytes, Element], parents: Parents, targets: Sequence[_Target]
) -> None:
    """One operation. The server goes by its first field, whose value is an index into the targets."""
    kinds = [name for name in parts if name in _HANDLERS]
    if len(kinds) != 1 or next(iter(parts)) != kinds[0]:
        raise Refusal(Reason.SHAPE, rule="an operation of bulkWrite")
    number = parts[kinds[0]]
    index = -1
    if number.kind in _INTEGERS:
        index = int.from_bytes(command.plan.buf[number.value : number.end], "little", signed=True)
    if not 0 <= index < len(targets):
        raise Refusal(Reason.SHAPE, rule="a namespace index of bulkWrite")
    node = targets[index].node
    if node is not None:
        _HANDLERS[kinds[0]](command, node, parts, parents)
        return
    for part in parts.values():
        check_nested(command.plan, part)


def _document(command: Command, argument: Element, parents: Parents) -> None:
    plan_document(command.plan, document_of(argument, argument), command.node, parents, Use.STORE)


_INSERT_PARTS: dict[bytes, Argument] = {b"insert": passed, b"document": _document}


def _insert(command: Command, node: PathNode, parts: dict[bytes, Element], parents: Parents) -> None:
    command.node = node
    apply_arguments(command, parts, _INSERT_PARTS, parents)


def _update(command: Command, node: PathNode, parts: dict[bytes, Element], parents: Parents) -> None:
    update_statement(command, node, parts, parents, BULK_UPDATE_PARTS)


def _delete(command: Command, node: PathNode, parts: dict[bytes, Element], parents: Parents) -> None:
    delete_statement(command, node, parts, parents, BULK_DELETE_PARTS)


_HANDLERS = {b"insert": _insert, b"update": _update, b"delete": _delete}
