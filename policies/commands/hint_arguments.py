"""`hint` as commands have it: whether one takes some documents only, and by which order.

What a hint may do then, `hints` decides.
"""

from sealwire.policies.commands.command import Argument, Command, unread
from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.file.paths import follow
from sealwire.policies.file.schema import NOTHING
from sealwire.policies.filters.hints import (
    is_index_kind,
    leading_conditions,
    refuse_hint,
    refuse_hint_on_view,
    sorts,
    takes_some,
)
from sealwire.policies.filters.index_bounds import fixed_by_bounds
from sealwire.policies.planning.arguments import string_of
from sealwire.policies.planning.numbers import is_given, whole_number
from sealwire.policies.planning.walk import Walk
from sealwire.wire import kinds
from sealwire.wire.raw_bson import Element, elements


def hint(command: Command, walk: Walk, argument: Element) -> None:
    """A key pattern names its index, a string too: no value of a document has business in it.

    Raises Refusal(SHAPE), BsonError.
    """
    unread(command, walk, argument)
    if argument.kind != kinds.OBJECT:
        return
    for part in elements(walk.buf, argument.value):
        if follow(walk.node, part.name) is not None and not is_index_kind(walk.buf, part):
            raise Refusal(Reason.SHAPE, path=walk.node.path, rule="hint")


def find_hint(command: Command, walk: Walk, argument: Element) -> None:
    """`hint` of `find`. Raises Refusal(SORT), BsonError."""
    hint(command, walk, argument)
    buf, arguments = walk.buf, command.arguments
    is_cut = any(is_given(buf, arguments.get(name)) for name in (b"limit", b"skip", b"singleBatch"))
    if not is_cut or sorts(buf, arguments.get(b"sort")):
        return
    if _is_view(command, walk):
        refuse_hint_on_view(buf, argument, walk.node)
        return
    refuse_hint(buf, argument, walk.node, _given(arguments, b"filter"), fixed_by_bounds(buf, arguments))


def aggregate_hint(command: Command, walk: Walk, argument: Element) -> None:
    """`hint` of `aggregate`: it is for the stages up to the first that has an order of its own."""
    hint(command, walk, argument)
    pipeline = command.arguments.get(b"pipeline")
    if pipeline is None or not takes_some(walk.buf, pipeline):
        return
    if _is_view(command, walk):
        refuse_hint_on_view(walk.buf, argument, walk.node)
        return
    refuse_hint(walk.buf, argument, walk.node, leading_conditions(walk.buf, pipeline))


def _is_view(command: Command, walk: Walk) -> bool:
    """Whether what is covered in the documents comes from another collection, by a view's definition."""
    target = command.arguments[command.name]
    if target.kind != kinds.STRING or walk.node is NOTHING:
        return False
    collection = string_of(command.buf, target)
    return command.policies.covered(command.namespace(collection)) is not walk.node


def _given(arguments: dict[bytes, Element], name: bytes) -> list[Element]:
    found = arguments.get(name)
    return [] if found is None else [found]


def refuse_hint_on_one(
    walk: Walk, argument: Element, statement: dict[bytes, Element], filter_name: bytes
) -> None:
    """The same for a statement that writes to the first document found. Raises Refusal(SORT), BsonError."""
    if argument.kind != kinds.NULL and not sorts(walk.buf, statement.get(b"sort")):
        refuse_hint(walk.buf, argument, walk.node, _given(statement, filter_name))


def deletes_all(buf: bytes, statement: dict[bytes, Element], table: dict[bytes, Argument]) -> bool:
    """Whether a statement deletes every match: `multi` in `bulkWrite`; elsewhere a limit that is zero."""
    if b"multi" in table:
        return is_given(buf, statement.get(b"multi"))
    limit = statement.get(b"limit")
    return limit is not None and whole_number(buf, limit) == 0
