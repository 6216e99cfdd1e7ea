"""Where the reply to a command is opened, if more than documents of protected collections can be in it."""

from sealwire.policies.aggregation.reshaping import computes
from sealwire.policies.commands.command import Command, first_stage
from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.file.schema import PathNode, follow, is_transparent, parts_of
from sealwire.policies.planning import arguments
from sealwire.policies.planning.numbers import FLAGS, is_true
from sealwire.policies.planning.plan import BY_NAMESPACE, CLOSED, Openings, opening_of, openings_of
from sealwire.wire import kinds
from sealwire.wire.raw_bson import Element, elements

_PROJECTIONS = {b"find": b"projection", b"findAndModify": b"fields", b"findandmodify": b"fields"}

_OF_EVENTS = frozenset(b"$changeStream $match $redact".split())
"""Stages that leave an event's `ns` as the server wrote it, whatever their arguments."""


def note_openings(command: Command, node: PathNode) -> None:
    """Note where the reply is opened to a command that was planned over documents with the tree `node`.

    The draft has what its pipeline yields. Raises Refusal(MIXED) if that is not known. Cost: O(size).
    """
    draft = command.draft
    tree = draft.yields or node
    if (
        draft.opens is not None
        or not draft.reveals
        or draft.others
        or (tree.pure and not draft.makes_unknown)
    ):
        return
    name = command.name
    if name == b"aggregate":
        if first_stage(command) == b"$changeStream":
            _check_events(command)
            draft.opens = BY_NAMESPACE
        else:
            draft.opens = openings_of(tree)
    elif name in _PROJECTIONS:
        projection = command.arguments.get(_PROJECTIONS[name])
        is_given = projection is not None and projection.kind != kinds.NULL
        if projection is not None and is_given and computes(command.over(node), projection):
            raise Refusal(Reason.MIXED, path=node.path, rule=draft.command)
        draft.opens = openings_of(tree)
    elif name == b"distinct":
        draft.opens = _of_values(command, node)
    elif not node.pure:
        draft.opens = CLOSED  # there are no documents in it; errors may print some


def note_explained(command: Command) -> None:
    """Note where the explanation of a planned command is opened: nowhere, if it rests on a view.

    It shows the view's definition, which may have been made past Sealwire with ciphertext in it.
    """
    if command.draft.reveals and _rests_on_views(command):
        command.draft.opens = CLOSED


def _rests_on_views(command: Command) -> bool:
    collection, draft = command.collection, command.draft
    if collection is None or draft.opens is not None or draft.has_views:
        return True
    node = command.policies.covered(command.namespace(collection))
    return node is None or command.covered(command.namespace(collection)) is not node


def _of_values(command: Command, node: PathNode) -> Openings:
    """Where the values of a `distinct` are opened, which has been planned."""
    parts = parts_of(arguments.text_of(command.buf, command.arguments[b"key"]))
    found = follow(node, b".".join(parts))
    if found is None:
        return CLOSED
    if any(map(is_transparent, parts)):
        raise Refusal(Reason.MIXED, path=found.path, rule="distinct")
    return opening_of(found)


def _check_events(command: Command) -> None:
    """Raises Refusal(MIXED) for a stage behind which nobody knows of which collection an event is."""
    pipeline = command.arguments[b"pipeline"]
    for item in arguments.array_items(command.buf, pipeline):
        stage = arguments.only_element(command.buf, arguments.document_of(item, pipeline), "a stage")
        if stage.name not in _OF_EVENTS and not _keeps_namespace(command.buf, stage):
            raise Refusal(Reason.MIXED, rule=arguments.operator_name(stage))
    if command.draft.makes_unknown:
        raise Refusal(Reason.MIXED, rule="an operator that nobody knows")


_COMPUTING = frozenset(b"$set $addFields $project".split())


def _keeps_namespace(buf: bytes, stage: Element) -> bool:
    """Whether a stage that computes fields of an event from itself leaves `ns` where it is."""
    if stage.name == b"$unset":
        return not any(
            _is_of_namespace(arguments.text_of(buf, name)) for name in arguments.one_or_more(buf, stage)
        )
    if stage.kind != kinds.OBJECT or stage.name not in _COMPUTING:
        return False
    parts = list(elements(buf, stage.value))
    named = [part for part in parts if _is_of_namespace(part.name)]
    if stage.name != b"$project":
        return not named
    others = (part for part in parts if part.name != b"_id")
    excludes = not named and all(_flag(buf, part) is False for part in others)
    return excludes or [part.name == b"ns" and _flag(buf, part) for part in named] == [True]


def _flag(buf: bytes, part: Element) -> bool | None:
    """What a projection's flag says; None for what is none."""
    return is_true(part.kind, buf[part.value : part.end]) if part.kind in FLAGS else None


def _is_of_namespace(path: bytes) -> bool:
    return path == b"ns" or path.startswith(b"ns.")
