"""`hint` as commands have it: whether one takes some documents only, and by which order.

What a hint may do then, `hints` decides.
"""

from sealwire.policies.commands.command import Argument, Command, unread
from sealwire.policies.errors import Reason, Refusal
from sealwire.policies.file.paths import follow
from sealwire.policies.file.schema import NOTHING
from sealwire.policies.filters.hints import (
    index_fields,
    is_index_kind,
    leading_conditions,
    refuse_hint,
    sorts,
    takes_some,
)
from sealwire.policies.filters.index_bounds import fixed_by_bounds
from sealwire.policies.planning.arguments import given
from sealwire.policies.planning.demands import demand_filter
from sealwire.policies.planning.numbers import is_given, whole_number
from sealwire.policies.planning.walk import Walk
from sealwire.wire import kinds
from sealwire.wire.raw_bson import Element, elements


def hint(walk: Walk, argument: Element) -> None:
    """A key pattern names its index, a string too: no value of a document has business in it.

    Raises Refusal(SHAPE, ROLE), BsonError.
    """
    unread(walk, argument)
    _demand_filter(walk, argument)
    if argument.kind != kinds.OBJECT:
        return
    for part in elements(walk.buf, argument.value):
        if follow(walk.node, part.name) is not None and not is_index_kind(walk.buf, part):
            raise Refusal(Reason.SHAPE, path=walk.node.path, rule="hint")


def _demand_filter(walk: Walk, argument: Element, *, is_view: bool = False) -> None:
    """Who has documents in the order of ciphertext, or with `returnKey` its hashes, learns which values are
    equal: beside fields of the index that he may write, for certain. Raises Refusal(ROLE), BsonError.
    """
    if walk.draft.rights is None:
        return
    names = index_fields(walk.buf, argument)
    if names is None or (is_view and names):
        demand_filter(walk.draft, walk.node)
        return
    for name in names:
        target = follow(walk.node, name)
        if target is not None:
            demand_filter(walk.draft, target)


def find_hint(command: Command, walk: Walk) -> None:
    """What `hint` chooses in a `find`. Raises Refusal(SORT, ROLE), BsonError."""
    arguments = command.arguments
    argument = given(arguments, b"hint")
    if argument is None:
        return
    _demand_filter(walk, argument, is_view=_is_view(command, walk))
    is_cut = any(is_given(walk.buf, arguments.get(name)) for name in (b"limit", b"skip", b"singleBatch"))
    if is_cut and not sorts(walk.buf, arguments.get(b"sort")):
        conditions = [arguments[b"filter"]] if b"filter" in arguments else []
        bounded, is_view = fixed_by_bounds(walk.buf, arguments), _is_view(command, walk)
        refuse_hint(walk.buf, argument, walk.node, conditions, bounded, is_view=is_view)


def aggregate_hint(command: Command, walk: Walk) -> None:
    """The same in an `aggregate`: it is for the stages up to the first that has an order of its own."""
    argument, pipeline = given(command.arguments, b"hint"), command.arguments.get(b"pipeline")
    if argument is None or pipeline is None:
        return
    is_view = _is_view(command, walk)
    _demand_filter(walk, argument, is_view=is_view)
    if takes_some(walk.buf, pipeline):
        refuse_hint(walk.buf, argument, walk.node, leading_conditions(walk.buf, pipeline), is_view=is_view)


def _is_view(command: Command, walk: Walk) -> bool:
    """Whether what is covered in the documents comes from another collection, by a view's definition."""
    if command.collection is None or walk.node is NOTHING:
        return False
    return command.policies.covered(command.namespace(command.collection)) is not walk.node


def refuse_hint_on_one(walk: Walk, statement: dict[bytes, Element], filter_name: bytes) -> None:
    """The same for a statement that writes to the first document found. Raises Refusal(SORT), BsonError."""
    argument = given(statement, b"hint")
    if argument is not None and not sorts(walk.buf, statement.get(b"sort")):
        conditions = [statement[filter_name]] if filter_name in statement else []
        refuse_hint(walk.buf, argument, walk.node, conditions)


def deletes_all(buf: bytes, statement: dict[bytes, Element], table: dict[bytes, Argument]) -> bool:
    """Whether a statement deletes every match: `multi` in `bulkWrite`; elsewhere a limit that is zero."""
    if b"multi" in table:
        return is_given(buf, statement.get(b"multi"))
    limit = statement.get(b"limit")
    return limit is not None and whole_number(buf, limit) == 0
