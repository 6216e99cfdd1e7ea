"""`hint` as commands have it: whether one takes some documents only, and by which order.

What a hint may do then, `hints` decides.
"""

from sealwire.policies.commands.command import Argument, Command, passed
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
from sealwire.policies.planning.arguments import Parents, string_of
from sealwire.policies.planning.numbers import is_given, whole_number
from sealwire.wire import kinds
from sealwire.wire.raw_bson import Element, elements


def hint(command: Command, argument: Element, parents: Parents) -> None:
    """A key pattern names its index, a string too: no value of a document has business in it.

    Raises Refusal(SHAPE), BsonError.
    """
    passed(command, argument, parents)
    if argument.kind != kinds.OBJECT:
        return
    for part in elements(command.plan.buf, argument.value):
        if follow(command.node, part.name) is not None and not is_index_kind(command.plan, part):
            raise Refusal(Reason.SHAPE, path=command.node.path, rule="hint")


def find_hint(command: Command, argument: Element, parents: Parents) -> None:
    """`hint` of `find`. Raises Refusal(SORT), BsonError."""
    hint(command, argument, parents)
    plan, arguments = command.plan, command.arguments
    is_cut = any(is_given(plan, arguments.get(name)) for name in (b"limit", b"skip", b"singleBatch"))
    if not is_cut or sorts(plan, arguments.get(b"sort")):
        return
    if _is_view(command):
        refuse_hint_on_view(plan, argument, command.node)
        return
    refuse_hint(plan, argument, command.node, _given(arguments, b"filter"), fixed_by_bounds(plan, arguments))


def aggregate_hint(command: Command, argument: Element, parents: Parents) -> None:
    """`hint` of `aggregate`: it is for the stages up to the first that has an order of its own."""
    hint(command, argument, parents)
    pipeline = command.arguments.get(b"pipeline")
    if pipeline is None or not takes_some(command.plan, pipeline):
        return
    if _is_view(command):
        refuse_hint_on_view(command.plan, argument, command.node)
        return
    refuse_hint(command.plan, argument, command.node, leading_conditions(command.plan, pipeline))


def _is_view(command: Command) -> bool:
    """Whether what is covered in the documents comes from another collection, by a view's definition."""
    target = command.arguments[command.name]
    if target.kind != kinds.STRING or command.node is NOTHING:
        return False
    collection = string_of(command.plan, target)
    return command.policies.covered(command.namespace(collection)) is not command.node


def _given(arguments: dict[bytes, Element], name: bytes) -> list[Element]:
    found = arguments.get(name)
    return [] if found is None else [found]


def refuse_hint_on_one(
    command: Command, argument: Element, statement: dict[bytes, Element], filter_name: bytes
) -> None:
    """The same for a statement that writes to the first document found. Raises Refusal(SORT), BsonError."""
    if argument.kind != kinds.NULL and not sorts(command.plan, statement.get(b"sort")):
        refuse_hint(command.plan, argument, command.node, _given(statement, filter_name))


def deletes_all(command: Command, statement: dict[bytes, Element], table: dict[bytes, Argument]) -> bool:
    """Whether a statement deletes every match: `multi` in `bulkWrite`; elsewhere a limit that is zero."""
    if b"multi" in table:
        return is_given(command.plan, statement.get(b"multi"))
    limit = statement.get(b"limit")
    return limit is not None and whole_number(command.plan, limit) == 0
